#include "daemon/ipc/listener.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <stdexcept>

#include "daemon/telemetry/log.h"

namespace legated {
namespace {

[[noreturn]] void refuse(const std::string& path, const std::string& problem,
                         const std::string& remedy) {
  throw std::runtime_error("socket " + path + ": " + problem + "; " + remedy);
}

[[noreturn]] void refuse_errno(const std::string& path, const std::string& what) {
  const int error = errno;
  refuse(path, what + ": " + std::strerror(error),
         "check ipc.socket and the rights on its directory");
}

bool somebody_listens(const sockaddr_un& address) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const bool connected =
      connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  const bool full = errno == EAGAIN;  // its backlog is
  ::close(fd);
  return connected || full;
}

}  // namespace

Listener::Listener(Loop& loop, std::function<void(int fd)> on_accept)
    : loop_(loop),
      on_accept_(std::move(on_accept)),
      retry_(loop, [this] { loop_.watch(fd_, EPOLLIN, *this); }) {}

void Listener::listen(const std::string& path, uint32_t mode) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    refuse(path, "the path must have 1 to 107 bytes", "choose a shorter ipc.socket");
  }
  std::memcpy(address.sun_path, path.data(), path.size());

  const std::filesystem::path directory = std::filesystem::absolute(path).parent_path();
  std::error_code error;
  if (!std::filesystem::exists(directory, error) && mkdir(directory.c_str(), 0700) != 0) {
    refuse_errno(path, "its directory can't be made");
  }
  struct stat of_directory {};
  if (stat(directory.c_str(), &of_directory) == 0 && (of_directory.st_mode & S_IWOTH) != 0 &&
      (of_directory.st_mode & S_ISVTX) == 0) {
    // Not refused: a volume shared by the containers of a pod is made so.
    log::warn("socket_directory_unsafe",
              {{"directory", directory.string()},
               {"reason", "every user can put another socket in the place of this one"}});
  }
  // The lock settles races between two daemons; the probe finds listeners that take no lock.
  lock_ = open((path + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (lock_ < 0) refuse_errno(path, "its lock file can't be opened");
  if (flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    refuse(path, "another legated serves it", "stop that one, or choose another ipc.socket");
  }
  struct stat found {};
  if (lstat(path.c_str(), &found) == 0) {
    if (!S_ISSOCK(found.st_mode))
      refuse(path, "the path exists and is not a socket",
             "remove it, or choose another ipc.socket");
    if (somebody_listens(address)) {
      refuse(path, "another process listens on it", "stop that one, or choose another ipc.socket");
    }
    if (unlink(path.c_str()) != 0) refuse_errno(path, "the stale socket can't be removed");
    log::info("stale_socket_replaced", {{"path", path}});
  }
  fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd_ < 0) refuse_errno(path, "socket");
  // The mode is there before the name is: nobody can connect in between.
  const mode_t mask = umask(0);
  const bool bound = fchmod(fd_, mode) == 0 &&
                     bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  const int bind_error = errno;
  umask(mask);
  errno = bind_error;
  if (!bound) refuse_errno(path, "bind");
  path_ = path;
  if (lstat(path.c_str(), &found) == 0) inode_ = found.st_ino;
  if (::listen(fd_, 512) != 0) refuse_errno(path, "listen");
  loop_.watch(fd_, EPOLLIN, *this);
}

Listener::~Listener() {
  close();
  struct stat found {};
  if (!path_.empty() && lstat(path_.c_str(), &found) == 0 && found.st_ino == inode_)
    unlink(path_.c_str());
  if (lock_ >= 0) ::close(lock_);
}

void Listener::close() {
  if (fd_ < 0) return;
  retry_.cancel();
  loop_.unwatch(fd_);
  ::close(fd_);
  fd_ = -1;
}

void Listener::on_ready(uint32_t) {
  for (;;) {
    const int fd = accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      on_accept_(fd);
      if (fd_ < 0) return;
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return;
    // Out of descriptors or memory: a level-triggered socket would make the loop spin.
    log::error("accept_failed", {{"error", std::strerror(errno)}, {"retry_ms", 1000}});
    loop_.unwatch(fd_);
    retry_.set(loop_.now() + std::chrono::seconds(1));
    return;
  }
}

}  // namespace legated
