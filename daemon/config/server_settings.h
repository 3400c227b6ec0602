#pragma once
// A gRPC server of the daemon: a section [servers.NAME] of the configuration, or the address and
// options of a peer's LISTEN. Plain values.

#include <chrono>
#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "daemon/config/channel_settings.h"

namespace legated {

/// The values are those of legate.fbs.
enum class ClientAuth : uint8_t { none = 0, request = 1, require = 2 };

/// Numbers that are 0 leave the daemon's default, or else gRPC's, unless said otherwise. Sizes in
/// bytes.
struct ServerSettings {
  using Milliseconds = std::chrono::milliseconds;

  // Where: "host:port", "[v6-address]:port", "unix:/path", "systemd:NAME" for a socket that the
  // service manager has opened. A peer's LISTEN has one.
  std::vector<std::string> addresses;
  uint32_t unix_mode = 0;       // permission bits of Unix sockets; 0: inbound.unix_mode
  bool serve_at_start = false;  // answer before a worker has sent SERVE

  // TLS. PEM text comes from peers, paths from the configuration; never both.
  bool tls = false;
  std::string tls_certificate;
  std::string tls_key;
  std::string tls_client_roots;
  std::string tls_certificate_file;  // files are read again when they have changed
  std::string tls_key_file;
  std::string tls_client_roots_file;
  ClientAuth tls_client_auth = ClientAuth::none;
  std::chrono::seconds tls_refresh{10};  // between looks at the files

  // Messages
  Compression compression = Compression::identity;  // of answers
  uint32_t max_send_message = 0;  // 0: limits.max_message
  uint32_t max_receive_message = 0;
  uint32_t max_metadata = 0;  // 0: limits.max_metadata

  // Connections
  uint32_t max_connections = 0;         // 0: inbound.max_connections
  uint32_t max_concurrent_streams = 0;  // 0: inbound.max_concurrent_streams
  uint64_t memory = 0;                  // of gRPC for them all; 0: inbound.memory
  Milliseconds keepalive_time{0};
  Milliseconds keepalive_timeout{0};
  Milliseconds min_ping_interval{0};
  bool ping_without_calls = false;
  Milliseconds max_connection_idle{0};
  Milliseconds max_connection_age{0};
  Milliseconds max_connection_age_grace{0};

  // Calls
  std::string sticky;                 // metadata key; empty: none
  std::vector<std::string> policies;  // in the order in which they run; docs/policies.md
  bool access_log = false;            // an event in the log for each call

  // Services of the daemon itself
  bool health = true;
  bool reflection = true;
  bool channelz = false;  // tells everyone who asks about connections and channels

  auto operator<=>(const ServerSettings&) const = default;
};

}  // namespace legated
