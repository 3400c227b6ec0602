#pragma once
// The values the IPC client library speaks in: metadata, status, ids. Plain data, no threads.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ipc-schema/cpp/frame.h"

namespace legate::client {

using Microseconds = std::chrono::microseconds;

/// Keys and values in order; duplicates are separate entries. Values of "-bin" keys are raw bytes.
using Metadata = std::vector<std::pair<std::string, std::string>>;

using ipc::Health;
using ipc::Origin;
using ipc::Role;
using ipc::Shape;

/// gRPC status codes. A worker may send any other number too: `Code{99}`.
enum class Code : uint16_t {
  ok = 0,
  cancelled = 1,
  unknown = 2,
  invalid_argument = 3,
  deadline_exceeded = 4,
  not_found = 5,
  already_exists = 6,
  permission_denied = 7,
  resource_exhausted = 8,
  failed_precondition = 9,
  aborted = 10,
  out_of_range = 11,
  unimplemented = 12,
  internal = 13,
  unavailable = 14,
  data_loss = 15,
  unauthenticated = 16,
};

/// "NOT_FOUND" and so on; "code 99" for a number that has no name.
std::string name(Code code);

/// How a call or a request ended.
struct Status {
  Code code = Code::ok;
  std::string message{};
  std::optional<std::string> details{};  // bytes of grpc-status-details-bin
  Metadata trailers{};
  Origin origin = Origin::app;
  Microseconds elapsed{0};  // from START to STATUS as the daemon measured it; 0 from a worker
  uint32_t attempts = 0;    // times the daemon sent the call off; 0: never, or from a worker

  bool ok() const { return code == Code::ok; }
};

Status make_status(Code code, std::string message, Origin origin = Origin::app);

/// "NOT_FOUND (remote): no such thing".
std::string describe(const Status& status);

/// Objects are named by the id of the request that made them; 0 is none.
struct ChannelId {
  uint32_t value = 0;
};
struct ServerId {
  uint32_t value = 0;
};
struct LeaseId {
  uint32_t value = 0;
};

/// The daemon's limits as HELLO_ACK told them; sizes in bytes.
struct Limits {
  uint32_t max_frame = ipc::kDefaultMaxFrame;
  uint32_t max_meta = ipc::kDefaultMaxMeta;
  uint32_t call_window = ipc::kDefaultCallWindow;
  uint32_t connection_window = ipc::kDefaultConnectionWindow;
  uint32_t max_message = 0;
  uint32_t max_metadata = 0;
  uint32_t max_calls = 0;
  uint64_t memory_budget = 0;
};

/// What HELLO_ACK said.
struct Welcome {
  uint16_t version = 0;
  Role roles = Role::NONE;
  uint32_t session = 0;
  std::string epoch;
  std::string build;
  std::chrono::milliseconds heartbeat{0};
  Limits limits;
};

/// Something that happened to the connection rather than to one call.
struct Event {
  enum class Kind : uint8_t {
    going_away,    // GOAWAY with final = false; `grace` says how long calls may go on
    gone_away,     // GOAWAY with final = true; new calls end UNAVAILABLE
    error,         // the daemon sent ERROR; `lost` follows
    lost,          // the connection is over, for whatever reason; sent once
    object_ended,  // a channel, server or lease ended; `id` says which
    channel_state, // a watched channel changed; `id` says which, `state` to what
    retire,        // a lease should leave; `id` says which, `reason` why
    unsupported,   // the daemon does not know a frame type that was sent
  };
  Kind kind{};
  std::string message{};
  uint32_t id = 0;
  std::chrono::milliseconds grace{0};
  ipc::ConnectivityState state{};
  ipc::RetireReason reason{};
};

}  // namespace legate::client
