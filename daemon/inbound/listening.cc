#include "daemon/inbound/listening.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "daemon/telemetry/log.h"

namespace legated {
namespace {

constexpr int kBacklog = 4096;  // the system's own bound is usually lower
constexpr std::string_view kUnix = "unix:";
constexpr std::string_view kAbstract = "unix-abstract:";
constexpr std::string_view kActivated = "systemd:";
constexpr char kForms[] =
    "give \"IPV4:PORT\", \"[IPV6]:PORT\", \"localhost:PORT\", \"unix:PATH\" or \"systemd:NAME\"; port 0 "
    "for any";

/// A socket address of any family.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;

  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

struct HostPort {
  std::string host;
  uint16_t port = 0;
};

std::optional<HostPort> split(std::string_view address) {
  const size_t colon = address.rfind(':');
  if (colon == address.npos || colon == 0) return std::nullopt;
  std::string_view host = address.substr(0, colon);
  const std::string_view port = address.substr(colon + 1);
  const bool digits = !port.empty() && port.size() <= 5 &&
                      std::ranges::all_of(port, [](char c) { return c >= '0' && c <= '9'; });
  if (!digits || std::stoi(std::string(port)) > 65'535) return std::nullopt;
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
    if (host.find(':') == host.npos) return std::nullopt;
  } else if (host.find(':') != host.npos) {
    return std::nullopt;
  }
  return HostPort{std::string(host), static_cast<uint16_t>(std::stoi(std::string(port)))};
}

std::optional<SocketAddress> internet(const std::string& host, uint16_t port) {
  SocketAddress address;
  auto& v4 = reinterpret_cast<sockaddr_in&>(address.storage);
  if (inet_pton(AF_INET, host.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    address.length = sizeof v4;
    return address;
  }
  auto& v6 = reinterpret_cast<sockaddr_in6&>(address.storage);
  if (inet_pton(AF_INET6, host.c_str(), &v6.sin6_addr) != 1) return std::nullopt;
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  address.length = sizeof v6;
  return address;
}

std::optional<SocketAddress> unix_socket(std::string_view address) {
  const bool abstract = address.starts_with(kAbstract);
  const std::string_view name = address.substr(abstract ? kAbstract.size() : kUnix.size());
  SocketAddress socket;
  auto& un = reinterpret_cast<sockaddr_un&>(socket.storage);
  if (name.empty() || name.size() + 1 > sizeof un.sun_path) return std::nullopt;
  un.sun_family = AF_UNIX;
  std::memcpy(un.sun_path + (abstract ? 1 : 0), name.data(), name.size());
  socket.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size() + 1);
  return socket;
}

Status failure(const std::string& address, const std::string& why) {
  return {StatusCode::failed_precondition, "can't listen on \"" + address + "\": " + why,
          Origin::daemon, {}};
}

/// A path that nobody listens on any more is free again. Empty: it is, or was never taken.
std::string free_path(SocketAddress& address) {
  const auto& un = reinterpret_cast<const sockaddr_un&>(address.storage);
  struct stat found {};
  if (lstat(un.sun_path, &found) != 0) return {};
  if (!S_ISSOCK(found.st_mode)) return "the path exists and is not a socket";
  const int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const bool taken = connect(probe, address.get(), address.length) == 0 || errno == EAGAIN;
  close(probe);
  if (taken) return "another process listens on it";
  return unlink(un.sun_path) == 0 ? "" : std::string("the stale socket: ") + std::strerror(errno);
}

/// bind() of a Unix socket. The mode is there before the name is: nobody can connect in between.
int bind_with_mode(int fd, SocketAddress& address, uint32_t mode) {
  const mode_t mask = umask(0);
  const int result = fchmod(fd, mode) == 0 ? bind(fd, address.get(), address.length) : -1;
  const int error = errno;
  umask(mask);
  errno = error;
  return result;
}

/// The descriptor, or -1 with errno.
int bind_and_listen(SocketAddress& address, uint32_t unix_mode = 0) {
  const int fd =
      socket(address.get()->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  const int one = 1, zero = 0;
  if (address.get()->sa_family != AF_UNIX) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  // [::] is every address, of either family.
  if (address.get()->sa_family == AF_INET6)
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
  const int bound = address.get()->sa_family == AF_UNIX ? bind_with_mode(fd, address, unix_mode)
                                                        : bind(fd, address.get(), address.length);
  if (bound == 0 && listen(fd, kBacklog) == 0) return fd;
  const int error = errno;
  close(fd);
  errno = error;
  return -1;
}

uint16_t port_of(int fd) {
  SocketAddress bound;
  bound.length = sizeof bound.storage;
  if (getsockname(fd, bound.get(), &bound.length) != 0) return 0;
  switch (bound.get()->sa_family) {
    case AF_INET: return ntohs(reinterpret_cast<sockaddr_in&>(bound.storage).sin_port);
    case AF_INET6: return ntohs(reinterpret_cast<sockaddr_in6&>(bound.storage).sin6_port);
    default: return 0;
  }
}

std::variant<Listening, Status> listen_on_port(const std::string& address, const HostPort& where) {
  const bool local = where.host == "localhost";
  Listening made;
  uint16_t port = where.port;
  for (const std::string& host :
       local ? std::vector<std::string>{"127.0.0.1", "::1"} : std::vector<std::string>{where.host}) {
    auto socket_address = internet(host, port);
    const int fd = bind_and_listen(*socket_address);
    if (fd >= 0) {
      made.sockets.push_back(fd);
      port = port_of(fd);
      continue;
    }
    // A machine without IPv6 has a localhost all the same.
    if (local && !made.sockets.empty() && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL)) continue;
    const std::string why = std::strerror(errno);
    for (const int other : made.sockets) close(other);
    return failure(address, why);
  }
  made.port = port;
  made.address = address.substr(0, address.rfind(':') + 1) + std::to_string(port);
  return made;
}

std::variant<Listening, Status> listen_on_path(const std::string& address, uint32_t mode) {
  auto socket_address = unix_socket(address);
  const bool abstract = address.starts_with(kAbstract);
  if (!abstract) {
    if (const std::string why = free_path(*socket_address); !why.empty())
      return failure(address, why);
  }
  const int fd = bind_and_listen(*socket_address, mode);
  if (fd < 0) return failure(address, std::strerror(errno));
  Listening made{.sockets = {fd}, .address = address, .port = 0, .path = {}};
  struct stat found {};
  if (!abstract && lstat(address.c_str() + kUnix.size(), &found) == 0) {
    made.path = address.substr(kUnix.size());
    made.inode = found.st_ino;
  }
  return made;
}

std::variant<Listening, Status> listen_on_activated(const std::string& address,
                                                    const ActivatedSockets& activated) {
  const std::string name = address.substr(kActivated.size());
  Listening made{.sockets = {}, .address = address, .port = 0, .path = {}};
  // Copies: the service manager's own stay, so that clients wait when the server comes again.
  for (const int fd : activated.named(name)) {
    const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0) return failure(address, std::strerror(errno));
    made.sockets.push_back(copy);
    if (made.port == 0) made.port = port_of(copy);
  }
  if (made.sockets.empty())
    return failure(address, "the service manager has opened no such socket; it opened " +
                                activated.names());
  return made;
}

}  // namespace

