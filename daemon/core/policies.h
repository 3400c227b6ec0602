#pragma once
// What a channel does to every call out before it starts, and learns from its end: metadata,
// request and trace ids, deadlines, a rate limit, a circuit breaker (docs/policies.md). Pure; time
// and randomness are passed in. Owned by its channel, used on the loop's thread.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "daemon/core/status.h"

namespace legated {

/// An admitted call, unique within its Policies; never 0.
enum class AdmissionId : uint64_t {};

/// What policies may change of a call. The metadata is legal, and stays so; how long the list
/// became is the caller's to check.
struct PolicyCall {
  /// Values as they are: no base64.
  using Metadata = std::vector<std::pair<std::string, std::string>>;

  Metadata& metadata;
  uint64_t& timeout_us;  // 0: no deadline
};

/// One line; its kinds are in policies.cc.
class Policy;

class Policies {
 public:
  using Time = std::chrono::steady_clock::time_point;
  /// 64 random bits at each call.
  using RandomSource = std::function<uint64_t()>;

  /// Does nothing.
  Policies();
  ~Policies();
  Policies(Policies&&) noexcept;
  Policies& operator=(Policies&&) noexcept;

  /// One policy a line, in the order they run; or the first mistake and its remedy.
  static std::variant<Policies, std::string> parse(const std::vector<std::string>& lines);

  /// Nothing to do: admit() and on_end() need not be called.
  bool empty() const { return policies_.empty(); }

  /// The status (Origin::daemon) when the call is refused; it leaves nothing behind and on_end() is
  /// not for it. Otherwise `admission` is set.
  [[nodiscard]] std::optional<Status> admit(PolicyCall call, Time now, const RandomSource& random,
                                            AdmissionId& admission);

  /// Exactly once for every admitted call, whatever ended it. Only an end that the remote side or
  /// gRPC decided (Origin::remote), and not CANCELLED, tells something about the server.
  void on_end(AdmissionId admission, const Status& status, Time now);

  /// For the operator, one of each line, in order.
  struct Report {
    std::string policy;    // the line
    uint64_t applied = 0;  // calls it changed; of a rate limit or breaker: let through
    uint64_t refused = 0;
    std::string state;  // "12 tokens", "closed", "open 4s", "half-open"; empty when it has none
  };
  std::vector<Report> report(Time now) const;

 private:
  std::vector<std::unique_ptr<Policy>> policies_;
  uint64_t last_admission_ = 0;
};

}  // namespace legated
