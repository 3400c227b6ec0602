#pragma once
// The kinds of values that configuration keys have: each makes a Key that sets and prints one field
// of the Config. For the files of daemon/config that list keys.

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "daemon/config/keys.h"
#include "daemon/config/values.h"
#include "daemon/core/status.h"

namespace legated::key_kinds {

using std::chrono::duration_cast;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using namespace std::chrono_literals;

inline constexpr uint64_t kKiB = 1024;
inline constexpr uint64_t kMiB = 1024 * kKiB;
inline constexpr uint64_t kGiB = 1024 * kMiB;

template <class Section, class Value>
struct Field {
  Section Config::*section;
  Value Section::*member;

  Value& of(Config& config) const { return config.*section.*member; }
  const Value& of(const Config& config) const { return config.*section.*member; }
};

/// A field of a named section: of `config.channels` and its like.
template <class Settings, class Value>
struct NamedField {
  std::map<std::string, Settings> Config::*section;
  std::string name;
  Value Settings::*member;

  Value& of(Config& config) const { return (config.*section)[name].*member; }
  const Value& of(const Config& config) const { return (config.*section).at(name).*member; }
};

template <class Field>
using ValueOf = std::remove_reference_t<decltype(std::declval<Field>().of(std::declval<Config&>()))>;

// What is told of a key before its value comes into play.
struct About {
  std::string section;
  std::string_view name;
  std::string_view reason;
};

inline Key make_key(const About& about, std::string_view type, std::string range) {
  return {.section = about.section,
          .name = about.name,
          .type = type,
          .range = std::move(range),
          .reason = about.reason,
          .default_text = {},
          .set = {},
          .print = {}};
}

inline const std::string* as_text(const RawValue& raw) { return std::get_if<std::string>(&raw.value); }

inline std::optional<uint64_t> as_number(const RawValue& raw) {
  if (const auto* number = std::get_if<int64_t>(&raw.value)) {
    return *number < 0 ? std::nullopt : std::optional<uint64_t>(*number);
  }
  return raw.untyped ? parse_integer(*as_text(raw)) : std::nullopt;
}

template <class Target, class Value>
bool assign(Target& target, std::optional<Value> value, Value low, Value high) {
  if (!value || *value < low || *value > high) return false;
  target = static_cast<Target>(*value);
  return true;
}

template <class Field>
Key count(const About& about, Field field, uint64_t low, uint64_t high) {
  Key key = make_key(about, "integer", std::to_string(low) + " to " + std::to_string(high));
  key.set = [=](Config& config, const RawValue& raw) {
    return assign(field.of(config), as_number(raw), low, high);
  };
  key.print = [=](const Config& config) { return std::to_string(field.of(config)); };
  return key;
}

template <class Field>
Key size(const About& about, Field field, uint64_t low, uint64_t high) {
  Key key = make_key(about, "size", format_size(low) + " to " + format_size(high));
  key.set = [=](Config& config, const RawValue& raw) {
    const std::string* text = as_text(raw);
    return assign(field.of(config), text != nullptr ? parse_size(*text) : as_number(raw), low,
                  high);
  };
  key.print = [=](const Config& config) { return quote(format_size(field.of(config))); };
  return key;
}

template <class Field, class V = ValueOf<Field>>
Key duration(const About& about, Field field, ValueOf<Field> low, ValueOf<Field> high) {
  Key key = make_key(about, "duration", format_duration(low) + " to " + format_duration(high));
  key.set = [=](Config& config, const RawValue& raw) {
    const std::string* text = as_text(raw);
    const auto value = text != nullptr ? parse_duration(*text) : std::nullopt;
    // A value finer than the field's unit is refused rather than rounded.
    if (!value || *value < low || *value > high || *value % V(1) != 0us) return false;
    field.of(config) = duration_cast<V>(*value);
    return true;
  };
  key.print = [=](const Config& config) { return quote(format_duration(field.of(config))); };
  return key;
}

template <class Field>
Key text(const About& about, Field field, size_t shortest, size_t longest,
         std::string_view type = "path") {
  Key key = make_key(about, type,
                     shortest == 0
                         ? "up to " + std::to_string(longest) + " bytes"
                         : std::to_string(shortest) + " to " + std::to_string(longest) + " bytes");
  key.set = [=](Config& config, const RawValue& raw) {
    const std::string* value = as_text(raw);
    if (value == nullptr || value->size() < shortest || value->size() > longest) return false;
    if (value->find('\0') != std::string::npos) return false;
    field.of(config) = *value;
    return true;
  };
  key.print = [=](const Config& config) { return quote(field.of(config)); };
  return key;
}

template <class Field>
Key mode(const About& about, Field field) {
  Key key = make_key(about, "octal string", R"("0000" to "0777")");
  key.set = [=](Config& config, const RawValue& raw) {
    const std::string* value = as_text(raw);
    return assign(field.of(config), value != nullptr ? parse_mode(*value) : std::nullopt, 0u,
                  0777u);
  };
  key.print = [=](const Config& config) { return quote(format_mode(field.of(config))); };
  return key;
}

template <class Field>
Key rules(const About& about, Field field) {
  Key key = make_key(about, "list of strings", "`uid:N`, `gid:N`, `user:NAME`, `group:NAME`, `*`");
  key.set = [=](Config& config, const RawValue& raw) {
    const auto* list = std::get_if<std::vector<std::string>>(&raw.value);
    if (list == nullptr && !raw.untyped) return false;
    std::vector<AccessRule> parsed;
    for (const std::string& item : list != nullptr ? *list : split_list(*as_text(raw))) {
      const auto rule = parse_access_rule(item);
      if (!rule) return false;
      parsed.push_back(*rule);
    }
    field.of(config) = std::move(parsed);
    return true;
  };
  key.print = [=](const Config& config) {
    std::string list;
    for (const AccessRule& rule : field.of(config)) {
      list += (list.empty() ? "" : ", ") + quote(format_access_rule(rule));
    }
    return "[" + list + "]";
  };
  return key;
}

template <class Field, class V = ValueOf<Field>>
Key choice(const About& about, Field field, std::vector<std::pair<std::string, V>> values) {
  std::string range;
  for (const auto& [name, value] : values) range += (range.empty() ? "`" : ", `") + name + "`";
  Key key = make_key(about, "string", std::move(range));
  key.set = [=](Config& config, const RawValue& raw) {
    const std::string* wanted = as_text(raw);
    for (const auto& [name, value] : values) {
      if (wanted == nullptr || name != *wanted) continue;
      field.of(config) = value;
      return true;
    }
    return false;
  };
  key.print = [=](const Config& config) {
    for (const auto& [name, value] : values) {
      if (value == field.of(config)) return quote(name);
    }
    return quote("");
  };
  return key;
}

template <class Field>
Key flag(const About& about, Field field) {
  Key key = make_key(about, "boolean", "`true`, `false`");
  key.set = [=](Config& config, const RawValue& raw) {
    const bool* value = std::get_if<bool>(&raw.value);
    const std::string* name = raw.untyped ? as_text(raw) : nullptr;
    if (value == nullptr && (name == nullptr || (*name != "true" && *name != "false"))) return false;
    field.of(config) = value != nullptr ? *value : *name == "true";
    return true;
  };
  key.print = [=](const Config& config) { return field.of(config) ? "true" : "false"; };
  return key;
}

template <class Field>
Key factor(const About& about, Field field, double low, double high) {
  Key key = make_key(about, "number", format_number(low) + " to " + format_number(high));
  key.set = [=](Config& config, const RawValue& raw) {
    std::optional<double> value;
    if (const auto* number = std::get_if<double>(&raw.value)) value = *number;
    if (const auto* number = std::get_if<int64_t>(&raw.value)) value = static_cast<double>(*number);
    if (raw.untyped) value = parse_number(*as_text(raw));
    return assign(field.of(config), value, low, high);
  };
  key.print = [=](const Config& config) { return format_number(field.of(config)); };
  return key;
}

template <class Field>
Key lines(const About& about, Field field, std::string range) {
  Key key = make_key(about, "list of strings", std::move(range));
  key.set = [=](Config& config, const RawValue& raw) {
    const auto* list = std::get_if<std::vector<std::string>>(&raw.value);
    if (list == nullptr && !raw.untyped) return false;
    field.of(config) = list != nullptr ? *list : split_lines(*as_text(raw));
    return true;
  };
  key.print = [=](const Config& config) {
    std::string list;
    for (const std::string& line : field.of(config)) list += (list.empty() ? "" : ", ") + quote(line);
    return "[" + list + "]";
  };
  return key;
}

template <class Field>
Key codes(const About& about, Field field) {
  Key key = make_key(about, "list of strings", "names of gRPC status codes, not `OK`");
  key.set = [=](Config& config, const RawValue& raw) {
    const auto* list = std::get_if<std::vector<std::string>>(&raw.value);
    if (list == nullptr && !raw.untyped) return false;
    std::vector<uint8_t> parsed;
    for (const std::string& item : list != nullptr ? *list : split_list(*as_text(raw))) {
      const auto code = status_code(item);
      if (!code || *code == StatusCode::ok) return false;
      parsed.push_back(static_cast<uint8_t>(*code));
    }
    field.of(config) = std::move(parsed);
    return true;
  };
  key.print = [=](const Config& config) {
    std::string list;
    for (const uint8_t code : field.of(config))
      list += (list.empty() ? "" : ", ") + quote(name(static_cast<StatusCode>(code)));
    return "[" + list + "]";
  };
  return key;
}

inline Key with_default(Key key, std::string_view text) {
  key.default_text = text;
  return key;
}

}  // namespace legated::key_kinds
