#include "daemon/core/policies.h"

#include <algorithm>
#include <unordered_set>

#include "daemon/config/values.h"
#include "daemon/core/metadata.h"
#include "daemon/core/method_pattern.h"

namespace legated {

using namespace std::chrono_literals;
using std::chrono::microseconds;
using std::chrono::milliseconds;
namespace {

constexpr std::string_view kBlank = " \t";

/// A policy for calls of some methods only.
class ForMethods final : public Policy {
 public:
  ForMethods(std::string pattern, std::unique_ptr<Policy> policy)
      : pattern_(std::move(pattern)), policy_(std::move(policy)) {}

  std::optional<Status> admit(PolicyCall& call, AdmissionId id, Time now,
                              const RandomSource& random) override {
    if (!matches(pattern_, call.method)) return std::nullopt;
    auto refused = policy_->admit(call, id, now, random);
    if (!refused) admitted_.insert(id);
    return refused;
  }
  void hand_back(AdmissionId id) override {
    if (admitted_.erase(id) > 0) policy_->hand_back(id);
  }
  void on_end(AdmissionId id, const Status& status, Time now) override {
    if (admitted_.erase(id) > 0) policy_->on_end(id, status, now);
  }
  Report report(Time now) const override { return policy_->report(now); }

 private:
  const std::string pattern_;
  const std::unique_ptr<Policy> policy_;
  std::unordered_set<AdmissionId> admitted_;
};

ParsedPolicy parse_policy(std::string_view line, const Policies::Kinds& kinds) {
  std::string_view rest = line;
  const std::string_view word = take_word(rest);
  const auto kind = std::ranges::find(kinds, word, &PolicyKind::name);
  if (kind == kinds.end()) {
    std::string why = word.empty() ? "empty policy" : "unknown policy " + quoted(word);
    const char* between = "; known are ";
    for (const PolicyKind& known : kinds) {
      why += between + std::string(known.name);
      between = ", ";
    }
    return why;
  }
  ParsedPolicy parsed = kind->parse(rest);
  if (const auto* why = std::get_if<std::string>(&parsed)) {
    return "policy " + quoted(line) + ": " +
           (why->empty() ? "write it as " + quoted(kind->form) : *why);
  }
  return parsed;
}

/// "for METHOD: POLICY", or a policy alone.
ParsedPolicy parse_line(std::string_view line, const Policies::Kinds& kinds) {
  std::string_view rest = line;
  if (take_word(rest) != "for") {
    ParsedPolicy parsed = parse_policy(line, kinds);
    if (auto* policy = std::get_if<std::unique_ptr<Policy>>(&parsed))
      (*policy)->set_line(std::string(line));
    return parsed;
  }
  std::string_view pattern = take_word(rest);
  if (!pattern.ends_with(':') || rest.empty())
    return "policy " + quoted(line) + ": write it as \"for METHOD: POLICY\"";
  pattern.remove_suffix(1);
  if (const auto why = refuse_pattern(pattern)) return "policy " + quoted(line) + ": " + *why;
  ParsedPolicy parsed = parse_policy(rest, kinds);
  auto* policy = std::get_if<std::unique_ptr<Policy>>(&parsed);
  if (policy == nullptr) return parsed;
  (*policy)->set_line(std::string(line));
  return std::make_unique<ForMethods>(std::string(pattern), std::move(*policy));
}

}  // namespace

std::string_view trim(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(kBlank), text.size()));
  text.remove_suffix(text.size() - (text.find_last_not_of(kBlank) + 1));
  return text;
}

std::string_view take_word(std::string_view& text) {
  const std::string_view word = text.substr(0, text.find_first_of(kBlank));
  text = trim(text.substr(word.size()));
  return word;
}

std::string quoted(std::string_view text) { return '"' + printable(text) + '"'; }

std::variant<uint64_t, std::string> parse_count(std::string_view text, uint64_t most) {
  const auto number = parse_integer(text);
  if (number && *number >= 1 && *number <= most) return *number;
  return quoted(text) + " is not a number from 1 to " + std::to_string(most);
}

std::variant<microseconds, std::string> parse_pause(std::string_view text, microseconds most) {
  const auto duration = parse_duration(text);
  if (!duration)
    return quoted(text) + " is not a duration: write a number with us, ms, s, min or h, like 30s";
  if (*duration == 0s) return quoted(text) + ": the duration must be longer than 0";
  if (*duration > most) return quoted(text) + ": at most " + format_duration(most);
  return *duration;
}

std::string in_ms(std::chrono::steady_clock::duration duration) {
  return std::to_string(std::chrono::ceil<milliseconds>(duration).count()) + " ms";
}

const Policies::Kinds& Policies::outgoing() {
  static const Kinds kinds = [] {
    Kinds all;
    for (const auto& some :
         {metadata_policies(), flow_policies(), breaker_policies(), method_policies()})
      all.insert(all.end(), some.begin(), some.end());
    return all;
  }();
  return kinds;
}

std::variant<Policies, std::string> Policies::parse(const std::vector<std::string>& lines,
                                                    const Kinds& kinds) {
  Policies policies;
  for (const std::string& text : lines) {
    ParsedPolicy parsed = parse_line(trim(text), kinds);
    if (auto* why = std::get_if<std::string>(&parsed)) return std::move(*why);
    policies.policies_.push_back(std::get<std::unique_ptr<Policy>>(std::move(parsed)));
  }
  return policies;
}

std::optional<Status> Policies::admit(PolicyCall call, Time now, const RandomSource& random,
                                      AdmissionId& admission) {
  const AdmissionId id{++last_admission_};
  for (size_t i = 0; i < policies_.size(); ++i) {
    auto refused = policies_[i]->admit(call, id, now, random);
    if (!refused) continue;
    while (i > 0) policies_[--i]->hand_back(id);
    return refused;
  }
  admission = id;
  return std::nullopt;
}

void Policies::on_end(AdmissionId admission, const Status& status, Time now) {
  for (const auto& policy : policies_) policy->on_end(admission, status, now);
}

std::vector<Policies::Report> Policies::report(Time now) const {
  std::vector<Report> reports;
  reports.reserve(policies_.size());
  for (const auto& policy : policies_) reports.push_back(policy->report(now));
  return reports;
}

}  // namespace legated
