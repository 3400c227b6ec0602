#include "daemon/core/status.h"

#include <algorithm>
#include <array>

namespace legated {

namespace {

constexpr std::array<std::string_view, 17> kNames = {"OK",
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

}  // namespace

std::string_view name(StatusCode code) { return kNames[static_cast<size_t>(code)]; }

std::optional<StatusCode> status_code(std::string_view name) {
  const auto found = std::ranges::find(kNames, name);
  if (found == kNames.end()) return std::nullopt;
  return static_cast<StatusCode>(found - kNames.begin());
}

Status status_from_wire(uint32_t code, std::string message, Origin origin) {
  if (code <= 16) return {static_cast<StatusCode>(code), std::move(message), origin, {}};
  std::string text = "status code " + std::to_string(code) + " is not one of gRPC's";
  if (!message.empty()) text += ": " + message;
  return {StatusCode::unknown, std::move(text), origin, {}};
}

}  // namespace legated
