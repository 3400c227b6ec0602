#include "daemon/inbound/port.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "daemon/telemetry/log.h"

namespace legated {
namespace {

constexpr int kAcceptsPerPass = 64;  // so that a flood of connections does not starve calls
constexpr std::chrono::seconds kRetry{1};

}  // namespace

class Port::Socket final : private Watcher {
 public:
  Socket(Port& port, int fd)
      : port_(port), fd_(fd), retry_(port.loop_, [this] { port_.loop_.watch(fd_, EPOLLIN, *this); }) {}
  ~Socket() {
    if (watched_ && !retry_.is_set()) port_.loop_.unwatch(fd_);
    ::close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  void accept() {
    if (std::exchange(watched_, true)) return;
    port_.loop_.watch(fd_, EPOLLIN, *this);
  }

 private:
  void on_ready(uint32_t) override {
    for (int i = 0; i < kAcceptsPerPass; ++i) {
      const int fd = accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= 0) {
        port_.on_connection(fd_, fd);
        continue;
      }
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) return;
      // Out of descriptors or memory: a level-triggered socket would make the loop spin.
      log::error("accept_failed",
                 {{"error", std::strerror(errno)},
                  {"retry_ms", std::chrono::milliseconds(kRetry).count()}});
      port_.loop_.unwatch(fd_);
      retry_.set(port_.loop_.now() + kRetry);
      return;
    }
  }

  Port& port_;
  const int fd_;
  bool watched_ = false;
  Timer retry_;
};

class Port::Connection final : private Watcher {
 public:
  Connection(Port& port, int fd) : port_(port), fd_(fd) {
    port_.loop_.watch(fd_, 0, *this);  // the end is told always
  }
  ~Connection() {
    port_.loop_.unwatch(fd_);
    ::close(fd_);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

 private:
  void on_ready(uint32_t events) override {
    if ((events & (EPOLLHUP | EPOLLERR)) != 0) port_.connections_.erase(fd_);  // destroys this
  }

  Port& port_;
  const int fd_;
};

Port::Port(Loop& loop, uint32_t max_connections,
           std::function<void(int listener, int fd)> hand_over)
    : loop_(loop), max_connections_(max_connections), hand_over_(std::move(hand_over)) {}

Port::~Port() { close(); }

Status Port::listen(const std::string& address, uint32_t unix_mode,
                    const ActivatedSockets& activated) {
  auto result = listen_on(address, unix_mode, activated);
  if (auto* status = std::get_if<Status>(&result)) return std::move(*status);
  const auto& made = std::get<Listening>(result);
  for (const int fd : made.sockets) sockets_.push_back(std::make_unique<Socket>(*this, fd));
  if (addresses_.empty()) port_ = made.port;
  addresses_.push_back(made.address);
  if (!made.path.empty()) paths_.emplace_back(made.path, made.inode);
  return {};
}

void Port::accept() {
  for (const auto& socket : sockets_) socket->accept();
}

void Port::close() {
  sockets_.clear();
  for (const auto& [path, inode] : paths_) remove_path(path, inode);
  paths_.clear();
}

void Port::on_connection(int listener, int fd) {
  const int copy = connections_.size() < max_connections_ ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
  if (copy < 0) {
    ++refused_;
    ::close(fd);
    static log::Limited limited(1);
    log::warn(limited, "connection_refused",
              {{"address", addresses_.front()},
               {"connections", static_cast<uint64_t>(connections_.size())},
               {"reason", connections_.size() < max_connections_ ? std::strerror(errno)
                                                                 : "max_connections is reached"}});
    return;
  }
  const int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);  // fails on a Unix socket, harmlessly
  connections_[copy] = std::make_unique<Connection>(*this, copy);
  hand_over_(listener, fd);
}

}  // namespace legated
