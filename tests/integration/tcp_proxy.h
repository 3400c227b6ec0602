#pragma once
// TcpProxy: stands between the daemon and a server, sees each byte, and can fail as networks do.

#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace legated::test {

/// A gRPC message as it was on the wire.
struct WireMessage {
  bool compressed;    // its flag
  std::string bytes;  // as sent
};

/// The gRPC messages in what one side of a plaintext HTTP/2 connection has sent; those whose last
/// byte is missing are left out.
std::vector<WireMessage> messages_in(std::string_view http2, bool of_client);

class TcpProxy {
 public:
  /// `server`: "127.0.0.1:PORT".
  explicit TcpProxy(const std::string& server);
  ~TcpProxy();
  TcpProxy(const TcpProxy&) = delete;
  TcpProxy& operator=(const TcpProxy&) = delete;

  const std::string& address() const { return address_; }

  /// Connections so far, and those open now.
  uint64_t accepted() const;
  uint64_t open() const;
  /// Bytes of all connections so far.
  uint64_t bytes_to_server() const;
  uint64_t bytes_to_client() const;
  /// Messages of all connections, oldest connection first.
  std::vector<WireMessage> requests() const;
  std::vector<WireMessage> answers() const;

  /// From now on bytes vanish, and connections stay.
  void freeze() { frozen_ = true; }
  /// Closes all connections, also those to come, at once.
  void cut();

 private:
  struct Link {
    int client;
    int server;
    std::string to_server;  // guarded by mutex_
    std::string to_client;
    bool open = true;
    std::thread thread{};
  };

  void accept();
  void pump(Link& link);
  bool forward(Link& link, bool to_server);

  std::string server_;
  std::string address_;
  int listener_;
  std::atomic<bool> frozen_ = false;
  std::atomic<bool> cut_ = false;
  std::atomic<bool> stop_ = false;
  mutable std::mutex mutex_;
  std::list<Link> links_;  // guarded by mutex_
  std::thread thread_;     // last: it uses all of these
};

}  // namespace legated::test
