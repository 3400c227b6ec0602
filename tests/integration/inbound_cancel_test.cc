// A client that half-closes and one that goes away are not the same: a handler must never take the
// second for the first. And deadlines: a worker is told at once, or never sees the call.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <random>
#include <thread>

#include "tests/integration/calls.h"

namespace legated::test {
namespace {

using legate::client::Code;
using legate::client::make_status;
using legate::client::Microseconds;
using legate::client::Status;

/// Serves client streams by reading them to their end, and counts how they ended.
struct StreamReader {
  explicit StreamReader(const DaemonProcess& daemon, uint32_t slots = 16)
      : connection(daemon.dial({.name = "stream-reader"})) {
    const auto listening = connection->listen("127.0.0.1:0");
    address = listening.address;
    const auto lease = connection->register_methods(
        listening.server, {{"*", [this](ServerCall& call) { return serve(call); }}}, slots);
    if (!lease.status.ok()) throw std::runtime_error(describe(lease.status));
    const auto serving = connection->serve(listening.server);
    if (!serving.ok()) throw std::runtime_error(describe(serving));
  }
  ~StreamReader() { connection->close(); }

  Status serve(ServerCall& call) {
    ++begun;
    while (call.read()) ++messages;
    if (call.cancelled()) {
      ++cancelled;
      return make_status(call.cancel_code(), "cancelled");
    }
    ++clean;
    call.post(Reply().SerializeAsString());
    return {};
  }
  uint64_t over() const { return cancelled + clean; }

