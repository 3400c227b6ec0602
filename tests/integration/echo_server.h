#pragma once
// EchoServer: a real gRPC C++ server that knows no .proto: it takes any method and any bytes. For
// answers that no well-behaved service gives, and for messages of an exact length.

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <memory>
#include <string>

namespace legated::test {

class EchoServer {
 public:
  /// Answers each message with the same bytes, and OK after the half-close.
  static constexpr char kEcho[] = "/test.Echo/Echo";
  /// Takes the first message, whose text is a number, and answers that many zero bytes, and OK.
  static constexpr char kZeros[] = "/test.Echo/Zeros";
  /// Answers OK after the half-close, without a message.
  static constexpr char kNothing[] = "/test.Echo/Nothing";
  /// Answers the first message twice, then OK.
  static constexpr char kTwice[] = "/test.Echo/Twice";

  EchoServer();
  ~EchoServer();
  const std::string& address() const { return address_; }
  /// Messages that have arrived.
  uint64_t messages_seen() const;

 private:
  struct Service;
  std::unique_ptr<Service> service_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

}  // namespace legated::test
