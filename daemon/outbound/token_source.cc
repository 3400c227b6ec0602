#include "daemon/outbound/token_source.h"

#include <grpc/support/alloc.h>
#include <grpc/support/string_util.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <mutex>
#include <vector>

#include "daemon/grpc/metadata.h"
#include "daemon/system/regular_file.h"
#include "daemon/telemetry/log.h"

namespace legated {
namespace {

constexpr size_t kMaxOutput = 64 * 1024;
// Calls that wait for a token; each may be held by gRPC after it has ended.
constexpr size_t kMaxWaiting = 10'000;
constexpr std::string_view kTooMany = "10000 calls wait for it already";
constexpr std::string_view kClosed = "the channel is closed";
constexpr std::string_view kGrpcSays = "Getting metadata from plugin failed with error: ";
constexpr size_t kMaxArguments = 100;

grpc_metadata authorization(const std::string& token) {
  return {.key = grpc_slice_from_static_string("authorization"),
          .value = slice_of("Bearer " + token),
          .internal_data = {}};
}

TokenCache cache_of(const ChannelSettings& settings) {
  if (!settings.token.empty()) return TokenCache(settings.token);
  const bool file = !settings.token_file.empty();
  return TokenCache(TokenCache::Times{
      .lifetime = settings.token_ttl,
      .look = file ? settings.token_refresh : std::chrono::milliseconds(0)});
}

bool is_local(const std::string& target) { return target.starts_with("unix:"); }

}  // namespace

/// What gRPC asks. `mutex_` guards all of it and is not held while gRPC is told.
class TokenSource::Shared {
 public:
  struct Waiting {
    grpc_credentials_plugin_metadata_cb tell;
    void* call;
  };

  explicit Shared(TokenCache cache) : cache_(std::move(cache)) {}

  /// The source begins, or (null) ends.
  void set_wakeup(Wakeup* wakeup) {
    {
      const std::lock_guard lock(mutex_);
      wakeup_ = wakeup;
    }
    if (wakeup == nullptr) answer_all();
  }

  void on_token(Token token) {
    {
      const std::lock_guard lock(mutex_);
      cache_.on_token(std::move(token), Loop::Clock::now());
    }
    answer_all();
  }

  void on_failure(std::string problem) {
    {
      const std::lock_guard lock(mutex_);
      cache_.on_failure(std::move(problem), Loop::Clock::now());
    }
    answer_all();
  }

  TokenCache::Report report() const {
    const std::lock_guard lock(mutex_);
    return cache_.report(Loop::Clock::now());
  }

  /// gRPC's get_metadata, on any thread.
  static int get(void* state, grpc_auth_metadata_context, grpc_credentials_plugin_metadata_cb tell,
                 void* call, grpc_metadata* metadata, size_t* count, grpc_status_code* status,
                 const char** error) {
    Shared& shared = **static_cast<std::shared_ptr<Shared>*>(state);
    std::string problem;
    *count = 0;
    *status = GRPC_STATUS_OK;
    *error = nullptr;
    {
      const std::lock_guard lock(shared.mutex_);
      const auto token = shared.ask(problem);
      if (token) {
        metadata[0] = *token;
        *count = 1;
        return 1;
      }
      if (problem.empty() && shared.waiting_.size() < kMaxWaiting) {
        shared.waiting_.push_back({tell, call});
        return 0;
      }
    }
    *status = GRPC_STATUS_UNAVAILABLE;
    *error = gpr_strdup(problem.empty() ? kTooMany.data() : problem.c_str());
    return 1;
  }

 private:
  /// Neither a token nor a problem: wait. With the mutex held.
  std::optional<grpc_metadata> ask(std::string& problem) {
    const auto answer = cache_.ask(Loop::Clock::now());
    if (answer.fetch && wakeup_ != nullptr) wakeup_->raise();
    if (answer.token != nullptr) return authorization(*answer.token);
    if (answer.problem != nullptr) {
      problem = *answer.problem;
    } else if (wakeup_ == nullptr) {
      problem = kClosed;
    }
    return std::nullopt;
  }

  void answer_all() {
    std::vector<Waiting> waiting;
    std::optional<grpc_metadata> token;
    std::string problem;
    {
      const std::lock_guard lock(mutex_);
      if (waiting_.empty()) return;
      token = ask(problem);
      if (!token && problem.empty()) return;
      waiting.swap(waiting_);
    }
    for (const Waiting& one : waiting) {
      if (token) {
        one.tell(one.call, &*token, 1, GRPC_STATUS_OK, nullptr);
      } else {
        one.tell(one.call, nullptr, 0, GRPC_STATUS_UNAVAILABLE, problem.c_str());
      }
    }
    if (token) grpc_slice_unref(token->value);
  }

