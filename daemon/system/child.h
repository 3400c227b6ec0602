#pragma once
// A command that is run for what it prints: no shell, the daemon's environment, /dev/null as its
// standard input, no other descriptor of the daemon's, a process group of its own. The loop's
// thread, which waits only until the program is loaded.

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "daemon/system/loop.h"

namespace legated {

class Child final : private Watcher {
 public:
  struct Result {
    std::string output;   // standard output
    std::string problem;  // empty: it exited with 0 in time, and printed no more than it may
    std::string complaint;  // the last line of its standard error, printable and short
  };
  using Done = std::function<void(Result result)>;

  /// `max_output` in bytes. `done` is called once, when the command has ended or was killed for what
  /// it did; it may destroy the child.
  Child(Loop& loop, std::chrono::milliseconds timeout, size_t max_output, Done done);
  /// Kills it, with its process group, when it still runs.
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  /// Why it could not be started; done() is not called then. Once.
  [[nodiscard]] std::optional<std::string> start(const std::vector<std::string>& argv);

 private:
  void on_ready(uint32_t events) override;
  void read_output();
  void read_complaint();
  void kill_group(std::string why);
  void finish();
  void close_all();

  Loop& loop_;
  const std::chrono::milliseconds timeout_;
  const size_t max_output_;
  Done done_;
  Timer timer_;
  pid_t pid_ = -1;  // -1: not running
  int process_ = -1;  // pidfd
  int output_ = -1;
  int errors_ = -1;
  std::string complaint_;
  Result result_;
};

}  // namespace legated
