#pragma once
// The event loop: sockets, timers and the one gRPC completion queue of the daemon.
//
// gRPC has no descriptor to wait on, and epoll knows nothing of completion queues, so two threads
// wait: the *socket waiter* in epoll_wait, the *completion waiter* in grpc_completion_queue_next.
// All work is done by whichever of them holds the baton (a mutex). The completion waiter then polls
// both sources until neither has anything, so under load it does everything and the other sleeps.
// The socket waiter polls sockets only: gRPC makes every further thread that asks sleep, even one
// that does not want to wait, and the completion waiter comes for the baton when there is something.
// To the rest of the daemon this is a single thread: everything in it is touched only by the holder,
// and needs no lock.
//
// The sockets sit in an inner, level-triggered epoll set. The socket waiter waits for that set in
// an outer one-shot epoll, the gate. A holder leaves with the gate armed: data that came after its
// last poll opens the gate at once, so no wake-up is lost.
//
// A pass: ready sockets -> completions -> due timers -> pumps -> flushes. What a pass produces
// leaves in one write per connection.

#include <grpc/grpc.h>
#include <sys/epoll.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

namespace legated {

class Timer;

/// A gRPC batch under way; its address is the tag. `ok` is gRPC's success flag.
class Completion {
 public:
  virtual void on_complete(bool ok) = 0;

 protected:
  ~Completion() = default;
};

/// Told when its descriptor is ready, with EPOLLIN, EPOLLOUT, EPOLLHUP bits.
class Watcher {
 public:
  virtual void on_ready(uint32_t events) = 0;

 protected:
  ~Watcher() = default;
};

/// Runs at the end of the pass in which it was queued. Destroying it takes it out of the queue.
class EndOfPass {
 public:
  virtual void run() = 0;
  EndOfPass() = default;
  EndOfPass(const EndOfPass&) = delete;
  EndOfPass& operator=(const EndOfPass&) = delete;

 protected:
  virtual ~EndOfPass();

 private:
  friend class Loop;
  std::vector<EndOfPass*>* queue_ = nullptr;
  size_t position_ = 0;
};

class Loop {
 public:
  using Clock = std::chrono::steady_clock;
  using Time = Clock::time_point;

  struct Options {
    std::chrono::microseconds spin{0};  // go on polling this long after the last activity
    uint32_t yield = 0;  // give up the processor this often before sleeping, polling after each
  };

  /// Throws std::system_error when the kernel refuses a descriptor.
  explicit Loop(Options options);
  /// Only after run() has returned and all gRPC operations have completed or been cancelled.
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  /// The time at the start of the pass.
  Time now() const { return now_; }
  grpc_completion_queue* completions() const { return completions_; }

  void watch(int fd, uint32_t events, Watcher& watcher);
  void rewatch(int fd, uint32_t events);
  void unwatch(int fd);

  /// Work on calls: may start gRPC operations and queue flushes.
  void queue_pump(EndOfPass& work) { queue(pumps_, work); }
  /// Writing to connections: after all pumps.
  void queue_flush(EndOfPass& work) { queue(flushes_, work); }

  /// Works until stop(). The calling thread is the socket waiter.
  void run();
  void stop();

  /// Does something while no completion is handled. After run(): the completion waiter still works.
  template <class Work>
  void exclusively(Work&& work) {
    const std::lock_guard lock(baton_);
    work();
  }

  /// Completes what gRPC still has under way, and ends the completion waiter. After run().
  void finish_completions();

 private:
  friend class Timer;
  using Timers = std::multimap<Time, Timer*>;
  enum class Waiter { sockets, completions };

  void wait_for_sockets();
  void wait_for_completions();
  void work_until_dry(Waiter holder);
  bool pass(Waiter holder);
  bool poll_sockets();
  bool drain_completions();
  void run_timers();
  void set_timer_descriptor();
  void end_pass();
  void arm_gate(bool armed);
  static void queue(std::vector<EndOfPass*>& queue, EndOfPass& work);

  Options options_;
  int sockets_ = -1;  // inner epoll set
  int gate_ = -1;     // outer epoll set
  int timer_ = -1;    // timerfd, in the inner set
  int wake_ = -1;     // eventfd, in the inner set: readable for ever after stop()
  grpc_completion_queue* completions_ = nullptr;

  std::mutex baton_;
  std::atomic<bool> completion_waiting_{
      false};  // the completion waiter has an event and wants the baton
  bool gate_armed_ = false;
  std::atomic<bool> stopping_{false};
  std::thread completion_thread_;

  // All below: the holder of the baton.
  Time now_ = Clock::now();
  std::unordered_map<int, Watcher*> watchers_;
  Timers timers_;
  Time timer_set_for_ = Time::max();
  std::vector<EndOfPass*> pumps_;
  std::vector<EndOfPass*> flushes_;
};

/// A one-shot timer. Destroying it cancels it.
class Timer {
 public:
  Timer(Loop& loop, std::function<void()> action) : loop_(loop), action_(std::move(action)) {}
  ~Timer() { cancel(); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  /// Sets or moves it.
  void set(Loop::Time when);
  void cancel();
  bool is_set() const { return set_; }

 private:
  friend class Loop;
  Loop& loop_;
  std::function<void()> action_;
  Loop::Timers::iterator position_;
  bool set_ = false;
};

}  // namespace legated
