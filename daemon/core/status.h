#pragma once
// gRPC status codes and the status of a call as legated reports it.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace legated {

enum class StatusCode : uint8_t {
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

/// Who decided how a call ended; the values are those of legate.fbs.
enum class Origin : uint8_t { app = 0, remote = 1, daemon = 2, ipc = 3 };

struct Status {
  StatusCode code = StatusCode::ok;
  std::string message;
  Origin origin = Origin::daemon;
  std::optional<std::string> details;  // bytes of grpc-status-details-bin

  bool ok() const { return code == StatusCode::ok; }
};

/// "RESOURCE_EXHAUSTED" and so on.
std::string_view name(StatusCode code);
/// The code of that name.
std::optional<StatusCode> status_code(std::string_view name);

/// A code as it came from a peer or from the wire. Above 16: UNKNOWN, and the number is put before
/// the message.
Status status_from_wire(uint32_t code, std::string message, Origin origin);

}  // namespace legated
