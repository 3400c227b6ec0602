// Several workers behind one port: who gets what, who waits, and restarts that lose nothing.
#include <atomic>
#include <csignal>
#include <set>
#include <thread>

#include "tests/integration/calls.h"
#include "tests/integration/raw_peer.h"

namespace legated::test {
namespace {

using legate::client::Code;
using legate::client::make_status;
using nlohmann::json;
using std::chrono::milliseconds;

json server_at(legate::client::Connection& admin, const std::string& address) {
  const json workers = ask(admin, "workers");
  for (const auto& server : workers["servers"]) {
    if (server["address"] == address) return server;
  }
  return {};
}

/// A pool's row of the report.
json pool(legate::client::Connection& admin, const std::string& address, const std::string& pattern,
          const std::string& generation = {}) {
  const json server = server_at(admin, address);
  for (const auto& row : server["pools"]) {
    if (row["pool"] == pattern && row.value("generation", "") == generation) return row;
  }
  return {{"queued", 0}, {"leases", 0}, {"dispatched", 0}, {"busy", 0}, {"oldest_ms", 0}};
}

/// Unary calls, one after the other on each of several threads, until it is told to stop.
class Load {
 public:
  explicit Load(const std::string& address, int threads = 8, uint32_t delay_ms = 1) {
    for (int i = 0; i < threads; ++i) {
      threads_.emplace_back([this, address, delay_ms] {
        const auto channel = connect(address);
        Command script = command("load");
        script.set_delay_ms(delay_ms);
        while (!stopping_) add(call_once(channel, kUnary, script));
      });
    }
  }
  ~Load() { stop(); }
  void stop() {
    stopping_ = true;
    for (auto& thread : threads_) thread.join();
    threads_.clear();
  }
  size_t good() const { return good_; }
  /// Waits for so many more good calls.
  void go_on(size_t calls) {
    const size_t target = good_ + calls;
    EXPECT_TRUE(eventually([&] { return good_ >= target; })) << good_ << " of " << target;
  }
  std::vector<grpc::Status> failed() const {
    const std::lock_guard lock(mutex_);
    return failed_;
  }

