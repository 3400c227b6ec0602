#pragma once
// UnaryServer: a real gRPC C++ server of unary methods of any name, which are answered by a function
// of the test. For tests that ask what a server is sent, and how often.

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace legated::test {

class UnaryServer {
 public:
  using Metadata = std::vector<std::pair<std::string, std::string>>;  // sorted by key

  struct Request {
    uint64_t number;  // 1, 2 … in the order of arrival, attempts counted each
    std::string method;
    std::string authority;
    std::string peer;
    Metadata metadata;
    std::string message;

    /// The values of `key`, separated by commas; "-" when there is none.
    std::string value(const std::string& key) const;
  };

  struct Answer {
    grpc::StatusCode code = grpc::StatusCode::OK;
    std::string text{};  // the message, or that of the status
    Metadata headers{};
    Metadata trailers{};
    bool hang = false;  // no answer until the call is cancelled
  };

  /// On any thread, many at once.
  using Script = std::function<Answer(const Request& request)>;

  struct Options {
    std::string address = "127.0.0.1:0";
    std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials();
    grpc_compression_algorithm compression = GRPC_COMPRESS_NONE;  // of answers
    std::vector<std::pair<std::string, int>> arguments{};
  };

  UnaryServer(Script script, Options options);
  explicit UnaryServer(Script script = echo) : UnaryServer(std::move(script), Options{}) {}
  ~UnaryServer();

  /// Answers with the same message.
  static Answer echo(const Request& request) { return {.text = request.message}; }

  const std::string& address() const { return address_; }
  std::vector<Request> requests() const;
  uint64_t count() const;
  /// The request that came last; a failure of the test when there was none.
  Request last() const;

 private:
  struct Service;
  class Call;
  std::unique_ptr<Service> service_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

}  // namespace legated::test
