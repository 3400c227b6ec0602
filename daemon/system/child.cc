#include "daemon/system/child.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "daemon/core/metadata.h"

extern char** environ;

namespace legated {
namespace {

constexpr size_t kComplaint = 4096;  // bytes of standard error that are kept

/// Closed unless released.
struct Pipe {
  std::array<int, 2> ends{-1, -1};
  ~Pipe() {
    for (const int fd : ends) {
      if (fd >= 0) close(fd);
    }
  }
  bool open() {
    return pipe2(ends.data(), O_CLOEXEC) == 0 && fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0;
  }
  int release() { return std::exchange(ends[0], -1); }
};

/// posix_spawn() with the daemon's signal mask undone. The error number, or 0.
int spawn(pid_t& pid, const std::vector<std::string>& argv, int output, int errors) {
  std::vector<char*> arguments;
  for (const std::string& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);

  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&files, errors, STDERR_FILENO);
  posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);

  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t signals;
  sigemptyset(&signals);
  posix_spawnattr_setsigmask(&attributes, &signals);
  sigaddset(&signals, SIGPIPE);
  posix_spawnattr_setsigdefault(&attributes, &signals);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(
      &attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);

  const int error =
      posix_spawn(&pid, arguments[0], &files, &attributes, arguments.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  return error;
}

std::string last_line(std::string text) {
  text.erase(text.find_last_not_of(" \t\r\n") + 1);
  const size_t newline = text.rfind('\n');
  return printable(newline == text.npos ? text : text.substr(newline + 1));
}

}  // namespace

Child::Child(Loop& loop, std::chrono::milliseconds timeout, size_t max_output, Done done)
    : loop_(loop),
      timeout_(timeout),
      max_output_(max_output),
      done_(std::move(done)),
      timer_(loop, [this] {
        kill_group("did not end within " + std::to_string(timeout_.count()) + " ms");
      }) {}

Child::~Child() {
  if (pid_ > 0) {
    kill(-pid_, SIGKILL);
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  close_all();
}

std::optional<std::string> Child::start(const std::vector<std::string>& argv) {
  Pipe output;
  Pipe errors;
  if (!output.open() || !errors.open())
    return std::string("can't be given a pipe: ") + std::strerror(errno);
  if (const int error = spawn(pid_, argv, output.ends[1], errors.ends[1]); error != 0) {
    pid_ = -1;
    return std::string("can't be started: ") + std::strerror(error);
  }
  output_ = output.release();
  errors_ = errors.release();
  process_ = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
  if (process_ < 0) return std::string("can't be watched: ") + std::strerror(errno);
  for (const int fd : {process_, output_, errors_}) loop_.watch(fd, EPOLLIN, *this);
  timer_.set(Loop::Clock::now() + timeout_);
  return std::nullopt;
}

void Child::on_ready(uint32_t) {
  if (pid_ < 0) return;  // an event of before the end
  read_output();
  read_complaint();
  siginfo_t info{};
  const int waited = waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG);
  if (waited != 0 || info.si_pid == 0) return;
  pid_ = -1;
  read_output();  // what came before the end
  read_complaint();
  if (result_.problem.empty() && info.si_code != CLD_EXITED)
    result_.problem = "was ended by signal " + std::to_string(info.si_status);
  if (result_.problem.empty() && info.si_status != 0)
    result_.problem = "exited with status " + std::to_string(info.si_status);
  finish();
}

void Child::read_output() {
  std::array<char, 4096> bytes;
  while (output_ >= 0) {
    const ssize_t got = read(output_, bytes.data(), bytes.size());
    if (got < 0) return;  // nothing now
    if (got == 0) {
      loop_.unwatch(output_);
      close(std::exchange(output_, -1));
      return;
    }
    result_.output.append(bytes.data(), static_cast<size_t>(got));
    if (result_.output.size() > max_output_) {
      result_.output.clear();
      loop_.unwatch(output_);
      close(std::exchange(output_, -1));
      kill_group("printed more than " + std::to_string(max_output_) + " bytes");
    }
  }
}

void Child::read_complaint() {
  std::array<char, kComplaint> bytes;
  // Bounded, as a command that never stops writing must not keep the loop.
  for (int i = 0; i < 16 && errors_ >= 0; ++i) {
    const ssize_t got = read(errors_, bytes.data(), bytes.size());
    if (got < 0) return;
    if (got == 0) {
      loop_.unwatch(errors_);
      close(std::exchange(errors_, -1));
      return;
    }
    complaint_.append(bytes.data(), static_cast<size_t>(got));
    if (complaint_.size() > kComplaint) complaint_.erase(0, complaint_.size() - kComplaint);
  }
}

/// The end is then told by the kernel.
void Child::kill_group(std::string why) {
  if (result_.problem.empty()) result_.problem = std::move(why);
  if (pid_ > 0) kill(-pid_, SIGKILL);
}

void Child::finish() {
  timer_.cancel();
  close_all();
  result_.complaint = last_line(std::move(complaint_));
  const Done done = std::move(done_);
  done(std::move(result_));  // may destroy this
}

void Child::close_all() {
  for (int* const fd : {&process_, &output_, &errors_}) {
    if (*fd < 0) continue;
    loop_.unwatch(*fd);
    close(std::exchange(*fd, -1));
  }
}

}  // namespace legated
