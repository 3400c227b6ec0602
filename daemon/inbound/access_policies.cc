#include "daemon/inbound/access_policies.h"

#include <algorithm>
#include <chrono>
#include <unordered_set>

#include "daemon/core/metadata.h"
#include "daemon/inbound/jwt.h"
#include "daemon/system/watched_file.h"
#include "daemon/telemetry/log.h"

namespace legated {
namespace {

using Time = Policy::Time;
using RandomSource = Policy::RandomSource;

/// Lets those through who prove who they are.
class Access : public Policy {
 public:
  std::optional<Status> admit(PolicyCall& call, AdmissionId, Time now,
                              const RandomSource&) final {
    if (auto problem = check(call, now))
      return refuse_plainly(problem->code, std::move(problem->message));
    ++applied_;
    return std::nullopt;
  }
  void hand_back(AdmissionId) final { --applied_; }

 protected:
  virtual std::optional<Status> check(PolicyCall& call, Time now) = 0;

  static Status unauthenticated(std::string why) {
    return {StatusCode::unauthenticated, std::move(why), Origin::daemon, {}};
  }
};

/// The token of "authorization: Bearer TOKEN"; empty when there is none, or more than one.
std::string_view bearer_token(const PolicyCall& call) {
  constexpr std::string_view kScheme = "bearer ";
  std::string_view token;
  for (const auto& [key, value] : call.metadata) {
    if (key != "authorization") continue;
    if (!token.empty()) return {};
    const std::string_view text = value;
    const bool bearer =
        text.size() > kScheme.size() &&
        std::ranges::equal(text.substr(0, kScheme.size()), kScheme,
                           [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a + 32 : a) == b; });
    if (!bearer) return {};
    token = trim(text.substr(kScheme.size()));
  }
  return token;
}

constexpr size_t kMaxToken = 4096;
constexpr char kNoToken[] = "a bearer token is needed: metadata \"authorization: Bearer ...\"";

/// Takes a file's new content; a mistaken one is told in the log, and the old one stays in force.
template <class Take>
void refresh(WatchedFile& file, Time now, Take take) {
  const auto look = file.refresh(now);
  if (look == WatchedFile::Look::same) return;
  std::string problem = file.problem();
  if (look == WatchedFile::Look::changed) {
    problem = take(file.content());
    if (problem.empty()) return log::info("access_file_read", {{"path", file.path()}});
    problem = file.path() + " " + problem;
  }
  log::warn("access_file_problem", {{"problem", problem}, {"remedy", "what it had goes on"}});
}

/// A token of a list, which is kept as digests only.
class RequireToken final : public Access {
 public:
  explicit RequireToken(const std::string& path) : file_(path) {}

  std::string first_read() {
    file_.refresh(Time{});
    return file_.problem().empty() ? with_path(take(file_.content())) : file_.problem();
  }

 private:
  std::string with_path(const std::string& problem) const {
    return problem.empty() ? "" : file_.path() + " " + problem;
  }

  std::string take(const std::string& text) {
    std::unordered_set<std::string> tokens;
    std::string_view rest = text;
    for (size_t number = 1; !rest.empty(); ++number) {
      const size_t end = std::min(rest.find('\n'), rest.size());
      std::string_view line = trim(rest.substr(0, end));
      rest.remove_prefix(std::min(end + 1, rest.size()));
      if (line.ends_with('\r')) line.remove_suffix(1);
      if (line.empty() || line.front() == '#') continue;
      if (line.size() > kMaxToken || !std::ranges::all_of(line, [](char c) { return c > ' ' && c < 0x7f; }))
        return "line " + std::to_string(number) + " is no token: printable ASCII without spaces, at most 4096";
      tokens.insert(digest(line));
    }
    if (tokens.empty()) return "has no token: write one a line";
    tokens_ = std::move(tokens);
    return {};
  }

  std::optional<Status> check(PolicyCall& call, Time now) override {
    refresh(file_, now, [this](const std::string& text) { return take(text); });
    const std::string_view token = bearer_token(call);
    if (token.empty()) return unauthenticated(kNoToken);
    if (!tokens_.contains(digest(token))) return unauthenticated("the bearer token is not known");
    return std::nullopt;
  }

  std::string state(Time) const override {
    return std::to_string(tokens_.size()) + (tokens_.size() == 1 ? " token" : " tokens");
  }

  WatchedFile file_;
  std::unordered_set<std::string> tokens_;
};

class RequireJwt final : public Access {
 public:
  RequireJwt(const std::string& path, JwtVerifier::Keys keys, JwtVerifier::Rules rules,
             std::string subject_key)
      : file_(path), keys_(keys), rules_(std::move(rules)), subject_key_(std::move(subject_key)) {}

  std::string first_read() {
    file_.refresh(Time{});
    if (!file_.problem().empty()) return file_.problem();
    const std::string problem = take(file_.content());
    return problem.empty() ? "" : file_.path() + " " + problem;
  }

 private:
  std::string take(const std::string& text) {
    auto made = JwtVerifier::make(text, keys_, rules_);
    if (auto* problem = std::get_if<std::string>(&made)) return std::move(*problem);
    verifier_.emplace(std::get<JwtVerifier>(std::move(made)));
    return {};
  }

