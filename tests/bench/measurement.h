#pragma once
// What a load generator measures: when calls end, and what the processes that take part cost
// meanwhile. A warm-up first, then one window. One thread.

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <iosfwd>
#include <vector>

#include "tests/bench/bench.h"

namespace legated::bench {

class Measurement {
 public:
  using Clock = std::chrono::steady_clock;
  using Time = Clock::time_point;

  explicit Measurement(const LoadOptions& options);

  /// A call that began at `begun` ended at `now` with answers of `bytes` in all.
  void on_call(Time begun, Time now, uint64_t bytes);

  /// The window is over: begin nothing more.
  bool over() const { return phase_ == Phase::over; }

  /// One line of JSON; the processes in their order, this one first. Once it is over.
  void print(std::ostream& out) const;

 private:
  enum class Phase { warm_up, window, over };

  struct Usage {
    double cpu_us = 0;
    uint64_t voluntary = 0;    // context switches, by waiting
    uint64_t involuntary = 0;  // and by being preempted
  };
  static Usage usage_of(pid_t process);
  static double machine_busy_us();

  void begin_window(Time now);
  void end_window(Time now);

  Phase phase_ = Phase::warm_up;
  std::chrono::duration<double> window_;
  const uint32_t calls_wanted_;
  std::vector<pid_t> processes_;
  Time warm_until_;
  Time begun_;
  Time ended_;
  uint64_t bytes_ = 0;
  std::vector<uint32_t> latencies_ns_;
  std::vector<Usage> usage_;  // at the beginning, then the difference
  double busy_us_ = 0;        // likewise
};

}  // namespace legated::bench
