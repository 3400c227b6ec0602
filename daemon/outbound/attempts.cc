#include "daemon/outbound/attempts.h"

#include <grpc/grpc_security.h>

namespace legated {
namespace {

using Count = std::shared_ptr<std::atomic<uint32_t>>;

int count_one(void* state, grpc_auth_metadata_context, grpc_credentials_plugin_metadata_cb, void*,
              grpc_metadata*, size_t* count, grpc_status_code* status, const char** error) {
  (*static_cast<Count*>(state))->fetch_add(1, std::memory_order_relaxed);
  *count = 0;
  *status = GRPC_STATUS_OK;
  *error = nullptr;
  return 1;  // answered
}

}  // namespace

Attempts::Attempts(grpc_call* call) {
  grpc_metadata_credentials_plugin plugin{};
  plugin.get_metadata = count_one;
  plugin.destroy = [](void* state) { delete static_cast<Count*>(state); };
  plugin.state = new Count(count_);
  plugin.type = "legated-attempts";
  // No security is asked for, as nothing is sent.
  grpc_call_credentials* const credentials =
      grpc_metadata_credentials_create_from_plugin(plugin, GRPC_SECURITY_NONE, nullptr);
  grpc_call_set_credentials(call, credentials);
  grpc_call_credentials_release(credentials);
}

}  // namespace legated
