#pragma once
// The sockets of one gRPC server: those that listen, and how many connections they have brought. The
// loop's thread.
//
// A connection is gRPC's; a copy of its descriptor stays here to learn of its end, as gRPC shuts a
// connection down before it closes it. While the copy is there, gRPC's epoll may tell of a connection
// that gRPC has closed already; its objects for descriptors are made to take that (a "spurious read
// notification", as it says of its own races).

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "daemon/inbound/listening.h"
#include "daemon/system/loop.h"

namespace legated {

class Port {
 public:
  /// `hand_over` takes the descriptor of a connection, and is told of which listening socket.
  Port(Loop& loop, uint32_t max_connections, std::function<void(int listener, int fd)> hand_over);
  ~Port();
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;

  /// Listens on one more address; its clients wait until accept(). Not OK: why it can't.
  /// `unix_mode`: see listen_on().
  [[nodiscard]] Status listen(const std::string& address, uint32_t unix_mode,
                              const ActivatedSockets& activated);

  /// Takes connections from now on. Idempotent.
  void accept();
  /// Listens no more: clients are refused. Connections stay.
  void close();

  /// With real ports in them.
  const std::vector<std::string>& addresses() const { return addresses_; }
  /// Of the first address; 0 for a Unix socket.
  uint32_t port() const { return port_; }
  size_t connections() const { return connections_.size(); }
  /// Connections closed at once because there were max_connections.
  uint64_t refused() const { return refused_; }

 private:
  /// A listening socket.
  class Socket;
  /// The copy of a connection's descriptor.
  class Connection;

  void on_connection(int listener, int fd);

  Loop& loop_;
  const uint32_t max_connections_;
  const std::function<void(int listener, int fd)> hand_over_;
  std::vector<std::string> addresses_;
  std::vector<std::pair<std::string, uint64_t>> paths_;  // with inodes, to remove at the end
  uint32_t port_ = 0;
  uint64_t refused_ = 0;
  std::vector<std::unique_ptr<Socket>> sockets_;
  std::unordered_map<int, std::unique_ptr<Connection>> connections_;
};

}  // namespace legated
