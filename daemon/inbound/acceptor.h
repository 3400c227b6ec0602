#pragma once
// How a connection that the daemon has accepted itself gets into a gRPC server, with TLS or without.
// The loop's thread.
//
// gRPC's C++ library has this as AddExternalConnectionAcceptor; below it is a server argument in
// which gRPC's C library leaves a pointer to the interface declared here. The interface is internal to
// gRPC, so it is used with the one version of which it is known, 1.51 (grpc_version_string() 29.…).
// With any other, connections are handed over by grpc_server_add_channel_from_fd, which is public and
// does plaintext only: a server with TLS does not start then, and what it accepts is outside of the
// server's memory quota.

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>

#include <string>

#include "daemon/core/status.h"

struct grpc_byte_buffer;

namespace grpc_core {

class TcpServerFdHandler {
 public:
  virtual ~TcpServerFdHandler() = default;
  /// Takes `fd`. `pending` is what was read of it already, or null.
  virtual void Handle(int listener, int fd, grpc_byte_buffer* pending) = 0;
};

}  // namespace grpc_core

namespace legated {

class Acceptor {
 public:
  explicit Acceptor(std::string grpc_version = grpc_version_string());
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;

  /// For grpc_server_create; this must outlive the server.
  grpc_arg argument();

  /// Once, before the server is started. Not OK: gRPC will not. `tls`: the credentials are for it.
  [[nodiscard]] Status attach(grpc_server* server, grpc_server_credentials* credentials, bool tls);

  /// gRPC takes the connection `fd` of the listening socket. Only between the server's start and its
  /// shutdown.
  void hand_over(int listener, int fd);

 private:
  const std::string grpc_version_;
  grpc_server* server_ = nullptr;
  grpc_core::TcpServerFdHandler* handler_ = nullptr;  // the server's; null: another gRPC
};

}  // namespace legated
