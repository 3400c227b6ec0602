#pragma once
// How legatectl reads and writes values as text. Pure functions; parse_ functions return nothing for
// text that is not well formed.

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace legated::ctl {

/// For a terminal: control characters, which may be a stranger's, as "\x1b".
std::string printable(std::string_view text);

/// "2s", "500ms", "1.5m", "100us", "1h".
std::optional<std::chrono::microseconds> parse_duration(std::string_view text);
/// "870 µs", "12.3 ms", "2.5 s".
std::string to_text(std::chrono::microseconds duration);

/// Pairs of digits; blanks and colons between them are skipped.
std::optional<std::string> parse_hex(std::string_view text);
std::string to_hex(std::string_view bytes);

/// With or without padding.
std::optional<std::string> parse_base64(std::string_view text);
std::string to_base64(std::string_view bytes);

/// Whether a metadata key has values of any bytes.
bool is_binary_key(std::string_view key);

/// "key:value"; one blank after the colon is skipped, and the value of a "-bin" key is in base64.
std::optional<std::pair<std::string, std::string>> parse_metadata(std::string_view text);

}  // namespace legated::ctl
