#include "daemon/inbound/acceptor.h"

#include <functional>

namespace legated {
namespace {

// What gRPC does with the port of this name is to make a handler instead of a socket.
constexpr char kName[] = "external:legated";

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

bool Acceptor::attach(grpc_server* server, grpc_server_credentials* credentials) {
  grpc_server_add_http2_port(server, kName, credentials);
  return handler_ != nullptr;
}

}  // namespace legated
