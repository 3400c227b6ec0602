#pragma once
// The one description of every configuration key. The file, the environment, --set, the printed
// reference and `legated check` are all driven by it. Immutable; any thread.

#include <functional>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "daemon/config/config.h"

namespace legated {

/// A value as it was found, before its key says what it means.
struct RawValue {
  std::variant<std::monostate, bool, int64_t, double, std::string, std::vector<std::string>>
      value;  // monostate: any other TOML type
  bool untyped =
      false;  // a bare string from the environment or the command line, where numbers are text too
};

struct Key {
  std::string section;
  std::string_view name;
  std::string_view type;  // for people: "size", "duration", …
  std::string range;      // for people: "4KiB to 1MiB"
  std::string_view reason;
  std::string_view default_text;  // instead of the default's value, when it depends
  std::function<bool(Config&, const RawValue&)> set;  // false: not of the type, or out of range
  std::function<std::string(const Config&)> print;    // the value in TOML

  std::string full_name() const;         // "ipc.max_frame"
  std::string environment_name() const;  // "LEGATED_IPC_MAX_FRAME"
};

/// In the order in which they are printed; keys of a section are together. Without those of named
/// sections.
std::span<const Key> keys();

/// A section of which there may be many, such as [channels.NAME].
struct NamedSection {
  std::string_view name;                               // "channels"
  std::vector<Key> (*keys)(const std::string& name);   // setting one makes the section
  std::function<void(Config&, const std::string& name)> make;
  std::function<std::vector<std::string>(const Config&)> names;
};
std::span<const NamedSection> named_sections();
std::vector<Key> channel_keys(const std::string& name);
std::vector<Key> server_keys(const std::string& name);

/// What NAME may be: 1 to 64 of a-z, 0-9, "-" and "_".
bool is_name(std::string_view name);

const Key* find_key(std::string_view full_name);
bool is_section(std::string_view name);

/// The key of `among` that `full_name` most likely means.
const Key& nearest_key(std::string_view full_name, std::span<const Key> among = keys());

/// A Markdown table of all keys, for docs/configuration.md.
void print_reference(std::ostream& out);

/// All effective values as a TOML file that load() takes.
std::string to_toml(const Config& config);

}  // namespace legated
