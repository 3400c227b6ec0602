#include "daemon/system/notify.h"

#include <systemd/sd-daemon.h>

namespace legated {

void notify_service_manager(const std::string& state) { sd_notify(0, state.c_str()); }

}  // namespace legated
