#pragma once
// The daemon's log: events with fields, one line each, as text or as JSON.
//
//   log::info("session_open", {{"session", 3}, {"peer", name}});
//
// Any thread may log. A line is one write(2). Nothing is formatted for a level that is off. Fields
// never hold message bytes or metadata values. Text views in fields need to live only for the call.

#include <atomic>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "daemon/config/config.h"

namespace legated::log {

/// A field's value, not yet formatted.
class Value {
 public:
  // NOLINTBEGIN(google-explicit-constructor): a list of fields should read as one.
  Value(bool value) : value_(value) {}
  Value(std::signed_integral auto value) : value_(int64_t{value}) {}
  Value(std::unsigned_integral auto value) : value_(uint64_t{value}) {}
  Value(std::string_view value) : value_(value) {}
  Value(const std::string& value) : value_(std::string_view(value)) {}
  Value(const char* value) : value_(std::string_view(value)) {}
  // NOLINTEND(google-explicit-constructor)

  /// Appends the value to `line`, quoted where the format asks for it.
  void append_to(std::string& line, LogFormat format) const;

 private:
  std::variant<bool, int64_t, uint64_t, std::string_view> value_;
};

struct Field {
  std::string_view key;
  Value value;
};

using Fields = std::initializer_list<Field>;

/// Lets a place in the code log at most `per_second` events a second. Made once for the place,
/// usually static; any thread. The first event that passes again says in the field `suppressed` how
/// many did not.
class Limited {
 public:
  explicit Limited(uint32_t per_second) : per_second_(per_second) {}

  /// How many events were dropped since the last one that passed; nothing when this one is to be
  /// dropped.
  std::optional<uint64_t> admit(std::chrono::steady_clock::time_point now);

 private:
  const uint32_t per_second_;
  std::atomic<uint64_t> window_{0};  // upper half: the second; lower half: events in it
  std::atomic<uint64_t> suppressed_{0};
};

/// Begins to log as configured; until then events from info on go to standard error as text. Called
/// by main before there are threads. Throws ConfigError when the file can't be opened.
void setup(const Config::Log& config);

/// Opens the log file again, after it was moved away. False: that failed; the old one stays in use,
/// and gets an event.
bool reopen();

/// Routes gRPC's own log into ours: its errors as warnings, all else at debug. Before the first use
/// of gRPC.
void install_grpc_log();

bool enabled(LogLevel level);
void event(LogLevel level, std::string_view name, Fields fields);
void event(Limited& limited, LogLevel level, std::string_view name, Fields fields);

inline void trace(std::string_view name, Fields fields = {}) {
  event(LogLevel::trace, name, fields);
}
inline void debug(std::string_view name, Fields fields = {}) {
  event(LogLevel::debug, name, fields);
}
inline void info(std::string_view name, Fields fields = {}) { event(LogLevel::info, name, fields); }
inline void warn(std::string_view name, Fields fields = {}) { event(LogLevel::warn, name, fields); }
inline void error(std::string_view name, Fields fields = {}) {
  event(LogLevel::error, name, fields);
}

inline void info(Limited& limited, std::string_view name, Fields fields = {}) {
  event(limited, LogLevel::info, name, fields);
}
inline void warn(Limited& limited, std::string_view name, Fields fields = {}) {
  event(limited, LogLevel::warn, name, fields);
}
inline void error(Limited& limited, std::string_view name, Fields fields = {}) {
  event(limited, LogLevel::error, name, fields);
}

/// What an event's line says after the time.
std::string format_event(LogFormat format, LogLevel level, std::string_view name, Fields fields);

}  // namespace legated::log
