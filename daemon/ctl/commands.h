#pragma once
// legatectl's commands. Each runs once, in the main thread, and returns the exit code: 0 when all went
// well, 64 + the gRPC status code of a call that did not, 1 for whatever came before. `attach` leaves
// its process to another program and returns only when it could not.

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "cpp-client/values.h"

namespace legated::ctl {

inline constexpr int kFailed = 1;
inline constexpr int kCannotRun = 126;  // as shells do
inline constexpr int kNotFound = 127;

struct Target {
  std::string socket;  // path of the daemon's socket
  bool json = false;   // print JSON rather than text for people
};

/// A message given on the command line.
struct Input {
  bool hex = false;
  std::string text;  // "@file" and "@-" name a file and the standard input
};

struct CallRequest {
  std::string target;
  std::string method;
  std::vector<Input> messages;
  bool tls = false;
  std::string ca;  // paths of PEM files
  std::string certificate;
  std::string key;
  std::string server_name;
  std::string authority;
  std::vector<std::string> headers;  // "key:value"
  std::string timeout;               // empty: no deadline
  bool wait_for_ready = false;
  std::optional<legate::client::Shape> shape;
  std::string out = "raw";  // "raw", "hex" or "@file"
  bool verbose = false;
};

/// "status", "channels", "calls", "workers".
int run_query(const Target& target, const std::string& what);
int run_ping(const Target& target, int count);
int run_call(const Target& target, const CallRequest& request);
/// Connects, and becomes `command` with the connection as its standard input and output and
/// LEGATE_STDIO=1 in its environment. The connection is blocking, and HELLO has not been sent.
int run_attach(const Target& target, const std::vector<std::string>& command);

/// Prints "legatectl: …" to the standard error.
void complain(const std::string& text);

}  // namespace legated::ctl
