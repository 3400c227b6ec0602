#pragma once
// A small file that is read again when it has changed. One owner, one thread.

#include <sys/types.h>

#include <chrono>
#include <ctime>
#include <string>

namespace legated {

class WatchedFile {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr size_t kMaxSize = 1 << 20;  // bytes

  explicit WatchedFile(std::string path) : path_(std::move(path)) {}

  enum class Look { same, changed, failed };
  /// Looks at the file when the last look was a second ago or more. A file that can't be read leaves
  /// the content as it was; problem() says why then.
  Look refresh(Time now);

  const std::string& path() const { return path_; }
  const std::string& content() const { return content_; }
  /// Path and cause; empty: the last look went well.
  const std::string& problem() const { return problem_; }

 private:
  Look read();

  /// What changes with the content, as the file system has it.
  struct Version {
    dev_t device = 0;
    ino_t inode = 0;
    off_t size = -1;
    timespec changed{};
  };

  const std::string path_;
  std::string content_;
  std::string problem_;
  Time looked_ = Time::min();
  Version version_;
};

}  // namespace legated
