#include "daemon/ctl/text.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdio>

namespace legated::ctl {
namespace {

using std::chrono::microseconds;

constexpr std::string_view kBase64 =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// -1 for what is no digit.
int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

uint8_t byte_at(std::string_view bytes, size_t i) {
  return i < bytes.size() ? static_cast<uint8_t>(bytes[i]) : uint8_t{0};
}

}  // namespace

std::string printable(std::string_view text) {
  std::string safe;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    // In UTF-8 the further control characters, up to 0x9f, have the lead 0xc2.
    const bool further = byte == 0xc2 && byte_at(text, i + 1) >= 0x80 && byte_at(text, i + 1) < 0xa0;
    if (byte >= 0x20 && byte != 0x7f && !further) {
      safe += text[i];
      continue;
    }
    safe += "\\x" + to_hex(text.substr(i, further ? 2 : 1));
    if (further) ++i;
  }
  return safe;
}

std::optional<microseconds> parse_duration(std::string_view text) {
  struct Unit {
    std::string_view name;
    double us;
  };
  static constexpr std::array<Unit, 5> kUnits = {
      {{"us", 1}, {"ms", 1e3}, {"s", 1e6}, {"m", 60e6}, {"h", 3600e6}}};
  double number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  if (error != std::errc() || number < 0 || !std::isfinite(number)) return std::nullopt;
  const std::string_view unit(rest, static_cast<size_t>(end - rest));
  for (const Unit& candidate : kUnits) {
    if (unit != candidate.name) continue;
    const double us = number * candidate.us;
    if (us > 9e15) return std::nullopt;
    return microseconds(static_cast<int64_t>(us));
  }
  return std::nullopt;
}

std::string to_text(microseconds duration) {
  std::array<char, 32> buffer{};
  const auto us = static_cast<double>(duration.count());
  if (us < 1e3) return std::to_string(duration.count()) + " µs";
  if (us < 1e6) {
    std::snprintf(buffer.data(), buffer.size(), "%.1f ms", us / 1e3);
  } else {
    std::snprintf(buffer.data(), buffer.size(), "%.2f s", us / 1e6);
  }
  return buffer.data();
}

std::optional<std::string> parse_hex(std::string_view text) {
  std::string bytes;
  int high = -1;  // the first digit of a pair, while the second is to come
  for (const char c : text) {
    if (high < 0 && (c == ' ' || c == ':' || c == '\n' || c == '\t')) continue;
    const int digit = hex_digit(c);
    if (digit < 0) return std::nullopt;
    if (high < 0) {
      high = digit;
      continue;
    }
    bytes += static_cast<char>(high * 16 + digit);
    high = -1;
  }
  if (high >= 0) return std::nullopt;
  return bytes;
}

std::string to_hex(std::string_view bytes) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    const auto byte = static_cast<uint8_t>(c);
    text += kDigits[byte >> 4U];
    text += kDigits[byte & 15U];
  }
  return text;
}

std::optional<std::string> parse_base64(std::string_view text) {
  while (!text.empty() && text.back() == '=') text.remove_suffix(1);
  if (text.size() % 4 == 1) return std::nullopt;
  std::string bytes;
  uint32_t bits = 0;
  unsigned count = 0;
  for (const char c : text) {
    const size_t digit = kBase64.find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    bits = (bits << 6U) | static_cast<uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>((bits >> count) & 0xffU);
  }
  return bytes;
}

std::string to_base64(std::string_view bytes) {
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const uint32_t bits = (uint32_t{byte_at(bytes, i)} << 16U) |
                          (uint32_t{byte_at(bytes, i + 1)} << 8U) | byte_at(bytes, i + 2);
    for (unsigned digit = 0; digit < 4; ++digit) {
      const bool padding = i + digit > bytes.size();
      text += padding ? '=' : kBase64[(bits >> (18 - 6 * digit)) & 63U];
    }
  }
  return text;
}

bool is_binary_key(std::string_view key) { return key.ends_with("-bin"); }

std::optional<std::pair<std::string, std::string>> parse_metadata(std::string_view text) {
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos || colon == 0) return std::nullopt;
  const std::string_view key = text.substr(0, colon);
  std::string_view value = text.substr(colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (!is_binary_key(key)) return std::pair(std::string(key), std::string(value));
  auto bytes = parse_base64(value);
  if (!bytes) return std::nullopt;
  return std::pair(std::string(key), std::move(*bytes));
}

}  // namespace legated::ctl
