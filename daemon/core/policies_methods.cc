// Policies that look at the method.
#include <algorithm>

#include "daemon/core/method_pattern.h"
#include "daemon/core/policy.h"

namespace legated {
namespace {

using Time = Policy::Time;
using RandomSource = Policy::RandomSource;
using Patterns = std::vector<std::string>;

/// Lets only calls of these methods through, or none of them.
class Methods final : public Policy {
 public:
  Methods(Patterns patterns, bool allowed) : patterns_(std::move(patterns)), allowed_(allowed) {}

  std::optional<Status> admit(PolicyCall& call, AdmissionId, Time, const RandomSource&) override {
    const bool named = std::ranges::any_of(
        patterns_, [&](const std::string& pattern) { return matches(pattern, call.method); });
    if (named != allowed_)
      return refuse_plainly(StatusCode::permission_denied,
                            std::string(call.method) + " may not be called");
    ++applied_;
    return std::nullopt;
  }
  void hand_back(AdmissionId) override { --applied_; }

 private:
  const Patterns patterns_;
  const bool allowed_;
};

ParsedPolicy parse_methods(std::string_view text, bool allowed) {
  Patterns patterns;
  while (!text.empty()) {
    const std::string_view pattern = take_word(text);
    if (auto why = refuse_pattern(pattern)) return std::move(*why);
    patterns.emplace_back(pattern);
  }
  if (patterns.empty()) return {};
  return std::make_unique<Methods>(std::move(patterns), allowed);
}

ParsedPolicy parse_allow(std::string_view text) { return parse_methods(text, true); }
ParsedPolicy parse_deny(std::string_view text) { return parse_methods(text, false); }

constexpr PolicyKind kKinds[] = {
    {"allow", "allow METHOD...", parse_allow},
    {"deny", "deny METHOD...", parse_deny},
};

}  // namespace

std::span<const PolicyKind> method_policies() { return kKinds; }

}  // namespace legated
