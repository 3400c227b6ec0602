#include "daemon/config/keys.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "daemon/config/key_kinds.h"

namespace legated {
namespace {

using namespace key_kinds;

constexpr size_t kMaxSocketPath = 107;  // sockaddr_un
constexpr uint64_t kMaxAttempts = 5;     // gRPC takes no more

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
             "Connections that have not said HELLO yet. After a restart every worker comes at once."},
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
      size({"limits", "stream_window",
            "Bytes of one gRPC stream sent to legated ahead of its reader. More for fast streams from afar, at "
            "the cost of memory."},
           limits(&C::Limits::stream_window), 64 * kKiB, kGiB),

      count({"outbound", "max_attempts",
             "Tries of one call, whatever its channel asks for. 1: no retries."},
            Field{&C::outbound, &C::Outbound::max_attempts}, 1, kMaxAttempts),

      count({"inbound", "queue",
             "Calls waiting per pool for a worker. Beyond it a caller does better elsewhere."},
            inbound(&C::Inbound::queue), 0, 1'000'000),
      duration({"inbound", "overload",
                "The newest of a pool's waiting calls go first while the oldest has waited longer. "
                "0: never."},
               inbound(&C::Inbound::overload), 0ms, milliseconds(1h)),
      size({"inbound", "queue_memory",
            "Message bytes held per server for calls that no worker has accepted."},
           inbound(&C::Inbound::queue_memory), kMiB, 64 * kGiB),
      duration({"inbound", "hold",
                "How long calls wait while a server has no worker: a service restarts in seconds."},
               inbound(&C::Inbound::hold), 0ms, milliseconds(1h)),
      duration({"inbound", "suspect",
                "A worker that leaves a cancelled call unanswered for so long gets no more until it "
                "has answered. 0: gets them all the same."},
               inbound(&C::Inbound::suspect), 0ms, milliseconds(1h)),
      count({"inbound", "recycle_calls",
             "Calls after which a worker is advised to be replaced. 0: never."},
            inbound(&C::Inbound::recycle_calls), 0, 1'000'000'000'000),
      duration({"inbound", "recycle_age", "Age of a worker likewise. 0: never."},
               inbound(&C::Inbound::recycle_age), 0ms, milliseconds(24h * 365)),
      count({"inbound", "max_concurrent_streams", "Calls one gRPC connection may have open."},
            inbound(&C::Inbound::max_concurrent_streams), 1, 1'000'000),
      count({"inbound", "max_connections",
             "gRPC connections of one server; further ones are closed at once. Each takes two file "
             "descriptors."},
            inbound(&C::Inbound::max_connections), 1, 1'000'000),
      size({"inbound", "memory",
            "What gRPC may hold for the connections of one server; beyond it, it ends calls."},
           inbound(&C::Inbound::memory), kMiB, 64 * kGiB),
      mode({"inbound", "unix_mode",
            "Permission bits of Unix sockets for gRPC: the daemon's own user only, unless the "
            "operator opens them."},
           inbound(&C::Inbound::unix_mode)),

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
  using namespace key_kinds;
  using S = ChannelSettings;
  const std::string section = "channels." + channel;
  const auto about = [&](std::string_view name, std::string_view reason) {
    return About{section, name, reason};
  };
  const auto field = [&](auto member) { return NamedField{&Config::channels, channel, member}; };
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
      text(about("token_file",
                 "Its content is sent with each call, as `authorization: Bearer …`. See "
                 "[credentials](credentials.md)."),
           field(&S::token_file), 0, 4095),
      lines(about("token_command", "Prints the token: program and arguments, no shell."),
            field(&S::token_command),
            "an absolute path, then arguments; on the command line separated by `;`"),
      duration(about("token_ttl", "How long a token is used that does not say itself."),
               field(&S::token_ttl), std::chrono::seconds(1), std::chrono::seconds(24h)),
      duration(about("token_refresh", "How often `token_file` is read again."),
               field(&S::token_refresh), std::chrono::seconds(1), std::chrono::seconds(24h)),
      duration(about("token_timeout", "Then `token_command` is killed."),
               field(&S::token_timeout), 100ms, milliseconds(5min)),
      flag(about("token_plaintext",
                 "Send it without TLS too, where all on the way can read and use it."),
           field(&S::token_plaintext)),
      choice<NamedField<S, std::string>>(
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
      count(about("max_calls",
                  "Calls one process may have open on it; 0: `ipc.max_calls`. Keeps one from taking all "
                  "streams that the server grants."),
            field(&S::max_calls), 0, 1'000'000),
      count(about("max_in_flight",
                  "Calls with the server at once, of all processes; more wait here, and each process has "
                  "its turn. 0: no bound."),
            field(&S::max_in_flight), 0, 1'000'000),
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
                  "half of them nothing is retried or hedged. 0: no such limit."),
            field(&S::retry_throttle_tokens), 0, 1000),
      factor(about("retry_throttle_ratio", "See there."), field(&S::retry_throttle_ratio), 0.001,
             1),
      count(about("hedging_attempts",
                  "Attempts of an idempotent unary call in all, which race; 0: one. Not with "
                  "retries."),
            field(&S::hedging_attempts), 0, kMaxAttempts),
      duration(about("hedging_delay", "Before each further one; 0s: all at once."),
               field(&S::hedging_delay), 0ms, milliseconds(1h)),
      codes(about("hedging_codes", "Statuses after which the others go on."),
            field(&S::hedging_codes)),
      lines(about("hedging_methods", "Are idempotent, whatever the caller says."),
            field(&S::hedging_methods),
            "`/package.Service/Method`, `/package.Service/*`, `*`; see [hedging](hedging.md)"),
      lines(about("policies", "What legated does to each call, in this order."),
            field(&S::policies), "see [policies](policies.md); on the command line separated by `;`"),
  };
}

namespace {

template <class Settings>
NamedSection named_section(std::string_view name, std::map<std::string, Settings> Config::*section,
                           std::vector<Key> (*keys)(const std::string&)) {
  return {.name = name,
          .keys = keys,
          .make = [=](Config& config, const std::string& one) { (config.*section)[one]; },
          .names =
              [=](const Config& config) {
                std::vector<std::string> names;
                for (const auto& entry : config.*section) names.push_back(entry.first);
                return names;
              }};
}

}  // namespace

std::span<const NamedSection> named_sections() {
  static const std::array sections = {
      named_section("channels", &Config::channels, channel_keys),
      named_section("servers", &Config::servers, server_keys),
  };
  return sections;
}

bool is_name(std::string_view name) {
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
  for (const NamedSection& section : named_sections()) section.make(defaults, "NAME");
  out << "| key | type | default | allowed | reason |\n|---|---|---|---|---|\n";
  for (const Key& key : keys()) print_row(out, key, defaults);
  for (const NamedSection& section : named_sections()) {
    for (const Key& key : section.keys("NAME")) print_row(out, key, defaults);
  }
}

std::string to_toml(const Config& config) {
  std::string toml;
  print_toml(toml, keys(), config);
  for (const NamedSection& section : named_sections()) {
    for (const std::string& name : section.names(config))
      print_toml(toml, section.keys(name), config);
  }
  return toml;
}

}  // namespace legated
