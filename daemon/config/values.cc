#include "daemon/config/values.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <limits>
#include <numeric>

namespace legated {
namespace {

struct Unit {
  std::string_view name;
  uint64_t factor;
};

// Largest first: formatting takes the first that divides.
constexpr std::array kSizes = {Unit{"GiB", 1u << 30}, Unit{"MiB", 1u << 20}, Unit{"KiB", 1u << 10},
                               Unit{"B", 1}};
constexpr std::array kDurations = {Unit{"h", 3'600'000'000}, Unit{"min", 60'000'000},
                                   Unit{"s", 1'000'000}, Unit{"ms", 1'000}, Unit{"us", 1}};

template <class Int>
std::optional<Int> parse_whole(std::string_view text, int base = 10) {
  Int value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

template <size_t N>
std::optional<uint64_t> parse_with_unit(std::string_view text, const std::array<Unit, N>& units) {
  const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const auto number = parse_integer(text.substr(0, digits));
  if (!number) return std::nullopt;
  std::string_view unit_name = text.substr(digits);
  while (unit_name.starts_with(' ')) unit_name.remove_prefix(1);
  const auto unit = std::ranges::find(units, unit_name, &Unit::name);
  if (unit == units.end() || *number > std::numeric_limits<int64_t>::max() / unit->factor)
    return std::nullopt;
  return *number * unit->factor;
}

}  // namespace

std::optional<uint64_t> parse_integer(std::string_view text) { return parse_whole<uint64_t>(text); }

std::optional<double> parse_number(std::string_view text) {
  double value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value,
                                            std::chars_format::fixed);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string format_number(double number) {
  std::array<char, 32> text{};
  const auto [end, error] = std::to_chars(text.data(), text.data() + text.size(), number);
  return {text.data(), end};
}

std::optional<uint64_t> parse_size(std::string_view text) {
  if (const auto bytes = parse_integer(text)) return bytes;
  return parse_with_unit(text, kSizes);
}

std::string format_size(uint64_t bytes) {
  if (bytes == 0) return "0";
  const auto unit =
      std::ranges::find_if(kSizes, [&](const Unit& u) { return bytes % u.factor == 0; });
  return std::to_string(bytes / unit->factor) + std::string(unit->name);
}

std::optional<std::chrono::microseconds> parse_duration(std::string_view text) {
  const auto value = parse_with_unit(text, kDurations);
  if (!value) return std::nullopt;
  return std::chrono::microseconds(*value);
}

std::string format_duration(std::chrono::microseconds duration) {
  const auto value = static_cast<uint64_t>(duration.count());
  if (value == 0) return "0s";
  const auto unit =
      std::ranges::find_if(kDurations, [&](const Unit& u) { return value % u.factor == 0; });
  return std::to_string(value / unit->factor) + std::string(unit->name);
}

std::optional<uint32_t> parse_mode(std::string_view text) {
  if (!text.starts_with('0')) return std::nullopt;
  return parse_whole<uint32_t>(text, 8);
}

std::string format_mode(uint32_t mode) {
  std::array<char, 16> text{};
  const int length = std::snprintf(text.data(), text.size(), "0%03o", mode);
  return {text.data(), static_cast<size_t>(length)};
}

std::optional<AccessRule> parse_access_rule(std::string_view text) {
  using Kind = AccessRule::Kind;
  if (text == "*") return AccessRule{};
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const std::string_view kind = text.substr(0, colon);
  const std::string_view who = text.substr(colon + 1);
  if (kind == "uid" || kind == "gid") {
    const auto id = parse_whole<uint32_t>(who);
    if (!id) return std::nullopt;
    return AccessRule{.kind = kind == "uid" ? Kind::uid : Kind::gid, .id = *id, .name = {}};
  }
  if ((kind == "user" || kind == "group") && !who.empty()) {
    return AccessRule{
        .kind = kind == "user" ? Kind::user : Kind::group, .id = 0, .name = std::string(who)};
  }
  return std::nullopt;
}

std::string format_access_rule(const AccessRule& rule) {
  switch (rule.kind) {
    case AccessRule::Kind::anyone: return "*";
    case AccessRule::Kind::uid: return "uid:" + std::to_string(rule.id);
    case AccessRule::Kind::gid: return "gid:" + std::to_string(rule.id);
    case AccessRule::Kind::user: return "user:" + rule.name;
    case AccessRule::Kind::group: return "group:" + rule.name;
  }
  return {};
}

std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> items;
  while (true) {
    const size_t begin = text.find_first_not_of(", ");
    if (begin == std::string_view::npos) return items;
    const size_t end = std::min(text.find_first_of(", ", begin), text.size());
    items.emplace_back(text.substr(begin, end - begin));
    text.remove_prefix(end);
  }
}

std::vector<std::string> split_lines(std::string_view text) {
  std::vector<std::string> items;
  while (!text.empty()) {
    const size_t end = std::min(text.find(';'), text.size());
    const std::string_view item = text.substr(0, end);
    if (const size_t begin = item.find_first_not_of(' '); begin != item.npos)
      items.emplace_back(item.substr(begin, item.find_last_not_of(' ') - begin + 1));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return items;
}

std::string quote(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      std::array<char, 8> escape{};
      std::snprintf(escape.data(), escape.size(), "\\u%04X", static_cast<unsigned>(c));
      quoted += escape.data();
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({row[j] + 1, row[j + 1] + 1, replaced});
    }
  }
  return row.back();
}

}  // namespace legated
