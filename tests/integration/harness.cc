#include "tests/integration/harness.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <thread>

#include "tests/support/peer_service.h"

extern char** environ;

namespace legated::test {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kPoll{2};
constexpr size_t kLogShown = 8000;  // bytes of the daemon's log that a failing test prints

[[noreturn]] void fail(const std::string& what, int error) {
  throw std::runtime_error(what + ": " + std::strerror(error));
}

int until(Clock::time_point end) {
  const auto left = std::chrono::ceil<milliseconds>(end - Clock::now()).count();
  return left > 0 ? static_cast<int>(left) : 0;
}

/// Where the daemon says that it is ready, as it says to a service manager.
class Readiness {
 public:
  explicit Readiness(const std::string& path)
      : fd_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    if (::bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      fail("bind " + path, errno);
  }
  ~Readiness() { ::close(fd_); }
  Readiness(const Readiness&) = delete;
  Readiness& operator=(const Readiness&) = delete;

  bool told() const {
    std::array<char, 512> text{};
    const ssize_t got = ::recv(fd_, text.data(), text.size(), 0);
    return got > 0 &&
           std::string_view(text.data(), static_cast<size_t>(got)).starts_with("READY=1");
  }

 private:
  int fd_;
};

std::string content(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string tail(const std::string& text) {
  return text.size() <= kLogShown ? text : "[...]" + text.substr(text.size() - kLogShown);
}

}  // namespace

bool eventually(const std::function<bool()>& condition) {
  const auto end = Clock::now() + kPatience;
  while (!condition()) {
    if (Clock::now() >= end) return false;
    std::this_thread::sleep_for(kPoll);
  }
  return true;
}

std::string program(const std::string& name) {
  // This build's own programs first: the folder of the Go programs, which are built once, beside the
  // release build, may hold others of the same name.
  const auto from = [](const char* variable, const char* otherwise) {
    const char* const folder = std::getenv(variable);
    return std::string(folder != nullptr ? folder : otherwise) + "/";
  };
  std::string path = from("LEGATED_BIN_DIR", LEGATED_DEFAULT_BIN_DIR) + name;
  return std::filesystem::exists(path) ? path
                                       : from("LEGATED_PEER_DIR", LEGATED_DEFAULT_PEER_DIR) + name;
}

// ---- TempDir -----------------------------------------------------------------------------------

TempDir::TempDir() {
  std::string pattern = (std::filesystem::temp_directory_path() / "legated-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) fail("mkdtemp " + pattern, errno);
  path_ = pattern;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

// ---- ChildProcess ------------------------------------------------------------------------------

ChildProcess::ChildProcess(std::vector<std::string> arguments, const std::string& stderr_file) {
  std::array<int, 2> pipe{};
  if (pipe2(pipe.data(), O_CLOEXEC) != 0) fail("pipe", errno);
  out_ = pipe[0];

  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, pipe[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&files, STDERR_FILENO, stderr_file.c_str(),
                                   O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  sigset_t all;
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const int error = posix_spawnp(&pid_, argv[0], &files, &attributes, argv.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&attributes);
  ::close(pipe[1]);
  if (error != 0) {
    pid_ = -1;
    ::close(out_);
    fail("start " + arguments.front(), error);
  }
}

ChildProcess::~ChildProcess() {
  if (running()) {
    signal(SIGKILL);
    wait();
  }
  ::close(out_);
}

std::string ChildProcess::line() {
  const auto end = Clock::now() + kPatience;
  size_t newline = 0;
  while ((newline = buffer_.find('\n')) == std::string::npos) {
    pollfd ready{.fd = out_, .events = POLLIN, .revents = 0};
    if (poll(&ready, 1, until(end)) == 0) return {};
    std::array<char, 4096> bytes{};
    const ssize_t got = ::read(out_, bytes.data(), bytes.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return std::exchange(buffer_, {});
    buffer_.append(bytes.data(), static_cast<size_t>(got));
  }
  std::string line = buffer_.substr(0, newline);
  buffer_.erase(0, newline + 1);
  return line;
}

std::string ChildProcess::rest() {
  const auto end = Clock::now() + kPatience;
  for (;;) {
    pollfd ready{.fd = out_, .events = POLLIN, .revents = 0};
    if (poll(&ready, 1, until(end)) == 0) break;
    std::array<char, 4096> bytes{};
    const ssize_t got = ::read(out_, bytes.data(), bytes.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    buffer_.append(bytes.data(), static_cast<size_t>(got));
  }
  return std::exchange(buffer_, {});
}

void ChildProcess::signal(int number) {
  if (running()) kill(pid_, number);
}

bool ChildProcess::running() {
  if (pid_ < 0 || status_ >= 0) return false;
  int status = 0;
  if (waitpid(pid_, &status, WNOHANG) != pid_) return true;
  status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return false;
}

int ChildProcess::wait() {
  eventually([&] { return !running(); });
  return status_;
}

// ---- DaemonProcess -----------------------------------------------------------------------------

DaemonProcess::DaemonProcess(const std::vector<std::string>& settings)
    : socket_(directory_ / "run/legated.sock") {
  const std::string notifications = directory_ / "ready";
  const Readiness ready(notifications);
  // env becomes the daemon. A short grace, so that a test that forgot a call does not wait long in
  // the destructor.
  std::vector<std::string> arguments{"env",
                                     "NOTIFY_SOCKET=" + notifications,
                                     program("legated"),
                                     "run",
                                     "--set",
                                     "shutdown.grace=5s"};
  constexpr std::string_view kSocketKey = "ipc.socket=";
  for (const std::string& setting : settings) {
    if (setting.starts_with(kSocketKey)) socket_ = setting.substr(kSocketKey.size());
    arguments.insert(arguments.end(), {"--set", setting});
  }
  arguments.insert(arguments.end(), {"--set", "ipc.socket=" + socket_});
  process_ = std::make_unique<ChildProcess>(std::move(arguments), directory_ / "log");
  if (!eventually([&] { return ready.told() || !process_->running(); }) || !process_->running())
    throw std::runtime_error("legated does not serve " + socket_ + "; its log:\n" + tail(log()));
}

DaemonProcess::~DaemonProcess() {
  if (!expect_death_) {
    if (!process_->running()) {
      ADD_FAILURE() << "legated died during the test, status " << process_->wait();
    } else {
      process_->signal(SIGTERM);
      const int status = process_->wait();
      EXPECT_EQ(0, status) << "legated did not stop cleanly on SIGTERM"
                           << (status < 0 ? ": it is still running" : "");
    }
  }
  if (testing::Test::HasFailure()) {
    GTEST_LOG_(INFO) << "log of " << socket_ << ":\n" << tail(log());
  }
}

std::string DaemonProcess::log() const { return content(directory_ / "log"); }

uint64_t DaemonProcess::resident() const {
  std::ifstream file("/proc/" + std::to_string(process_->pid()) + "/statm");
  uint64_t total = 0;
  uint64_t resident = 0;
  file >> total >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

std::unique_ptr<legate::client::Connection> DaemonProcess::dial(
    legate::client::Options options) const {
  using legate::client::Role;
  options.roles = Role::client | Role::worker | Role::admin;
  return legate::client::Connection::dial(socket_, std::move(options));
}

// ---- Peers -------------------------------------------------------------------------------------

Worker::Worker(const DaemonProcess& daemon, uint32_t slots, const std::string& listen_at)
    : connection(daemon.dial()) {
  const auto check = [](const char* what, const legate::client::Status& status) {
    if (!status.ok())
      throw std::runtime_error(std::string(what) + ": " + legate::client::describe(status));
  };
  const legate::client::Listening listening = connection->listen(listen_at);
  check("LISTEN", listening.status);
  address = listening.address;
  check("REGISTER", connection->register_methods(listening.server, peer_handlers(), slots).status);
  check("SERVE", connection->serve(listening.server));
}

std::unique_ptr<legate::test::v1::Peer::Stub> stub(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_MAX_METADATA_SIZE, 1024 * 1024);
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetMaxSendMessageSize(-1);
  return legate::test::v1::Peer::NewStub(
      grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
}

}  // namespace legated::test
