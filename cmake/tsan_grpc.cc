// Tells ThreadSanitizer what gRPC guarantees: whatever happened before an operation was started
// happened before its tag comes out of the completion queue, and what happened before credentials
// were made, or were asked last, before they are asked and destroyed. Debian's gRPC is built without the
// sanitizer, which therefore can't see this and would take every completion for a race.
//
// The functions of libgrpc that take or return a tag or a plugin are replaced in front of the library. Only
// executables of the thread preset get this file, see Sanitizers.cmake.

#include <dlfcn.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <sanitizer/tsan_interface.h>

namespace {

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

grpc_event completed(grpc_event event) {
  if (event.type == GRPC_OP_COMPLETE) __tsan_acquire(event.tag);
  return event;
}

/// Credentials between gRPC and the plugin that made them; its own address is the plugin's state.
struct Plugin {
  grpc_metadata_credentials_plugin real;

  static int get_metadata(void* state, grpc_auth_metadata_context context,
                          grpc_credentials_plugin_metadata_cb tell, void* data,
                          grpc_metadata* metadata, size_t* count, grpc_status_code* status,
                          const char** error) {
    __tsan_acquire(state);
    const auto& real = static_cast<Plugin*>(state)->real;
    const int done =
        real.get_metadata(real.state, context, tell, data, metadata, count, status, error);
    __tsan_release(state);
    return done;
  }

  static void destroy(void* state) {
    __tsan_acquire(state);
    auto* const plugin = static_cast<Plugin*>(state);
    plugin->real.destroy(plugin->real.state);
    delete plugin;
  }
};

}  // namespace

extern "C" {

grpc_call_credentials* grpc_metadata_credentials_create_from_plugin(
    grpc_metadata_credentials_plugin plugin, grpc_security_level least, void* reserved) {
  static auto* const real = next<decltype(grpc_metadata_credentials_create_from_plugin)>(
      "grpc_metadata_credentials_create_from_plugin");
  auto* const state = new Plugin{plugin};
  plugin.get_metadata = Plugin::get_metadata;
  plugin.destroy = Plugin::destroy;
  plugin.state = state;
  __tsan_release(state);
  return real(plugin, least, reserved);
}

grpc_call_error grpc_call_start_batch(grpc_call* call, const grpc_op* ops, size_t nops, void* tag,
                                      void* reserved) {
  static auto* const real = next<decltype(grpc_call_start_batch)>("grpc_call_start_batch");
  __tsan_release(tag);
  return real(call, ops, nops, tag, reserved);
}

grpc_call_error grpc_server_request_call(grpc_server* server, grpc_call** call,
                                         grpc_call_details* details,
                                         grpc_metadata_array* request_metadata,
                                         grpc_completion_queue* bound_to,
                                         grpc_completion_queue* notify, void* tag) {
  static auto* const real = next<decltype(grpc_server_request_call)>("grpc_server_request_call");
  __tsan_release(tag);
  return real(server, call, details, request_metadata, bound_to, notify, tag);
}

grpc_call_error grpc_server_request_registered_call(
    grpc_server* server, void* method, grpc_call** call, gpr_timespec* deadline,
    grpc_metadata_array* request_metadata, grpc_byte_buffer** payload,
    grpc_completion_queue* bound_to, grpc_completion_queue* notify, void* tag) {
  static auto* const real =
      next<decltype(grpc_server_request_registered_call)>("grpc_server_request_registered_call");
  __tsan_release(tag);
  return real(server, method, call, deadline, request_metadata, payload, bound_to, notify, tag);
}

void grpc_server_shutdown_and_notify(grpc_server* server, grpc_completion_queue* queue, void* tag) {
  static auto* const real =
      next<decltype(grpc_server_shutdown_and_notify)>("grpc_server_shutdown_and_notify");
  __tsan_release(tag);
  real(server, queue, tag);
}

void grpc_channel_watch_connectivity_state(grpc_channel* channel, grpc_connectivity_state last,
                                           gpr_timespec deadline, grpc_completion_queue* queue,
                                           void* tag) {
  static auto* const real =
      next<decltype(grpc_channel_watch_connectivity_state)>("grpc_channel_watch_connectivity_state");
  __tsan_release(tag);
  real(channel, last, deadline, queue, tag);
}

grpc_event grpc_completion_queue_next(grpc_completion_queue* queue, gpr_timespec deadline,
                                      void* reserved) {
  static auto* const real = next<decltype(grpc_completion_queue_next)>("grpc_completion_queue_next");
  return completed(real(queue, deadline, reserved));
}

grpc_event grpc_completion_queue_pluck(grpc_completion_queue* queue, void* tag,
                                       gpr_timespec deadline, void* reserved) {
  static auto* const real =
      next<decltype(grpc_completion_queue_pluck)>("grpc_completion_queue_pluck");
  return completed(real(queue, tag, deadline, reserved));
}

}  // extern "C"
