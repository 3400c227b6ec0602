#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <system_error>

#include "cpp-client/socket.h"
#include "daemon/ctl/commands.h"

namespace legated::ctl {
namespace {

// The socket itself is closed on exec; its copies must not be. When legatectl was started without
// standard streams the socket may be one of these two numbers, and dup2 then leaves the flag alone.
void become_standard_streams(int socket) {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO}) {
    if (::dup2(socket, stream) < 0 || ::fcntl(stream, F_SETFD, 0) < 0) {
      throw std::system_error(errno, std::system_category(), "can't pass the connection on");
    }
  }
}

}  // namespace

int run_attach(const Target& target, const std::vector<std::string>& command) {
  if (command.empty()) {
    complain("attach needs a command: legatectl attach -- COMMAND [ARGS...]");
    return kFailed;
  }
  const auto socket = legate::client::Socket::dial(target.socket);
  become_standard_streams(socket.fd());
  ::setenv("LEGATE_STDIO", "1", /*overwrite=*/1);  // NOLINT(concurrency-mt-unsafe): one thread

  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  ::execvp(arguments.front(), arguments.data());
  const int error = errno;
  complain("can't run " + command.front() + ": " + std::system_category().message(error) +
           "; give a program of the PATH, or its path");
  return error == ENOENT ? kNotFound : kCannotRun;
}

}  // namespace legated::ctl
