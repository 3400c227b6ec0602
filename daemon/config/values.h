#pragma once
// How single configuration values are written: "64KiB", "250ms", "0600", "uid:1000". Pure
// functions; parsing gives nothing when the text is not such a value, and formatting gives the
// shortest text that parses back to the same value.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/config/config.h"

namespace legated {

/// A decimal number without sign.
std::optional<uint64_t> parse_integer(std::string_view text);

/// A decimal number, with a fraction perhaps: "1.6".
std::optional<double> parse_number(std::string_view text);
std::string format_number(double number);

/// Bytes: "65536", "64KiB", "4MiB", "1GiB", "512B". Units are powers of 1024.
std::optional<uint64_t> parse_size(std::string_view text);
std::string format_size(uint64_t bytes);

/// A number with one of the units us, ms, s, min, h: "250ms". A bare number is refused: nobody
/// remembers its unit.
std::optional<std::chrono::microseconds> parse_duration(std::string_view text);
std::string format_duration(std::chrono::microseconds duration);

/// Permission bits in octal with a leading zero: "0600".
std::optional<uint32_t> parse_mode(std::string_view text);
std::string format_mode(uint32_t mode);

/// "uid:N", "gid:N", "user:NAME", "group:NAME" or "*".
std::optional<AccessRule> parse_access_rule(std::string_view text);
std::string format_access_rule(const AccessRule& rule);

/// "a, b" and "a b" are lists of two; the empty text is the empty list.
std::vector<std::string> split_list(std::string_view text);

/// "a b; c" is a list of two, without the spaces around.
std::vector<std::string> split_lines(std::string_view text);

/// Text in TOML's basic string form, with its quotes.
std::string quote(std::string_view text);

/// The number of insertions, removals and replacements that make `a` out of `b`.
size_t edit_distance(std::string_view a, std::string_view b);

}  // namespace legated