  std::atomic<uint64_t> begun = 0;
  std::atomic<uint64_t> messages = 0;
  std::atomic<uint64_t> cancelled = 0;
  std::atomic<uint64_t> clean = 0;
  std::string address;
  std::unique_ptr<legate::client::Connection> connection;
};

TEST(HalfClose, IsSeenByTheHandler) {
  const DaemonProcess daemon;
  const StreamReader reader(daemon);
  const auto channel = connect(reader.address);
  for (int i = 0; i < 50; ++i) {
    ClientCall call(channel, kClientStream);
    call.send(command("a")).send(command("b")).half_close();
    const auto status = call.wait();
    EXPECT_TRUE(status.ok()) << describe(status);
  }
  EXPECT_EQ(reader.clean, 50u);
  EXPECT_EQ(reader.messages, 100u);
}

TEST(HalfClose, IsNotWhatACancelLooksLike) {
  const DaemonProcess daemon;
  const StreamReader reader(daemon);
  const auto channel = connect(reader.address);
  std::mt19937 random(1);
  constexpr uint64_t kCalls = 2000;
  constexpr size_t kAtOnce = 16;
  for (uint64_t i = 0; i < kCalls; i += kAtOnce) {
    std::vector<std::unique_ptr<ClientCall>> calls;
    for (size_t k = 0; k < kAtOnce; ++k) {
      calls.push_back(std::make_unique<ClientCall>(channel, kClientStream));
      const uint32_t count = random() % 4;
      for (uint32_t m = 0; m <= count; ++m) calls.back()->send(command(std::string(m * 300, 'x')));
    }
    // Cancelled at all sorts of moments: at once, with messages on their way, when all are read.
    switch (i / kAtOnce % 3) {
      case 0: break;
      case 1: eventually([&] { return reader.begun >= reader.over() + kAtOnce / 2; }); break;
      default:
        eventually([&] {
          return std::all_of(calls.begin(), calls.end(),
                             [](const auto& call) { return call->unsent() == 0; });
        });
    }
    for (const auto& call : calls) call->cancel();
    for (const auto& call : calls) {
      EXPECT_EQ(call->wait().error_code(), grpc::StatusCode::CANCELLED);
    }
    EXPECT_TRUE(eventually([&] { return reader.over() == reader.begun; }));
  }
  expect_all_quiet(daemon);
  EXPECT_TRUE(eventually([&] { return reader.over() == reader.begun; }));
  EXPECT_EQ(reader.clean, 0u) << "of " << reader.begun << " streams that were cancelled";
  EXPECT_GT(reader.cancelled, kCalls / 4) << "too few reached the handler for the test to matter";
}

TEST(HalfClose, IsNotWhatADeadlineLooksLike) {
  const DaemonProcess daemon;
  const StreamReader reader(daemon);
  const auto channel = connect(reader.address);
  EXPECT_TRUE(channel->WaitForConnected(std::chrono::system_clock::now() + kPatience));
  for (int round = 0; round < 40; ++round) {
    std::vector<std::unique_ptr<ClientCall>> calls;
    for (int k = 0; k < 16; ++k) {
      calls.push_back(std::make_unique<ClientCall>(
          channel, kClientStream,
          ClientCall::Options{.timeout = std::chrono::milliseconds(20 + k)}));
      calls.back()->send(command("x"));
    }
    for (const auto& call : calls) {
      EXPECT_EQ(call->wait().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
    }
  }
  expect_all_quiet(daemon);
  EXPECT_TRUE(eventually([&] { return reader.over() == reader.begun; }));
  EXPECT_EQ(reader.clean, 0u) << "of " << reader.begun << " streams whose deadline passed";
  EXPECT_GT(reader.cancelled, 320u);
}

TEST(HalfClose, IsNotWhatAKilledClientLooksLike) {
  const DaemonProcess daemon;
  const StreamReader reader(daemon, 64);
  for (uint64_t round = 0; round < 40; ++round) {
    const uint64_t before = reader.begun;
    const uint64_t messages = reader.messages;
    ChildProcess client({program("peer-client"), "--target", reader.address, "--shape", "client",
                         "--send", "1000000", "--send-interval", round % 2 == 0 ? "1ms" : "0s",
                         "--count", "8", "--payload-size", round % 4 < 2 ? "10" : "3000"});
    ASSERT_TRUE(eventually([&] {
      return reader.begun == before + 8 && reader.messages >= messages + 8 + round;
    })) << "round "
        << round;
    client.signal(SIGKILL);
    client.wait();
    ASSERT_TRUE(eventually([&] { return reader.over() == reader.begun; }))
        << "round " << round << ": a handler never heard that its client was killed";
    ASSERT_EQ(reader.clean, 0u) << "round " << round;
  }
  EXPECT_EQ(reader.cancelled, 320u);
  expect_all_quiet(daemon);
}

// ---- Cancellation ------------------------------------------------------------------------------

TEST(Cancel, ReachesAHandlerThatDoesNoIo) {
  const DaemonProcess daemon;
  ManualWorker worker(daemon, {"*"}, 4);
  ClientCall call(connect(worker.address), kUnary);
  call.send(command()).half_close();
  const auto dispatch = worker.take();
  dispatch->accept();
  EXPECT_FALSE(dispatch->cancelled());
  call.cancel();
  ASSERT_TRUE(dispatch->wait_cancelled(kPatience));
  EXPECT_EQ(dispatch->cancel_code(), Code::cancelled);
  EXPECT_FALSE(dispatch->write("nothing of this goes anywhere"));
  dispatch->finish(make_status(Code::ok, ""));
  EXPECT_EQ(call.wait().error_code(), grpc::StatusCode::CANCELLED);
  expect_all_quiet(daemon);
}

TEST(Cancel, OfTheDeadlineReachesAHandlerThatDoesNoIo) {
  const DaemonProcess daemon;
  ManualWorker worker(daemon, {"*"}, 4);
  const auto channel = connect(worker.address);
  int told_why = 0;
  for (int i = 0; i < 20; ++i) {
    ClientCall call(channel, kUnary, {.timeout = std::chrono::milliseconds(60)});
    call.send(command()).half_close();
    const auto dispatch = worker.take();
    ASSERT_NE(dispatch, nullptr);
    dispatch->accept();
    ASSERT_TRUE(dispatch->time_left().has_value());
    // gRPC rounds up to whole milliseconds, on each side.
    EXPECT_LE(dispatch->time_left()->count(), 65'000);
    ASSERT_TRUE(dispatch->wait_cancelled(kPatience));
    if (dispatch->cancel_code() == Code::deadline_exceeded) ++told_why;
    dispatch->finish({});
    EXPECT_EQ(call.wait().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  }
  // The client's own timer resets the stream. When that is early, by a busy machine's measure, the
  // daemon can't know it from a cancellation.
  EXPECT_GT(told_why, 0) << "in none of 20 the CANCEL said that the deadline had passed";
}

TEST(Cancel, OfAKilledClientReachesTheHandler) {
  const DaemonProcess daemon;
  ManualWorker worker(daemon, {"*"}, 4);
  for (const Client& client : foreign_clients()) {
    SCOPED_TRACE(client.name);
    auto arguments = client.command;
    arguments.insert(arguments.end(), {"--target", worker.address, "--shape", "unary"});
    ChildProcess process(arguments);
    const auto dispatch = worker.take();
    ASSERT_NE(dispatch, nullptr);
    dispatch->accept();
    process.signal(SIGKILL);
    EXPECT_TRUE(dispatch->wait_cancelled(kPatience));
    EXPECT_EQ(dispatch->cancel_code(), Code::cancelled);
    dispatch->finish({});
  }
  expect_all_quiet(daemon);
}

TEST(Cancel, AWorkerThatDoesNotAnswerKeepsOnlyItsOwnSlot) {
  const DaemonProcess daemon;
  ManualWorker worker(daemon, {"*"}, 2);
  const auto channel = connect(worker.address);
  ClientCall first(channel, kUnary);
  first.send(command()).half_close();
  const auto stubborn = worker.take();
  stubborn->accept();
  first.cancel();
  ASSERT_TRUE(stubborn->wait_cancelled(kPatience));
  for (int i = 0; i < 10; ++i) {
    ClientCall call(channel, kUnary);
    call.send(command()).half_close();
    worker.take()->finish(make_status(Code::aborted, "served"));
    EXPECT_EQ(call.wait().error_code(), grpc::StatusCode::ABORTED);
  }
  const auto lease = ask(*worker.connection, "workers")["servers"][0]["leases"][0];
  EXPECT_EQ(lease["busy"], 1) << lease.dump();
  stubborn->finish({});
  expect_all_quiet(daemon);
}

// ---- Deadlines in the queue --------------------------------------------------------------------

TEST(QueuedCall, PastItsDeadlineNeverReachesAWorker) {
  const DaemonProcess daemon;
  ManualWorker worker(daemon, {"*"}, 1);
  const auto channel = connect(worker.address);
  ClientCall holder(channel, kUnary);
  holder.send(command()).half_close();
  const auto dispatch = worker.take();
  std::vector<std::unique_ptr<ClientCall>> late;
  for (int i = 0; i < 50; ++i) {
    late.push_back(std::make_unique<ClientCall>(
        channel, kUnary, ClientCall::Options{.timeout = std::chrono::milliseconds(30 + i)}));
    late.back()->send(command()).half_close();
  }
  ClientCall patient(channel, "/a.S/Patient");
  patient.send(command()).half_close();
  for (const auto& call : late) {
    const auto status = call->wait();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED) << describe(status);
  }
  EXPECT_TRUE(
      eventually([&] { return ask(*worker.connection, "workers")["servers"][0]["queued"] <= 1; }));
  dispatch->finish(make_status(Code::aborted, "served"));
  const auto next = worker.take();
  EXPECT_EQ(next->method(), "/a.S/Patient") << "a call past its deadline was dispatched";
  EXPECT_GT(next->queued().count(), 1000);
  next->finish(make_status(Code::aborted, "served"));
  EXPECT_EQ(patient.wait().error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(worker.waiting(), 0u);
  expect_all_quiet(daemon);
}

TEST(QueuedCall, CancelledNeverReachesAWorker) {
  const DaemonProcess daemon;
  ManualWorker worker(daemon, {"*"}, 1);
  const auto channel = connect(worker.address);
  ClientCall holder(channel, kUnary);
  holder.send(command()).half_close();
  const auto dispatch = worker.take();
  {
    ClientCall cancelled(channel, "/a.S/Cancelled");
    cancelled.send(command());
    EXPECT_TRUE(eventually(
        [&] { return ask(*worker.connection, "workers")["servers"][0]["queued"] == 1; }));
    cancelled.cancel();
    EXPECT_EQ(cancelled.wait().error_code(), grpc::StatusCode::CANCELLED);
  }
  EXPECT_TRUE(
      eventually([&] { return ask(*worker.connection, "workers")["servers"][0]["queued"] == 0; }));
  dispatch->finish(make_status(Code::aborted, "served"));
  EXPECT_EQ(holder.wait().error_code(), grpc::StatusCode::ABORTED);
  expect_all_quiet(daemon);
  EXPECT_EQ(worker.waiting(), 0u);
}

}  // namespace
}  // namespace legated::test
