#include "cpp-client/socket.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

namespace legate::client {
namespace {

std::string remedy(int error) {
  switch (error) {
    case ENOENT: return "is legated running, and is this its socket?";
    case ECONNREFUSED: return "legated has left this socket behind; start it again";
    case EACCES: return "ask for membership of the group that owns the socket";
    default: return "check the path and that legated is running";
  }
}

[[noreturn]] void refuse(const std::string& path, int error) {
  throw DialError("can't connect to legated at " + path + ": " +
                  std::system_category().message(error) + "; " + remedy(error));
}

bool wait(int fd, short events, int timeout_ms) {
  pollfd entry{.fd = fd, .events = events, .revents = 0};
  int ready = 0;
  do {
    ready = ::poll(&entry, 1, timeout_ms);
  } while (ready < 0 && errno == EINTR);
  return ready != 0;
}

}  // namespace

Socket::~Socket() {
  if (fd_ >= 0) ::close(fd_);
}

Socket::Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

Socket& Socket::operator=(Socket&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

Socket Socket::dial(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) refuse(path, ENAMETOOLONG);
  std::memcpy(address.sun_path, path.data(), path.size());

  Socket socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (socket.fd_ < 0) refuse(path, errno);
  int result = 0;
  do {
    result = ::connect(socket.fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  } while (result < 0 && errno == EINTR);
  if (result < 0) refuse(path, errno);
  return socket;
}

ssize_t Socket::send_now(std::span<const uint8_t> bytes) const {
  ssize_t sent = 0;
  do {
    sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? 0 : sent;
}

ssize_t Socket::receive(std::span<uint8_t> buffer) const {
  ssize_t received = 0;
  do {
    received = ::recv(fd_, buffer.data(), buffer.size(), 0);
  } while (received < 0 && errno == EINTR);
  return received;
}

bool Socket::wait_writable(int timeout_ms, bool or_read) const {
  const int events = or_read ? POLLOUT | POLLIN : POLLOUT;
  return wait(fd_, static_cast<short>(events), timeout_ms);
}

bool Socket::wait_readable(int timeout_ms) const { return wait(fd_, POLLIN, timeout_ms); }

void Socket::shut_down() const { ::shutdown(fd_, SHUT_RDWR); }

}  // namespace legate::client
