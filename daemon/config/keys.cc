#include "daemon/config/keys.h"

#include <algorithm>
#include <cctype>
#include <limits>
#include <utility>

#include "daemon/config/values.h"
#include "daemon/core/status.h"

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
constexpr uint64_t kMaxAttempts = 5;  // gRPC takes no more

template <class Section, class Value>
struct Field {
  Section Config::*section;
  Value Section::*member;

  Value& of(Config& config) const { return config.*section.*member; }
  const Value& of(const Config& config) const { return config.*section.*member; }
};

template <class Value>
struct ChannelField {
  std::string channel;
  Value ChannelSettings::*member;

  Value& of(Config& config) const { return config.channels[channel].*member; }
  const Value& of(const Config& config) const { return config.channels.at(channel).*member; }
};

template <class Field>
using ValueOf = std::remove_reference_t<decltype(std::declval<Field>().of(std::declval<Config&>()))>;

// What is told of a key before its value comes into play.
struct About {
  std::string section;
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
               ipc(&C::Ipc::hello_timeout), 10ms, milliseconds(10min)),
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
      count({"ipc", "max_channels", "Channels one connection may have open."},
            ipc(&C::Ipc::max_channels), 1, 1'000'000),

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

      count({"outbound", "max_attempts",
             "Tries of one call, whatever its channel asks for. 1: no retries."},
            Field{&C::outbound, &C::Outbound::max_attempts}, 1, kMaxAttempts),

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

