#include "daemon/core/policies.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "daemon/config/values.h"
#include "daemon/core/ids.h"
#include "daemon/core/metadata.h"

namespace legated {

using namespace std::chrono_literals;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;

class Policy {
 public:
  using Time = Policies::Time;
  using RandomSource = Policies::RandomSource;

  virtual ~Policy() = default;

  virtual std::optional<Status> admit(PolicyCall& call, AdmissionId id, Time now,
                                      const RandomSource& random) = 0;
  /// A later policy refused the call that this one has just admitted.
  virtual void hand_back(AdmissionId) {}
  virtual void on_end(AdmissionId, const Status&, Time) {}
  virtual std::string state(Time) const { return {}; }

  void set_line(std::string line) { line_ = std::move(line); }
  Policies::Report report(Time now) const { return {line_, applied_, refused_, state(now)}; }

 protected:
  Status refuse(StatusCode code, const std::string& why) {
    ++refused_;
    return {code, line_ + ": " + why, Origin::daemon, {}};
  }

  uint64_t applied_ = 0;

 private:
  std::string line_;
  uint64_t refused_ = 0;
};

namespace {

using Time = Policies::Time;
using RandomSource = Policies::RandomSource;
using Metadata = PolicyCall::Metadata;

// Far above any use; they keep the arithmetic of tokens and of time points from overflowing.
constexpr uint64_t kMaxRate = 1'000'000;
constexpr microseconds kMaxPause = 24h;

size_t remove_key(Metadata& metadata, std::string_view key) {
  return std::erase_if(metadata, [&](const auto& element) { return element.first == key; });
}

/// Rounded up: after that time it is so.
std::string in_ms(std::chrono::steady_clock::duration duration) {
  return std::to_string(std::chrono::ceil<milliseconds>(duration).count()) + " ms";
}

std::string hex(uint64_t number, unsigned digits) {
  std::string text(digits, '0');
  for (size_t i = digits; i > 0; --i, number >>= 4U) text[i - 1] = "0123456789abcdef"[number & 15U];
  return text;
}

/// RFC 9562, version 4.
std::string make_uuid(const RandomSource& random) {
  const uint64_t high = (random() & ~uint64_t{0xf000}) | 0x4000;
  const uint64_t low = (random() & ~(uint64_t{3} << 62U)) | uint64_t{1} << 63U;
  return hex(high >> 32U, 8) + '-' + hex(high >> 16U, 4) + '-' + hex(high, 4) + '-' +
         hex(low >> 48U, 4) + '-' + hex(low, 12);
}

bool is_lower_hex(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool is_zero(std::string_view text) {
  return text.find_first_not_of('0') == std::string_view::npos;
}

/// W3C Trace Context: version-traceid-parentid-flags. What a later version has behind that is not
/// looked at.
bool is_traceparent(std::string_view text) {
  constexpr size_t kLength = 55;
  if (text.size() < kLength) return false;
  const std::string_view version = text.substr(0, 2), trace = text.substr(3, 32),
                         parent = text.substr(36, 16), flags = text.substr(53, 2);
  if (text[2] != '-' || text[35] != '-' || text[52] != '-') return false;
  if (!is_lower_hex(version) || !is_lower_hex(trace) || !is_lower_hex(parent) ||
      !is_lower_hex(flags))
    return false;
  if (version == "ff" || is_zero(trace) || is_zero(parent)) return false;
  return text.size() == kLength || (version != "00" && text[kLength] == '-');
}

std::string make_traceparent(const RandomSource& random) {
  const uint64_t high = random();
  // All zeros is no id.
  const uint64_t low = std::max<uint64_t>(random(), 1), parent = std::max<uint64_t>(random(), 1);
  return "00-" + hex(high, 16) + hex(low, 16) + '-' + hex(parent, 16) + "-00";
}

class AddMetadata final : public Policy {
 public:
  AddMetadata(std::string key, std::string value, bool replace)
      : key_(std::move(key)), value_(std::move(value)), replace_(replace) {}

  std::optional<Status> admit(PolicyCall& call, AdmissionId, Time, const RandomSource&) override {
    if (replace_) remove_key(call.metadata, key_);
    call.metadata.emplace_back(key_, value_);
    ++applied_;
    return std::nullopt;
  }

 private:
  const std::string key_;
  const std::string value_;
  const bool replace_;
};

class RemoveMetadata final : public Policy {
 public:
  RemoveMetadata(std::string key, bool prefix) : key_(std::move(key)), prefix_(prefix) {}

  std::optional<Status> admit(PolicyCall& call, AdmissionId, Time, const RandomSource&) override {
    const size_t removed = std::erase_if(call.metadata, [&](const auto& element) {
      return prefix_ ? element.first.starts_with(key_) : element.first == key_;
    });
    if (removed > 0) ++applied_;
    return std::nullopt;
  }

 private:
  const std::string key_;
  const bool prefix_;
};

class RequestId final : public Policy {
 public:
  explicit RequestId(std::string key) : key_(std::move(key)) {}

  std::optional<Status> admit(PolicyCall& call, AdmissionId, Time,
                              const RandomSource& random) override {
    const bool has_one = std::ranges::any_of(
        call.metadata, [&](const auto& element) { return element.first == key_; });
    if (!has_one) {
      call.metadata.emplace_back(key_, make_uuid(random));
      ++applied_;
    }
    return std::nullopt;
  }

 private:
  const std::string key_;
};

class Traceparent final : public Policy {
 public:
  std::optional<Status> admit(PolicyCall& call, AdmissionId, Time,
                              const RandomSource& random) override {
    size_t found = 0, valid = 0;
    for (const auto& [key, value] : call.metadata) {
      if (key != kKey) continue;
      ++found;
      if (is_traceparent(value)) ++valid;
    }
    if (found == 1 && valid == 1) return std::nullopt;
    // Two are as good as none. A tracestate belongs to the traceparent it came with.
    remove_key(call.metadata, kKey);
    remove_key(call.metadata, "tracestate");
    call.metadata.emplace_back(kKey, make_traceparent(random));
    ++applied_;
    return std::nullopt;
  }

 private:
  static constexpr std::string_view kKey = "traceparent";
};

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

// ---- Parsing ---------------------------------------------------------------------------------

/// What is wrong with the line, empty when it does not have the policy's form; or the policy.
using Parsed = std::variant<std::string, std::unique_ptr<Policy>>;

constexpr std::string_view kBlank = " \t";

std::string_view trim(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(kBlank), text.size()));
  text.remove_suffix(text.size() - (text.find_last_not_of(kBlank) + 1));
  return text;
}

/// Takes the first word away from `text`, which is trimmed and stays so. Empty when there is none.
std::string_view take_word(std::string_view& text) {
  const std::string_view word = text.substr(0, text.find_first_of(kBlank));
  text = trim(text.substr(word.size()));
  return word;
}

std::string quoted(std::string_view text) { return '"' + printable(text) + '"'; }

std::optional<std::string> parse_base64(std::string_view text) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (text.size() % 4 == 0) {
    for (int i = 0; i < 2 && text.ends_with('='); ++i) text.remove_suffix(1);
  }
  if (text.size() % 4 == 1) return std::nullopt;
  std::string bytes;
  uint32_t bits = 0;
  unsigned count = 0;
  for (const char c : text) {
    const size_t digit = kDigits.find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    bits = bits << 6U | static_cast<uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> count & 0xffU);
  }
  return bytes;
}

