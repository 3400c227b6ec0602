// The daemon at rest does nothing.

#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <sstream>
#include <thread>

#include "tests/integration/outgoing.h"
#include "tests/integration/raw_peer.h"

namespace legated::test {
namespace {

using std::chrono::seconds;

/// How often each thread of the process, by its id, went to sleep by itself: each waking is at least
/// a system call.
std::map<pid_t, uint64_t> sleeps(pid_t pid) {
  std::map<pid_t, uint64_t> counts;
  const std::string tasks = "/proc/" + std::to_string(pid) + "/task";
  for (const auto& task : std::filesystem::directory_iterator(tasks)) {
    std::ifstream file(task.path() / "status");
    std::string word;
    while (file >> word) {
      if (word != "voluntary_ctxt_switches:") continue;
      file >> counts[std::stoi(task.path().filename().string())];
    }
  }
  return counts;
}

/// Processor time of the process, in ticks of 10 ms.
uint64_t ticks(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  std::getline(file, line);
  std::istringstream fields(line.substr(line.rfind(')') + 2));
  std::vector<std::string> values{std::istream_iterator<std::string>(fields), {}};
  return std::stoull(values[11]) + std::stoull(values[12]);
}

/// What a process does in some time.
struct Rest {
  uint64_t main;     // how often its main thread, the daemon's loop, woke up
  uint64_t busiest;  // how often the thread did that woke up most
  uint64_t ticks;
};

Rest watch(pid_t pid, milliseconds time) {
  auto before = sleeps(pid);
  const uint64_t ticks_before = ticks(pid);
  std::this_thread::sleep_for(time);  // this is the measurement, not a wait for something
  Rest rest{.main = 0, .busiest = 0, .ticks = ticks(pid) - ticks_before};
  for (const auto& [thread, count] : sleeps(pid)) {
    const uint64_t times = count - before[thread];
    if (thread == pid) rest.main = times;
    rest.busiest = std::max(rest.busiest, times);
  }
  return rest;
}

bool sanitized() { return std::getenv("LEGATED_SANITIZER") != nullptr; }

struct Idle : Outgoing {
  pid_t pid() { return daemon.process().pid(); }

  /// A daemon that spins or polls does so in every window; one in which the machine itself was busy,
  /// or gRPC still settling, proves nothing.
  void expect_no_spin(const char* after) {
    const uint64_t most_ticks = sanitized() ? 10 : 3;  // of a hundred
    EXPECT_TRUE(quiet_in_some_window(seconds(1), [&](const Rest& rest) {
      return rest.ticks <= most_ticks && rest.main <= 5;
    })) << "the daemon is busy after "
        << after;
  }

  /// Each of gRPC's timer threads looks up once a second, whatever there is to do, and may hand its
  /// watch on to another then. The daemon's own thread wakes up for heartbeats only.
  void expect_rest() {
    EXPECT_TRUE(quiet_in_some_window(seconds(3), [](const Rest& rest) {
      return rest.main <= 1 && rest.busiest <= 6 && rest.ticks <= 1;
    }));
  }

  bool quiet_in_some_window(milliseconds length, const std::function<bool(const Rest&)>& quiet) {
    for (int window = 0; window < 6; ++window) {
      const Rest rest = watch(pid(), length);
      if (quiet(rest)) return true;
      std::cout << "in " << length.count() << " ms: main thread woke up " << rest.main
                << " times, the busiest " << rest.busiest << " times, ticks " << rest.ticks << '\n';
    }
    return false;
  }
};

TEST_F(Idle, DaemonThatNobodyUsesSleeps) {
  if (sanitized()) GTEST_SKIP() << "a sanitizer's own threads wake up";
  expect_rest();
}

TEST_F(Idle, ConnectionsChannelsAndPortsCostNothing) {
  if (sanitized()) GTEST_SKIP() << "a sanitizer's own threads wake up";
  const Worker worker(daemon);
  const auto caller = stub(worker.address);
  grpc::ClientContext context;
  Reply reply;
  ASSERT_TRUE(caller->Unary(&context, Command(), &reply).ok());
  ASSERT_STATUS(Code::ok, unary(Command()).status);
  expect_rest();
}

TEST_F(Idle, NothingSpinsAfterAClientVanished) {
  {
    RawPeer peer(daemon.socket());
    ASSERT_NO_FATAL_FAILURE(peer.greet());
    Command command;
    command.set_hang(true);
    peer.open_channel(1, server.address());
    peer.start(3, 1, kBidi, legate::ipc::flag::whole_message, command.SerializeAsString());
    ASSERT_TRUE(eventually([&] { return server.calls_seen() == 1; }));
  }
  ASSERT_TRUE(eventually([&] { return no_calls(*connection); }));
  expect_no_spin("a client vanished");
}

TEST_F(Idle, NothingSpinsWhileAClientReadsNothing) {
  RawPeer peer(daemon.socket());
  ASSERT_NO_FATAL_FAILURE(peer.greet({.call_window = 1U << 30, .connection_window = 1U << 30}));
  Command command;
  command.set_response_count(1000);
  command.set_response_size(100'000);
  peer.open_channel(1, server.address());
  peer.start(3, 1, kServerStream, legate::ipc::flag::whole_message | legate::ipc::flag::end_stream,
             command.SerializeAsString());
  const auto held = [&] {
    return query(*connection, "status")["sessions"][1]["memory"].get<uint64_t>();
  };
  ASSERT_TRUE(eventually([&] { return held() > 100'000; }));
  ASSERT_TRUE(eventually([&] { return watch(pid(), milliseconds(200)).ticks == 0; }));
  expect_no_spin("a client stopped reading");
}

TEST_F(Idle, NothingSpinsAfterHalfAFrame) {
  RawPeer peer(daemon.socket());
  ASSERT_NO_FATAL_FAILURE(peer.greet());
  peer.send("half");
  EXPECT_TRUE(connection->ping());
  expect_no_spin("half a frame");
}

TEST_F(Idle, NothingSpinsAfterAServerVanished) {
  {
    const PeerServer gone;
    const ChannelId to_gone = connection->open_channel(gone.address());
    ASSERT_STATUS(Code::ok, connection->unary(to_gone, kUnary, "").status);
  }
  ASSERT_TRUE(eventually([&] { return watch(pid(), milliseconds(200)).ticks == 0; }));
  expect_no_spin("a server vanished");
}

TEST_F(Idle, NothingSpinsAfterAWorkerVanished) {
  std::string address;
  {
    ChildProcess worker({program("peer-worker"), "--socket", daemon.socket()});
    const std::string line = worker.line();
    ASSERT_THAT(line, HasSubstr("listening "));
    address = "127.0.0.1:" + line.substr(line.rfind(' ') + 1);
    grpc::ClientContext context;
    Reply reply;
    ASSERT_TRUE(stub(address)->Unary(&context, Command(), &reply).ok());
    worker.signal(SIGKILL);
    EXPECT_EQ(128 + SIGKILL, worker.wait());
  }
  EXPECT_TRUE(eventually([&] { return query(*connection, "status")["connections"] == 1; }));
  expect_no_spin("a worker vanished");
}

}  // namespace
}  // namespace legated::test
