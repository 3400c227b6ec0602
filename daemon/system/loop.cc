#include "daemon/system/loop.h"

#include <grpc/support/time.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>

namespace legated {
namespace {

constexpr int kCompletionsPerPass = 256;  // so that sockets are not starved

int checked(int result, const char* what) {
  if (result < 0) throw std::system_error(errno, std::generic_category(), what);
  return result;
}

void add(int set, int fd, uint32_t events) {
  epoll_event event{.events = events, .data = {.fd = fd}};
  checked(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

}  // namespace

EndOfPass::~EndOfPass() {
  if (queue_ != nullptr) (*queue_)[position_] = nullptr;
}

void Loop::queue(std::vector<EndOfPass*>& queue, EndOfPass& work) {
  if (work.queue_ != nullptr) return;
  work.queue_ = &queue;
  work.position_ = queue.size();
  queue.push_back(&work);
}

Loop::Loop(Options options) : options_(options) {
  sockets_ = checked(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  gate_ = checked(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  timer_ = checked(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), "timerfd_create");
  wake_ = checked(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd");
  add(sockets_, timer_, EPOLLIN);
  add(sockets_, wake_, EPOLLIN);
  add(gate_, sockets_, 0);
  grpc_init();
  completions_ = grpc_completion_queue_create_for_next(nullptr);
}

Loop::~Loop() {
  finish_completions();
  grpc_completion_queue_destroy(completions_);
  grpc_shutdown();
  for (const int fd : {sockets_, gate_, timer_, wake_}) close(fd);
}

void Loop::watch(int fd, uint32_t events, Watcher& watcher) {
  watchers_[fd] = &watcher;
  add(sockets_, fd, events);
}

void Loop::rewatch(int fd, uint32_t events) {
  epoll_event event{.events = events, .data = {.fd = fd}};
  checked(epoll_ctl(sockets_, EPOLL_CTL_MOD, fd, &event), "epoll_ctl");
}

void Loop::unwatch(int fd) {
  watchers_.erase(fd);
  epoll_ctl(sockets_, EPOLL_CTL_DEL, fd, nullptr);
}

void Loop::run() {
  completion_thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "completions");
    wait_for_completions();
  });
  wait_for_sockets();
}

void Loop::stop() {
  stopping_ = true;
  const uint64_t one = 1;
  [[maybe_unused]] const auto written = write(wake_, &one, sizeof one);
}

void Loop::finish_completions() {
  if (!completion_thread_.joinable()) return;
  grpc_completion_queue_shutdown(completions_);
  completion_thread_.join();
}

void Loop::wait_for_sockets() {
  {
    const std::lock_guard lock(baton_);
    work_until_dry(Waiter::sockets);
  }
  while (!stopping_) {
    epoll_event event;
    if (epoll_wait(gate_, &event, 1, -1) <= 0) continue;
    const std::lock_guard lock(baton_);
    gate_armed_ = false;
    work_until_dry(Waiter::sockets);
  }
}

void Loop::wait_for_completions() {
  for (;;) {
    const grpc_event event =
        grpc_completion_queue_next(completions_, gpr_inf_future(GPR_CLOCK_MONOTONIC), nullptr);
    if (event.type == GRPC_QUEUE_SHUTDOWN) return;
    completion_waiting_ = true;
    const std::lock_guard lock(baton_);
    completion_waiting_ = false;
    arm_gate(false);
    now_ = Clock::now();
    static_cast<Completion*>(event.tag)->on_complete(event.success != 0);
    work_until_dry(Waiter::completions);
  }
}

void Loop::work_until_dry(Waiter holder) {
  uint32_t yields = 0;
  Time active = now_;
  // A waiting completion thread takes over with the gate still shut: it arms the gate when it is
  // done.
  while (!completion_waiting_) {
    if (pass(holder)) {
      yields = 0;
      active = now_;
    } else if (now_ - active < options_.spin) {
      continue;
    } else if (yields++ < options_.yield) {
      sched_yield();
    } else {
      arm_gate(true);
      return;
    }
  }
}

bool Loop::pass(Waiter holder) {
  now_ = Clock::now();
  bool any = poll_sockets();
  if (holder == Waiter::completions) any |= drain_completions();
  end_pass();
  return any;
}

bool Loop::poll_sockets() {
  std::array<epoll_event, 64> events;
  const int count = epoll_wait(sockets_, events.data(), static_cast<int>(events.size()), 0);
  bool any = false;
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[static_cast<size_t>(i)];
    if (event.data.fd == wake_) continue;  // it is for the socket waiter, through the gate
    any = true;
    if (event.data.fd == timer_) {
      run_timers();
    } else if (const auto found = watchers_.find(event.data.fd); found != watchers_.end()) {
      found->second->on_ready(event.events);
    }
  }
  return any;
}

bool Loop::drain_completions() {
  int count = 0;
  for (; count < kCompletionsPerPass; ++count) {
    const grpc_event event =
        grpc_completion_queue_next(completions_, gpr_inf_past(GPR_CLOCK_MONOTONIC), nullptr);
    if (event.type != GRPC_OP_COMPLETE) break;
    static_cast<Completion*>(event.tag)->on_complete(event.success != 0);
  }
  return count > 0;
}

void Loop::end_pass() {
  const auto run_all = [](std::vector<EndOfPass*>& queue) {
    for (size_t i = 0; i < queue.size(); ++i) {  // grows while it runs
      EndOfPass* const work = queue[i];
      if (work == nullptr) continue;
      work->queue_ = nullptr;
      work->run();
    }
    queue.clear();
  };
  while (!pumps_.empty() || !flushes_.empty()) {
    run_all(pumps_);
    run_all(flushes_);
  }
  set_timer_descriptor();
}

void Loop::run_timers() {
  uint64_t expirations;
  [[maybe_unused]] const auto got = read(timer_, &expirations, sizeof expirations);
  timer_set_for_ = Time::max();
  while (!timers_.empty() && timers_.begin()->first <= now_) {
    Timer* const timer = timers_.begin()->second;
    timer->cancel();
    timer->action_();  // may destroy the timer
  }
}

void Loop::set_timer_descriptor() {
  // A descriptor that fires too early is harmless and cheaper than moving it each time a timer is
  // put off.
  if (timers_.empty() || timers_.begin()->first >= timer_set_for_) return;
  timer_set_for_ = timers_.begin()->first;
  const auto wait =
      std::max<Clock::duration>(timer_set_for_ - Clock::now(), std::chrono::nanoseconds(1));
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(wait);
  const itimerspec spec{
      .it_interval = {},
      .it_value = {.tv_sec = seconds.count(), .tv_nsec = (wait - seconds).count()}};
  checked(timerfd_settime(timer_, 0, &spec, nullptr), "timerfd_settime");
}

void Loop::arm_gate(bool armed) {
  if (gate_armed_ == armed) return;
  gate_armed_ = armed;
  epoll_event event{.events = armed ? uint32_t{EPOLLIN | EPOLLONESHOT} : 0u,
                    .data = {.fd = sockets_}};
  checked(epoll_ctl(gate_, EPOLL_CTL_MOD, sockets_, &event), "epoll_ctl");
}

void Timer::set(Loop::Time when) {
  cancel();
  position_ = loop_.timers_.emplace(when, this);
  set_ = true;
}

void Timer::cancel() {
  if (!set_) return;
  loop_.timers_.erase(position_);
  set_ = false;
}

}  // namespace legated
