#include "daemon/system/watched_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace legated {
namespace {

constexpr std::chrono::seconds kLookEvery{1};

}  // namespace

WatchedFile::Look WatchedFile::refresh(Time now) {
  if (looked_ != Time::min() && now - looked_ < kLookEvery) return Look::same;
  looked_ = now;
  problem_.clear();
  return read();
}

WatchedFile::Look WatchedFile::read() {
  const auto fail = [&](const std::string& why) {
    problem_ = path_ + " " + why;
    return Look::failed;
  };
  // Not one that blocks, such as a pipe without a writer.
  const int fd = open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return fail(std::string("can't be read: ") + std::strerror(errno));
  struct Closer {
    int fd;
    ~Closer() { close(fd); }
  } const closer{fd};
  struct stat info {};
  if (fstat(fd, &info) != 0) return fail(std::string("can't be read: ") + std::strerror(errno));
  if (!S_ISREG(info.st_mode)) return fail("is not a regular file");
  if (static_cast<size_t>(info.st_size) > kMaxSize) return fail("is longer than 1 MiB");
  const bool same = info.st_dev == version_.device && info.st_ino == version_.inode &&
                    info.st_size == version_.size && info.st_ctim.tv_sec == version_.changed.tv_sec &&
                    info.st_ctim.tv_nsec == version_.changed.tv_nsec;
  if (same) return Look::same;
  std::string text(static_cast<size_t>(info.st_size), '\0');
  const ssize_t got = ::read(fd, text.data(), text.size());
  if (got < 0) return fail(std::string("can't be read: ") + std::strerror(errno));
  text.resize(static_cast<size_t>(got));
  content_ = std::move(text);
  version_ = {info.st_dev, info.st_ino, info.st_size, info.st_ctim};
  return Look::changed;
}

}  // namespace legated
