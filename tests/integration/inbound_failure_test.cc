// Calls that find no worker, or too many before them: held, queued, bounded, and always answered.
#include <atomic>
#include <chrono>

#include "tests/integration/calls.h"

namespace legated::test {
namespace {

using legate::client::Code;
using legate::client::make_status;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

/// A server that answers, without a lease.
struct Listener {
  explicit Listener(const DaemonProcess& daemon) : connection(daemon.dial({.name = "listener"})) {
    const auto listening = connection->listen("127.0.0.1:0");
    server = listening.server;
    address = listening.address;
    connection->serve(server);
  }
  nlohmann::json state() const { return ask(*connection, "workers")["servers"][0]; }
  std::unique_ptr<legate::client::Connection> connection;
  legate::client::ServerId server;
  std::string address;
};

std::unique_ptr<ClientCall> start(const std::shared_ptr<grpc::Channel>& channel,
                                  const std::string& payload = {},
                                  const ClientCall::Options& options = {}) {
  auto call = std::make_unique<ClientCall>(channel, kUnary, options);
  call->send(command(payload)).half_close();
  return call;
}

// ---- Holding -----------------------------------------------------------------------------------

TEST(Hold, CallsWithoutAWorkerAreServedByTheFirstThatComes) {
  const DaemonProcess daemon;
  const Listener listener(daemon);
  const auto channel = connect(listener.address);
  std::vector<std::unique_ptr<ClientCall>> calls;
  for (int i = 0; i < 20; ++i) calls.push_back(start(channel, std::to_string(i)));
  ASSERT_TRUE(eventually([&] { return listener.state()["queued"] == 20; }));
  const Worker worker(daemon, 4, listener.address);
  for (size_t i = 0; i < calls.size(); ++i) {
    const auto status = calls[i]->wait();
    EXPECT_TRUE(status.ok()) << describe(status);
    ASSERT_EQ(calls[i]->replies().size(), 1u);
    EXPECT_EQ(calls[i]->replies()[0].payload(), std::to_string(i));
  }
}

TEST(Hold, CallsEndUnavailableWhenItIsOver) {
  const DaemonProcess daemon({"inbound.hold=300ms"});
  const Listener listener(daemon);
  const auto channel = connect(listener.address);
  EXPECT_TRUE(channel->WaitForConnected(std::chrono::system_clock::now() + kPatience));
  const auto begin = Clock::now();
  const auto first = start(channel);
  ASSERT_TRUE(eventually([&] { return listener.state()["queued"] == 1; }));
  const auto second = start(channel);
  for (ClientCall* call : {first.get(), second.get()}) {
    const auto status = call->wait();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << describe(status);
    EXPECT_NE(status.error_message().find("inbound.hold"), std::string::npos) << describe(status);
    EXPECT_GE(Clock::now() - begin, milliseconds(300));
  }
  expect_all_quiet(daemon);
}

TEST(Hold, ACallsOwnDeadlineComesFirst) {
  const DaemonProcess daemon;
  const Listener listener(daemon);
  const auto channel = connect(listener.address);
  const auto call = start(channel, {}, {.timeout = milliseconds(80)});
  EXPECT_EQ(call->wait().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  const auto cancelled = start(channel);
  ASSERT_TRUE(eventually([&] { return listener.state()["queued"] == 1; }));
  cancelled->cancel();
  EXPECT_EQ(cancelled->wait().error_code(), grpc::StatusCode::CANCELLED);
  expect_all_quiet(daemon);

  std::atomic<int> dispatched = 0;
  const ManualWorker worker(daemon, {"*"}, 4, listener.address, [&](const Dispatched& dispatch) {
    ++dispatched;
    dispatch->finish(make_status(Code::aborted, "served"));
  });
  EXPECT_EQ(start(channel)->wait().error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(dispatched, 1) << "a call that had ended was dispatched";
}

TEST(Hold, AServerThatNobodyHoldsClosesAfterIt) {
  const DaemonProcess daemon({"inbound.hold=200ms"});
  auto worker = std::make_unique<Worker>(daemon);
  const std::string address = worker->address;
  const auto admin = daemon.dial();
  const auto channel = connect(address);
  EXPECT_TRUE(call_once(channel, kUnary).ok());
  worker.reset();
  // One that came just before must not be forgotten either.
  const auto call = start(channel);
  EXPECT_TRUE(eventually([&] { return ask(*admin, "workers")["servers"].empty(); }));
  const auto status = call->wait();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << describe(status);
  const auto refused = call_once(connect(address), kUnary);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNAVAILABLE) << describe(refused);
  const Worker again(daemon, 16, address);
  EXPECT_TRUE(call_once(connect(address), kUnary).ok()) << "the address is free again";
}

TEST(Hold, AServerIsTakenOverByTheNextGeneration) {
  const DaemonProcess daemon;
  auto worker = std::make_unique<Worker>(daemon);
  const std::string address = worker->address;
  const auto admin = daemon.dial();
  worker.reset();
  EXPECT_TRUE(eventually([&] { return ask(*admin, "workers")["servers"][0]["holders"] == 0; }));
  const auto next = daemon.dial();
  const auto joined = next->listen(address);
  EXPECT_TRUE(joined.status.ok()) << describe(joined.status);
  EXPECT_TRUE(joined.shared);
}

// ---- The queue's bounds ------------------------------------------------------------------------

TEST(Queue, OverItsBoundCallsEndResourceExhausted) {
  const DaemonProcess daemon({"inbound.queue=5"});
  ManualWorker worker(daemon, {"*"}, 1);
  const auto channel = connect(worker.address);
  const auto holder = start(channel);
  const auto dispatch = worker.take();
  dispatch->accept();
  std::vector<std::unique_ptr<ClientCall>> waiting;
  for (int i = 0; i < 5; ++i) waiting.push_back(start(channel));
  ASSERT_TRUE(
      eventually([&] { return ask(*worker.connection, "workers")["servers"][0]["queued"] == 5; }));
  for (int i = 0; i < 10; ++i) {
    const auto status = start(channel)->wait();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << describe(status);
    EXPECT_NE(status.error_message().find("inbound.queue"), std::string::npos) << describe(status);
  }
  dispatch->finish(make_status(Code::aborted, "served"));
  for (const auto& call : waiting) {
    worker.take()->finish(make_status(Code::aborted, "served"));
    (void)call;
  }
  for (const auto& call : waiting) {
    EXPECT_EQ(call->wait().error_code(), grpc::StatusCode::ABORTED);
  }
  expect_all_quiet(daemon);
}

TEST(Queue, IsServedInOrder) {
  const DaemonProcess daemon;
  ManualWorker worker(daemon, {"*"}, 1);
  const auto channel = connect(worker.address);
  std::vector<std::unique_ptr<ClientCall>> calls;
  for (int i = 0; i < 20; ++i) {
    calls.push_back(start(channel, std::to_string(i)));
    ASSERT_TRUE(eventually(
        [&] { return ask(*worker.connection, "workers")["servers"][0]["in_flight"] == i + 1; }));
  }
  for (int i = 0; i < 20; ++i) {
    const auto dispatch = worker.take();
    ASSERT_NE(dispatch, nullptr);
    EXPECT_EQ(dispatch->read(), command(std::to_string(i)).SerializeAsString());
    dispatch->finish(make_status(Code::aborted, "served"));
  }
}

TEST(Queue, ItsMemoryIsBounded) {
  const DaemonProcess daemon({"inbound.queue_memory=1MiB"});
  const Listener listener(daemon);
  const auto channel = connect(listener.address);
  const std::string payload(300 * 1024, 'q');
  std::vector<std::unique_ptr<ClientCall>> fitting;
  for (int i = 0; i < 3; ++i) {
    fitting.push_back(start(channel, payload));
    // Its message has come when the daemon has read the half-close behind it; the queue tells only
    // of the call, so an unlike call that needs no memory is sent after it.
    ASSERT_TRUE(eventually([&] { return fitting.back()->unsent() == 0; }));
  }
  ASSERT_TRUE(eventually([&] { return listener.state()["queued"] == 3; }));
  size_t refused = 0;
  for (int i = 0; i < 5; ++i) {
    const auto call = start(channel, payload, {.timeout = milliseconds(3000)});
    const auto status = call->wait();
    if (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) ++refused;
    EXPECT_NE(status.error_message().find("inbound.queue_memory"), std::string::npos)
        << describe(status);
  }
  EXPECT_EQ(refused, 5u);
  const Worker worker(daemon, 4, listener.address);
  for (const auto& call : fitting) {
    const auto status = call->wait();
    EXPECT_TRUE(status.ok()) << describe(status);
  }
  // All of it is free again.
  for (int i = 0; i < 10; ++i) {
    const auto status = start(channel, payload)->wait();
    EXPECT_TRUE(status.ok()) << describe(status);
  }
  expect_all_quiet(daemon);
}

}  // namespace
}  // namespace legated::test
