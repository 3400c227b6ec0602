// The daemon's beginning and end: configuration, signals, draining, death, and what it leaves.
#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "tests/integration/calls.h"

namespace legated::test {
namespace {

using legate::client::Code;
using legate::client::Event;
using legate::client::make_status;
using legate::client::Options;
using legate::client::Origin;
using legate::client::Shape;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// What a connection is told about itself.
struct Events {
  Options options(const std::string& name) {
    return {.name = name, .on_event = [this](const Event& event) {
              if (event.kind == Event::Kind::going_away) {
                grace = event.grace.count();
                ++announced;
              }
              if (event.kind == Event::Kind::gone_away) ++final;
              if (event.kind == Event::Kind::lost) ++lost;
            }};
  }
  std::atomic<int64_t> grace = -1;
  std::atomic<int> announced = 0;
  std::atomic<int> final = 0;
  std::atomic<int> lost = 0;
};

Command hanging() {
  Command script;
  script.set_hang(true);
  return script;
}

// ---- SIGTERM -----------------------------------------------------------------------------------

TEST(Sigterm, WithNothingToDoExitsAtOnce) {
  DaemonProcess daemon({"shutdown.grace=60s"});
  daemon.expect_death();
  daemon.process().signal(SIGTERM);
  EXPECT_EQ(daemon.process().wait(), 0);
  EXPECT_FALSE(std::filesystem::exists(daemon.socket())) << "the socket was left behind";
}

TEST(Sigterm, IdleConnectionsDoNotDelayIt) {
  DaemonProcess daemon({"shutdown.grace=60s"});
  daemon.expect_death();
  const PeerServer server;
  Events events;
  const auto connection = daemon.dial(events.options("idle"));
  const auto channel = connection->open_channel(server.address());
  EXPECT_TRUE(connection->unary(channel, kUnary, "").status.ok());
  const Worker worker(daemon);
  const auto remote = connect(worker.address);
  EXPECT_TRUE(call_once(remote, kUnary).ok());
  const auto begin = Clock::now();
  daemon.process().signal(SIGTERM);
  EXPECT_EQ(daemon.process().wait(), 0);
  EXPECT_LT(Clock::now() - begin, seconds(15));
  EXPECT_TRUE(eventually([&] { return events.lost == 1; }));
  EXPECT_EQ(events.announced, 1);
  EXPECT_EQ(events.final, 1);
  EXPECT_EQ(events.grace, 60'000);
}

TEST(Sigterm, LetsRunningCallsFinishAndRefusesNewConnections) {
  DaemonProcess daemon({"shutdown.grace=60s"});
  daemon.expect_death();
  const PeerServer server;
  ManualWorker worker(daemon, {"*"}, 2);
  Events events;
  const auto peer = daemon.dial(events.options("peer"));
  const auto out = peer->open_channel(server.address());
  const auto channel = connect(worker.address);
  ClientCall unary(channel, kUnary);
  unary.send(command("u")).half_close();
  const auto first = worker.take();
  first->accept();
  ClientCall stream(channel, kBidi);
  stream.send(command("s"));
  const auto second = worker.take();
  second->accept();
  ClientCall waiting(channel, kUnary);  // no slot is free
  waiting.send(command("w")).half_close();
  ASSERT_TRUE(eventually([&] { return ask(*peer, "workers")["servers"][0]["queued"] == 1; }));

  daemon.process().signal(SIGTERM);
  ASSERT_TRUE(eventually([&] { return events.announced == 1; }));
  EXPECT_EQ(events.grace, 60'000);
  EXPECT_EQ(events.final, 0) << "calls are still running";
  EXPECT_EQ(ask(*peer, "status")["state"], "draining");
  const auto refused = call_once(connect(worker.address), kUnary);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNAVAILABLE) << describe(refused);
  EXPECT_THROW(daemon.dial(), std::runtime_error);
  // Handlers need the outside world to finish.
  const auto handler = peer->unary(out, kUnary, command("out").SerializeAsString());
  EXPECT_TRUE(handler.status.ok()) << describe(handler.status);
  EXPECT_EQ(peer->listen("127.0.0.1:0").status.code, Code::unavailable);

  first->post(Reply().SerializeAsString());
  first->finish({});
  const auto third = worker.take();
  third->post(Reply().SerializeAsString());
  third->finish({});
  EXPECT_TRUE(unary.wait().ok()) << describe(unary.wait());
  EXPECT_TRUE(waiting.wait().ok()) << describe(waiting.wait());
  EXPECT_TRUE(daemon.process().running()) << "the stream is still there";
  stream.send(command("t")).half_close();
  EXPECT_TRUE(second->read().has_value());
  EXPECT_EQ(second->read(), command("t").SerializeAsString());
  EXPECT_EQ(second->read(), std::nullopt);
  EXPECT_FALSE(second->cancelled());
  second->finish({});
  EXPECT_TRUE(stream.wait().ok()) << describe(stream.wait());
  EXPECT_EQ(daemon.process().wait(), 0);
  EXPECT_TRUE(eventually([&] { return events.lost == 1 && events.final == 1; }));
}

TEST(Sigterm, WaitsForOutgoingCalls) {
  DaemonProcess daemon({"shutdown.grace=60s"});
  daemon.expect_death();
  const PeerServer server;
  Events events;
  const auto connection = daemon.dial(events.options("caller"));
  const auto channel = connection->open_channel(server.address());
  const auto call = connection->start_call(channel, kBidi, {.shape = Shape::bidi});
  EXPECT_TRUE(call->write(command("one").SerializeAsString()));
  EXPECT_TRUE(call->read().has_value());
  daemon.process().signal(SIGTERM);
  ASSERT_TRUE(eventually([&] { return events.final == 1; }));
  const auto late = connection->unary(channel, kUnary, "");
  EXPECT_EQ(late.status.code, Code::unavailable) << describe(late.status);
  EXPECT_TRUE(call->write(command("two").SerializeAsString()));
  EXPECT_TRUE(call->read().has_value());
  call->writes_done();
  const auto status = call->finish();
  EXPECT_TRUE(status.ok()) << describe(status);
  EXPECT_EQ(daemon.process().wait(), 0);
}

/// Calls in and out that never end by themselves, and a worker that answers no CANCEL.
struct Stuck {
  explicit Stuck(DaemonProcess& daemon)
      : worker(daemon, {"*"}, 4),
        connection(daemon.dial()),
        incoming(connect(worker.address), kUnary),
        outgoing(connection->start_call(connection->open_channel(server.address()), kUnary,
                                        {.shape = Shape::unary}, hanging().SerializeAsString(),
                                        true)) {
    incoming.send(command()).half_close();
    dispatch = worker.take();
    dispatch->accept();
    EXPECT_TRUE(eventually([&] {
      const auto answer = ask(*connection, "calls");
      return answer["calls"].size() == 2;
    }));
  }
  void expect_unavailable() {
    const auto in = incoming.wait();
    EXPECT_EQ(in.error_code(), grpc::StatusCode::UNAVAILABLE) << describe(in);
    EXPECT_TRUE(outgoing->wait_ended(kPatience)) << "the outgoing call never ended";
    const auto out = outgoing->finish();
    EXPECT_EQ(out.code, Code::unavailable) << describe(out);
    EXPECT_TRUE(dispatch->wait_cancelled(kPatience));
  }
  PeerServer server;
  ManualWorker worker;
  std::unique_ptr<legate::client::Connection> connection;
  ClientCall incoming;
  std::shared_ptr<legate::client::Call> outgoing;
  Dispatched dispatch;
};

TEST(Sigterm, WhenTheGraceIsOverTheRestEndsUnavailable) {
  DaemonProcess daemon({"shutdown.grace=300ms"});
  daemon.expect_death();
  Stuck stuck(daemon);
  daemon.process().signal(SIGTERM);
  stuck.expect_unavailable();
  EXPECT_EQ(daemon.process().wait(), 0) << "a worker that does not answer keeps the daemon alive";
}

TEST(Sigterm, ASecondOneEndsTheGrace) {
  DaemonProcess daemon({"shutdown.grace=1h"});
  daemon.expect_death();
  Stuck stuck(daemon);
  daemon.process().signal(SIGTERM);
  ASSERT_TRUE(eventually([&] { return ask(*stuck.connection, "status")["state"] == "draining"; }));
  daemon.process().signal(SIGTERM);
  stuck.expect_unavailable();
  EXPECT_EQ(daemon.process().wait(), 0);
}

TEST(Sigterm, AClientThatReadsNothingDoesNotKeepIt) {
  DaemonProcess daemon({"shutdown.grace=300ms"});
  daemon.expect_death();
  ManualWorker worker(daemon, {"*"}, 1);
  ClientCall call(connect(worker.address), kBidi, {.paused = true});
  call.send(command());
  const auto dispatch = worker.take();
  std::thread writer([&] {
    while (dispatch->write(std::string(1 << 20, 'x'))) {
    }
  });
  EXPECT_TRUE(
      eventually([&] { return ask(*worker.connection, "status")["sessions"][0]["memory"] > 0; }));
  daemon.process().signal(SIGTERM);
  EXPECT_EQ(daemon.process().wait(), 0);
  writer.join();
  EXPECT_FALSE(call.wait().ok());
}

// ---- Death -------------------------------------------------------------------------------------

TEST(Death, EndsEveryCallAndARestartTakesTheSocketOver) {
  const TempDir folder;
  const std::string setting = "ipc.socket=" + (folder / "legated.sock");
  Events events;
  std::string epoch;
  {
    DaemonProcess daemon({setting});
    daemon.expect_death();
    Stuck stuck(daemon);
    const auto idle = daemon.dial(events.options("idle"));
    epoch = idle->welcome().epoch;
    daemon.process().signal(SIGKILL);
    stuck.expect_unavailable();
    EXPECT_EQ(stuck.outgoing->finish().origin, Origin::ipc);
    EXPECT_EQ(stuck.dispatch->cancel_code(), Code::unavailable);
    EXPECT_TRUE(eventually([&] { return events.lost == 1; }));
    const auto refused = idle->unary({1}, kUnary, "");
    EXPECT_EQ(refused.status.code, Code::unavailable) << describe(refused.status);
    EXPECT_EQ(refused.status.origin, Origin::ipc);
    EXPECT_EQ(idle->listen("127.0.0.1:0").status.code, Code::unavailable);
    EXPECT_EQ(daemon.process().wait(), 128 + SIGKILL);
  }
  ASSERT_TRUE(std::filesystem::exists(folder / "legated.sock")) << "nothing stale to take over";
  const DaemonProcess again({setting});
  EXPECT_NE(again.dial()->welcome().epoch, epoch);

  ChildProcess second({program("legated"), "run", "--set", setting}, folder / "second");
  EXPECT_EQ(second.wait(), 1) << "a live socket was taken over";
  EXPECT_NE(text_of(folder / "second").find("legated.sock"), std::string::npos)
      << text_of(folder / "second");
  EXPECT_TRUE(again.dial()->ping().has_value());
}

// ---- Configuration -----------------------------------------------------------------------------

struct Run {
  int status;
  std::string output;
  std::string errors;
};

Run legated(const std::vector<std::string>& arguments) {
  const TempDir folder;
  std::vector<std::string> all{program("legated")};
  all.insert(all.end(), arguments.begin(), arguments.end());
  ChildProcess process(all, folder / "errors");
  const std::string output = process.rest();
  const int status = process.wait();
  return {status, output, text_of(folder / "errors")};
}

TEST(Check, PrintsTheConfigurationInFullAndReadsItBack) {
  const TempDir folder;
  const auto first = legated({"check", "--set", "inbound.hold=3s"});
  EXPECT_EQ(first.status, 0) << first.errors;
  EXPECT_NE(first.output.find("hold = \"3s\""), std::string::npos) << first.output;
  std::ofstream(folder / "legated.toml") << first.output;
  const auto second = legated({"check", "-c", folder / "legated.toml"});
  EXPECT_EQ(second.status, 0) << second.errors;
  EXPECT_EQ(second.output, first.output);
}

TEST(Check, AnUnknownKeyIsRefusedWithTheNearestName) {
  const TempDir folder;
  std::ofstream(folder / "legated.toml") << "[inbound]\nholt = \"3s\"\n";
  for (const std::string command : {"check", "run"}) {
    const auto file = legated({command, "-c", folder / "legated.toml"});
    EXPECT_EQ(file.status, 2) << file.errors;
    EXPECT_NE(file.errors.find("inbound.holt"), std::string::npos) << file.errors;
    EXPECT_NE(file.errors.find("inbound.hold"), std::string::npos) << file.errors;
    const auto flag = legated({command, "--set", "shutdown.grase=1s"});
    EXPECT_EQ(flag.status, 2) << flag.errors;
    EXPECT_NE(flag.errors.find("shutdown.grace"), std::string::npos) << flag.errors;
  }
}

TEST(Check, ValuesOutOfRangeAndBrokenFilesAreRefused) {
  const TempDir folder;
  std::ofstream(folder / "broken.toml") << "[inbound\n";
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"--set", "inbound.hold=never"},
        {"--set", "ipc.max_frame=1"},
        {"--set", "log.level=loud"},
        {"--set", "nothing"},
        {"-c", folder / "broken.toml"},
        {"-c", folder / "missing.toml"}}) {
    auto all = arguments;
    all.insert(all.begin(), "check");
    const auto refused = legated(all);
    EXPECT_EQ(refused.status, 2) << arguments.back() << ": " << refused.errors;
    EXPECT_FALSE(refused.errors.empty()) << arguments.back();
  }
}

