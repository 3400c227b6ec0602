// Peers that are silent, deaf or hung: how long the daemon bears with them.

#include "tests/integration/black_hole.h"
#include "tests/integration/bystander.h"
#include "tests/integration/raw_peer.h"

namespace legated::test {
namespace {

namespace flag = legate::ipc::flag;
using Clock = std::chrono::steady_clock;
using std::chrono::seconds;

bool logged(const DaemonProcess& daemon, const std::string& text) {
  return eventually([&] { return daemon.log().find(text) != std::string::npos; });
}

// ---- Hello -------------------------------------------------------------------------------------

TEST(IpcTime, SilentClientIsClosedWithHelloTimeout) {
  const DaemonProcess daemon({"ipc.hello_timeout=200ms"});
  const Bystander bystander(daemon);
  const auto start = Clock::now();
  RawPeer silent(daemon.socket());
  RawPeer mumbling(daemon.socket());
  mumbling.send(std::string_view("\x10\0\0\0\0", 5));
  EXPECT_EQ(ErrorCode::hello_timeout, silent.error()) << silent.last_problem();
  EXPECT_EQ(ErrorCode::hello_timeout, mumbling.error()) << mumbling.last_problem();
  EXPECT_GE(Clock::now() - start, milliseconds(190));
}

TEST(IpcTime, HelloByteByByteMustBeThereInTimeToo) {
  const DaemonProcess daemon({"ipc.hello_timeout=300ms"});
  RawPeer peer(daemon.socket());
  // Body of a HELLO that goes on for ever.
  peer.send(std::string_view("\xff\xff\0\0\0\0\0\0\x01\0\xff\x1f\0\0\0\0", 16));
  EXPECT_TRUE(eventually([&] { return !peer.send(std::string_view("\0", 1)); }))
      << "the daemon waits for ever";
}

TEST(IpcTime, OpenConnectionOutlivesTheHelloTimeout) {
  const DaemonProcess daemon({"ipc.hello_timeout=50ms"});
  const auto connection = daemon.dial();
  RawPeer silent(daemon.socket());
  EXPECT_EQ(ErrorCode::hello_timeout, silent.error());  // so the time is over
  EXPECT_TRUE(connection->ping());
}

// ---- Heartbeat ---------------------------------------------------------------------------------

TEST(IpcTime, PeerThatAnswersNoPingIsClosed) {
  const DaemonProcess daemon({"ipc.heartbeat=100ms"});
  const Bystander bystander(daemon);
  RawPeer deaf(daemon.socket());
  ASSERT_NO_FATAL_FAILURE(deaf.greet());
  const auto start = Clock::now();
  int pings = 0;
  std::optional<OwnFrame> frame;
  while ((frame = deaf.receive()) && frame->header.type == FrameType::ping) ++pings;
  ASSERT_TRUE(frame) << deaf.last_problem();
  ASSERT_EQ(FrameType::error, frame->header.type);
  EXPECT_EQ(ErrorCode::heartbeat, frame->as<legate::ipc::Error>().code());
  EXPECT_GE(pings, 2);
  EXPECT_GE(Clock::now() - start, milliseconds(290));
  EXPECT_TRUE(deaf.closed());
}

TEST(IpcTime, PeerThatAnswersPingsStays) {
  const DaemonProcess daemon({"ipc.heartbeat=50ms"});
  RawPeer peer(daemon.socket());
  ASSERT_NO_FATAL_FAILURE(peer.greet());
  for (int i = 0; i < 8; ++i) {
    const auto ping = peer.receive(FrameType::ping, 0);
    ASSERT_TRUE(ping) << "after " << i << " pings: " << peer.last_problem();
    peer.send({.type = FrameType::pong, .aux = ping->header.aux});
  }
}

TEST(IpcTime, IdleClientOfTheLibraryStays) {
  const DaemonProcess daemon({"ipc.heartbeat=50ms"});
  const auto idle = daemon.dial();
  RawPeer deaf(daemon.socket());
  ASSERT_NO_FATAL_FAILURE(deaf.greet());
  EXPECT_EQ(ErrorCode::heartbeat, deaf.error()) << deaf.last_problem();  // four intervals
  EXPECT_FALSE(idle->closed());
  EXPECT_TRUE(idle->ping());
}

TEST(IpcTime, HalfAFrameThenSilenceIsClosed) {
  const DaemonProcess daemon({"ipc.heartbeat=100ms"});
  const Bystander bystander(daemon);
  const BlackHole hole;
  RawPeer peer(daemon.socket());
  ASSERT_NO_FATAL_FAILURE(peer.greet());
  peer.open_channel(1, hole.address());
  peer.start(3, 1, kBidi);
  const auto head = legate::ipc::encode({.body_length = 60'000,
                                         .call_id = 3,
                                         .type = FrameType::data,
                                         .flags = flag::whole_message,
                                         .aux = 60'000});
  peer.send(std::vector<uint8_t>(head.begin(), head.end()));
  peer.send("only this");
  EXPECT_EQ(ErrorCode::heartbeat, peer.error()) << peer.last_problem();
}

TEST(IpcTime, HungPeersCallsAreCancelled) {
  const DaemonProcess daemon({"ipc.heartbeat=100ms"});
  const PeerServer server;
  RawPeer peer(daemon.socket());
  ASSERT_NO_FATAL_FAILURE(peer.greet());
  Command command;
  command.set_hang(true);
  peer.open_channel(1, server.address());
  peer.start(3, 1, kUnary, flag::whole_message | flag::end_stream, command.SerializeAsString());
  ASSERT_TRUE(eventually([&] { return server.calls_seen() == 1; }));
  EXPECT_TRUE(eventually([&] { return server.cancelled_seen() == 1; }))
      << "the server did not see the cancellation";
}

// ---- Stall -------------------------------------------------------------------------------------

/// A server stream that is more than socket buffers hold, at full credit.
void start_flood(RawPeer& peer, const std::string& address) {
  peer.greet({.call_window = 0x40000000U, .connection_window = 0x40000000U});
  Command command;
  command.set_response_count(1000);
  command.set_response_size(100'000);
  peer.open_channel(1, address);
  peer.start(3, 1, kServerStream, flag::whole_message | flag::end_stream,
             command.SerializeAsString());
}

TEST(IpcTime, PeerThatReadsNothingIsClosedAsStalled) {
  const DaemonProcess daemon({"ipc.stall_timeout=300ms"});
  const Bystander bystander(daemon);
  const PeerServer server;
  RawPeer peer(daemon.socket());
  ASSERT_NO_FATAL_FAILURE(start_flood(peer, server.address()));
  EXPECT_TRUE(logged(daemon, "stalled")) << "the daemon bears with it";
  EXPECT_TRUE(peer.closed());
  EXPECT_TRUE(eventually([&] {
    const auto answer = query(*daemon.dial(), "calls");
    for (const auto& call : answer["calls"])
      if (call["method"] == kServerStream) return false;
    return true;
  })) << query(*daemon.dial(), "calls");
}

TEST(IpcTime, PeerThatSendsButReadsNothingIsStalledToo) {
  const DaemonProcess daemon({"ipc.stall_timeout=300ms", "ipc.heartbeat=50ms"});
  const PeerServer server;
  RawPeer peer(daemon.socket());
  ASSERT_NO_FATAL_FAILURE(start_flood(peer, server.address()));
  EXPECT_TRUE(eventually([&] { return !peer.send({.type = FrameType::pong}); }))
      << "the daemon bears with it";
  EXPECT_TRUE(logged(daemon, "stalled")) << daemon.log();
}

TEST(IpcTime, SlowReaderIsNotStalled) {
  const DaemonProcess daemon({"ipc.stall_timeout=300ms"});
  const PeerServer server;
  RawPeer peer(daemon.socket());
  ASSERT_NO_FATAL_FAILURE(start_flood(peer, server.address()));
  // A little at a time, for three times as long as it may read nothing. It answers no PING either,
  // but the first is due after ten seconds only.
  const auto end = Clock::now() + milliseconds(900);
  auto next = Clock::now();
  while (Clock::now() < end) {
    ASSERT_TRUE(peer.receive()) << peer.last_problem();
    next += milliseconds(50);
    eventually([&] { return Clock::now() >= next; });
  }
  EXPECT_EQ(std::string::npos, daemon.log().find("stalled")) << daemon.log();
}

TEST(IpcTime, PeerWithoutCreditIsNotStalled) {
  const DaemonProcess daemon({"ipc.stall_timeout=100ms", "ipc.heartbeat=100ms"});
  const PeerServer server;
  const auto connection = daemon.dial();
  Command command;
  command.set_response_count(100);
  command.set_response_size(100'000);
  const auto call =
      connection->start_call(connection->open_channel(server.address()), kServerStream,
                             {.shape = Shape::server_streaming}, command.SerializeAsString(), true);
  ASSERT_TRUE(call->read());
  // The program does not read the call; the connection is served all the same.
  RawPeer deaf(daemon.socket());
  ASSERT_NO_FATAL_FAILURE(deaf.greet());
  EXPECT_EQ(ErrorCode::heartbeat, deaf.error()) << deaf.last_problem();
  int replies = 1;
  while (call->read()) ++replies;
  EXPECT_EQ(100, replies);
  EXPECT_STATUS(Code::ok, call->finish());
}

}  // namespace
}  // namespace legated::test
