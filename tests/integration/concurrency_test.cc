// Many calls at once, and everything at random: whatever happens, each call ends with one status and
// nothing is left behind.
#include <atomic>
#include <random>
#include <set>
#include <thread>

#include "tests/integration/calls.h"

namespace legated::test {
namespace {

using legate::client::Call;
using legate::client::CallOptions;
using legate::client::ChannelId;
using legate::client::Code;
using legate::client::Connection;
using legate::client::Shape;
using legate::client::Status;
using std::chrono::milliseconds;

constexpr size_t kCalls = 1000;
constexpr const char* kMethods[] = {kUnary, kClientStream, kServerStream, kBidi};
constexpr Shape kShapes[] = {Shape::unary, Shape::client_streaming, Shape::server_streaming,
                             Shape::bidi};

/// The i-th call of a mix: its shape, its messages, and whether it is cancelled.
struct Plan {
  explicit Plan(size_t index) : random(static_cast<uint32_t>(index)), shape(index % 4) {
    script.set_payload(std::string(random() % 2000, 'm'));
    script.set_response_count(3);
    messages = shape == 1 || shape == 3 ? 3 : 1;
    cancelled = index % 7 == 3;
    if (cancelled) script.set_delay_ms(5);
    replies = shape >= 2 ? 3 : 1;
  }
  std::mt19937 random;
  size_t shape;
  Command script;
  size_t messages;
  size_t replies;
  bool cancelled;
};

/// What came of a mix.
struct Tally {
  void add(const Plan& plan, int code, size_t replies, const std::string& text) {
    if (code == 0) {
      ++ok;
      if (replies != plan.replies) wrong.insert("OK with " + std::to_string(replies) + " replies");
    } else if (code == 1 && plan.cancelled) {
      ++cancelled;
    } else {
      wrong.insert(text);
    }
  }
  void expect(size_t calls) const {
    EXPECT_EQ(ok + cancelled, calls);
    EXPECT_GE(ok, calls * 6 / 7);
    for (const std::string& what : wrong) ADD_FAILURE() << what;
  }
  size_t ok = 0;
  size_t cancelled = 0;
  std::set<std::string> wrong;
};

// ---- Out ---------------------------------------------------------------------------------------

void calls_out(size_t connections) {
  const DaemonProcess daemon;
  const PeerServer server;
  std::vector<std::unique_ptr<Connection>> connected;
  std::vector<ChannelId> channels;
  for (size_t i = 0; i < connections; ++i) {
    connected.push_back(daemon.dial());
    channels.push_back(connected.back()->open_channel(server.address()));
  }
  std::vector<std::shared_ptr<Call>> calls;
  for (size_t i = 0; i < kCalls; ++i) {
    const Plan plan(i);
    const size_t on = i % connections;
    calls.push_back(connected[on]->start_call(channels[on], kMethods[plan.shape],
                                              {.shape = kShapes[plan.shape],
                                               .timeout = std::chrono::minutes(2),
                                               .wait_for_ready = true}));
    for (size_t m = 0; m < plan.messages; ++m) calls.back()->post(plan.script.SerializeAsString());
    calls.back()->writes_done();
  }
  for (size_t i = 0; i < kCalls; ++i) {
    if (Plan(i).cancelled) calls[i]->cancel();
  }
  Tally tally;
  for (size_t i = 0; i < kCalls; ++i) {
    size_t replies = 0;
    while (calls[i]->read()) ++replies;
    const Status status = calls[i]->finish();
    tally.add(Plan(i), static_cast<int>(status.code), replies, describe(status));
  }
  tally.expect(kCalls);
  expect_all_quiet(daemon);
}

TEST(ThousandCallsOut, OnOneConnection) { calls_out(1); }
TEST(ThousandCallsOut, OnFiftyConnections) { calls_out(50); }

// ---- In ----------------------------------------------------------------------------------------

void calls_in(size_t connections, size_t workers) {
  const DaemonProcess daemon({"inbound.queue=2000"});
  std::vector<std::unique_ptr<Worker>> serving;
  std::string address = "127.0.0.1:0";
  for (size_t i = 0; i < workers; ++i) {
    serving.push_back(std::make_unique<Worker>(daemon, 8, address));
    address = serving.back()->address;
  }
  std::vector<std::shared_ptr<grpc::Channel>> channels;
  for (size_t i = 0; i < connections; ++i) channels.push_back(connect(address));
  std::vector<std::unique_ptr<ClientCall>> calls;
  for (size_t i = 0; i < kCalls; ++i) {
    const Plan plan(i);
    calls.push_back(std::make_unique<ClientCall>(channels[i % connections], kMethods[plan.shape]));
    for (size_t m = 0; m < plan.messages; ++m) calls.back()->send(plan.script);
    calls.back()->half_close();
  }
  for (size_t i = 0; i < kCalls; ++i) {
    if (Plan(i).cancelled) calls[i]->cancel();
  }
  Tally tally;
  for (size_t i = 0; i < kCalls; ++i) {
    const auto status = calls[i]->wait();
    tally.add(Plan(i), status.error_code(), calls[i]->replies().size(), describe(status));
  }
  tally.expect(kCalls);
  expect_all_quiet(daemon);
}

TEST(ThousandCallsIn, FromOneConnectionToOneWorker) { calls_in(1, 1); }
TEST(ThousandCallsIn, FromFiftyConnectionsToFiftyWorkers) { calls_in(50, 50); }

TEST(ThousandCallsIn, AllInHandlersAtOnce) {
  const DaemonProcess daemon;
  ManualWorker worker(daemon, {"*"}, kCalls);
  const auto channel = connect(worker.address);
  std::vector<std::unique_ptr<ClientCall>> calls;
  for (size_t i = 0; i < kCalls; ++i) {
    calls.push_back(std::make_unique<ClientCall>(channel, kMethods[i % 4]));
    calls.back()->send(command(std::to_string(i))).half_close();
  }
  ASSERT_TRUE(eventually([&] { return worker.waiting() == kCalls; })) << worker.waiting();
  for (size_t i = 0; i < kCalls; i += 7) calls[i]->cancel();
  for (size_t i = 0; i < kCalls; ++i) {
    const auto dispatch = worker.take();
    dispatch->post(Reply().SerializeAsString());
    dispatch->finish({});
  }
  for (size_t i = 0; i < kCalls; ++i) {
    const auto status = calls[i]->wait();
    EXPECT_TRUE(status.ok() || (i % 7 == 0 && status.error_code() == grpc::StatusCode::CANCELLED))
        << i << ": " << describe(status);
  }
  expect_all_quiet(daemon);
}

// ---- Chaos -------------------------------------------------------------------------------------

using Clock = std::chrono::steady_clock;

/// 0 to below - 1.
uint32_t pick(std::mt19937& random, uint32_t below) {
  return static_cast<uint32_t>(random() % below);
}

/// Clients of the socket: connect, call out of all shapes, cancel, leave without a word.
void client_chaos(const DaemonProcess& daemon, const std::string& target, uint32_t seed,
                  Clock::time_point end, std::atomic<size_t>& unended) {
  std::mt19937 random(seed);
  while (Clock::now() < end) {
    const auto connection = daemon.dial({.name = "chaos-client"});
    const ChannelId channel = connection->open_channel(target);
    std::vector<std::shared_ptr<Call>> calls;
    for (uint32_t i = pick(random, 20); i > 0; --i) {
      const size_t shape = pick(random, 4);
      CallOptions options{.shape = kShapes[shape]};
      if (pick(random, 4) == 0) options.timeout = milliseconds(pick(random, 20));
      // Nobody reads the replies, so they must fit the window.
      Command script = command(std::string(pick(random, 50'000), 'x'));
      script.set_response_count(pick(random, 4));
      script.set_delay_ms(pick(random, 5));
      calls.push_back(connection->start_call(channel, kMethods[shape], options,
                                             script.SerializeAsString(), pick(random, 2) == 0));
    }
    for (const auto& call : calls) {
      if (pick(random, 3) == 0) call->cancel();
      if (pick(random, 3) == 0) call->writes_done();
    }
    if (pick(random, 2) == 0) connection->close(milliseconds(0));
    for (const auto& call : calls) {
      call->writes_done();
      if (!call->wait_ended(kPatience)) ++unended;
    }
  }
}

/// Clients of the port: connect, call, cancel, run into deadlines.
void remote_chaos(const std::string& address, uint32_t seed, Clock::time_point end) {
  std::mt19937 random(seed);
  while (Clock::now() < end) {
    const auto channel = connect(address);
    std::vector<std::unique_ptr<ClientCall>> calls;
    for (uint32_t i = pick(random, 20); i > 0; --i) {
      ClientCall::Options options{.wait_for_ready = true};
      options.timeout = milliseconds(pick(random, 4) == 0 ? pick(random, 20) : 20'000);
      calls.push_back(std::make_unique<ClientCall>(channel, kMethods[pick(random, 4)], options));
      Command script = command(std::string(pick(random, 100'000), 'x'));
      script.set_response_count(pick(random, 4));
      script.set_delay_ms(pick(random, 5));
      script.set_hang(pick(random, 10) == 0);
      for (uint32_t m = pick(random, 3); m > 0; --m) calls.back()->send(script);
      if (pick(random, 2) == 0) calls.back()->half_close();
    }
    for (const auto& call : calls) {
      if (pick(random, 2) == 0) call->cancel();
    }
    // The rest is cancelled as it is destroyed, wherever it has got to.
  }
}

/// Workers: come, serve, leave in order or without a word.
void worker_chaos(const DaemonProcess& daemon, const std::string& address, uint32_t seed,
                  Clock::time_point end) {
  std::mt19937 random(seed);
  while (Clock::now() < end) {
    Worker worker(daemon, 1 + pick(random, 8), address);
    for (uint32_t i = pick(random, 50); i > 0; --i) worker.connection->ping();
    if (pick(random, 2) == 0) worker.connection->close(milliseconds(0));
  }
}

TEST(Chaos, LeavesNothingBehind) {
  const DaemonProcess daemon({"inbound.hold=5s"});
  const PeerServer server;
  const Worker steady(daemon, 4);
  const auto end = Clock::now() + std::chrono::seconds(3);
  std::atomic<size_t> unended = 0;
  std::vector<std::thread> threads;
  for (uint32_t seed = 1; seed <= 3; ++seed) {
    threads.emplace_back([&, seed] { client_chaos(daemon, server.address(), seed, end, unended); });
    threads.emplace_back([&, seed] { remote_chaos(steady.address, 100 + seed, end); });
  }
  for (uint32_t seed = 1; seed <= 2; ++seed) {
    threads.emplace_back([&, seed] { worker_chaos(daemon, steady.address, 200 + seed, end); });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(unended, 0u) << "calls out that never got a status";
  expect_all_quiet(daemon);

  const auto in = call_once(connect(steady.address), kUnary);
  EXPECT_TRUE(in.ok()) << describe(in);
  const auto connection = daemon.dial();
  const auto out = connection->unary(connection->open_channel(server.address()), kUnary,
                                     command("fresh").SerializeAsString());
  EXPECT_TRUE(out.status.ok()) << describe(out.status);
}

}  // namespace
}  // namespace legated::test
