#pragma once
// One policy, as Policies (daemon/core/policies.h) runs it, and how its line is read. Each kind is a
// class of its own in the .cc that makes it. Pure but for those of daemon/inbound/access_policies.h,
// which read files; owned by a Policies, used on the loop's thread.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "daemon/core/status.h"

namespace legated {

/// An admitted call, unique within its Policies; never 0.
enum class AdmissionId : uint64_t {};

/// What policies may see and change of a call. The metadata is legal, and stays so; how long the
/// list became is the caller's to check.
struct PolicyCall {
  /// Values as they are: no base64.
  using Metadata = std::vector<std::pair<std::string, std::string>>;

  Metadata& metadata;
  uint64_t& timeout_us;         // 0: no deadline
  std::string_view method = {};  // "/package.Service/Method"
  /// Of a client whose certificate TLS has verified: "subject:…", "dns:…", "uri:…" and so on.
  std::span<const std::string> identity = {};
};

class Policy {
 public:
  using Time = std::chrono::steady_clock::time_point;
  /// 64 random bits at each call.
  using RandomSource = std::function<uint64_t()>;

  virtual ~Policy() = default;

  /// The status when the call is refused.
  virtual std::optional<Status> admit(PolicyCall& call, AdmissionId id, Time now,
                                      const RandomSource& random) = 0;
  /// A later policy refused the call that this one has just admitted.
  virtual void hand_back(AdmissionId) {}
  virtual void on_end(AdmissionId, const Status&, Time) {}

  /// For the operator.
  struct Report {
    std::string policy;    // the line
    uint64_t applied = 0;  // calls it changed; of one that refuses: let through
    uint64_t refused = 0;
    std::string state;  // "12 tokens", "closed", "open 4s", "half-open"; empty when it has none
  };
  virtual Report report(Time now) const { return {line_, applied_, refused_, state(now)}; }

  void set_line(std::string line) { line_ = std::move(line); }

 protected:
  virtual std::string state(Time) const { return {}; }

  Status refuse(StatusCode code, const std::string& why) {
    ++refused_;
    return {code, line_ + ": " + why, Origin::daemon, {}};
  }

  /// For policies about who may call: a stranger learns nothing of the rules.
  Status refuse_plainly(StatusCode code, std::string why) {
    ++refused_;
    return {code, std::move(why), Origin::daemon, {}};
  }

  uint64_t applied_ = 0;

 private:
  std::string line_;
  uint64_t refused_ = 0;
};

/// What is wrong with a line, empty when it does not have the policy's form; or the policy.
using ParsedPolicy = std::variant<std::string, std::unique_ptr<Policy>>;

struct PolicyKind {
  std::string_view name;
  std::string_view form;  // how it is written
  ParsedPolicy (*parse)(std::string_view rest);
};

// The kinds, by file.
std::span<const PolicyKind> metadata_policies();
std::span<const PolicyKind> flow_policies();
std::span<const PolicyKind> breaker_policies();
std::span<const PolicyKind> method_policies();

// ---- Reading a line ----------------------------------------------------------------------------

std::string_view trim(std::string_view text);

/// Takes the first word away from `text`, which is trimmed and stays so. Empty when there is none.
std::string_view take_word(std::string_view& text);

/// As in a message, in quotation marks.
std::string quoted(std::string_view text);

/// A number from 1 to `most`; or what is wrong.
std::variant<uint64_t, std::string> parse_count(std::string_view text, uint64_t most);

/// A duration above 0, at most `most`; or what is wrong.
std::variant<std::chrono::microseconds, std::string> parse_pause(std::string_view text,
                                                                 std::chrono::microseconds most);

/// In whole milliseconds, rounded up: after that time it is so.
std::string in_ms(std::chrono::steady_clock::duration duration);

}  // namespace legated
