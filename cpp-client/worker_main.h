#pragma once
// The life of a worker program: dial, listen, serve, and leave in order when asked to.

#include <chrono>
#include <cstdint>
#include <string>

#include "cpp-client/handler_pool.h"
#include "cpp-client/options.h"

namespace legate::client {

struct WorkerOptions {
  std::string name{};       // of the program, in messages and in legatectl
  std::string socket{};     // path of the daemon's
  std::string address{};    // to listen on, such as 127.0.0.1:0
  uint32_t slots = 8;       // calls served at once
  LeaseOptions lease{};     // generation and share
  std::string descriptors{};  // a FileDescriptorSet for reflection; empty: none
  bool print_port = false;  // "listening PORT" to the standard output once calls are served
  std::chrono::milliseconds grace{10'000};  // for handlers that run when it is time to leave
};

/// Serves until SIGTERM, SIGINT, or until legated tells it to retire (not as a suspect: a hanging
/// handler may come back); then takes no more calls, waits for those that run and returns 0.
/// Returns 1, with the reason on the standard error, when it can't begin or the daemon goes away.
/// Call it from main() before any other thread runs: it blocks those signals.
int run_worker(const WorkerOptions& options, Handlers handlers);

}  // namespace legate::client
