#pragma once
// How a connection that the daemon has accepted itself gets into a gRPC server, with TLS or without.
// The loop's thread.
//
// gRPC's C++ library has this as AddExternalConnectionAcceptor; below it is a server argument in
// which gRPC's C library leaves a pointer to the interface declared here. The interface is internal
// to gRPC, so this file is right for the version whose libgrpc.so.29 the daemon is linked to, 1.51,
// and every test that connects to a port tries it.

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>

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
  Acceptor() = default;
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;

  /// For grpc_server_create; this must outlive the server.
  grpc_arg argument();

  /// Once, before the server is started. False: gRPC will not.
  [[nodiscard]] bool attach(grpc_server* server, grpc_server_credentials* credentials);

  /// gRPC takes the connection `fd` of the listening socket. Only between the server's start and its
  /// shutdown.
  void hand_over(int listener, int fd) { handler_->Handle(listener, fd, nullptr); }

 private:
  grpc_core::TcpServerFdHandler* handler_ = nullptr;  // the server's
};

}  // namespace legated