 private:
  void add(grpc::Status status) {
    if (status.ok()) {
      ++good_;
      return;
    }
    const std::lock_guard lock(mutex_);
    failed_.push_back(std::move(status));
  }
  std::atomic<bool> stopping_ = false;
  std::atomic<size_t> good_ = 0;
  mutable std::mutex mutex_;
  std::vector<grpc::Status> failed_;
  std::vector<std::thread> threads_;
};

void expect_none_failed(const Load& load) {
  for (const auto& status : load.failed()) ADD_FAILURE() << describe(status);
}

// ---- Sharing -----------------------------------------------------------------------------------

TEST(Pools, ThreeProcessesShareManyCallsOfEveryShape) {
  const DaemonProcess daemon({"inbound.overload=0s"});
  const WorkerProcess first(daemon, "127.0.0.1:0", 100);
  const WorkerProcess second(daemon, first.address, 100);
  const WorkerProcess third(daemon, first.address, 100);
  const auto admin = daemon.dial();
  constexpr size_t kCalls = 200;
  Command script = command("shared");
  script.set_response_count(3);
  std::vector<std::unique_ptr<ClientCall>> calls;
  const auto channel = connect(first.address);
  const std::vector<std::string> methods = {kUnary, kClientStream, kServerStream, kBidi};
  for (const std::string& method : methods) {
    for (size_t i = 0; i < kCalls; ++i) {
      calls.push_back(std::make_unique<ClientCall>(channel, method));
      calls.back()->send(script).half_close();
    }
  }
  for (const auto& call : calls) {
    const auto status = call->wait();
    ASSERT_TRUE(status.ok()) << describe(status);
  }
  const json server = server_at(*admin, first.address);
  ASSERT_EQ(server["leases"].size(), 3u) << server;
  uint64_t all = 0;
  for (const auto& lease : server["leases"]) {
    const auto got = lease["dispatched"].get<uint64_t>();
    all += got;
    EXPECT_GE(got, methods.size() * kCalls / 3 * 3 / 4) << server["leases"];
  }
  EXPECT_EQ(all, methods.size() * kCalls);
  for (const std::string& method : methods) {
    EXPECT_EQ(pool(*admin, first.address, method)["dispatched"], kCalls) << server;
  }
  expect_all_quiet(daemon);
}

TEST(Pools, ClientsInOtherLanguagesAreServedByAllWorkers) {
  const DaemonProcess daemon;
  const WorkerProcess first(daemon);
  const WorkerProcess second(daemon, first.address);
  const auto admin = daemon.dial();
  for (const Client& client : foreign_clients()) {
    for (const std::string shape : {"unary", "client", "server", "bidi"}) {
      SCOPED_TRACE(client.name + " " + shape);
      for (const auto& result : run(client, first.address,
                                    {"--shape", shape, "--count", "10", "--payload-size", "100"})) {
        EXPECT_EQ(result["code"], 0) << result;
      }
    }
  }
  const json server = server_at(*admin, first.address);
  for (const auto& lease : server["leases"]) EXPECT_GE(lease["dispatched"], 20) << lease;
}

TEST(Pools, ServicesOfSeveralProcessesStandOnOnePort) {
  const DaemonProcess daemon;
  const auto answer = [](const char* who) {
    return [who](const Dispatched& call) { call->finish(make_status(Code::aborted, who)); };
  };
  const ManualWorker one(daemon, {"/pkg.One/*"}, 4, "127.0.0.1:0", answer("one"));
  const ManualWorker two(daemon, {"/pkg.Two/*"}, 4, one.address, answer("two"));
  const ManualWorker method(daemon, {"/pkg.Two/Special"}, 4, one.address, answer("special"));
  const auto channel = connect(one.address);
  const auto served_by = [&](const std::string& name) {
    return call_once(channel, name).error_message();
  };
  EXPECT_EQ(served_by("/pkg.One/A"), "one");
  EXPECT_EQ(served_by("/pkg.Two/A"), "two");
  EXPECT_EQ(served_by("/pkg.Two/Special"), "special");
  EXPECT_EQ(call_once(channel, "/pkg.Three/A").error_code(), grpc::StatusCode::UNIMPLEMENTED);
  const ManualWorker all(daemon, {"*"}, 4, one.address, answer("catch-all"));
  EXPECT_EQ(served_by("/pkg.Three/A"), "catch-all");
  EXPECT_EQ(served_by("/pkg.One/A"), "one");
}

TEST(Pools, AConnectionMayHaveSeveralLeasesInOne) {
  const DaemonProcess daemon;
  ManualWorker worker(daemon, {"*"}, 1);
  const auto hold = [](const Dispatched&) {};
  std::vector<Dispatched> more;
  const auto again = worker.connection->register_methods(
      worker.server, std::vector<std::string>{"*", "*"}, 2,
      [&](Dispatched call) { more.push_back(std::move(call)); });
  ASSERT_TRUE(again.status.ok()) << legate::client::describe(again.status);
  const auto admin = daemon.dial();
  const auto row = pool(*admin, worker.address, "*");
  EXPECT_EQ(row["leases"], 2) << row;
  EXPECT_EQ(row["slots"], 3) << row;
  const auto refused = worker.connection->register_methods(
      worker.server, std::vector<std::string>{"*"}, 1, hold, {.weight = 0});
  EXPECT_EQ(refused.status.code, Code::invalid_argument);
  const auto too_long = worker.connection->register_methods(
      worker.server, std::vector<std::string>{"*"}, 1, hold,
      {.generation = std::string(1000, 'g')});
  EXPECT_EQ(too_long.status.code, Code::invalid_argument);
  EXPECT_NE(too_long.status.message.find("generation"), std::string::npos);
}

// ---- Generations -------------------------------------------------------------------------------

TEST(Generations, ACanaryGetsItsShare) {
  const DaemonProcess daemon;
  const WorkerProcess stable(daemon, "127.0.0.1:0", 64, {"--generation", "v1", "--share", "90"});
  const WorkerProcess canary(daemon, stable.address, 64, {"--generation", "v2", "--share", "10"});
  const WorkerProcess standby(daemon, stable.address, 64, {"--generation", "v0", "--share", "0"});
  const auto admin = daemon.dial();
  const auto channel = connect(stable.address);
  for (int i = 0; i < 100; ++i) {
    const auto status = call_once(channel, kUnary);
    ASSERT_TRUE(status.ok()) << describe(status);
  }
  const auto got = [&](const char* generation) {
    return pool(*admin, stable.address, kUnary, generation)["dispatched"].get<int>();
  };
  EXPECT_NEAR(got("v2"), 10, 1);
  EXPECT_EQ(got("v1") + got("v2"), 100);
  EXPECT_EQ(got("v0"), 0);
}

TEST(Generations, AreSwappedUnderLoadWithoutAnError) {
  const DaemonProcess daemon;
  auto old = std::make_unique<WorkerProcess>(daemon, "127.0.0.1:0", 64,
                                             std::vector<std::string>{"--generation", "v0"});
  const std::string address = old->address;
  Load load(address);
  for (int swap = 1; swap <= 5; ++swap) {
    auto next = std::make_unique<WorkerProcess>(
        daemon, address, 64, std::vector<std::string>{"--generation", "v" + std::to_string(swap)});
    load.go_on(30);
    old->process.signal(SIGTERM);
    EXPECT_EQ(old->process.wait(), 0);
    load.go_on(30);
    old = std::move(next);
  }
  load.stop();
  expect_none_failed(load);
  expect_all_quiet(daemon);
}

// ---- Restarts ----------------------------------------------------------------------------------

TEST(Restart, OfTheLastWorkerWithinTheHoldTimeLosesNothing) {
  const DaemonProcess daemon({"inbound.hold=60s"});
  auto worker = std::make_unique<WorkerProcess>(daemon);
  const std::string address = worker->address;
  Load load(address);
  for (int restart = 0; restart < 5; ++restart) {
    load.go_on(20);
    worker->process.signal(SIGTERM);
    EXPECT_EQ(worker->process.wait(), 0);
    worker = std::make_unique<WorkerProcess>(daemon, address);
  }
  load.go_on(20);
  load.stop();
  expect_none_failed(load);
  expect_all_quiet(daemon);
}

TEST(Restart, ByKillingTwentyTimesUnderLoadFailsOnlyWhatWasAccepted) {
  const DaemonProcess daemon({"inbound.hold=60s"});
  auto worker = std::make_unique<WorkerProcess>(daemon, "127.0.0.1:0", 4);
  const std::string address = worker->address;
  Load load(address, 16);
  for (int restart = 0; restart < 20; ++restart) {
    load.go_on(10);
    worker->kill();
    worker->process.wait();
    worker = std::make_unique<WorkerProcess>(daemon, address, 4);
  }
  load.go_on(20);
  load.stop();
  // A worker has four slots: what it had accepted ends, and it had no more than that.
  EXPECT_LE(load.failed().size(), 20u * 4u);
  for (const auto& status : load.failed()) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << describe(status);
    EXPECT_EQ(status.error_message(), "the worker's connection was lost while it served the call");
  }
  expect_all_quiet(daemon);
}

// What is dispatched but not accepted fails in no case: workers that accept nothing lose nothing.
TEST(Restart, ByKillingWorkersThatAcceptedNothingFailsNothing) {
  const DaemonProcess daemon({"inbound.hold=60s"});
  auto worker = std::make_unique<ManualWorker>(daemon, std::vector<std::string>{"*"}, 8u);
  const std::string address = worker->address;
  const auto channel = connect(address);
  std::vector<std::unique_ptr<ClientCall>> calls;
  for (int i = 0; i < 8; ++i) {
    calls.push_back(std::make_unique<ClientCall>(channel, kUnary));
    calls.back()->send(command("kept")).half_close();
  }
  for (int restart = 0; restart < 20; ++restart) {
    ASSERT_TRUE(eventually([&] { return worker->waiting() == 8; }));
    worker->connection->close();
    worker = std::make_unique<ManualWorker>(daemon, std::vector<std::string>{"*"}, 8u, address);
  }
  for (int i = 0; i < 8; ++i) {
    const auto call = worker->take();
    ASSERT_NE(call, nullptr);
    EXPECT_EQ(call->read(), command("kept").SerializeAsString());
    call->finish(make_status(Code::aborted, "served"));
  }
  for (const auto& call : calls) {
    EXPECT_EQ(call->wait().error_code(), grpc::StatusCode::ABORTED);
  }
}

// ---- Waiting -----------------------------------------------------------------------------------

/// Waits until so many calls wait in the pool.
void expect_queued(legate::client::Connection& admin, const std::string& address,
                   const std::string& pattern, int calls) {
  EXPECT_TRUE(eventually([&] { return pool(admin, address, pattern)["queued"] == calls; }))
      << pool(admin, address, pattern);
}

TEST(Queue, APoolThatIsFullLeavesOthersAlone) {
  const DaemonProcess daemon({"inbound.queue=3"});
  ManualWorker slow(daemon, {"/pkg.Slow/*"}, 1);
  const ManualWorker quick(daemon, {"/pkg.Quick/*"}, 1, slow.address, [](const Dispatched& call) {
    call->finish(make_status(Code::aborted, "quick"));
  });
  const auto admin = daemon.dial();
  const auto channel = connect(slow.address);
  std::vector<std::unique_ptr<ClientCall>> calls;
  for (int i = 0; i < 4; ++i) {
    calls.push_back(std::make_unique<ClientCall>(channel, "/pkg.Slow/M"));
    calls.back()->send(command()).half_close();
  }
  expect_queued(*admin, slow.address, "/pkg.Slow/*", 3);
  const auto full = call_once(channel, "/pkg.Slow/M");
  EXPECT_EQ(full.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << describe(full);
  for (const char* part : {"inbound.queue, 3 calls", "/pkg.Slow/*"})
    EXPECT_NE(full.error_message().find(part), std::string::npos) << describe(full);
  EXPECT_EQ(call_once(channel, "/pkg.Quick/M").error_message(), "quick");
  for (int i = 0; i < 4; ++i) slow.take()->finish(make_status(Code::aborted, "slow"));
  for (const auto& call : calls) EXPECT_EQ(call->wait().error_message(), "slow");
}

TEST(Queue, UnderOverloadTheNewestIsServedFirst) {
  const DaemonProcess daemon({"inbound.overload=100ms"});
  ManualWorker worker(daemon, {"*"}, 1);
  const auto admin = daemon.dial();
  const auto channel = connect(worker.address);
  ClientCall running(channel, "/s/running");
  running.send(command()).half_close();
  auto dispatch = worker.take();
  std::vector<std::unique_ptr<ClientCall>> calls;
  for (const char* name : {"/s/1", "/s/2", "/s/3"}) {
    calls.push_back(std::make_unique<ClientCall>(channel, name));
    calls.back()->send(command()).half_close();
    expect_queued(*admin, worker.address, "*", static_cast<int>(calls.size()));
  }
  EXPECT_TRUE(eventually([&] { return pool(*admin, worker.address, "*")["oldest_ms"] > 100; }));
  for (const char* expected : {"/s/3", "/s/2", "/s/1"}) {
    dispatch->finish(make_status(Code::aborted, ""));
    dispatch = worker.take();
    EXPECT_EQ(dispatch->method(), expected);
  }
  dispatch->finish(make_status(Code::aborted, ""));
}

TEST(Queue, ACallWhoseDeadlinePassesThereNeverReachesAWorker) {
  const DaemonProcess daemon;
  ManualWorker worker(daemon, {"*"}, 1);
  const auto admin = daemon.dial();
  const auto channel = connect(worker.address);
  ClientCall running(channel, "/s/running");
  running.send(command()).half_close();
  const auto dispatch = worker.take();
  const auto late = call_once(channel, "/s/late", command(), {.timeout = milliseconds(50)});
  EXPECT_EQ(late.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED) << describe(late);
  expect_queued(*admin, worker.address, "*", 0);  // the client's clock is a little ahead
  ClientCall next(channel, "/s/next");
  next.send(command()).half_close();
  dispatch->finish(make_status(Code::aborted, ""));
  const auto following = worker.take();
  EXPECT_EQ(following->method(), "/s/next");
  following->finish(make_status(Code::aborted, ""));
}

// ---- Sticky ------------------------------------------------------------------------------------

struct StickyServer {
  explicit StickyServer(const DaemonProcess& daemon) : peer(daemon.socket()) {
    peer.greet();
    auto& fbb = peer.builder();
    fbb.Clear();
    const auto key = fbb.CreateString("x-user");
    legate::ipc::ListenOptionsBuilder options(fbb);
    options.add_sticky(key);
    const auto offset = options.Finish();
    fbb.Finish(legate::ipc::CreateListen(fbb, fbb.CreateString("127.0.0.1:0"), offset));
    peer.send({.call_id = 1, .type = legate::ipc::FrameType::listen}, {}, true);
    const auto listening = peer.receive(legate::ipc::FrameType::listening, 1);
    if (!listening) throw std::runtime_error("no LISTENING");
    address = listening->as<legate::ipc::Listening>().address()->str();
  }
  RawPeer peer;
  std::string address;
};

TEST(Sticky, CallsOfAUserGoToOneWorkerWhileItIsThere) {
  const DaemonProcess daemon;
  const StickyServer server(daemon);
  const auto answer = [](const char* who) {
    return [who](const Dispatched& call) { call->finish(make_status(Code::aborted, who)); };
  };
  const ManualWorker a(daemon, {"*"}, 2, server.address, answer("a"));
  const ManualWorker b(daemon, {"*"}, 2, server.address, answer("b"));
  auto c = std::make_unique<ManualWorker>(daemon, std::vector<std::string>{"*"}, 2u,
                                          server.address, answer("c"));
  const auto channel = connect(server.address);
  const auto served_by = [&](size_t user) {
    const ClientCall::Options options{.metadata = {{"x-user", "user-" + std::to_string(user)}}};
    return call_once(channel, kUnary, command(), options).error_message();
  };
  constexpr size_t kUsers = 40;
  std::vector<std::string> home;
  for (size_t user = 0; user < kUsers; ++user) home.push_back(served_by(user));
  EXPECT_EQ(std::set<std::string>(home.begin(), home.end()).size(), 3u) << "all have some";
  for (int round = 0; round < 3; ++round) {
    for (size_t user = 0; user < kUsers; ++user) EXPECT_EQ(served_by(user), home[user]) << user;
  }
  c.reset();
  for (size_t user = 0; user < kUsers; ++user) {
    const std::string now = served_by(user);
    EXPECT_TRUE(home[user] == "c" ? now == "a" || now == "b" : now == home[user]) << user;
  }
}

TEST(Sticky, CallsWaitForTheirWorkerThoughAnotherIsFree) {
  const DaemonProcess daemon;
  const StickyServer server(daemon);
  ManualWorker a(daemon, {"*"}, 1, server.address);
  ManualWorker b(daemon, {"*"}, 1, server.address);
  const auto admin = daemon.dial();
  const auto channel = connect(server.address);
  const ClientCall::Options user{.metadata = {{"x-user", "ada"}}};
  ClientCall first(channel, "/s/first", user);
  first.send(command()).half_close();
  ASSERT_TRUE(eventually([&] { return a.waiting() + b.waiting() == 1; }));
  ManualWorker& home = a.waiting() == 1 ? a : b;
  ManualWorker& other = a.waiting() == 1 ? b : a;
  ClientCall second(channel, "/s/second", user);
  second.send(command()).half_close();
  expect_queued(*admin, server.address, "*", 1);
  ClientCall stranger(channel, "/s/stranger");
  stranger.send(command()).half_close();
  other.take()->finish(make_status(Code::aborted, "stranger"));
  EXPECT_EQ(stranger.wait().error_message(), "stranger");
  home.take()->finish(make_status(Code::aborted, "first"));
  const auto dispatch = home.take();
  EXPECT_EQ(dispatch->method(), "/s/second");
  dispatch->finish(make_status(Code::aborted, "second"));
  EXPECT_EQ(second.wait().error_message(), "second");
}

}  // namespace
}  // namespace legated::test
