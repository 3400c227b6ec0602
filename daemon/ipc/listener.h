#pragma once
// The daemon's Unix socket. The loop's thread.

#include <functional>
#include <string>

#include "daemon/system/loop.h"

namespace legated {

class Listener final : private Watcher {
 public:
  /// `on_accept` takes the descriptor.
  Listener(Loop& loop, std::function<void(int fd)> on_accept);
  /// Removes the socket if it is still the one made here.
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  /// Makes the directory (0700) when it is missing and the socket with `mode`. A socket nobody
  /// listens on is replaced, a live one never. Throws std::runtime_error with path, cause and
  /// remedy.
  void listen(const std::string& path, uint32_t mode);

  /// Accepts no more; what was accepted stays.
  void close();

 private:
  void on_ready(uint32_t events) override;

  Loop& loop_;
  std::function<void(int fd)> on_accept_;
  std::string path_;
  uint64_t inode_ = 0;
  int fd_ = -1;
  int lock_ = -1;  // path_.lock, held for as long as the daemon lives
  Timer retry_;    // after the process ran out of descriptors
};

}  // namespace legated
