#include "daemon/inbound/acceptor.h"

#include <grpc/grpc_posix.h>

#include <functional>
#include <string_view>
#include <utility>

#include "daemon/telemetry/log.h"

namespace legated {
namespace {

// What gRPC does with the port of this name is to make a handler instead of a socket.
constexpr char kName[] = "external:legated";

// gRPC's core counts on its own: 29 belongs to 1.51.
constexpr std::string_view kKnownVersion = "29.";

}  // namespace

grpc_arg Acceptor::argument() {
  static constexpr grpc_arg_pointer_vtable kBorrowed = {
      .copy = [](void* pointer) { return pointer; },
      .destroy = [](void*) {},
      .cmp = [](void* a, void* b) { return std::less<void*>()(a, b) ? -1 : a == b ? 0 : 1; },
  };
  grpc_arg arg{};
  arg.type = GRPC_ARG_POINTER;
  arg.key = const_cast<char*>(kName);
  arg.value.pointer.p = &handler_;
  arg.value.pointer.vtable = &kBorrowed;
  return arg;
}

Acceptor::Acceptor(std::string grpc_version) : grpc_version_(std::move(grpc_version)) {}

Status Acceptor::attach(grpc_server* server, grpc_server_credentials* credentials, bool tls) {
  server_ = server;
  if (grpc_version_.starts_with(kKnownVersion)) {
    grpc_server_add_http2_port(server, kName, credentials);
    if (handler_ != nullptr) return {};
    return {StatusCode::internal, "gRPC takes no connections from outside; the log has its reason",
            Origin::daemon, {}};
  }
  log::warn("grpc_unknown", {{"version", grpc_version_},
                             {"effect", "servers have no TLS, and their connections no quota"}});
  if (!tls) return {};
  return {StatusCode::failed_precondition,
          "this legated does TLS on its ports with gRPC 1.51 only (core 29), and runs with core " +
              grpc_version_ + "; use a legated made for that",
          Origin::daemon,
          {}};
}

void Acceptor::hand_over(int listener, int fd) {
  if (handler_ != nullptr) return handler_->Handle(listener, fd, nullptr);
  grpc_server_credentials* const plaintext = grpc_insecure_server_credentials_create();
  grpc_server_add_channel_from_fd(server_, fd, plaintext);
  grpc_server_credentials_release(plaintext);
}

}  // namespace legated