TEST(Sighup, ReopensTheLog) {
  const TempDir folder;
  const std::string path = folder / "daemon.log";
  DaemonProcess daemon({"log.file=" + path});
  ASSERT_TRUE(eventually([&] { return text_of(path).find("started") != std::string::npos; }));
  std::filesystem::rename(path, folder / "daemon.log.1");
  daemon.process().signal(SIGHUP);
  EXPECT_TRUE(eventually([&] { return text_of(path).find("reloaded") != std::string::npos; }))
      << text_of(path);
  EXPECT_EQ(text_of(folder / "daemon.log.1").find("reloaded"), std::string::npos);
}

// ---- Descriptors -------------------------------------------------------------------------------

size_t descriptors(pid_t pid) {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry :
       std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd")) {
    ++count;
  }
  return count;
}

TEST(Descriptors, AreAllGivenBack) {
  DaemonProcess daemon({"inbound.hold=0ms"});
  const PeerServer server;
  const auto cycle = [&](bool orderly) {
    const auto connection = daemon.dial();
    const auto channel = connection->open_channel(server.address());
    const auto out = connection->unary(channel, kUnary, command("x").SerializeAsString());
    EXPECT_TRUE(out.status.ok()) << describe(out.status);
    if (orderly) {
      EXPECT_TRUE(connection->close_channel(channel).ok());
    }
    const Worker worker(daemon);
    const auto in = call_once(connect(worker.address), kUnary);
    EXPECT_TRUE(in.ok()) << describe(in);
  };
  const auto count = [&] { return descriptors(daemon.process().pid()); };
  for (int i = 0; i < 5; ++i) cycle(true);
  const size_t idle = count();
  for (int i = 0; i < 200; ++i) cycle(i % 2 == 0);
  EXPECT_TRUE(eventually([&] { return count() <= idle; }))
      << count() << " descriptors are open, " << idle << " were before";
  expect_all_quiet(daemon);
}

}  // namespace
}  // namespace legated::test
