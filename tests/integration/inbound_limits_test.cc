// Whoever is slow makes the other side wait, and the daemon holds little meanwhile.
#include <atomic>
#include <thread>

#include "tests/integration/calls.h"

namespace legated::test {
namespace {

using legate::client::Code;
using legate::client::make_status;
using legate::client::Status;
using std::chrono::milliseconds;

constexpr uint64_t kMiB = 1024 * 1024;

/// Waits until the value has stayed the same for a while.
uint64_t settled(const std::function<uint64_t()>& value) {
  uint64_t last = value();
  auto since = std::chrono::steady_clock::now();
  EXPECT_TRUE(eventually([&] {
    const auto now = std::chrono::steady_clock::now();
    if (const uint64_t next = value(); next != last) {
      last = next;
      since = now;
    }
    return now - since > milliseconds(300);
  })) << "never settled, last "
      << last;
  return last;
}

/// A channel that takes only about 64 KiB of a call nobody reads.
std::shared_ptr<grpc::Channel> connect_narrow(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 65'536);
  arguments.SetMaxReceiveMessageSize(-1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

uint64_t memory_of(legate::client::Connection& admin, const std::string& name) {
  uint64_t memory = 0;
  const auto status = ask(admin, "status");
  for (const auto& session : status["sessions"]) {
    if (session["name"] == name) memory += session["memory"].get<uint64_t>();
  }
  return memory;
}

TEST(SlowWorker, BlocksTheRemoteSender) {
  const DaemonProcess daemon;
  ManualWorker worker(daemon, {"*"}, 1);
  const auto before = daemon.resident();
  ClientCall call(connect(worker.address), kClientStream);
  const std::string payload(kMiB, 's');
  constexpr size_t kMessages = 150;
  for (size_t i = 0; i < kMessages; ++i) call.send(command(payload));
  call.half_close();
  const auto dispatch = worker.take();
  dispatch->accept();
  const uint64_t unsent = settled([&] { return call.unsent(); });
  EXPECT_GT(unsent, kMessages - 40) << "the sender was not stopped";
  EXPECT_LT(daemon.resident(), before + 48 * kMiB);
  size_t received = 0;
  while (const auto message = dispatch->read()) {
    received += message->size() == command(payload).ByteSizeLong() ? 1u : 0u;
  }
  EXPECT_FALSE(dispatch->cancelled());
  EXPECT_EQ(received, kMessages);
  dispatch->finish(make_status(Code::aborted, "read"));
  EXPECT_EQ(call.wait().error_code(), grpc::StatusCode::ABORTED);
  expect_all_quiet(daemon);
}

TEST(SlowReader, BlocksTheWorkersWrites) {
  const DaemonProcess daemon;
  ManualWorker worker(daemon, {"*"}, 1);
  const auto before = daemon.resident();
  ClientCall call(connect_narrow(worker.address), kBidi, {.paused = true});
  call.send(command());
  const auto dispatch = worker.take();
  constexpr uint64_t kMessages = 150;
  std::atomic<uint64_t> written = 0;
  std::thread writer([&] {
    Reply reply;
    reply.set_payload(std::string(kMiB, 'r'));
    const std::string bytes = reply.SerializeAsString();
    for (uint64_t i = 0; i < kMessages && dispatch->write(bytes); ++i) ++written;
    dispatch->finish({});
  });
  EXPECT_LT(settled([&] { return written.load(); }), 20u) << "the worker was not stopped";
  EXPECT_LT(daemon.resident(), before + 32 * kMiB);
  const auto status = call.wait();
  writer.join();
  EXPECT_TRUE(status.ok()) << describe(status);
  EXPECT_EQ(call.replies().size(), kMessages);
  expect_all_quiet(daemon);
}

TEST(SlowReader, ThatIsCancelledFreesTheWorker) {
  const DaemonProcess daemon;
  ManualWorker worker(daemon, {"*"}, 1);
  ClientCall call(connect_narrow(worker.address), kBidi, {.paused = true});
  call.send(command());
  const auto dispatch = worker.take();
  std::atomic<uint64_t> written = 0;
  std::thread writer([&] {
    const std::string bytes(200'000, 'r');
    while (dispatch->write(bytes)) ++written;
    EXPECT_TRUE(dispatch->cancelled());
    dispatch->finish({});
  });
  settled([&] { return written.load(); });
  call.cancel();
  writer.join();
  EXPECT_EQ(call.wait().error_code(), grpc::StatusCode::CANCELLED);
  expect_all_quiet(daemon);
}

// The slot is free when STATUS is there, but what lies ahead of it still counts.
TEST(SlowReader, OfFinishedCallsDoesNotEscapeTheBudget) {
  const DaemonProcess daemon({"ipc.memory_budget=8MiB"});
  const Status done;
  Reply reply;
  reply.set_payload(std::string(2 * kMiB, 'r'));
  const std::string bytes = reply.SerializeAsString();
  const auto connection = daemon.dial({.name = "finisher"});
  const auto listening = connection->listen("127.0.0.1:0");
  std::atomic<uint64_t> answered = 0;
  ASSERT_TRUE(connection
                  ->register_methods(listening.server,
                                     {{"*",
                                       [&](ServerCall& call) {
                                         call.write(bytes);
                                         ++answered;
                                         return Status{};
                                       }}},
                                     1)
                  .status.ok());
  ASSERT_TRUE(connection->serve(listening.server).ok());
  const auto admin = daemon.dial();
  const auto before = daemon.resident();
  const auto channel = connect_narrow(listening.address);
  std::vector<std::unique_ptr<ClientCall>> calls;
  constexpr uint64_t kCalls = 60;
  for (uint64_t i = 0; i < kCalls; ++i) {
    calls.push_back(
        std::make_unique<ClientCall>(channel, kUnary, ClientCall::Options{.paused = true}));
    calls.back()->send(command()).half_close();
  }
  settled([&] { return answered.load(); });
  EXPECT_LE(memory_of(*admin, "finisher"), 8 * kMiB);
  EXPECT_LT(daemon.resident(), before + 40 * kMiB)
      << answered << " calls answered 2 MiB each, with a budget of 8 MiB";
  size_t good = 0;
  for (const auto& call : calls) {
    const auto status = call->wait();
    if (status.ok()) {
      ++good;
    } else {
      EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << describe(status);
    }
  }
  EXPECT_GE(good, 3u);
  expect_all_quiet(daemon);
}

TEST(MemoryBudget, StopsReadingFromClientsUntilTheWorkerReads) {
  const DaemonProcess daemon({"ipc.memory_budget=4MiB"});
  ManualWorker worker(daemon, {"*"}, 64);
  const auto admin = daemon.dial();
  const std::string payload(kMiB, 's');
  const auto channel = connect(worker.address);
  std::vector<std::unique_ptr<ClientCall>> calls;
  std::vector<Dispatched> dispatches;
  for (int i = 0; i < 24; ++i) {
    calls.push_back(std::make_unique<ClientCall>(channel, kClientStream));
    for (int k = 0; k < 4; ++k) calls.back()->send(command(payload));
    calls.back()->half_close();
  }
  for (int i = 0; i < 24; ++i) {
    dispatches.push_back(worker.take());
    dispatches.back()->accept();
  }
  settled([&] { return memory_of(*admin, "manual-worker"); });
  // One message for each call may have been under way when the budget was used up. What gRPC itself
  // buffers for a stream that is not read, up to its flow-control window, is not counted.
  EXPECT_GT(memory_of(*admin, "manual-worker"), 3 * kMiB);
  EXPECT_LT(memory_of(*admin, "manual-worker"), 26 * kMiB);
  std::vector<std::thread> readers;
  std::atomic<int> received = 0;
  for (const auto& dispatch : dispatches) {
    readers.emplace_back([&, dispatch] {
      while (dispatch->read()) ++received;
      dispatch->finish(make_status(Code::aborted, "read"));
    });
  }
  for (auto& reader : readers) reader.join();
  EXPECT_EQ(received, 24 * 4);
  for (const auto& call : calls) {
    const auto status = call->wait();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED) << describe(status);
  }
  expect_all_quiet(daemon);
}

}  // namespace
}  // namespace legated::test
