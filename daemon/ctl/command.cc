// COMMAND: tells the daemon to do something, and waits until it is done.
#include <unistd.h>

#include <condition_variable>
#include <csignal>
#include <iostream>
#include <mutex>
#include <thread>

#include "cpp-client/connection.h"
#include "daemon/ctl/commands.h"
#include "daemon/ctl/table.h"
#include "daemon/ctl/text.h"

namespace legated::ctl {
namespace {

using legate::client::Call;
using legate::client::Code;
using legate::client::Connection;
using legate::client::Role;

constexpr int kStatusBase = 64;
constexpr int kInterrupted = 130;  // as a shell reports SIGINT

void on_interrupt(int) {
  constexpr std::string_view kText = "\nlegatectl: waits no longer; the drain goes on\n";
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, kText.data(), kText.size());
  ::_exit(kInterrupted);
}

/// Cancels the call when the time is over.
class Limit {
 public:
  Limit(Call& call, std::chrono::microseconds timeout)
      : thread_([this, &call, timeout] {
          std::unique_lock lock(mutex_);
          expired_ = !changed_.wait_for(lock, timeout, [&] { return done_; });
          if (expired_) call.cancel();
        }) {}
  ~Limit() { stop(); }
  /// Whether the time was over.
  bool stop() {
    {
      const std::lock_guard lock(mutex_);
      done_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
    return expired_;
  }

 private:
  std::mutex mutex_;  // guards done_
  std::condition_variable changed_;
  bool done_ = false;
  bool expired_ = false;  // the thread's until it has ended
  std::thread thread_;
};

std::string calls_left(const std::string& progress) {
  const Json json = Json::parse(progress, nullptr, /*allow_exceptions=*/false);
  const uint64_t left = json.is_object() ? json.value("left", uint64_t{0}) : 0;
  return std::to_string(left) + (left == 1 ? " call left" : " calls left");
}

}  // namespace

int run_command(const Target& target, const CommandRequest& request) {
  std::optional<std::chrono::microseconds> timeout;
  if (!request.timeout.empty()) {
    timeout = parse_duration(request.timeout);
    if (!timeout) {
      complain("--timeout " + request.timeout + ": want a time such as 2s or 500ms");
      return kFailed;
    }
  }
  const auto connection =
      Connection::dial(target.socket, {.name = "legatectl", .roles = Role::admin});
  const auto call = connection->command({.what = request.what,
                                         .session = request.session,
                                         .call = request.call,
                                         .server = request.server});
  if (request.what != "cancel") std::signal(SIGINT, on_interrupt);
  std::optional<Limit> limit;
  if (timeout) limit.emplace(*call, *timeout);
  std::string last;
  while (const auto progress = call->read()) {
    std::cout << (target.json ? *progress : calls_left(*progress)) << std::endl;
    last = calls_left(*progress);
  }
  const auto status = call->finish();
  if (limit && limit->stop() && status.code == Code::cancelled) {
    complain("not done within " + request.timeout + (last.empty() ? "" : ", " + last) +
             "; the drain goes on");
    return kStatusBase + static_cast<int>(Code::deadline_exceeded);
  }
  if (status.ok()) {
    if (!target.json) std::cout << "done" << std::endl;
    return 0;
  }
  complain("can't " + request.what + ": " + describe(status));
  return connection->closed() && status.origin == legate::client::Origin::ipc
             ? kFailed
             : kStatusBase + static_cast<int>(status.code);
}

}  // namespace legated::ctl