  mutable std::mutex mutex_;
  TokenCache cache_;
  std::vector<Waiting> waiting_;
  Wakeup* wakeup_ = nullptr;
};

TokenSource::TokenSource(Loop& loop, const std::string& channel, const ChannelSettings& settings)
    : loop_(loop),
      channel_(channel),
      settings_(settings),
      shared_(std::make_shared<Shared>(cache_of(settings))) {
  if (!settings.token.empty()) return;
  wakeup_.emplace(loop, [this] { fetch(); });
  shared_->set_wakeup(&*wakeup_);
}

TokenSource::~TokenSource() {
  child_.reset();
  shared_->set_wakeup(nullptr);
}

grpc_call_credentials* TokenSource::credentials() const {
  grpc_metadata_credentials_plugin plugin{};
  plugin.get_metadata = Shared::get;
  plugin.destroy = [](void* state) { delete static_cast<std::shared_ptr<Shared>*>(state); };
  plugin.state = new std::shared_ptr<Shared>(shared_);
  plugin.type = "legated-token";
  return grpc_metadata_credentials_create_from_plugin(
      plugin, settings_.tls ? GRPC_PRIVACY_AND_INTEGRITY : GRPC_SECURITY_NONE, nullptr);
}

const char* TokenSource::kind() const {
  if (!settings_.token.empty()) return "value";
  return settings_.token_file.empty() ? "command" : "file";
}

TokenCache::Report TokenSource::report() const { return shared_->report(); }

void TokenSource::fetch() {
  if (child_ != nullptr) return;
  settings_.token_file.empty() ? run_command() : read_file();
}

void TokenSource::read_file() {
  const std::string& path = settings_.token_file;
  const std::string name = "token_file " + path;
  const FileText file = read_regular_file(path, kMaxOutput);
  if (!file.problem.empty()) return on_failure(name + " " + file.problem);
  on_text(file.text, /*json=*/false);
}

void TokenSource::run_command() {
  child_ = std::make_unique<Child>(loop_, settings_.token_timeout, kMaxOutput,
                                   [this](Child::Result result) { on_output(std::move(result)); });
  if (const auto problem = child_->start(settings_.token_command)) {
    child_.reset();
    on_failure("token_command " + settings_.token_command[0] + " " + *problem);
  }
}

void TokenSource::on_output(Child::Result result) {
  child_.reset();
  if (result.problem.empty()) return on_text(result.output, /*json=*/true);
  std::string problem = "token_command " + settings_.token_command[0] + " " + result.problem;
  if (!result.complaint.empty()) problem += "; it says: " + result.complaint;
  on_failure(std::move(problem));
}

void TokenSource::on_text(std::string_view text, bool json) {
  auto parsed = parse_token(text, json);
  if (const auto* problem = std::get_if<std::string>(&parsed)) {
    const std::string what = json ? "what token_command " + settings_.token_command[0] + " printed "
                                  : "the token in token_file " + settings_.token_file + " ";
    return on_failure(what + *problem);
  }
  shared_->on_token(std::move(std::get<Token>(parsed)));
}

void TokenSource::on_failure(std::string problem) {
  static log::Limited limited(1);
  log::warn(limited, "token_failed",
            {{"channel", channel_}, {"target", settings_.target}, {"reason", problem}});
  shared_->on_failure(std::move(problem));
}

bool is_token_failure(std::string_view message) { return message.starts_with(kGrpcSays); }

std::string token_failure(std::string_view message) {
  return "the channel's token can't be had: " + std::string(message.substr(kGrpcSays.size()));
}

bool has_token(const ChannelSettings& settings) {
  return !settings.token.empty() || !settings.token_file.empty() || !settings.token_command.empty();
}

std::string problem_with_tokens(const ChannelSettings& settings) {
  const int sources = static_cast<int>(!settings.token.empty()) +
                      static_cast<int>(!settings.token_file.empty()) +
                      static_cast<int>(!settings.token_command.empty());
  if (sources == 0) return settings.token_plaintext ? "token_plaintext needs a token" : "";
  if (sources > 1) return "token_file and token_command can't both be set";
  if (!settings.tls && !settings.token_plaintext && !is_local(settings.target)) {
    return "a token needs tls, or a target on this machine (unix:): whoever sees it on the way can "
           "use it";
  }
  if (!settings.token.empty()) {
    const std::string problem = problem_with_token(settings.token);
    return problem.empty() ? "" : "the token " + problem;
  }
  const std::string& path =
      settings.token_file.empty() ? settings.token_command[0] : settings.token_file;
  if (!path.starts_with('/'))
    return (settings.token_file.empty() ? "token_command" : "token_file") +
           std::string(" must begin with an absolute path");
  if (settings.token_command.size() > kMaxArguments)
    return "token_command may have at most 100 arguments";
  return {};
}

}  // namespace legated
