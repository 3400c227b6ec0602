#pragma once
// What the user of the IPC client library can choose. Plain data.

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cpp-client/values.h"

namespace legate::client {

/// For Connection::dial. Sizes in bytes.
struct Options {
  std::string name = "legate_client";  // what the process is called in logs and in legatectl
  Role roles = Role::client;
  uint32_t call_window = ipc::kDefaultCallWindow;
  uint32_t connection_window = ipc::kDefaultConnectionWindow;
  uint32_t max_frame = ipc::kDefaultMaxFrame;
  std::chrono::milliseconds hello_timeout{5000};  // to wait for HELLO_ACK
  /// Called on the connection's reader thread; must not block.
  std::function<void(const Event&)> on_event{};
};

/// For Connection::register_methods; see Register in legate.fbs.
struct LeaseOptions {
  uint16_t weight = 100;
  std::string generation{};
  uint16_t share = 100;
};

using ipc::Compression;

/// TLS toward the remote side, all in PEM text; see Tls in legate.fbs.
struct TlsOptions {
  std::string roots{};  // empty: the system's
  std::string certificate{};
  std::string key{};
  std::string server_name{};

  bool operator==(const TlsOptions&) const = default;
};

/// See Retry in legate.fbs.
struct RetryOptions {
  uint8_t attempts = 2;
  std::chrono::milliseconds initial_backoff{100};
  std::chrono::milliseconds max_backoff{1000};
  uint16_t multiplier_percent = 200;
  std::vector<Code> codes{};  // empty: UNAVAILABLE
  uint16_t throttle_tokens = 0;
  uint16_t throttle_permille = 100;

  bool operator==(const RetryOptions&) const = default;
};

/// See Hedging in legate.fbs.
struct HedgingOptions {
  uint8_t attempts = 2;
  std::chrono::milliseconds delay{0};
  std::vector<Code> codes{};  // empty: UNAVAILABLE

  bool operator==(const HedgingOptions&) const = default;
};

/// For Connection::open_channel; see ChannelOptions in legate.fbs. Sizes in bytes; 0 and empty are
/// the defaults.
struct ChannelOptions {
  std::optional<TlsOptions> tls{};  // none: plaintext
  std::string authority{};
  std::string user_agent{};
  std::string load_balancing{};
  std::string service_config{};
  Compression compression = Compression::inherit;
  uint32_t max_send_message = 0;
  uint32_t max_receive_message = 0;
  uint32_t max_metadata = 0;
  std::chrono::milliseconds keepalive_time{0};
  std::chrono::milliseconds keepalive_timeout{0};
  bool keepalive_without_calls = false;
  std::chrono::milliseconds connect_timeout{0};
  std::chrono::milliseconds initial_backoff{0};
  std::chrono::milliseconds max_backoff{0};
  std::chrono::milliseconds idle_timeout{0};
  std::chrono::milliseconds dns_interval{0};
  std::optional<RetryOptions> retry{};
  std::vector<std::string> policies{};
  std::string token{};  // sent with each call as "authorization: Bearer …"
  std::optional<HedgingOptions> hedging{};
  bool watch = false;  // channel_state events tell of each change

  bool operator==(const ChannelOptions&) const = default;
};

using ipc::ClientAuth;
using ipc::Switch;

/// TLS toward remote clients, all in PEM text; see ServerTls in legate.fbs.
struct ServerTlsOptions {
  std::string certificate{};
  std::string key{};
  std::string roots{};
  ClientAuth client_auth = ClientAuth::none;

  bool operator==(const ServerTlsOptions&) const = default;
};

/// For Connection::listen; see ListenOptions in legate.fbs. Sizes in bytes; 0 and empty are the
/// defaults.
struct ListenOptions {
  std::optional<ServerTlsOptions> tls{};  // none: plaintext
  Compression compression = Compression::inherit;
  uint32_t max_send_message = 0;
  uint32_t max_receive_message = 0;
  uint32_t max_metadata = 0;
  uint32_t max_connections = 0;
  uint32_t max_concurrent_streams = 0;
  uint64_t memory = 0;
  std::chrono::milliseconds keepalive_time{0};
  std::chrono::milliseconds keepalive_timeout{0};
  std::chrono::milliseconds min_ping_interval{0};
  bool ping_without_calls = false;
  std::chrono::milliseconds max_connection_idle{0};
  std::chrono::milliseconds max_connection_age{0};
  std::chrono::milliseconds max_connection_age_grace{0};
  std::string sticky{};
  std::vector<std::string> policies{};
  Switch health = Switch::inherit;
  Switch reflection = Switch::inherit;
  Switch channelz = Switch::inherit;

  bool operator==(const ListenOptions&) const = default;
};

struct CallOptions {
  Shape shape = Shape::bidi;
  Metadata metadata{};
  std::optional<Microseconds> timeout{};  // none: no deadline
  bool wait_for_ready = false;
  Compression compression = Compression::inherit;
  uint32_t max_send_message = 0;  // bytes; 0: the channel's
  uint32_t max_receive_message = 0;
  bool idempotent = false;  // the channel may hedge it
};

/// What COMMAND asks for; see Command in legate.fbs.
struct Command {
  std::string what{};    // "cancel", "drain-worker", "drain-server", "drain"
  uint32_t session = 0;  // cancel, drain-worker
  uint32_t call = 0;     // cancel
  std::string server{};  // drain-server
};

}  // namespace legate::client
