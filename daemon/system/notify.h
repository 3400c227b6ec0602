#pragma once
// What the service manager is told (sd_notify); without one, nothing happens. Any thread.

#include <string>

namespace legated {

/// `state` as in sd_notify(3), for example "READY=1".
void notify_service_manager(const std::string& state);

}  // namespace legated
