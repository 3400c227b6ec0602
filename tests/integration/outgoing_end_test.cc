// How outgoing calls end before their time: deadline, cancel, a server that is not there or dies.

#include <csignal>
#include <thread>

#include "tests/integration/black_hole.h"
#include "tests/integration/outgoing.h"

namespace legated::test {
namespace {

using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kTimeout{300};

/// A real gRPC server in another process, to be killed.
struct ServerProcess {
  ServerProcess() : process({program("peer-server"), "--addr", "127.0.0.1:0"}) {
    const std::string line = process.line();
    EXPECT_THAT(line, HasSubstr("listening ")) << "the Go server did not start";
    address = "127.0.0.1:" + line.substr(line.rfind(' ') + 1);
  }
  ChildProcess process;
  std::string address;
};

Command hanging() {
  Command command;
  command.set_hang(true);
  return command;
}

struct OutgoingEnd : Outgoing {
  /// The deadline decides, in time, and nothing is left of the call.
  void expect_deadline(const std::function<Status(const CallOptions&)>& call,
                       CallOptions options = {}) {
    options.timeout = kTimeout;
    const auto start = Clock::now();
    const Status status = call(options);
    const auto took = Clock::now() - start;
    EXPECT_STATUS(Code::deadline_exceeded, status);
    EXPECT_GE(took, kTimeout - milliseconds(20)) << "the call ended before its deadline";
    EXPECT_LT(took, seconds(10)) << "the call ended long after its deadline";
    EXPECT_TRUE(eventually([&] { return no_calls(*connection); })) << query(*connection, "calls");
  }
};

// ---- Deadline ----------------------------------------------------------------------------------

TEST_F(OutgoingEnd, DeadlineBeforeConnecting) {
  BlackHole hole;
  hole.listen();
  const ChannelId lost = connection->open_channel(hole.address());
  expect_deadline(
      [&](const auto& options) { return connection->unary(lost, kUnary, "", options).status; });
}

TEST_F(OutgoingEnd, DeadlineWhileWaitingForReady) {
  const BlackHole dead;
  const ChannelId lost = connection->open_channel(dead.address());
  expect_deadline(
      [&](const auto& options) { return connection->unary(lost, kUnary, "", options).status; },
      {.wait_for_ready = true});
}

TEST_F(OutgoingEnd, DeadlineOfAHangingHandler) {
  expect_deadline([&](const auto& options) { return unary(hanging(), options).status; });
  EXPECT_TRUE(eventually([&] { return server.cancelled_seen() == 1; }))
      << "the handler did not hear of it";
}

TEST_F(OutgoingEnd, DeadlineInMidStream) {
  expect_deadline([&](const CallOptions& options) {
    const auto call = start(kBidi, Shape::bidi, Command(), false, options);
    EXPECT_TRUE(call->read());
    EXPECT_TRUE(call->write(saying("more")));
    EXPECT_TRUE(call->read());
    EXPECT_FALSE(call->read());  // waits
    return call->finish();
  });
}

TEST_F(OutgoingEnd, DeadlineOfAServerStreamThatNobodyReads) {
  Command command;
  command.set_response_count(1000);
  command.set_response_size(100'000);
  expect_deadline([&](const CallOptions& options) {
    const auto call = start(kServerStream, Shape::server_streaming, command, true, options);
    EXPECT_TRUE(call->wait_ended(kPatience)) << "STATUS waited for credit";
    return call->finish();
  });
}

TEST_F(OutgoingEnd, DeadlineWhileTheClientIsIdle) {
  expect_deadline([&](const CallOptions& options) {
    const auto call = start(kClientStream, Shape::client_streaming, Command(), false, options);
    EXPECT_TRUE(call->wait_ended(kPatience));
    EXPECT_FALSE(call->write("too late"));
    return call->finish();
  });
}

TEST_F(OutgoingEnd, ShortestDeadlineIsStillADeadline) {
  const auto result = unary(Command(), {.timeout = legate::client::Microseconds(1)});
  EXPECT_STATUS(Code::deadline_exceeded, result.status);
}

TEST_F(OutgoingEnd, LongestDeadlineIsNoDeadlineYet) {
  const legate::client::Microseconds longest(INT64_MAX);
  EXPECT_STATUS(Code::ok, unary(Command(), {.timeout = longest}).status);
}

// ---- Cancel ------------------------------------------------------------------------------------

TEST_F(OutgoingEnd, CancelBeforeConnecting) {
  BlackHole hole;
  hole.listen();
  const ChannelId lost = connection->open_channel(hole.address());
  const auto call = connection->start_call(lost, kUnary, {.shape = Shape::unary}, "", true);
  call->cancel();
  const Status status = call->finish();
  EXPECT_STATUS(Code::cancelled, status);
  EXPECT_EQ(Origin::app, status.origin);
}

TEST_F(OutgoingEnd, CancelBeforeAnythingWasSent) {
  const auto call = connection->start_call(channel, kBidi, {.shape = Shape::bidi});
  call->cancel();
  call->cancel();
  EXPECT_STATUS(Code::cancelled, call->finish());
}

TEST_F(OutgoingEnd, CancelReachesTheServer) {
  const auto call = start(kUnary, Shape::unary, hanging(), true);
  ASSERT_TRUE(eventually([&] { return server.calls_seen() == 1; }));
  call->cancel();
  call->cancel();
  const Status status = call->finish();
  EXPECT_STATUS(Code::cancelled, status);
  EXPECT_EQ(Origin::app, status.origin);
  EXPECT_TRUE(eventually([&] { return server.cancelled_seen() == 1; }))
      << "the server did not see the cancellation";
  EXPECT_TRUE(no_calls(*connection)) << query(*connection, "calls");
}

TEST_F(OutgoingEnd, CancelInMidStreamDropsWhatIsUnread) {
  Command command = hanging();
  command.set_response_count(50);
  command.set_response_size(100'000);
  const auto call = start(kServerStream, Shape::server_streaming, command, true);
  ASSERT_TRUE(call->read());
  call->cancel();
  EXPECT_STATUS(Code::cancelled, call->finish());
  EXPECT_TRUE(eventually([&] { return no_calls(*connection); })) << query(*connection, "calls");
}

TEST_F(OutgoingEnd, CancelOfAnEndedCallChangesNothing) {
  const auto call = start(kUnary, Shape::unary, Command(), true);
  ASSERT_TRUE(call->wait_ended(kPatience));
  call->cancel();
  EXPECT_STATUS(Code::ok, call->finish());
  EXPECT_STATUS(Code::ok, unary(Command()).status);
}

TEST_F(OutgoingEnd, CancelAtAnyMomentGivesOneStatus) {
  for (int i = 0; i < 200; ++i) {
    const auto call = start(kUnary, Shape::unary, Command(), true);
    const auto moment = Clock::now() + std::chrono::microseconds(10 * i);
    while (Clock::now() < moment) std::this_thread::yield();
    call->cancel();
    const Status status = call->finish();
    ASSERT_TRUE(status.code == Code::ok || status.code == Code::cancelled) << describe(status);
  }
  EXPECT_TRUE(eventually([&] { return no_calls(*connection); })) << query(*connection, "calls");
}

// ---- The server --------------------------------------------------------------------------------

TEST_F(OutgoingEnd, DeadPortIsUnavailableAtOnce) {
  const BlackHole dead;
  const ChannelId lost = connection->open_channel(dead.address());
  const auto start = Clock::now();
  const auto result = connection->unary(lost, kUnary, "");
  EXPECT_STATUS(Code::unavailable, result.status);
  EXPECT_EQ(Origin::remote, result.status.origin);
  EXPECT_LT(Clock::now() - start, seconds(10)) << "the call waited";
}

TEST_F(OutgoingEnd, WaitForReadySucceedsOnceTheServerIsThere) {
  const TempDir directory;
  const std::string address = "unix:" + (directory / "late.sock");
  const ChannelId late = connection->open_channel(address);
  EXPECT_STATUS(Code::unavailable, connection->unary(late, kUnary, "").status);
  const auto call = connection->start_call(
      late, kUnary, {.shape = Shape::unary, .timeout = kPatience, .wait_for_ready = true}, "",
      true);
  const PeerServer born(address);
  EXPECT_STATUS(Code::ok, call->finish());
}

TEST_F(OutgoingEnd, ServerKilledWhileItHangsIsUnavailable) {
  ServerProcess victim;
  const ChannelId doomed = connection->open_channel(victim.address);
  Command command = hanging();
  command.set_response_count(2);
  const auto streaming = connection->start_call(
      doomed, kServerStream, {.shape = Shape::server_streaming}, command.SerializeAsString(), true);
  const auto writing =
      connection->start_call(doomed, kClientStream, {.shape = Shape::client_streaming}, "");
  ASSERT_TRUE(streaming->read() && streaming->read());
  victim.process.signal(SIGKILL);
  EXPECT_FALSE(streaming->read());
  for (const auto& call : {streaming, writing}) {
    ASSERT_TRUE(call->wait_ended(kPatience));
    const Status status = call->finish();
    EXPECT_STATUS(Code::unavailable, status);
    EXPECT_EQ(Origin::remote, status.origin);
  }
  EXPECT_STATUS(Code::ok, unary(Command()).status) << "another channel suffers";
}

TEST_F(OutgoingEnd, ServerKilledWhileManyCallsRunEndsEach) {
  ServerProcess victim;
  const ChannelId doomed = connection->open_channel(victim.address);
  std::vector<std::shared_ptr<Call>> calls;
  calls.reserve(100);
  for (int i = 0; i < 100; ++i) {
    calls.push_back(connection->start_call(doomed, kUnary, {.shape = Shape::unary},
                                           hanging().SerializeAsString(), true));
  }
  // A call that is answered after them: so they are there.
  ASSERT_STATUS(Code::ok, connection->unary(doomed, kUnary, "").status);
  victim.process.signal(SIGKILL);
  for (const auto& call : calls) {
    ASSERT_TRUE(call->wait_ended(kPatience));
    EXPECT_STATUS(Code::unavailable, call->finish());
  }
  EXPECT_TRUE(no_calls(*connection)) << query(*connection, "calls");
}

TEST_F(OutgoingEnd, ServerThatStopsInOrderEndsItsCalls) {
  const auto call = start(kUnary, Shape::unary, hanging(), true);
  ASSERT_TRUE(eventually([&] { return server.calls_seen() == 1; }));
  server.stop();
  ASSERT_TRUE(call->wait_ended(kPatience));
  const Status status = call->finish();
  EXPECT_THAT(name(status.code), AnyOf("UNAVAILABLE", "CANCELLED")) << describe(status);
  EXPECT_EQ(Origin::remote, status.origin);
}

TEST_F(OutgoingEnd, ClosedConnectionEndsItsCallsAtTheServer) {
  auto other = daemon.dial();
  const ChannelId theirs = other->open_channel(server.address());
  const auto call = other->start_call(theirs, kUnary, {.shape = Shape::unary},
                                      hanging().SerializeAsString(), true);
  ASSERT_TRUE(eventually([&] { return server.calls_seen() == 1; }));
  other->close();
  EXPECT_STATUS(Code::unavailable, call->finish());
  EXPECT_TRUE(eventually([&] { return server.cancelled_seen() == 1; }))
      << "the server did not see the cancellation";
  EXPECT_TRUE(eventually([&] { return no_calls(*connection); })) << query(*connection, "calls");
}

}  // namespace
}  // namespace legated::test
