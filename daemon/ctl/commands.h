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
  std::string token_file;  // path
  std::vector<std::string> headers;  // "key:value"
  std::string timeout;               // empty: no deadline
  bool wait_for_ready = false;
  bool idempotent = false;
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

/// What is asked of the daemon, and how long to wait for its end; empty: without end.
struct CommandRequest {
  std::string what;  // as COMMAND has it
  uint32_t session = 0;
  uint32_t call = 0;
  std::string server;
  std::string timeout;
};
/// Prints a line when the number of calls left has changed. Ctrl-C ends the waiting alone.
int run_command(const Target& target, const CommandRequest& request);

/// Prints "legatectl: …" to the standard error.
void complain(const std::string& text);

}  // namespace legated::ctl
