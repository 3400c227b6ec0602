#pragma once
// DnsServer: answers on a UDP port of 127.0.0.1 what addresses a name has, for targets such as
// "dns://127.0.0.1:PORT/name:1234". It knows every name, and nothing but addresses of IPv4.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace legated::test {

class DnsServer {
 public:
  explicit DnsServer(std::vector<std::string> addresses)
      : fd_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)), addresses_(std::move(addresses)) {
    sockaddr_in own{};
    own.sin_family = AF_INET;
    own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof own;
    auto* const generic = reinterpret_cast<sockaddr*>(&own);
    if (::bind(fd_, generic, length) != 0 || ::getsockname(fd_, generic, &length) != 0)
      throw std::runtime_error("no port for a DNS server");
    port_ = ntohs(own.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  ~DnsServer() {
    stop_ = true;
    thread_.join();
    ::close(fd_);
  }
  DnsServer(const DnsServer&) = delete;
  DnsServer& operator=(const DnsServer&) = delete;

  /// The target that has this server asked for the name, for servers on this port.
  std::string target(const std::string& name, const std::string& port) const {
    return "dns://127.0.0.1:" + std::to_string(port_) + "/" + name + ":" + port;
  }
  void set(std::vector<std::string> addresses) {
    const std::lock_guard lock(mutex_);
    addresses_ = std::move(addresses);
  }
  /// Questions for addresses of IPv4 so far.
  uint64_t asked() const { return asked_; }

 private:
  static constexpr size_t kHeader = 12;
  static constexpr char kTypeA = 1;

  void run() {
    while (!stop_) {
      pollfd ready{.fd = fd_, .events = POLLIN, .revents = 0};
      if (::poll(&ready, 1, 5) <= 0) continue;
      std::array<char, 512> bytes{};
      sockaddr_in client{};
      socklen_t length = sizeof client;
      auto* const generic = reinterpret_cast<sockaddr*>(&client);
      const ssize_t got = ::recvfrom(fd_, bytes.data(), bytes.size(), 0, generic, &length);
      if (got < static_cast<ssize_t>(kHeader)) continue;
      const std::string reply = answer({bytes.data(), static_cast<size_t>(got)});
      ::sendto(fd_, reply.data(), reply.size(), 0, generic, length);
    }
  }

  std::string answer(const std::string& query) {
    const size_t question_end = query.find('\0', kHeader) + 5;  // the name, its type and class
    if (question_end > query.size()) return {};
    std::vector<std::string> found;
    if (query[question_end - 3] == kTypeA) {
      ++asked_;
      const std::lock_guard lock(mutex_);
      found = addresses_;
    }
    std::string reply = query.substr(0, question_end);
    reply[2] = static_cast<char>(0x84);  // an answer, of the authority
    reply[3] = 0;
    reply[7] = static_cast<char>(found.size());
    for (size_t at = 8; at < kHeader; ++at) reply[at] = 0;  // no other records
    for (const std::string& address : found) {
      // The name of the question, type A, class IN, 1 s to live, 4 bytes
      reply += std::string("\xc0\x0c\0\1\0\1\0\0\0\1\0\4", 12);
      in_addr binary{};
      inet_pton(AF_INET, address.c_str(), &binary);
      reply.append(reinterpret_cast<const char*>(&binary), sizeof binary);
    }
    return reply;
  }

  int fd_;
  uint16_t port_ = 0;
  std::mutex mutex_;
  std::vector<std::string> addresses_;  // guarded by mutex_
  std::atomic<uint64_t> asked_ = 0;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

}  // namespace legated::test
