// Workers that die or give calls back: what they had accepted ends once, what they had not goes on.
#include <algorithm>
#include <atomic>
#include <csignal>

#include "tests/integration/calls.h"
#include "tests/integration/raw_peer.h"

namespace legated::test {
namespace {

using legate::client::Code;
using legate::client::make_status;
using legate::client::Status;

using Calls = std::vector<std::unique_ptr<ClientCall>>;

Calls start(const std::shared_ptr<grpc::Channel>& channel, size_t count, const Command& message,
            const std::string& method = kUnary) {
  Calls calls;
  for (size_t i = 0; i < count; ++i) {
    calls.push_back(std::make_unique<ClientCall>(channel, method));
    calls.back()->send(message).half_close();
  }
  return calls;
}

Command hanging() {
  Command script;
  script.set_hang(true);
  return script;
}

/// Calls of the daemon in this state, as QUERY tells.
size_t in_state(legate::client::Connection& connection, const std::string& state) {
  const auto calls = ask(connection, "calls")["calls"];
  return static_cast<size_t>(std::count_if(
      calls.begin(), calls.end(), [&](const auto& call) { return call["state"] == state; }));
}

void expect_lost(ClientCall& call) {
  const auto status = call.wait();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << describe(status);
  EXPECT_NE(status.error_message().find("worker"), std::string::npos) << describe(status);
}

TEST(WorkerKilled, HundredCallsInFlightEndAndASecondWorkerTakesTheNext) {
  const DaemonProcess daemon;
  WorkerProcess first(daemon, "127.0.0.1:0", 200);
  const WorkerProcess second(daemon, first.address, 200);
  const auto admin = daemon.dial();
  const auto channel = connect(first.address);
  const Calls calls = start(channel, 200, hanging());
  ASSERT_TRUE(eventually([&] { return in_state(*admin, "accepted") == 200; }));
  // Both have the same number of slots, so each has a hundred.
  first.kill();
  size_t ended = 0;
  EXPECT_TRUE(eventually([&] {
    ended = static_cast<size_t>(
        std::count_if(calls.begin(), calls.end(), [](const auto& call) { return call->done(); }));
    return ended >= 100;
  })) << ended;
  EXPECT_EQ(in_state(*admin, "accepted"), 100u) << "those of the other worker go on";
  EXPECT_EQ(ended, 100u);
  for (const auto& call : calls) {
    if (call->done()) expect_lost(*call);
  }
  const auto next = call_once(channel, kUnary);
  EXPECT_TRUE(next.ok()) << describe(next);
}

TEST(WorkerKilled, AWorkerThatConnectsAfterwardsTakesTheNextCall) {
  const DaemonProcess daemon;
  WorkerProcess first(daemon, "127.0.0.1:0", 100);
  const auto admin = daemon.dial();
  const auto channel = connect(first.address);
  const Calls calls = start(channel, 100, hanging());
  ASSERT_TRUE(eventually([&] { return in_state(*admin, "accepted") == 100; }));
  first.kill();
  for (const auto& call : calls) expect_lost(*call);

  const Calls waiting = start(channel, 5, command("held"));
  ASSERT_TRUE(eventually([&] { return in_state(*admin, "queued") == 5; }));
  const WorkerProcess second(daemon, first.address, 100);
  for (const auto& call : waiting) {
    const auto status = call->wait();
    EXPECT_TRUE(status.ok()) << describe(status);
    ASSERT_EQ(call->replies().size(), 1u);
    EXPECT_EQ(call->replies()[0].payload(), "held") << "the message survived the wait";
  }
  expect_all_quiet(daemon);
}

// A worker that takes dispatches and then loses its connection without a word is one that was
// killed, as far as the daemon can see.
TEST(WorkerKilled, WhatItHadNotAcceptedGoesToAnother) {
  const DaemonProcess daemon;
  auto first = std::make_unique<ManualWorker>(daemon, std::vector<std::string>{"*"}, 50u);
  const auto channel = connect(first->address);
  const std::string payload(100'000, 'p');
  const Calls unary = start(channel, 20, command(payload));
  const Calls empty = start(channel, 5, command(""));
  Calls streams;
  for (int i = 0; i < 20; ++i) {
    streams.push_back(std::make_unique<ClientCall>(channel, kClientStream));
    streams.back()->send(command("a")).send(command(payload));
  }
  std::vector<Dispatched> held;
  for (int i = 0; i < 45; ++i) held.push_back(first->take());
  held[0]->accept();  // one is taken up, and so is lost
  EXPECT_TRUE(first->connection->ping());

  const Worker second(daemon, 50, first->address);
  first->connection->close();
  size_t lost = 0;
  for (const auto& call : unary) {
    const auto status = call->wait();
    if (!status.ok()) {
      ++lost;
      expect_lost(*call);
      continue;
    }
    ASSERT_EQ(call->replies().size(), 1u);
    EXPECT_TRUE(call->replies()[0].payload() == payload);
  }
  for (const auto& call : empty) lost += call->wait().ok() ? 0u : 1u;
  for (const auto& call : streams) {
    call->send(command("b")).half_close();
    const auto status = call->wait();
    if (!status.ok()) {
      ++lost;
      continue;
    }
    ASSERT_EQ(call->replies().size(), 1u);
    EXPECT_EQ(call->replies()[0].messages_received(), 3u);
    EXPECT_TRUE(call->replies()[0].payload() == "a" + payload + "b");
  }
  EXPECT_EQ(lost, 1u) << "only the accepted call may be lost";
  held.clear();
  expect_all_quiet(daemon);
}

/// A worker that writes its frames itself; 1 is its server, 3 its lease.
struct RawWorker {
  RawWorker(const DaemonProcess& daemon, const std::string& method) : peer(daemon.socket()) {
    peer.greet();
    peer.builder().Finish(legate::ipc::CreateListenDirect(peer.builder(), "127.0.0.1:0"));
    peer.send({.call_id = 1, .type = FrameType::listen}, {}, true);
    const auto listening = peer.receive(FrameType::listening, 1);
    if (!listening) throw std::runtime_error("no LISTENING");
    address = listening->as<legate::ipc::Listening>().address()->str();
    auto& fbb = peer.builder();
    fbb.Clear();
    const auto name = fbb.CreateString(method);
    const auto methods = fbb.CreateVector(&name, 1);
    fbb.Finish(legate::ipc::CreateRegister(fbb, 1, methods, 4));
    peer.send({.call_id = 3, .type = FrameType::register_methods}, {}, true);
    peer.send({.call_id = 5, .type = FrameType::serve, .aux = 1});
  }
  RawPeer peer;
  std::string address;
};

TEST(WorkerKilled, AtEachPhaseOfACall) {
  const DaemonProcess daemon({"inbound.hold=100ms"});
  enum Phase { kOffered, kAccepted, kHeaders, kMidMessage, kMessage, kStatus };
  for (const Phase phase : {kOffered, kAccepted, kHeaders, kMidMessage, kMessage, kStatus}) {
    SCOPED_TRACE(phase);
    std::optional<RawWorker> worker(std::in_place, daemon, "*");
    ClientCall call(connect(worker->address), kBidi);
    call.send(command("request"));
    const auto start = worker->peer.receive(FrameType::start, 2);
    ASSERT_TRUE(start.has_value()) << worker->peer.last_problem();
    const auto data = [&](uint8_t flags, size_t bytes, uint32_t length) {
      EXPECT_TRUE(worker->peer.data(2, flags, std::string(bytes, '\0'), length));
    };
    auto& fbb = worker->peer.builder();
    switch (phase) {
      case kOffered: break;
      case kAccepted: worker->peer.send({.call_id = 2, .type = FrameType::accept}); break;
      case kHeaders:
        fbb.Clear();
        fbb.Finish(legate::ipc::CreateHeaders(fbb));
        worker->peer.send({.call_id = 2, .type = FrameType::headers}, {}, true);
        EXPECT_TRUE(eventually([&] { return call.have_headers(); }));
        break;
      case kMidMessage: data(legate::ipc::flag::msg_begin, 1000, 2000); break;
      case kMessage:
        data(legate::ipc::flag::whole_message, 0, 0);
        EXPECT_TRUE(eventually([&] { return call.replies().size() == 1; }));
        break;
      case kStatus:
        fbb.Clear();
        fbb.Finish(legate::ipc::CreateStatusDirect(fbb, 10, "before the end"));
        worker->peer.send({.call_id = 2, .type = FrameType::status}, {}, true);
    }
    worker.reset();  // the socket is closed without a word, as when the process is killed
    const auto status = call.wait();
    EXPECT_EQ(status.error_code(),
              phase == kStatus ? grpc::StatusCode::ABORTED : grpc::StatusCode::UNAVAILABLE)
        << describe(status);
    EXPECT_EQ(call.replies().size(), phase == kMessage ? 1u : 0u);
  }
  expect_all_quiet(daemon);
}

TEST(WorkerKilled, WithRealProcessesWhileTheyAnswer) {
  const DaemonProcess daemon;
  Command script = command(std::string(20'000, 's'));
  script.set_response_count(100'000);
  auto worker = std::make_unique<WorkerProcess>(daemon, "127.0.0.1:0", 16);
  const std::string address = worker->address;
  const auto channel = connect(address);
  for (int round = 0; round < 8; ++round) {
    const Calls calls = start(channel, 8, script, kServerStream);
    ASSERT_TRUE(eventually([&] {
      return std::all_of(calls.begin(), calls.end(), [&](const auto& call) {
        return call->replies().size() > static_cast<size_t>(round);
      });
    }));
    worker->kill();
    for (const auto& call : calls) expect_lost(*call);
    worker = std::make_unique<WorkerProcess>(daemon, address, 16);
  }
  expect_all_quiet(daemon);
}

// ---- Rejecting ---------------------------------------------------------------------------------

TEST(Reject, SendsTheCallToAnotherWorker) {
  const DaemonProcess daemon;
  ManualWorker picky(daemon, {"*"}, 10);
  ManualWorker willing(daemon, {"*"}, 1, picky.address);
  const std::string payload(100'000, 'p');
  ClientCall call(connect(picky.address), kUnary);
  call.send(command(payload)).half_close();
  const auto first = picky.take();
  EXPECT_TRUE(first->reject());
  const auto second = willing.take();
  ASSERT_NE(second, nullptr);
  second->accept();
  const auto message = second->read();
  ASSERT_TRUE(message.has_value());
  EXPECT_EQ(*message, command(payload).SerializeAsString()) << "the message came along";
  EXPECT_EQ(second->read(), std::nullopt);
  EXPECT_FALSE(second->cancelled());
  second->finish(make_status(Code::aborted, "second"));
  EXPECT_EQ(call.wait().error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(picky.waiting(), 0u) << "it came back to the worker that rejected it";
  expect_all_quiet(daemon);
}

TEST(Reject, ByAllEndsTheCallUnavailable) {
  const DaemonProcess daemon;
  const auto reject = [](const Dispatched& call) { call->reject(); };
  const ManualWorker first(daemon, {"*"}, 2, "127.0.0.1:0", reject);
  const ManualWorker second(daemon, {"*"}, 2, first.address, reject);
  const auto channel = connect(first.address);
  for (int i = 0; i < 20; ++i) {
    const auto status = call_once(channel, kUnary);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << describe(status);
    EXPECT_NE(status.error_message().find("reject"), std::string::npos) << describe(status);
  }
  expect_all_quiet(daemon);
}

TEST(Reject, WaitsForTheOnlyOtherWorkerToBeFree) {
  const DaemonProcess daemon;
  ManualWorker busy(daemon, {"*"}, 1);
  const auto channel = connect(busy.address);
  ClientCall occupying(channel, kUnary);
  occupying.send(command()).half_close();
  const auto occupied = busy.take();
  std::atomic<int> rejected = 0;
  const ManualWorker picky(daemon, {"*"}, 1, busy.address, [&](const Dispatched& call) {
    ++rejected;
    call->reject();
  });
  ClientCall call(channel, kUnary);
  call.send(command()).half_close();
  EXPECT_TRUE(eventually([&] { return rejected == 1; }));
  EXPECT_FALSE(call.done());
  occupied->finish(make_status(Code::aborted, "first"));
  busy.take()->finish(make_status(Code::data_loss, "second"));
  EXPECT_EQ(call.wait().error_code(), grpc::StatusCode::DATA_LOSS);
  EXPECT_EQ(occupying.wait().error_code(), grpc::StatusCode::ABORTED);
}

TEST(Reject, AfterAcceptIsAProtocolError) {
  const DaemonProcess daemon({"inbound.hold=100ms"});
  RawWorker worker(daemon, "*");
  ClientCall call(connect(worker.address), kUnary);
  call.send(command()).half_close();
  ASSERT_TRUE(worker.peer.receive(FrameType::start, 2).has_value());
  worker.peer.send({.call_id = 2, .type = FrameType::accept});
  worker.peer.send({.call_id = 2, .type = FrameType::reject});
  EXPECT_EQ(worker.peer.error(), ErrorCode::unexpected_frame);
  EXPECT_EQ(call.wait().error_code(), grpc::StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace legated::test
