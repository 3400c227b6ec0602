#pragma once
// When a unary call that may be made more than once is made again, and which of its attempts is the
// call (docs/hedging.md). Pure; time is passed in. Owned by one call, used on the loop's thread.
//
// Invariants, tested with random event orders: exactly one attempt is decided on, once; never more
// than the allowed number is started, and none after the decision, the deadline or stop().

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "daemon/core/status.h"

namespace legated {

struct HedgingRules {
  uint32_t attempts = 0;  // in all; below 2: no hedging
  std::chrono::milliseconds delay{0};
  std::vector<uint8_t> codes;  // statuses after which the others go on, and the next goes at once

  bool goes_on_after(StatusCode code) const {
    return std::ranges::find(codes, static_cast<uint8_t>(code)) != codes.end();
  }
};

/// What a server says of further attempts, in the trailer grpc-retry-pushback-ms.
struct Pushback {
  std::optional<std::chrono::milliseconds> after;  // the next goes then; nullopt: none ever

  /// A number of milliseconds from 0 to 2^31 - 1, else never.
  static Pushback parse(std::string_view value);
};

/// Stops further attempts while too many fail: a failed one takes a token, a good one returns
/// `ratio` of one, and with no more than half of them none is allowed. Shared by a channel's calls.
class HedgingThrottle {
 public:
  /// No tokens: no throttle.
  HedgingThrottle(uint32_t tokens, double ratio) : most_(tokens), ratio_(ratio), tokens_(tokens) {}

  bool allows() const { return most_ == 0 || tokens_ > most_ / 2; }
  void on_end(bool ok) { tokens_ = std::clamp(tokens_ + (ok ? ratio_ : -1), 0.0, most_); }

 private:
  double most_;
  double ratio_;
  double tokens_;
};

class Hedging {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// `rules` must outlive it. Without a deadline: Time::max().
  Hedging(const HedgingRules& rules, Time deadline) : rules_(rules), deadline_(deadline) {}

  /// The attempt, counted from 0 in the order in which they were started, has ended.
  void on_end(uint32_t attempt, StatusCode code, std::optional<Pushback> pushback, Time now);
  /// The caller wants no more: what ends next decides, or what ended last.
  void stop() { stopped_ = closed_ = true; }

  struct Step {
    uint32_t start = 0;               // attempts to start now; they count as started
    std::optional<uint32_t> decided;  // this attempt is the call; the others are to be cancelled
  };
  /// What to do now, after any event and when next_step() has come. The first attempt goes at once.
  /// `may_hedge`: further ones are allowed now; one that is due while they are not is left out, and
  /// all after it.
  Step step(Time now, bool may_hedge);

  /// When step() has something to do without another event; Time::max(): never.
  Time next_step() const;

  uint32_t started() const { return started_; }

 private:
  bool more() const { return !closed_ && started_ < rules_.attempts; }

  const HedgingRules& rules_;
  const Time deadline_;
  Time due_ = Time::min();  // of the next attempt
  Time not_before_ = Time::min();  // as a server has asked
  uint32_t started_ = 0;
  uint32_t running_ = 0;
  uint32_t last_ = 0;    // that ended
  bool closed_ = false;  // none is started any more
  bool stopped_ = false;
  std::optional<uint32_t> decided_;
  bool told_ = false;  // of the decision
};

}  // namespace legated
