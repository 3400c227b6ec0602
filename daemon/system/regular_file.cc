#include "daemon/system/regular_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace legated {

FileText read_regular_file(const std::string& path, size_t most) {
  const auto unreadable = [] { return FileText{{}, std::string("can't be read: ") + std::strerror(errno)}; };
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return unreadable();
  struct Closer {
    int fd;
    ~Closer() { close(fd); }
  } const closer{fd};
  struct stat about {};
  if (fstat(fd, &about) != 0) return unreadable();
  if (!S_ISREG(about.st_mode)) return {{}, "is not a regular file"};
  FileText file{std::string(most + 1, '\0'), {}};
  const ssize_t got = read(fd, file.text.data(), file.text.size());
  if (got < 0) return unreadable();
  if (static_cast<size_t>(got) > most) return {{}, "is longer than " + std::to_string(most) + " bytes"};
  file.text.resize(static_cast<size_t>(got));
  return file;
}

}  // namespace legated
