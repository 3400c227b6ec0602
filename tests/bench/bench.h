#pragma once
// The programs inside legated_bench. Each is one process with one thread of its own, as cheap as it
// can be made, so that what differs between two measurements is the daemon. They end the process
// with an error as soon as one call does not come back as it should.

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace legated::bench {

/// Answers with the request.
inline constexpr char kUnary[] = "/bench.Echo/Unary";
/// Answers with `messages` messages of `bytes` each, as told by the request, a StreamRequest.
inline constexpr char kStream[] = "/bench.Echo/Stream";

/// Answers the first message with itself, and never ends; a worker's only.
inline constexpr char kHold[] = "/bench.Echo/Hold";

/// The request of kStream, as it lies in memory: both ends run on one machine.
struct StreamRequest {
  uint32_t messages;
  uint32_t bytes;
};

/// A call or a connection did not go as it should.
class Failure : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct LoadOptions {
  uint32_t in_flight = 1;
  uint32_t bytes = 64;    // of a message
  uint32_t messages = 0;  // of an answer: 0, unary calls; else streaming ones
  std::chrono::duration<double> warm_up{0.3};
  std::chrono::duration<double> window{1.0};
  uint32_t calls = 0;            // ends the window, when not 0, instead of time
  std::vector<pid_t> processes;  // measured beside this one, in this order
};

/// Answers on `address` until it is killed. Prints "ready" when it can be called.
void run_grpc_echo(const std::string& address);

/// The same behind the daemon: a worker of its port `address`. Prints "ready ADDRESS".
void run_ipc_worker(const std::string& socket, const std::string& address);

/// Calls, `in_flight` at a time; prints the measurement as a line of JSON.
void run_grpc_load(const std::string& target, const LoadOptions& options);
/// Opens so many streams of kHold, prints "ready" once each was answered, and keeps them open until
/// it is killed.
void run_grpc_hold(const std::string& target, uint32_t streams);
void run_grpcpp_load(const std::string& target, const LoadOptions& options);  // unary only
void run_ipc_load(const std::string& socket, const std::string& target, const LoadOptions& options);

}  // namespace legated::bench
