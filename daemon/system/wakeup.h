#pragma once
// A call to the loop from another thread.

#include <functional>

#include "daemon/system/loop.h"

namespace legated {

/// Made and destroyed on the loop's thread.
class Wakeup final : private Watcher {
 public:
  /// `action` runs on the loop's thread, once for any number of raise() before it. Throws
  /// std::system_error when the kernel refuses a descriptor.
  Wakeup(Loop& loop, std::function<void()> action);
  ~Wakeup();
  Wakeup(const Wakeup&) = delete;
  Wakeup& operator=(const Wakeup&) = delete;

  /// Any thread.
  void raise();

 private:
  void on_ready(uint32_t events) override;

  Loop& loop_;
  const std::function<void()> action_;
  const int fd_;
};

}  // namespace legated