  std::optional<Status> check(PolicyCall& call, Time now) override {
    refresh(file_, now, [this](const std::string& text) { return take(text); });
    if (!subject_key_.empty())  // nobody but the token says who it is
      std::erase_if(call.metadata, [&](const auto& element) { return element.first == subject_key_; });
    const std::string token(bearer_token(call));
    if (token.empty()) return unauthenticated(kNoToken);
    const auto wall = std::chrono::system_clock::now().time_since_epoch();
    const auto verdict =
        verifier_->verify(token, std::chrono::duration_cast<std::chrono::seconds>(wall).count());
    if (!verdict.problem.empty()) return unauthenticated(verdict.problem);
    if (subject_key_.empty()) return std::nullopt;
    if (refuse_metadata(subject_key_, verdict.subject))
      return unauthenticated("the bearer token's subject is not printable ASCII");
    call.metadata.emplace_back(subject_key_, verdict.subject);
    return std::nullopt;
  }

  WatchedFile file_;
  const JwtVerifier::Keys keys_;
  const JwtVerifier::Rules rules_;
  const std::string subject_key_;
  std::optional<JwtVerifier> verifier_;
};

/// Whether `text` is what `pattern` says, in which '*' stands for any characters.
bool fits(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0, star = std::string_view::npos, resumed = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resumed = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resumed;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

class RequireIdentity final : public Access {
 public:
  explicit RequireIdentity(std::vector<std::string> patterns) : patterns_(std::move(patterns)) {}

 private:
  std::optional<Status> check(PolicyCall& call, Time) override {
    if (call.identity.empty())
      return unauthenticated("a client certificate is needed, and one of the server's authorities");
    for (const std::string& name : call.identity) {
      for (const std::string& pattern : patterns_) {
        if (fits(pattern, name)) return std::nullopt;
      }
    }
    return Status{StatusCode::permission_denied, "the client certificate's names may not call this",
                  Origin::daemon, {}};
  }

  const std::vector<std::string> patterns_;
};

// ---- Parsing -----------------------------------------------------------------------------------

ParsedPolicy parse_require_token(std::string_view text) {
  const std::string_view path = take_word(text);
  if (path.empty() || !text.empty()) return {};
  auto policy = std::make_unique<RequireToken>(std::string(path));
  if (std::string problem = policy->first_read(); !problem.empty()) return problem;
  return policy;
}

ParsedPolicy parse_require_jwt(std::string_view text) {
  const std::string_view path = take_word(text);
  if (path.empty()) return {};
  JwtVerifier::Keys keys = JwtVerifier::Keys::open;
  JwtVerifier::Rules rules;
  std::string subject_key;
  while (!text.empty()) {
    const std::string_view word = take_word(text);
    if (word == "secret") {
      keys = JwtVerifier::Keys::secret;
      continue;
    }
    const size_t equals = std::min(word.find('='), word.size());
    const std::string_view name = word.substr(0, equals);
    const std::string value(word.substr(std::min(equals + 1, word.size())));
    if (value.empty()) return {};
    if (name == "issuer") {
      rules.issuer = value;
    } else if (name == "audience") {
      rules.audience = value;
    } else if (name == "subject") {
      if (auto why = refuse_metadata(value, "")) return std::move(*why);
      subject_key = value;
    } else {
      return {};
    }
  }
  auto policy = std::make_unique<RequireJwt>(std::string(path), keys, std::move(rules),
                                             std::move(subject_key));
  if (std::string problem = policy->first_read(); !problem.empty()) return problem;
  return policy;
}

ParsedPolicy parse_require_identity(std::string_view text) {
  std::vector<std::string> patterns;
  while (!text.empty()) {
    const std::string_view pattern = take_word(text);
    const std::string_view kind = pattern.substr(0, pattern.find(':'));
    if (kind != "subject" && kind != "dns" && kind != "uri" && kind != "ip" && kind != "email")
      return quoted(pattern) + " must begin with subject:, dns:, uri:, ip: or email:";
    patterns.emplace_back(pattern);
  }
  if (patterns.empty()) return {};
  return std::make_unique<RequireIdentity>(std::move(patterns));
}

constexpr PolicyKind kOfFiles[] = {
    {"require-token", "require-token FILE", parse_require_token},
    {"require-jwt", "require-jwt FILE [secret] [issuer=TEXT] [audience=TEXT] [subject=KEY]",
     parse_require_jwt},
};
constexpr PolicyKind kOfTls[] = {
    {"require-identity", "require-identity NAME...", parse_require_identity},
};

}  // namespace

const Policies::Kinds& peers_policies() {
  static const Policies::Kinds kinds = [] {
    Policies::Kinds all;
    for (const auto& some : {std::span<const PolicyKind>(kOfTls), method_policies(),
                             metadata_policies(), flow_policies()})
      all.insert(all.end(), some.begin(), some.end());
    return all;
  }();
  return kinds;
}

const Policies::Kinds& incoming_policies() {
  static const Policies::Kinds kinds = [] {
    Policies::Kinds all(std::begin(kOfFiles), std::end(kOfFiles));
    all.insert(all.end(), peers_policies().begin(), peers_policies().end());
    return all;
  }();
  return kinds;
}

}  // namespace legated