std::string refuse_address(std::string_view address) {
  for (const char c : address) {
    if (c <= 0x20 || c >= 0x7f) return "the address must be printable ASCII without spaces";
  }
  if (address.size() > 512) return "the address is longer than 512 bytes";
  const std::string shown = "\"" + std::string(address) + "\" ";
  if (address.starts_with(kActivated))
    return address.size() > kActivated.size() ? "" : shown + "lacks a name; " + kForms;
  if (address.starts_with(kUnix) || address.starts_with(kAbstract))
    return unix_socket(address) ? "" : shown + "must have a path of 1 to 107 bytes";
  const auto where = split(address);
  if (where && (where->host == "localhost" || internet(where->host, where->port))) return {};
  return shown + "is not an address; " + kForms;
}

ActivatedSockets::ActivatedSockets() {
  char** names = nullptr;
  const int count = sd_listen_fds_with_names(/*unset_environment=*/1, &names);
  for (int i = 0; i < count; ++i) {
    const int fd = SD_LISTEN_FDS_START + i;
    if (sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) > 0) {
      fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
      sockets_[names[i]].push_back(fd);
    } else {
      log::warn("activated_socket_unused", {{"name", names[i]}, {"reason", "no stream that listens"}});
      close(fd);
    }
    std::free(names[i]);
  }
  std::free(names);
}

ActivatedSockets::~ActivatedSockets() {
  for (const auto& [name, sockets] : sockets_) {
    for (const int fd : sockets) close(fd);
  }
}

const std::vector<int>& ActivatedSockets::named(const std::string& name) const {
  static const std::vector<int> none;
  const auto found = sockets_.find(name);
  return found == sockets_.end() ? none : found->second;
}

std::string ActivatedSockets::names() const {
  std::string names;
  for (const auto& [name, sockets] : sockets_) names += (names.empty() ? "" : ", ") + name;
  return names.empty() ? "none" : names;
}

std::variant<Listening, Status> listen_on(const std::string& address, uint32_t unix_mode,
                                          const ActivatedSockets& activated) {
  if (std::string why = refuse_address(address); !why.empty())
    return Status{StatusCode::invalid_argument, std::move(why), Origin::daemon, {}};
  if (address.starts_with(kActivated)) return listen_on_activated(address, activated);
  if (const auto where = split(address); where && !address.starts_with("unix"))
    return listen_on_port(address, *where);
  return listen_on_path(address, unix_mode);
}

void remove_path(const std::string& path, uint64_t inode) {
  struct stat found {};
  if (lstat(path.c_str(), &found) == 0 && found.st_ino == inode) unlink(path.c_str());
}

}  // namespace legated
