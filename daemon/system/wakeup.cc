#include "daemon/system/wakeup.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace legated {

Wakeup::Wakeup(Loop& loop, std::function<void()> action)
    : loop_(loop), action_(std::move(action)), fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  if (fd_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  loop_.watch(fd_, EPOLLIN, *this);
}

Wakeup::~Wakeup() {
  loop_.unwatch(fd_);
  close(fd_);
}

void Wakeup::raise() {
  const uint64_t one = 1;
  [[maybe_unused]] const auto written = write(fd_, &one, sizeof one);
}

void Wakeup::on_ready(uint32_t) {
  uint64_t raised;
  [[maybe_unused]] const auto got = read(fd_, &raised, sizeof raised);
  action_();
}

}  // namespace legated
