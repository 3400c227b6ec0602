#pragma once
// The greeter as plain gRPC C++ has it, without legated: a server to call, and calls of a stub.
// What a remote party of legated's looks like.

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <vector>

#include "greeter.grpc.pb.h"

namespace legated::greeter::v1 {

/// A Greeter on a free port of 127.0.0.1, until it is destroyed. Threads are gRPC's own.
class GrpcGreeter {
 public:
  /// Throws std::runtime_error when the port can't be had.
  GrpcGreeter();
  ~GrpcGreeter();

  int port() const { return port_; }

 private:
  std::unique_ptr<Greeter::Service> service_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

/// What came of a call: its messages in order, and how it ended.
struct Outcome {
  std::vector<std::string> messages;
  std::string error;  // empty for OK
};

/// Calls of a stub, one for each shape. Wait for the end, at most five seconds.
Outcome grpc_say_hello(Greeter::Stub& stub, const std::string& name);
Outcome grpc_collect_hellos(Greeter::Stub& stub, const std::vector<std::string>& names);
Outcome grpc_list_hellos(Greeter::Stub& stub, const std::string& name, uint32_t count);
Outcome grpc_chat(Greeter::Stub& stub, const std::vector<std::string>& names);

}  // namespace legated::greeter::v1
