#include "cpp-client/values.h"

#include <array>

namespace legate::client {

std::string name(Code code) {
  static constexpr std::array<const char*, 17> kNames = {"OK",
                                                         "CANCELLED",
                                                         "UNKNOWN",
                                                         "INVALID_ARGUMENT",
                                                         "DEADLINE_EXCEEDED",
                                                         "NOT_FOUND",
                                                         "ALREADY_EXISTS",
                                                         "PERMISSION_DENIED",
                                                         "RESOURCE_EXHAUSTED",
                                                         "FAILED_PRECONDITION",
                                                         "ABORTED",
                                                         "OUT_OF_RANGE",
                                                         "UNIMPLEMENTED",
                                                         "INTERNAL",
                                                         "UNAVAILABLE",
                                                         "DATA_LOSS",
                                                         "UNAUTHENTICATED"};
  const auto number = static_cast<size_t>(code);
  return number < kNames.size() ? kNames[number] : "code " + std::to_string(number);
}

Status make_status(Code code, std::string message, Origin origin) {
  Status status;
  status.code = code;
  status.message = std::move(message);
  status.origin = origin;
  return status;
}

std::string describe(const Status& status) {
  if (status.ok()) return "OK";
  return name(status.code) + " (" + EnumNameOrigin(status.origin) + "): " + status.message;
}

}  // namespace legate::client
