// Policies that bound how long, how often and how many.
#include <algorithm>
#include <array>

#include "daemon/core/policy.h"

namespace legated {

using namespace std::chrono_literals;
using std::chrono::microseconds;
using std::chrono::nanoseconds;
namespace {

using Time = Policy::Time;
using RandomSource = Policy::RandomSource;

// Far above any use; it keeps the arithmetic of tokens from overflowing.
constexpr uint64_t kMaxRate = 1'000'000;

class Timeout final : public Policy {
 public:
  /// `only_default`: for calls that have no deadline; otherwise the longest for all.
  Timeout(microseconds timeout, bool only_default)
      : timeout_us_(static_cast<uint64_t>(timeout.count())), only_default_(only_default) {}

  std::optional<Status> admit(PolicyCall& call, AdmissionId, Time, const RandomSource&) override {
    if (call.timeout_us == 0 || (!only_default_ && call.timeout_us > timeout_us_)) {
      call.timeout_us = timeout_us_;
      ++applied_;
    }
    return std::nullopt;
  }

 private:
  const uint64_t timeout_us_;
  const bool only_default_;
};

/// A token bucket, full at first. It is counted in parts of a token, of which `amount` come every
/// nanosecond and as many as the unit has nanoseconds are a token: exact, without fractions.
class RateLimit final : public Policy {
 public:
  RateLimit(uint64_t amount, nanoseconds unit, uint64_t burst)
      : amount_(amount),
        token_(static_cast<uint64_t>(unit.count())),
        full_(burst * token_),
        parts_(full_) {}

  std::optional<Status> admit(PolicyCall&, AdmissionId, Time now, const RandomSource&) override {
    parts_ = parts(now);
    since_ = std::max(since_, now);
    if (parts_ < token_) {
      const uint64_t wait = (token_ - parts_ + amount_ - 1) / amount_;
      return refuse(StatusCode::resource_exhausted,
                    "no token is free, the next in " + in_ms(nanoseconds(wait)));
    }
    parts_ -= token_;
    ++applied_;
    return std::nullopt;
  }

  void hand_back(AdmissionId) override {
    parts_ += token_;
    --applied_;
  }

  std::string state(Time now) const override {
    const uint64_t tokens = parts(now) / token_;
    return std::to_string(tokens) + (tokens == 1 ? " token" : " tokens");
  }

 private:
  uint64_t parts(Time now) const {
    if (now <= since_) return parts_;
    const auto elapsed = static_cast<uint64_t>(nanoseconds(now - since_).count());
    // Divided, not multiplied: the bucket may have been left alone for years.
    return elapsed > (full_ - parts_) / amount_ ? full_ : parts_ + elapsed * amount_;
  }

  const uint64_t amount_;
  const uint64_t token_;
  const uint64_t full_;
  uint64_t parts_;
  Time since_{};
};

/// Calls that are under way.
class MaxConcurrency final : public Policy {
 public:
  explicit MaxConcurrency(uint64_t most) : most_(most) {}

  std::optional<Status> admit(PolicyCall&, AdmissionId, Time, const RandomSource&) override {
    if (running_ >= most_)
      return refuse(StatusCode::resource_exhausted, std::to_string(running_) + " calls are under way");
    ++running_;
    ++applied_;
    return std::nullopt;
  }

  void hand_back(AdmissionId) override {
    --running_;
    --applied_;
  }
  void on_end(AdmissionId, const Status&, Time) override { --running_; }

 private:
  std::string state(Time) const override { return std::to_string(running_) + " under way"; }

  const uint64_t most_;
  uint64_t running_ = 0;
};

// ---- Parsing -----------------------------------------------------------------------------------

ParsedPolicy parse_timeout(std::string_view text, bool only_default) {
  if (text.empty()) return {};
  const auto timeout = parse_pause(text, microseconds::max());
  if (const auto* why = std::get_if<std::string>(&timeout)) return *why;
  return std::make_unique<Timeout>(std::get<microseconds>(timeout), only_default);
}

ParsedPolicy parse_default_timeout(std::string_view text) { return parse_timeout(text, true); }
ParsedPolicy parse_max_timeout(std::string_view text) { return parse_timeout(text, false); }

ParsedPolicy parse_rate_limit(std::string_view text) {
  struct Unit {
    std::string_view name;
    std::chrono::seconds length;
  };
  static constexpr std::array kUnits = {Unit{"s", 1s}, Unit{"min", 1min}, Unit{"h", 1h}};

  const std::string_view rate = take_word(text);
  const size_t slash = rate.find('/');
  if (slash == std::string_view::npos) return {};
  const auto parsed = parse_count(rate.substr(0, slash), kMaxRate);
  if (const auto* why = std::get_if<std::string>(&parsed)) return *why;
  const uint64_t amount = std::get<uint64_t>(parsed);
  const std::string_view unit_name = rate.substr(slash + 1);
  const auto unit = std::ranges::find(kUnits, unit_name, &Unit::name);
  if (unit == kUnits.end()) return quoted(unit_name) + " is not a unit: use s, min or h";

  const auto seconds = static_cast<uint64_t>(unit->length.count());
  uint64_t burst = (amount + seconds - 1) / seconds;
  if (!text.empty()) {
    if (take_word(text) != "burst" || text.empty()) return {};
    const auto number = parse_count(text, kMaxRate);
    if (const auto* why = std::get_if<std::string>(&number)) return *why;
    burst = std::get<uint64_t>(number);
  }
  return std::make_unique<RateLimit>(amount, unit->length, burst);
}

ParsedPolicy parse_max_concurrency(std::string_view text) {
  if (text.empty()) return {};
  const auto most = parse_count(text, kMaxRate);
  if (const auto* why = std::get_if<std::string>(&most)) return *why;
  return std::make_unique<MaxConcurrency>(std::get<uint64_t>(most));
}

constexpr PolicyKind kKinds[] = {
    {"default-timeout", "default-timeout DURATION", parse_default_timeout},
    {"max-timeout", "max-timeout DURATION", parse_max_timeout},
    {"rate-limit", "rate-limit N/UNIT [burst N]", parse_rate_limit},
    {"max-concurrency", "max-concurrency N", parse_max_concurrency},
};

}  // namespace

std::span<const PolicyKind> flow_policies() { return kKinds; }

}  // namespace legated
