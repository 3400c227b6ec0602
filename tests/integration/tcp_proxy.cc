#include "tests/integration/tcp_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <map>
#include <stdexcept>

namespace legated::test {
namespace {

constexpr int kTick = 5;  // ms after which the threads look whether they are to stop

uint32_t big_endian(std::string_view bytes) {
  uint32_t value = 0;
  for (const char c : bytes) value = value << 8 | static_cast<unsigned char>(c);
  return value;
}

sockaddr_in loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

int connect_to(const std::string& server) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const auto address =
      loopback(static_cast<uint16_t>(std::stoi(server.substr(server.rfind(':') + 1))));
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return fd;
  ::close(fd);
  return -1;
}

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

}  // namespace

std::vector<WireMessage> messages_in(std::string_view http2, bool of_client) {
  constexpr size_t kPreface = 24;
  constexpr size_t kHeader = 9;
  constexpr size_t kPrefix = 5;  // compressed flag and length, of gRPC
  if (of_client) http2.remove_prefix(std::min(kPreface, http2.size()));
  std::map<uint32_t, std::string> streams;
  std::vector<WireMessage> messages;
  while (http2.size() >= kHeader) {
    const uint32_t length = big_endian(http2.substr(0, 3));
    const bool data = http2[3] == 0;
    std::string& stream = streams[big_endian(http2.substr(5, 4))];
    http2.remove_prefix(kHeader);
    if (http2.size() < length) break;
    if (data) stream += http2.substr(0, length);  // gRPC does not pad
    http2.remove_prefix(length);
    while (stream.size() >= kPrefix) {
      const uint32_t size = big_endian(std::string_view(stream).substr(1, 4));
      if (stream.size() < kPrefix + size) break;
      messages.push_back({.compressed = stream[0] != 0, .bytes = stream.substr(kPrefix, size)});
      stream.erase(0, kPrefix + size);
    }
  }
  return messages;
}

TcpProxy::TcpProxy(const std::string& server)
    : server_(server), listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
  auto address = loopback(0);
  socklen_t length = sizeof address;
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  if (::bind(listener_, generic, length) != 0 || ::listen(listener_, 64) != 0 ||
      ::getsockname(listener_, generic, &length) != 0)
    throw std::runtime_error("no port for a proxy");
  address_ = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  thread_ = std::thread([this] { accept(); });
}

TcpProxy::~TcpProxy() {
  stop_ = true;
  thread_.join();
  for (Link& link : links_) link.thread.join();
  ::close(listener_);
}

void TcpProxy::accept() {
  while (!stop_) {
    pollfd ready{.fd = listener_, .events = POLLIN, .revents = 0};
    if (::poll(&ready, 1, kTick) <= 0) continue;
    const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) continue;
    const int server = cut_ ? -1 : connect_to(server_);
    const int on = 1;
    for (const int fd : {client, server}) ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const std::lock_guard lock(mutex_);
    Link& link = links_.emplace_back(Link{.client = client, .server = server, .to_server = {}, .to_client = {}});
    link.thread = std::thread([this, &link] { pump(link); });
  }
}

void TcpProxy::pump(Link& link) {
  bool open = link.server >= 0;
  while (open && !stop_ && !cut_) {
    std::array<pollfd, 2> ready{{{.fd = link.client, .events = POLLIN, .revents = 0},
                                 {.fd = link.server, .events = POLLIN, .revents = 0}}};
    if (::poll(ready.data(), ready.size(), kTick) <= 0) continue;
    if (ready[0].revents != 0) open = forward(link, true);
    if (open && ready[1].revents != 0) open = forward(link, false);
  }
  ::close(link.client);
  if (link.server >= 0) ::close(link.server);
  const std::lock_guard lock(mutex_);
  link.open = false;
}

bool TcpProxy::forward(Link& link, bool to_server) {
  std::array<char, 65'536> buffer;
  const ssize_t got =
      ::recv(to_server ? link.client : link.server, buffer.data(), buffer.size(), 0);
  if (got <= 0) return false;
  if (frozen_) return true;
  const std::string_view bytes(buffer.data(), static_cast<size_t>(got));
  {
    const std::lock_guard lock(mutex_);
    (to_server ? link.to_server : link.to_client) += bytes;
  }
  return write_all(to_server ? link.server : link.client, bytes);
}

void TcpProxy::cut() { cut_ = true; }

uint64_t TcpProxy::accepted() const {
  const std::lock_guard lock(mutex_);
  return links_.size();
}

uint64_t TcpProxy::open() const {
  const std::lock_guard lock(mutex_);
  uint64_t count = 0;
  for (const Link& link : links_) count += link.open ? 1 : 0;
  return count;
}

uint64_t TcpProxy::bytes_to_server() const {
  const std::lock_guard lock(mutex_);
  uint64_t bytes = 0;
  for (const Link& link : links_) bytes += link.to_server.size();
  return bytes;
}

uint64_t TcpProxy::bytes_to_client() const {
  const std::lock_guard lock(mutex_);
  uint64_t bytes = 0;
  for (const Link& link : links_) bytes += link.to_client.size();
  return bytes;
}

std::vector<WireMessage> TcpProxy::requests() const {
  const std::lock_guard lock(mutex_);
  std::vector<WireMessage> all;
  for (const Link& link : links_)
    for (WireMessage& message : messages_in(link.to_server, true)) all.push_back(std::move(message));
  return all;
}

std::vector<WireMessage> TcpProxy::answers() const {
  const std::lock_guard lock(mutex_);
  std::vector<WireMessage> all;
  for (const Link& link : links_)
    for (WireMessage& message : messages_in(link.to_client, false)) all.push_back(std::move(message));
  return all;
}

}  // namespace legated::test
