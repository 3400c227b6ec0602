#include "daemon/config/keys.h"

#include <algorithm>
#include <cctype>
#include <limits>
#include <utility>

#include "daemon/config/values.h"

namespace legated {
namespace {

using std::chrono::duration_cast;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using namespace std::chrono_literals;

constexpr uint64_t kKiB = 1024;
constexpr uint64_t kMiB = 1024 * kKiB;
constexpr uint64_t kGiB = 1024 * kMiB;
constexpr size_t kMaxSocketPath = 107;  // sockaddr_un

template <class Section, class Value>
struct Field {
  Section Config::*section;
  Value Section::*member;

  Value& of(Config& config) const { return config.*section.*member; }
  const Value& of(const Config& config) const { return config.*section.*member; }
};

// What is told of a key before its value comes into play.
struct About {
  std::string_view section;
  std::string_view name;
  std::string_view reason;
};

Key make_key(const About& about, std::string_view type, std::string range) {
  return {.section = about.section,
          .name = about.name,
          .type = type,
          .range = std::move(range),
          .reason = about.reason,
          .default_text = {},
          .set = {},
          .print = {}};
}

const std::string* as_text(const RawValue& raw) { return std::get_if<std::string>(&raw.value); }

std::optional<uint64_t> as_number(const RawValue& raw) {
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

template <class S, class V>
Key count(const About& about, Field<S, V> field, uint64_t low, uint64_t high) {
  Key key = make_key(about, "integer", std::to_string(low) + " to " + std::to_string(high));
  key.set = [=](Config& config, const RawValue& raw) {
    return assign(field.of(config), as_number(raw), low, high);
  };
  key.print = [=](const Config& config) { return std::to_string(field.of(config)); };
  return key;
}

template <class S, class V>
Key size(const About& about, Field<S, V> field, uint64_t low, uint64_t high) {
  Key key = make_key(about, "size", format_size(low) + " to " + format_size(high));
  key.set = [=](Config& config, const RawValue& raw) {
    const std::string* text = as_text(raw);
    return assign(field.of(config), text != nullptr ? parse_size(*text) : as_number(raw), low,
                  high);
  };
  key.print = [=](const Config& config) { return quote(format_size(field.of(config))); };
  return key;
}

template <class S, class V>
Key duration(const About& about, Field<S, V> field, V low, V high) {
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

template <class S>
Key text(const About& about, Field<S, std::string> field, size_t shortest, size_t longest) {
  Key key = make_key(about, "path",
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

template <class S>
Key mode(const About& about, Field<S, uint32_t> field) {
  Key key = make_key(about, "octal string", R"("0000" to "0777")");
  key.set = [=](Config& config, const RawValue& raw) {
    const std::string* value = as_text(raw);
    return assign(field.of(config), value != nullptr ? parse_mode(*value) : std::nullopt, 0u,
                  0777u);
  };
  key.print = [=](const Config& config) { return quote(format_mode(field.of(config))); };
  return key;
}

template <class S>
Key rules(const About& about, Field<S, std::vector<AccessRule>> field) {
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

template <class S, class V>
Key choice(const About& about, Field<S, V> field, std::vector<std::pair<std::string, V>> values) {
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

Key with_default(Key key, std::string_view text) {
  key.default_text = text;
  return key;
}

std::vector<Key> make_keys() {
  using C = Config;
  constexpr auto ipc = [](auto member) { return Field{&C::ipc, member}; };
  constexpr auto access = [](auto member) { return Field{&C::access, member}; };
  constexpr auto limits = [](auto member) { return Field{&C::limits, member}; };
  constexpr auto inbound = [](auto member) { return Field{&C::inbound, member}; };
  constexpr auto io = [](auto member) { return Field{&C::io, member}; };
  constexpr auto log = [](auto member) { return Field{&C::log, member}; };
  const Field grace{&C::shutdown, &C::Shutdown::grace};
  return {
      with_default(
          text({"ipc", "socket",
                "The Unix socket that peers dial. `$XDG_RUNTIME_DIR` is private already."},
               ipc(&C::Ipc::socket), 1, kMaxSocketPath),
          "`$XDG_RUNTIME_DIR/legated.sock`, or `/run/legated/legated.sock` without that variable"),
      mode({"ipc", "mode",
            "The socket's permission bits: the daemon's own user only, unless the operator opens "
            "it."},
           ipc(&C::Ipc::mode)),
      count({"ipc", "max_connections",
             "Connections at once. Hundreds of processes on one machine are many."},
            ipc(&C::Ipc::max_connections), 1, 65'536),
      count({"ipc", "max_pending_hello",
             "Connections that have not said HELLO yet. Honest peers say it at once."},
            ipc(&C::Ipc::max_pending_hello), 1, 65'536),
      duration({"ipc", "hello_timeout", "From connecting to HELLO; sheds silent clients."},
               ipc(&C::Ipc::hello_timeout), 10ms, milliseconds(60s)),
      duration({"ipc", "heartbeat",
                "Silence before a PING. Three of them end the connection: half a minute for a hung "
                "peer."},
               ipc(&C::Ipc::heartbeat), 10ms, milliseconds(1h)),
      duration({"ipc", "stall_timeout", "A peer that reads nothing for this long is disconnected."},
               ipc(&C::Ipc::stall_timeout), 10ms, milliseconds(1h)),
      size({"ipc", "max_frame",
            "Payload of one frame: amortises the header, still shares the pipe fairly."},
           ipc(&C::Ipc::max_frame), 4 * kKiB, kMiB),
      size({"ipc", "call_window",
            "Credit per call: four frames in flight keep a local socket busy."},
           ipc(&C::Ipc::call_window), 64 * kKiB, kGiB),
      size({"ipc", "connection_window", "Credit per connection: 16 calls at full window."},
           ipc(&C::Ipc::connection_window), 64 * kKiB, kGiB),
      size({"ipc", "memory_budget",
            "Message bytes held for one connection: 16 messages of the largest size."},
           ipc(&C::Ipc::memory_budget), kMiB, 64 * kGiB),
      count({"ipc", "max_calls", "Calls open at once on one connection, per direction."},
            ipc(&C::Ipc::max_calls), 1, 1'000'000),

      rules({"access", "client", "Who may make calls out. Empty: root and the daemon's own user."},
            access(&C::Access::client)),
      rules(
          {"access", "worker", "Who may listen and serve. Empty: root and the daemon's own user."},
          access(&C::Access::worker)),
      rules({"access", "admin", "Who may query the daemon. Empty: root and the daemon's own user."},
            access(&C::Access::admin)),

      size({"limits", "max_message", "One gRPC message, in either direction. gRPC's own default."},
           limits(&C::Limits::max_message), kKiB, kGiB),
      size({"limits", "max_metadata",
            "Keys and values of one metadata list. What fits a frame's meta with its overhead."},
           limits(&C::Limits::max_metadata), kKiB, 64 * kKiB),

      count({"inbound", "queue",
             "Calls waiting per server for a worker. Beyond it a caller does better elsewhere."},
            inbound(&C::Inbound::queue), 0, 1'000'000),
      size({"inbound", "queue_memory",
            "Message bytes held per server for calls that no worker has accepted."},
           inbound(&C::Inbound::queue_memory), kMiB, 64 * kGiB),
      duration({"inbound", "hold",
                "How long calls wait while a server has no worker: a service restarts in seconds."},
               inbound(&C::Inbound::hold), 0ms, milliseconds(1h)),
      count({"inbound", "max_concurrent_streams", "Calls one gRPC connection may have open."},
            inbound(&C::Inbound::max_concurrent_streams), 1, 1'000'000),

      duration({"shutdown", "grace",
                "From SIGTERM to the end of what still runs. Supervisors kill after 30s or later."},
               grace, 0ms, milliseconds(24h)),

      duration({"io", "spin",
                "How long an I/O thread polls after the last activity before it sleeps. Costs idle "
                "processor time."},
               io(&C::Io::spin), 0us, microseconds(1ms)),
      count({"io", "yield",
             "How often an I/O thread yields before it sleeps, so that more joins the same batch."},
            io(&C::Io::yield), 0, 16),

      choice({"log", "level",
              "The least severe events that are logged. `info` is quiet at steady state."},
             log(&C::Log::level),
             {{"trace", LogLevel::trace},
              {"debug", LogLevel::debug},
              {"info", LogLevel::info},
              {"warn", LogLevel::warn},
              {"error", LogLevel::error},
              {"off", LogLevel::off}}),
      choice({"log", "format", "Lines for people, or JSON lines for a collector."},
             log(&C::Log::format), {{"text", LogFormat::text}, {"json", LogFormat::json}}),
      with_default(text({"log", "file", "Opened again on SIGHUP, for log rotation."},
                        log(&C::Log::file), 0, 4095),
                   "`\"\"`: standard error"),
  };
}

}  // namespace

std::string Key::full_name() const { return std::string(section) + '.' + std::string(name); }

std::string Key::environment_name() const {
  std::string result = "LEGATED_" + std::string(section) + '_' + std::string(name);
  std::ranges::transform(result, result.begin(),
                         [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return result;
}

std::span<const Key> keys() {
  static const std::vector<Key> table = make_keys();
  return table;
}

const Key* find_key(std::string_view full_name) {
  const auto found = std::ranges::find(keys(), full_name, &Key::full_name);
  return found == keys().end() ? nullptr : &*found;
}

bool is_section(std::string_view name) {
  return std::ranges::find(keys(), name, &Key::section) != keys().end();
}

const Key& nearest_key(std::string_view full_name) {
  const std::string_view name = full_name.substr(full_name.find('.') + 1);
  return *std::ranges::min_element(keys(), {}, [&](const Key& key) {
    // The right name in the wrong section is nearer than any misspelling.
    return key.name == name ? 0 : 1 + edit_distance(key.full_name(), full_name);
  });
}

void print_reference(std::ostream& out) {
  const Config defaults;
  out << "| key | type | default | allowed | reason |\n|---|---|---|---|---|\n";
  for (const Key& key : keys()) {
    out << "| `" << key.full_name() << "` | " << key.type << " | ";
    if (key.default_text.empty()) {
      out << '`' << key.print(defaults) << '`';
    } else {
      out << key.default_text;
    }
    out << " | " << key.range << " | " << key.reason << " |\n";
  }
}

std::string to_toml(const Config& config) {
  std::string toml;
  std::string_view section;
  for (const Key& key : keys()) {
    if (key.section != section) {
      section = key.section;
      toml += (toml.empty() ? "[" : "\n[") + std::string(section) + "]\n";
    }
    toml += std::string(key.name) + " = " + key.print(config) + "\n";
  }
  return toml;
}

}  // namespace legated
