#pragma once
// ScriptedServer: a real gRPC C++ server of Peer/Unary in this process whose next calls are planned,
// and which tells what it saw of each: for retries, hedging and tokens. In plaintext or with TLS.

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace legated::test {

/// A certificate authority, a server's certificate for localhost and 127.0.0.1, all in PEM. Made
/// anew for each.
struct Pki {
  Pki();
  std::string roots;
  std::string certificate;
  std::string key;
};

class ScriptedServer {
 public:
  /// How one call ends.
  struct Plan {
    int code = 0;
    std::string message{};
    std::vector<std::pair<std::string, std::string>> trailers{};
    bool hold = false;  // not before it is released, or cancelled
  };
  /// What came with one call.
  struct Seen {
    std::string payload;
    std::vector<std::string> authorization;
    std::chrono::steady_clock::time_point when;
    bool cancelled = false;
  };

  /// `address` "127.0.0.1:0" for any port, or "unix:/path". With `pki` it speaks TLS.
  explicit ScriptedServer(const std::string& address = "127.0.0.1:0", const Pki* pki = nullptr);
  ~ScriptedServer();

  const std::string& address() const { return address_; }
  /// For the calls that come next, in order; those after them are answered OK. An OK answer's payload
  /// is the number of the call, from 0.
  void plan(std::vector<Plan> plans);
  std::vector<Seen> calls() const;
  size_t cancelled() const;
  /// Lets held calls end as planned.
  void release();

 private:
  struct Service;
  std::unique_ptr<Service> service_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

}  // namespace legated::test
