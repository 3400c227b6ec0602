#pragma once
// How a remote server is reached: a section [channels.NAME] of the configuration, or the target and
// options of a peer's OPEN_CHANNEL. Plain values; equal settings share one gRPC channel.

#include <chrono>
#include <compare>
#include <cstdint>
#include <string>
#include <vector>

namespace legated {

/// The values are those of legate.fbs.
enum class Compression : uint8_t { identity = 1, deflate = 2, gzip = 3 };

/// Numbers that are 0 and texts that are empty leave gRPC's default, unless said otherwise. Sizes in
/// bytes.
struct ChannelSettings {
  using Milliseconds = std::chrono::milliseconds;

  std::string target;
  std::string authority;
  std::string user_agent;

  // TLS. PEM text comes from peers, paths from the configuration; never both.
  bool tls = false;
  std::string tls_roots;  // of roots and roots_file both empty: the system's
  std::string tls_certificate;
  std::string tls_key;
  std::string tls_roots_file;  // files are read again when they have changed
  std::string tls_certificate_file;
  std::string tls_key_file;
  std::chrono::seconds tls_refresh{10};  // between looks at the files
  std::string tls_server_name;

  // A token sent with each call. The text comes from peers, file and command from the configuration;
  // one of them at most.
  std::string token;
  std::string token_file;
  std::vector<std::string> token_command;  // program and arguments
  std::chrono::seconds token_ttl{300};     // use of a token that does not say how long it is good
  std::chrono::seconds token_refresh{10};  // between looks at the file
  Milliseconds token_timeout{10'000};      // of the command
  bool token_plaintext = false;            // may go out without TLS

  // Choice of a backend
  std::string load_balancing = "pick_first";  // unless the service config names a policy
  std::string service_config;  // JSON; excludes retry_attempts

  // Messages
  Compression compression = Compression::identity;
  uint32_t max_send_message = 0;  // 0: limits.max_message
  uint32_t max_receive_message = 0;
  uint32_t max_metadata = 0;  // 0: limits.max_metadata
  // Of the configuration only
  uint32_t max_calls = 0;      // of one process at once; 0: ipc.max_calls
  uint32_t max_in_flight = 0;  // with the server at once, of all processes; 0: no bound

  // Connections
  Milliseconds keepalive_time{0};  // 0: no pings
  Milliseconds keepalive_timeout{0};
  bool keepalive_without_calls = false;
  Milliseconds connect_timeout{0};
  Milliseconds initial_backoff{0};
  Milliseconds max_backoff{0};
  Milliseconds idle_timeout{0};
  Milliseconds dns_interval{0};

  // Retries
  uint32_t retry_attempts = 0;  // calls in all; 0: as the service config says
  Milliseconds retry_initial_backoff{100};
  Milliseconds retry_max_backoff{1000};
  double retry_multiplier = 2;
  std::vector<uint8_t> retry_codes{14};  // UNAVAILABLE
  uint32_t retry_throttle_tokens = 0;    // 0: retries are not throttled
  double retry_throttle_ratio = 0.1;

  // Hedging of unary calls; excludes retries
  uint32_t hedging_attempts = 0;  // in all; 0: none
  Milliseconds hedging_delay{0};
  std::vector<uint8_t> hedging_codes{14};    // UNAVAILABLE
  std::vector<std::string> hedging_methods;  // idempotent, whatever the caller says

  std::vector<std::string> policies;  // in the order in which they run; docs/policies.md

  auto operator<=>(const ChannelSettings&) const = default;
};

}  // namespace legated
