// The circuit breaker.
#include "daemon/config/values.h"
#include "daemon/core/ids.h"
#include "daemon/core/policy.h"

namespace legated {

using namespace std::chrono_literals;
using std::chrono::microseconds;
using std::chrono::milliseconds;
namespace {

using Time = Policy::Time;
using RandomSource = Policy::RandomSource;

constexpr uint64_t kMaxFailures = 1'000'000;
// Far above any use; it keeps the arithmetic of time points from overflowing.
constexpr microseconds kMaxPause = 24h;

/// What was admitted before the last change of state tells nothing new any more, so only ends of
/// calls from first_ on count; while it is open those are the probes.
class CircuitBreaker final : public Policy {
 public:
  CircuitBreaker(uint64_t limit, microseconds pause) : limit_(limit), pause_(pause) {}

  std::optional<Status> admit(PolicyCall&, AdmissionId id, Time now, const RandomSource&) override {
    if (open_) {
      if (now < next_probe_) return refuse(StatusCode::unavailable, why(now));
      probe_ = id;
      // A probe may be a stream that is open for days: it does not keep others out for longer than
      // a failure would.
      next_probe_ = now + pause_;
    }
    last_ = id;
    ++applied_;
    return std::nullopt;
  }

  void hand_back(AdmissionId id) override {
    no_verdict(id);
    --applied_;
  }

  void on_end(AdmissionId id, const Status& status, Time now) override {
    if (raw(id) < first_) return;
    if (status.origin != Origin::remote || status.code == StatusCode::cancelled) {
      no_verdict(id);
    } else if (!is_failure(status.code)) {
      failures_ = 0;
      if (open_) change(false);
    } else {
      last_failure_ = status.code;
      ++failures_;
      if (!open_ && failures_ < limit_) return;
      change(true);
      next_probe_ = now + pause_;
    }
  }

  std::string state(Time now) const override {
    if (!open_) return "closed";
    if (probe_ || now >= next_probe_) return "half-open";
    return "open " + format_duration(std::chrono::ceil<milliseconds>(next_probe_ - now));
  }

 private:
  static bool is_failure(StatusCode code) {
    switch (code) {
      case StatusCode::unavailable:
      case StatusCode::deadline_exceeded:
      case StatusCode::internal:
      case StatusCode::unknown:
      case StatusCode::resource_exhausted: return true;
      default: return false;
    }
  }

  std::string why(Time now) const {
    const std::string left = in_ms(next_probe_ - now);
    if (probe_) return "open, a probe call is under way; another is let through in " + left;
    return "open, the last call ended " + std::string(name(last_failure_)) +
           "; one is let through in " + left;
  }

  void no_verdict(AdmissionId id) {
    if (probe_ != id) return;
    probe_.reset();
    next_probe_ = Time::min();
  }

  void change(bool open) {
    open_ = open;
    probe_.reset();
    first_ = raw(last_) + 1;
  }

  const uint64_t limit_;
  const microseconds pause_;
  bool open_ = false;
  uint64_t failures_ = 0;  // in a row, since it was closed
  StatusCode last_failure_{};
  uint64_t first_ = 0;
  AdmissionId last_{};
  // While open
  Time next_probe_{};
  std::optional<AdmissionId> probe_;  // the latest, as long as it may give a verdict
};

ParsedPolicy parse_circuit_breaker(std::string_view text) {
  const std::string_view failures = take_word(text);
  if (text.empty()) return {};
  const auto limit = parse_count(failures, kMaxFailures);
  if (const auto* why = std::get_if<std::string>(&limit)) return *why;
  const auto pause = parse_pause(text, kMaxPause);
  if (const auto* why = std::get_if<std::string>(&pause)) return *why;
  return std::make_unique<CircuitBreaker>(std::get<uint64_t>(limit), std::get<microseconds>(pause));
}

constexpr PolicyKind kKinds[] = {
    {"circuit-breaker", "circuit-breaker FAILURES DURATION", parse_circuit_breaker},
};

}  // namespace

std::span<const PolicyKind> breaker_policies() { return kKinds; }

}  // namespace legated