/// A number from 1 to `most`.
std::optional<uint64_t> parse_count(std::string_view text, uint64_t most) {
  const auto number = parse_integer(text);
  return number && *number >= 1 && *number <= most ? number : std::nullopt;
}

std::string not_a_count(std::string_view text, uint64_t most) {
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

Parsed parse_add(std::string_view text, bool replace) {
  const std::string_view key = take_word(text);
  if (key.empty()) return {};
  std::string value(text);
  if (key.ends_with("-bin")) {
    auto bytes = parse_base64(text);
    if (!bytes) return quoted(text) + " is not base64, which keys that end in \"-bin\" take";
    value = std::move(*bytes);
  }
  if (auto why = refuse_metadata(key, value)) return std::move(*why);
  if (text.empty()) return {};
  return std::make_unique<AddMetadata>(std::string(key), std::move(value), replace);
}

Parsed parse_add_metadata(std::string_view text) { return parse_add(text, false); }
Parsed parse_set_metadata(std::string_view text) { return parse_add(text, true); }

Parsed parse_remove_metadata(std::string_view text) {
  std::string_view key = take_word(text);
  if (key.empty() || !text.empty()) return {};
  const bool prefix = key.ends_with('*');
  if (prefix) {
    key.remove_suffix(1);
    // The beginning of a legal key may look like a reserved one: "te*" for "tenant".
    if (refuse_metadata("x" + std::string(key), ""))
      return "no metadata key begins with " + quoted(key) +
             ": use lower-case letters, digits, '-', '_' and '.' before the '*'";
  } else if (auto why = refuse_metadata(key, "")) {
    return std::move(*why);
  }
  return std::make_unique<RemoveMetadata>(std::string(key), prefix);
}

Parsed parse_request_id(std::string_view text) {
  std::string_view key = take_word(text);
  if (!text.empty()) return {};
  if (key.empty()) key = "x-request-id";
  if (auto why = refuse_metadata(key, "")) return std::move(*why);
  if (key.ends_with("-bin")) return "the id is text: use a key that does not end in \"-bin\"";
  return std::make_unique<RequestId>(std::string(key));
}

Parsed parse_traceparent(std::string_view text) {
  if (!text.empty()) return {};
  return std::make_unique<Traceparent>();
}

Parsed parse_timeout(std::string_view text, bool only_default) {
  if (text.empty()) return {};
  const auto timeout = parse_pause(text, microseconds::max());
  if (const auto* why = std::get_if<std::string>(&timeout)) return *why;
  return std::make_unique<Timeout>(std::get<microseconds>(timeout), only_default);
}

Parsed parse_default_timeout(std::string_view text) { return parse_timeout(text, true); }
Parsed parse_max_timeout(std::string_view text) { return parse_timeout(text, false); }

Parsed parse_rate_limit(std::string_view text) {
  struct Unit {
    std::string_view name;
    std::chrono::seconds length;
  };
  static constexpr std::array kUnits = {Unit{"s", 1s}, Unit{"min", 1min}, Unit{"h", 1h}};

  const std::string_view rate = take_word(text);
  const size_t slash = rate.find('/');
  if (slash == std::string_view::npos) return {};
  const auto amount = parse_count(rate.substr(0, slash), kMaxRate);
  if (!amount) return not_a_count(rate.substr(0, slash), kMaxRate);
  const std::string_view unit_name = rate.substr(slash + 1);
  const auto unit = std::ranges::find(kUnits, unit_name, &Unit::name);
  if (unit == kUnits.end()) return quoted(unit_name) + " is not a unit: use s, min or h";

  const auto seconds = static_cast<uint64_t>(unit->length.count());
  uint64_t burst = (*amount + seconds - 1) / seconds;
  if (!text.empty()) {
    if (take_word(text) != "burst" || text.empty()) return {};
    const auto number = parse_count(text, kMaxRate);
    if (!number) return not_a_count(text, kMaxRate);
    burst = *number;
  }
  return std::make_unique<RateLimit>(*amount, unit->length, burst);
}

Parsed parse_circuit_breaker(std::string_view text) {
  const std::string_view failures = take_word(text);
  if (text.empty()) return {};
  const auto limit = parse_count(failures, kMaxRate);
  if (!limit) return not_a_count(failures, kMaxRate);
  const auto pause = parse_pause(text, kMaxPause);
  if (const auto* why = std::get_if<std::string>(&pause)) return *why;
  return std::make_unique<CircuitBreaker>(*limit, std::get<microseconds>(pause));
}

struct Kind {
  std::string_view name;
  std::string_view form;
  Parsed (*parse)(std::string_view rest);
};

constexpr std::array kKinds = {
    Kind{"add-metadata", "add-metadata KEY VALUE", parse_add_metadata},
    Kind{"set-metadata", "set-metadata KEY VALUE", parse_set_metadata},
    Kind{"remove-metadata", "remove-metadata KEY", parse_remove_metadata},
    Kind{"request-id", "request-id [KEY]", parse_request_id},
    Kind{"traceparent", "traceparent", parse_traceparent},
    Kind{"default-timeout", "default-timeout DURATION", parse_default_timeout},
    Kind{"max-timeout", "max-timeout DURATION", parse_max_timeout},
    Kind{"rate-limit", "rate-limit N/UNIT [burst N]", parse_rate_limit},
    Kind{"circuit-breaker", "circuit-breaker FAILURES DURATION", parse_circuit_breaker},
};

Parsed parse_line(std::string_view line) {
  std::string_view rest = line;
  const std::string_view word = take_word(rest);
  const auto kind = std::ranges::find(kKinds, word, &Kind::name);
  if (kind == kKinds.end()) {
    std::string why = word.empty() ? "empty policy" : "unknown policy " + quoted(word);
    const char* between = "; known are ";
    for (const Kind& known : kKinds) {
      why += between + std::string(known.name);
      between = ", ";
    }
    return why;
  }
  Parsed parsed = kind->parse(rest);
  if (const auto* why = std::get_if<std::string>(&parsed)) {
    return "policy " + quoted(line) + ": " +
           (why->empty() ? "write it as " + quoted(kind->form) : *why);
  }
  return parsed;
}

}  // namespace

Policies::Policies() = default;
Policies::~Policies() = default;
Policies::Policies(Policies&&) noexcept = default;
Policies& Policies::operator=(Policies&&) noexcept = default;

std::variant<Policies, std::string> Policies::parse(const std::vector<std::string>& lines) {
  Policies policies;
  for (const std::string& text : lines) {
    const std::string_view line = trim(text);
    Parsed parsed = parse_line(line);
    if (auto* why = std::get_if<std::string>(&parsed)) return std::move(*why);
    auto policy = std::get<std::unique_ptr<Policy>>(std::move(parsed));
    policy->set_line(std::string(line));
    policies.policies_.push_back(std::move(policy));
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
