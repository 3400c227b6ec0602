#pragma once
// Everything about the daemon that can be set. Plain values: filled in once by load()
// (daemon/config/load.h), const from then on, and therefore shared by all threads without a lock.
// The keys' names, ranges and help are one table, in daemon/config/keys.cc; the defaults are here
// and nowhere else.

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "daemon/config/channel_settings.h"
#include "daemon/config/server_settings.h"

namespace legated {

enum class LogLevel : uint8_t { trace, debug, info, warn, error, off };
enum class LogFormat : uint8_t { text, json };

/// Who may have a role. Names are looked up by whoever applies the rule, since users may appear
/// after the start.
struct AccessRule {
  enum class Kind : uint8_t { anyone, uid, gid, user, group };
  Kind kind = Kind::anyone;
  uint32_t id = 0;   // for uid and gid
  std::string name;  // for user and group

  bool operator==(const AccessRule&) const = default;
};

struct Config {
  /// The Unix socket and what one connection may hold. The windows and limits are told to the peer
  /// in HELLO_ACK.
  struct Ipc {
    // Path. load() makes it $XDG_RUNTIME_DIR/legated.sock when that variable is set: the directory
    // is private already.
    std::string socket = "/run/legated/legated.sock";
    // Permission bits, set before bind: only the daemon's own user may dial unless the operator
    // says otherwise.
    uint32_t mode = 0600;
    // Connections. Hundreds of processes on a machine are many, and each may hold a memory budget.
    uint32_t max_connections = 256;
    // Connections that have not said HELLO. Honest peers say it at once; the rest must not use up
    // max_connections.
    uint32_t max_pending_hello = 128;
    // From accept to HELLO. Far above what a loaded machine needs, short enough to shed silent
    // clients.
    std::chrono::milliseconds hello_timeout = std::chrono::seconds(2);
    // Silence before a PING; three intervals end the connection, so a hung peer is gone in half a
    // minute.
    std::chrono::milliseconds heartbeat = std::chrono::seconds(10);
    // A peer that reads nothing for this long while there is something to write is disconnected.
    std::chrono::milliseconds stall_timeout = std::chrono::seconds(30);
    // Bytes of payload in one frame. Large enough to amortise the header, small enough to share the
    // pipe fairly.
    uint32_t max_frame = 64 * 1024;
    // Bytes of credit per call. Four frames in flight keep a local socket busy.
    uint32_t call_window = 256 * 1024;
    // Bytes of credit per connection: 16 calls at full window.
    uint32_t connection_window = 4 * 1024 * 1024;
    // Bytes of messages held for one connection: 16 messages of the largest size.
    uint64_t memory_budget = 64 * 1024 * 1024;
    // Calls open at once on one connection, per direction.
    uint32_t max_calls = 10'000;
    // Channels of one connection; equal ones are shared, but each has an entry.
    uint32_t max_channels = 1000;
  } ipc;

  /// Who may have which role. Empty: root and the daemon's own user.
  struct Access {
    std::vector<AccessRule> client;  // calls out
    std::vector<AccessRule> worker;  // listens and serves
    std::vector<AccessRule> admin;   // queries the daemon
  } access;

  /// Sizes of what passes through, in either direction.
  struct Limits {
    // Bytes of one message. gRPC's own default.
    uint32_t max_message = 4 * 1024 * 1024;
    // Bytes of keys and values of one metadata list. Fits the 128 KiB of a frame's meta with its
    // overhead.
    uint32_t max_metadata = 64 * 1024;
    // Bytes of one gRPC stream under way that nobody has asked for yet: 10 MB/s over 100 ms.
    uint32_t stream_window = 1024 * 1024;
  } limits;

  /// Calls that leave the daemon.
  struct Outbound {
    // Tries of one call, whatever a channel asks for. 1 forbids retries; gRPC takes no more than 5.
    uint32_t max_attempts = 5;
  } outbound;

  /// Channels by name, which processes open as "legated:///NAME".
  std::map<std::string, ChannelSettings> channels;

  /// Servers by name, which processes join as "legated:///NAME".
  std::map<std::string, ServerSettings> servers;

  /// Calls that arrive at the daemon's gRPC ports.
  struct Inbound {
    // Calls waiting per pool for a free slot. Beyond it a caller does better to try elsewhere.
    uint32_t queue = 1000;
    // Wait of a pool's oldest call from which on the newest go first: callers that have waited that
    // long are likely to give up, those who have just come are not. 0: the oldest go first always.
    std::chrono::milliseconds overload = std::chrono::seconds(1);
    // Bytes of messages held per server for calls that no worker has accepted: 16 of the largest size.
    uint64_t queue_memory = 64 * 1024 * 1024;
    // A server without workers keeps its calls this long: the restart of a Lean service takes
    // seconds.
    std::chrono::milliseconds hold = std::chrono::seconds(10);
    // A worker that has not answered a cancelled call by then gets no more calls until it has. Far
    // above what a handler needs to notice. 0: it gets them all the same.
    std::chrono::milliseconds suspect = std::chrono::seconds(30);
    // Calls of a lease after which its worker is advised to be replaced, and its age in the same
    // sense; each lease up to a tenth later. 0: never, since a sound program needs it not.
    uint64_t recycle_calls = 0;
    std::chrono::milliseconds recycle_age{0};
    // HTTP/2 streams per gRPC connection. Bounds what one remote client can open at once.
    uint32_t max_concurrent_streams = 1000;
    // gRPC connections per server. Far above what one machine's service has; bounds descriptors.
    uint32_t max_connections = 10'000;
    // Bytes of gRPC's own buffers per server, which are outside of every other bound.
    uint64_t memory = 256 * 1024 * 1024;
    // Permission bits of Unix sockets: only the daemon's own user may connect unless the operator
    // says otherwise.
    uint32_t unix_mode = 0600;
  } inbound;

  struct Shutdown {
    // From SIGTERM to the end of what is still running. Supervisors kill after 30 s or later by
    // default.
    std::chrono::milliseconds grace = std::chrono::seconds(30);
  } shutdown;

  /// How an I/O thread waits. Figures are in docs/; both cost processor time for latency.
  struct Io {
    // Polled this long after the last activity before the thread sleeps. Off: an idle core is worth
    // more to most.
    std::chrono::microseconds spin{0};
    // Times the thread yields the processor before it sleeps, so that what is about to complete
    // joins the same batch.
    uint32_t yield = 0;
  } io;

  struct Log {
    LogLevel level = LogLevel::info;     // quiet at steady state
    LogFormat format = LogFormat::text;  // read by people first
    std::string file;                    // path; empty: standard error, which supervisors collect
  } log;
};

}  // namespace legated