std::vector<Key> channel_keys(const std::string& channel) {
  using S = ChannelSettings;
  const std::string section = "channels." + channel;
  const auto about = [&](std::string_view name, std::string_view reason) {
    return About{section, name, reason};
  };
  const auto field = [&](auto member) { return ChannelField{channel, member}; };
  return {
      text(about("target", "Where: `host:port`, `dns:///host:port`, `unix:/path`, `ipv4:…`."),
           field(&S::target), 1, 2048, "string"),
      text(about("authority", "Sent as `:authority` instead of the target's host."),
           field(&S::authority), 0, 255, "string"),
      text(about("user_agent", "Put before gRPC's own."), field(&S::user_agent), 0, 255, "string"),
      flag(about("tls", "TLS; the server's certificate and name are always verified."),
           field(&S::tls)),
      with_default(text(about("tls_roots_file", "PEM: authorities to trust."),
                        field(&S::tls_roots_file), 0, 4095),
                   "`\"\"`: the system's"),
      text(about("tls_certificate_file", "PEM: the chain shown to the server."),
           field(&S::tls_certificate_file), 0, 4095),
      text(about("tls_key_file", "PEM: its private key. Readable by the daemon only."),
           field(&S::tls_key_file), 0, 4095),
      duration(about("tls_refresh", "How often the files are looked at for changes."),
               field(&S::tls_refresh), std::chrono::seconds(1), std::chrono::seconds(24h)),
      text(about("tls_server_name", "Looked for in the certificate instead of the target's host."),
           field(&S::tls_server_name), 0, 255, "string"),
      choice<ChannelField<std::string>>(
          about("load_balancing", "Which backend a call goes to."), field(&S::load_balancing),
          {{"pick_first", "pick_first"}, {"round_robin", "round_robin"}}),
      text(about("service_config", "gRPC's service config, JSON; goes before the keys it overlaps."),
           field(&S::service_config), 0, 65'536, "string"),
      choice(about("compression", "Of messages sent."), field(&S::compression),
             {{"identity", Compression::identity},
              {"deflate", Compression::deflate},
              {"gzip", Compression::gzip}}),
      size(about("max_send_message", "One message to the server; 0: `limits.max_message`."),
           field(&S::max_send_message), 0, kGiB),
      size(about("max_receive_message", "One message from it; 0: `limits.max_message`."),
           field(&S::max_receive_message), 0, kGiB),
      size(about("max_metadata", "One metadata list; 0: `limits.max_metadata`."),
           field(&S::max_metadata), 0, 64 * kKiB),
      duration(about("keepalive_time", "Silence before a ping; 0s: no pings."),
               field(&S::keepalive_time), 0ms, milliseconds(24h)),
      duration(about("keepalive_timeout", "Wait for its answer; 0s: gRPC's 20s."),
               field(&S::keepalive_timeout), 0ms, milliseconds(1h)),
      flag(about("keepalive_without_calls", "Ping while no call is open too."),
           field(&S::keepalive_without_calls)),
      duration(about("connect_timeout", "Of one attempt to connect; 0s: gRPC's 20s."),
               field(&S::connect_timeout), 0ms, milliseconds(1h)),
      duration(about("initial_backoff", "Between attempts to connect; 0s: gRPC's 1s."),
               field(&S::initial_backoff), 0ms, milliseconds(1h)),
      duration(about("max_backoff", "What that grows to; 0s: gRPC's 2min."),
               field(&S::max_backoff), 0ms, milliseconds(1h)),
      duration(about("idle_timeout", "Without calls before connections close; 0s: gRPC's 30min."),
               field(&S::idle_timeout), 0ms, milliseconds(24h)),
      duration(about("dns_interval", "Least time between resolutions; 0s: gRPC's 30s."),
               field(&S::dns_interval), 0ms, milliseconds(24h)),
      count(about("retry_attempts", "Tries of a call in all; 0: as the service config says."),
            field(&S::retry_attempts), 0, kMaxAttempts),
      duration(about("retry_initial_backoff", "Before the second try; random, up to this."),
               field(&S::retry_initial_backoff), 1ms, milliseconds(1h)),
      duration(about("retry_max_backoff", "What that grows to."), field(&S::retry_max_backoff), 1ms,
               milliseconds(1h)),
      factor(about("retry_multiplier", "How it grows."), field(&S::retry_multiplier), 1, 10),
      codes(about("retry_codes", "Statuses that are tried again."), field(&S::retry_codes)),
      count(about("retry_throttle_tokens",
                  "A failed call takes a token, a good one returns `retry_throttle_ratio`; below "
                  "half of them nothing is retried. 0: no such limit."),
            field(&S::retry_throttle_tokens), 0, 1000),
      factor(about("retry_throttle_ratio", "See there."), field(&S::retry_throttle_ratio), 0.001,
             1),
      lines(about("policies", "What legated does to each call, in this order."),
            field(&S::policies), "see [policies](policies.md); on the command line separated by `;`"),
  };
}

bool is_channel_name(std::string_view name) {
  return !name.empty() && name.size() <= 64 && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
}

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

const Key& nearest_key(std::string_view full_name, std::span<const Key> among) {
  const std::string_view name = full_name.substr(full_name.rfind('.') + 1);
  return *std::ranges::min_element(among, {}, [&](const Key& key) {
    // The right name in the wrong section is nearer than any misspelling.
    return key.name == name ? 0 : 1 + edit_distance(key.full_name(), full_name);
  });
}

namespace {

void print_row(std::ostream& out, const Key& key, const Config& defaults) {
  out << "| `" << key.full_name() << "` | " << key.type << " | ";
  if (key.default_text.empty()) {
    out << '`' << key.print(defaults) << '`';
  } else {
    out << key.default_text;
  }
  out << " | " << key.range << " | " << key.reason << " |\n";
}

template <class Keys>
void print_toml(std::string& toml, const Keys& keys, const Config& config) {
  std::string_view section;
  for (const Key& key : keys) {
    if (key.section != section) {
      section = key.section;
      toml += (toml.empty() ? "[" : "\n[") + key.section + "]\n";
    }
    toml += std::string(key.name) + " = " + key.print(config) + "\n";
  }
}

}  // namespace

void print_reference(std::ostream& out) {
  Config defaults;
  defaults.channels["NAME"];
  out << "| key | type | default | allowed | reason |\n|---|---|---|---|---|\n";
  for (const Key& key : keys()) print_row(out, key, defaults);
  for (const Key& key : channel_keys("NAME")) print_row(out, key, defaults);
}

std::string to_toml(const Config& config) {
  std::string toml;
  print_toml(toml, keys(), config);
  for (const auto& [channel, settings] : config.channels)
    print_toml(toml, channel_keys(channel), config);
  return toml;
}

}  // namespace legated
