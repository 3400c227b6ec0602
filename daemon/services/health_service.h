#pragma once
// grpc.health.v1.Health over a HealthState, which must outlive the handlers. The loop's thread.

#include <memory>
#include <string_view>

#include "daemon/inbound/local_call.h"
#include "daemon/services/health_state.h"

namespace legated {

inline constexpr std::string_view kHealthService = "grpc.health.v1.Health";

/// For "Check", "List" and "Watch"; null for another.
std::unique_ptr<LocalHandler> make_health_handler(std::string_view method, HealthState& state);

/// "SERVING" and so on.
const std::string& name(ServingStatus status);

}  // namespace legated
