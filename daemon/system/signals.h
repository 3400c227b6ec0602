#pragma once
// Signals as events of the loop.

#include <functional>

#include "daemon/system/loop.h"

namespace legated {

/// Blocks SIGTERM, SIGINT and SIGHUP for the calling thread and those it starts, and ignores
/// SIGPIPE. First thing in main, before any other thread.
void block_signals();

class Signals final : private Watcher {
 public:
  /// `on_signal` gets SIGTERM, SIGINT or SIGHUP. Throws std::system_error.
  Signals(Loop& loop, std::function<void(int signal)> on_signal);
  ~Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

 private:
  void on_ready(uint32_t events) override;

  Loop& loop_;
  std::function<void(int signal)> on_signal_;
  int fd_;
};

}  // namespace legated
