// The connection: hello, roles, limits, ping, requests, and frames that harm nobody.

#include <thread>

#include "tests/integration/black_hole.h"
#include "tests/integration/outgoing.h"
#include "tests/integration/raw_peer.h"

namespace legated::test {
namespace {

using namespace legate::ipc;
using legate::client::Status;

struct Ipc : testing::Test {
  explicit Ipc(const std::vector<std::string>& settings = {}) : daemon(settings) {}
  DaemonProcess daemon;
};

void expect_alive(RawPeer& peer) {
  static uint32_t number = 1000;
  peer.send({.type = FrameType::ping, .aux = ++number});
  const auto pong = peer.receive(FrameType::pong, 0);
  ASSERT_TRUE(pong) << "the connection does not answer PING: " << peer.last_problem();
  EXPECT_EQ(number, pong->header.aux);
}

// ---- Hello -------------------------------------------------------------------------------------

TEST_F(Ipc, HelloIsAnsweredWithLimitsAndRoles) {
  RawPeer peer(daemon.socket());
  peer.hello({.version_min = 0, .version_max = 7, .roles = Role::client | Role::admin});
  const auto frame = peer.receive(FrameType::hello_ack, 0);
  ASSERT_TRUE(frame) << peer.last_problem();
  const auto& ack = frame->as<HelloAck>();
  EXPECT_EQ(1, ack.version());
  EXPECT_EQ(Role::client | Role::admin, static_cast<Role>(ack.roles()));
  EXPECT_EQ(16U, view(ack.epoch()).size());
  EXPECT_THAT(std::string(view(ack.build())), testing::StartsWith("legated "));
  EXPECT_EQ(10'000U, ack.heartbeat_ms());
  const auto& limits = *ack.limits();
  EXPECT_EQ(65'536U, limits.max_frame());
  EXPECT_EQ(131'072U, limits.max_meta());
  EXPECT_EQ(262'144U, limits.call_window());
  EXPECT_EQ(4'194'304U, limits.connection_window());
  EXPECT_EQ(4'194'304U, limits.max_message());
  EXPECT_EQ(65'536U, limits.max_metadata());
  EXPECT_EQ(10'000U, limits.max_calls());
  EXPECT_EQ(67'108'864U, limits.memory_budget());
  expect_alive(peer);
}

TEST_F(Ipc, EpochIsOfTheDaemonAndSessionsAreNumbered) {
  const auto one = daemon.dial();
  const auto two = daemon.dial();
  EXPECT_EQ(one->welcome().epoch, two->welcome().epoch);
  EXPECT_LT(one->welcome().session, two->welcome().session);
  const DaemonProcess other;
  EXPECT_NE(one->welcome().epoch, other.dial()->welcome().epoch);
}

TEST_F(Ipc, HelloThatCanNotBeMetIsRefused) {
  struct Case {
    const char* why;
    HelloOptions hello;
    ErrorCode code;
  };
  const Case cases[] = {
      {"too new", {.version_min = 2, .version_max = 3}, ErrorCode::version},
      {"too old", {.version_min = 0, .version_max = 0}, ErrorCode::version},
      {"upside down", {.version_min = 3, .version_max = 1}, ErrorCode::version},
      {"no role", {.roles = Role::NONE}, ErrorCode::access_denied},
      {"unknown role", {.roles = static_cast<Role>(0x80)}, ErrorCode::access_denied},
      {"small frames", {.max_frame = 4095}, ErrorCode::malformed_frame},
      {"large frames", {.max_frame = 1'048'577}, ErrorCode::malformed_frame},
      {"small call window", {.call_window = 65'535}, ErrorCode::malformed_frame},
      {"large call window", {.call_window = 0x80000000U}, ErrorCode::malformed_frame},
      {"small window", {.connection_window = 65'535}, ErrorCode::malformed_frame},
      {"large window", {.connection_window = 0xffffffffU}, ErrorCode::malformed_frame},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.why);
    RawPeer peer(daemon.socket());
    peer.hello(one.hello);
    EXPECT_EQ(one.code, peer.error()) << peer.last_problem();
  }
  RawPeer edge(daemon.socket());
  edge.greet({.max_frame = 4096, .call_window = 65'536, .connection_window = 0x7fffffffU});
  expect_alive(edge);
}

TEST_F(Ipc, NothingElseComesBeforeHello) {
  for (const FrameType type : {FrameType::ping, FrameType::data, FrameType::error,
                               FrameType::goaway, FrameType::query, FrameType::start}) {
    SCOPED_TRACE(name(type));
    RawPeer peer(daemon.socket());
    if (type == FrameType::query) {
      peer.query(1, "status");
    } else if (type == FrameType::start) {
      peer.start(1, 1, kUnary);
    } else if (type == FrameType::error) {
      const auto text = peer.builder().CreateString("no");
      peer.builder().Finish(CreateError(peer.builder(), ErrorCode::internal, text));
      peer.send({.type = type}, {}, true);
    } else if (type == FrameType::goaway) {
      peer.builder().Finish(CreateGoaway(peer.builder()));
      peer.send({.type = type}, {}, true);
    } else {
      peer.send({.call_id = type == FrameType::data ? 1U : 0U,
                 .type = type,
                 .flags = static_cast<uint8_t>(type == FrameType::data ? flag::end_stream : 0)});
    }
    EXPECT_EQ(ErrorCode::unexpected_frame, peer.error()) << peer.last_problem();
  }
}

// ---- Roles -------------------------------------------------------------------------------------

TEST_F(Ipc, RequestsNeedTheirRole) {
  struct Case {
    FrameType type;
    Role needed;
  };
  const Case cases[] = {{FrameType::open_channel, Role::client},
                        {FrameType::close_channel, Role::client},
                        {FrameType::start, Role::client},
                        {FrameType::listen, Role::worker},
                        {FrameType::register_methods, Role::worker},
                        {FrameType::serve, Role::worker},
                        {FrameType::unregister, Role::worker},
                        {FrameType::query, Role::admin}};
  for (const Role role : {Role::client, Role::worker, Role::admin}) {
    RawPeer peer(daemon.socket());
    ASSERT_NO_FATAL_FAILURE(peer.greet({.roles = role}));
    uint32_t id = 1;
    for (const Case& one : cases) {
      if (one.needed == role) continue;
      SCOPED_TRACE(name(one.type));
      auto& fbb = peer.builder();
      const auto text = fbb.CreateString("127.0.0.1:0");
      bool meta = true;
      switch (one.type) {
        case FrameType::open_channel: fbb.Finish(CreateOpenChannel(fbb, text)); break;
        case FrameType::start: fbb.Finish(CreateStart(fbb, text)); break;
        case FrameType::listen: fbb.Finish(CreateListen(fbb, text)); break;
        case FrameType::query: fbb.Finish(CreateQuery(fbb, text)); break;
        case FrameType::register_methods: {
          const auto methods = fbb.CreateVectorOfStrings({"*"});
          fbb.Finish(CreateRegister(fbb, 1, methods));
          break;
        }
        default: fbb.Clear(); meta = false;
      }
      peer.send({.call_id = id, .type = one.type}, {}, meta);
      const auto answer = peer.receive(FrameType::status, id);
      ASSERT_TRUE(answer) << peer.last_problem();
      const auto& status = answer->as<legate::ipc::Status>();
      EXPECT_EQ(7, status.code());
      EXPECT_EQ(legate::ipc::Origin::daemon, status.origin());
      EXPECT_THAT(std::string(view(status.message())), HasSubstr(EnumNameRole(one.needed)));
      id += 2;
    }
    expect_alive(peer);
  }
}

// ---- Limits ------------------------------------------------------------------------------------

TEST_F(Ipc, ConnectionsAreLimited) {
  const DaemonProcess small({"ipc.max_connections=3"});
  const auto one = small.dial();
  const auto two = small.dial();
  {
    const auto three = small.dial();
    RawPeer fourth(small.socket());
    EXPECT_EQ(ErrorCode::too_many, fourth.error()) << fourth.last_problem();
    EXPECT_TRUE(three->ping());
  }
  EXPECT_TRUE(eventually([&] { return query(*one, "status")["connections"] == 2; }));
  EXPECT_TRUE(small.dial()->ping()) << "no room after one has gone";
}

TEST_F(Ipc, SilentConnectionsAreLimited) {
  const DaemonProcess small({"ipc.max_pending_hello=2", "ipc.hello_timeout=1min"});
  const auto open = small.dial();
  RawPeer silent(small.socket());
  auto silent_too = std::make_unique<RawPeer>(small.socket());
  RawPeer third(small.socket());
  EXPECT_EQ(ErrorCode::too_many, third.error()) << third.last_problem();
  EXPECT_TRUE(open->ping());
  silent_too.reset();
  EXPECT_TRUE(eventually([&] { return query(*open, "status")["connections"] == 2; }));
  EXPECT_TRUE(small.dial()->ping());
  ASSERT_NO_FATAL_FAILURE(silent.greet());
}

TEST_F(Ipc, AFleetMayComeAtOnce) {
  const DaemonProcess fresh;
  std::vector<std::unique_ptr<RawPeer>> fleet;
  for (int i = 0; i < 120; ++i) fleet.push_back(std::make_unique<RawPeer>(fresh.socket()));
  for (const auto& peer : fleet) ASSERT_NO_FATAL_FAILURE(peer->greet());
}

TEST_F(Ipc, OpenCallsAreLimited) {
  const DaemonProcess small({"ipc.max_calls=3"});
  const PeerServer server;
  const auto connection = small.dial();
  const ChannelId channel = connection->open_channel(server.address());
  std::vector<std::shared_ptr<Call>> calls;
  for (int i = 0; i < 3; ++i) {
    calls.push_back(connection->start_call(channel, kBidi, {}, ""));
    ASSERT_TRUE(calls.back()->read());
  }
  const auto refused = connection->unary(channel, kUnary, "");
  EXPECT_STATUS(Code::resource_exhausted, refused.status);
  EXPECT_THAT(refused.status.message, HasSubstr("ipc.max_calls"));
  EXPECT_STATUS(Code::ok, calls.back()->finish());
  EXPECT_TRUE(eventually([&] { return connection->unary(channel, kUnary, "").status.ok(); }));
}

TEST_F(Ipc, MessagesHeldAreLimited) {
  const DaemonProcess small({"ipc.memory_budget=4MiB"});
  BlackHole hole;
  hole.listen();
  const auto connection = small.dial();
  const ChannelId nowhere = connection->open_channel(hole.address());
  // Neither is ever taken.
  const auto one = connection->start_call(nowhere, kUnary, {}, std::nullopt);
  std::thread writer([&] { one->write(std::string(3 << 20, 'a')); });
  const auto held = [&] { return query(*connection, "status")["sessions"][0]["memory"]; };
  EXPECT_TRUE(eventually([&] { return held() > (3 << 20); })) << held();
  const auto two = connection->unary(nowhere, kUnary, std::string(2 << 20, 'a'));
  EXPECT_STATUS(Code::resource_exhausted, two.status);
  EXPECT_THAT(two.status.message, HasSubstr("ipc.memory_budget"));
  one->cancel();
  writer.join();
  EXPECT_TRUE(eventually([&] { return held() == 0; })) << held();
}

// ---- Harmless ----------------------------------------------------------------------------------

TEST_F(Ipc, PingIsAnsweredWithItsNumber) {
  RawPeer peer(daemon.socket());
  ASSERT_NO_FATAL_FAILURE(peer.greet());
  for (const uint32_t number : {0U, 1U, 0x80000000U, 0xffffffffU}) {
    peer.send({.type = FrameType::ping, .aux = number});
    const auto pong = peer.receive();
    ASSERT_TRUE(pong) << peer.last_problem();
    EXPECT_EQ(FrameType::pong, pong->header.type);
    EXPECT_EQ(number, pong->header.aux);
  }
}

TEST_F(Ipc, PongsAndUnsupportedsFromNowhereAreHarmless) {
  RawPeer peer(daemon.socket());
  ASSERT_NO_FATAL_FAILURE(peer.greet());
  peer.send({.type = FrameType::pong, .aux = 77});
  peer.send({.type = FrameType::unsupported, .aux = 99});
  peer.send({.call_id = 5, .type = FrameType::unsupported, .aux = 99});
  expect_alive(peer);
}

TEST_F(Ipc, UnknownFrameIsSkippedAndTheCallGoesOn) {
  const PeerServer server;
  RawPeer peer(daemon.socket());
  ASSERT_NO_FATAL_FAILURE(peer.greet());
  peer.open_channel(1, server.address());
  peer.start(3, 1, kBidi, flag::whole_message, saying("one"));
  ASSERT_TRUE(peer.receive(FrameType::data, 3));
  for (const uint32_t id : {0U, 3U, 2U, 99U}) {
    peer.send({.call_id = id, .type = FrameType{200}, .aux = 1}, "from the future");
    const auto answer = peer.receive(FrameType::unsupported, id);
    ASSERT_TRUE(answer) << "id " << id << ": " << peer.last_problem();
    EXPECT_EQ(200U, answer->header.aux);
  }
  const std::string two = saying("two");
  peer.data(3, flag::whole_message | flag::end_stream, two, static_cast<uint32_t>(two.size()));
  const auto reply = peer.receive(FrameType::data, 3);
  ASSERT_TRUE(reply) << peer.last_problem();
  EXPECT_EQ("two", reply_of(reply->payload).payload());
  EXPECT_EQ(0, status_code(peer, 3));
}

TEST_F(Ipc, UnknownFrameMarkedCriticalEndsTheConnection) {
  RawPeer peer(daemon.socket());
  ASSERT_NO_FATAL_FAILURE(peer.greet());
  peer.send({.type = FrameType{200}, .flags = flag::critical});
  EXPECT_EQ(ErrorCode::unsupported, peer.error()) << peer.last_problem();
}

TEST_F(Ipc, KnownFrameMarkedCriticalIsFine) {
  RawPeer peer(daemon.socket());
  ASSERT_NO_FATAL_FAILURE(peer.greet());
  peer.send({.type = FrameType::ping, .flags = flag::critical, .aux = 3});
  EXPECT_TRUE(peer.receive(FrameType::pong, 0)) << peer.last_problem();
}

TEST_F(Ipc, LateFramesAreCountedAndDropped) {
  const PeerServer server;
  RawPeer peer(daemon.socket());
  ASSERT_NO_FATAL_FAILURE(peer.greet());
  peer.open_channel(1, server.address());
  peer.start(3, 1, kUnary, flag::whole_message | flag::end_stream, "");
  ASSERT_EQ(0, status_code(peer, 3));
  // More than the connection's credit in all: late bytes are given back.
  const std::string part(60'000, 'x');
  peer.hold();
  for (int i = 0; i < 100; ++i) peer.data(3, flag::whole_message, part, 60'000);
  peer.window(3, 1000);
  peer.send({.call_id = 3, .type = FrameType::cancel});
  ASSERT_TRUE(peer.flush());
  expect_alive(peer);
  const auto admin = daemon.dial();
  EXPECT_EQ(102, query(*admin, "status")["sessions"][0]["late_frames"]);
  peer.start(5, 1, kUnary, flag::whole_message | flag::end_stream, "");
  EXPECT_EQ(0, status_code(peer, 5));
}

TEST_F(Ipc, IdsMayHaveGaps) {
  const PeerServer server;
  RawPeer peer(daemon.socket());
  ASSERT_NO_FATAL_FAILURE(peer.greet());
  peer.open_channel(1001, server.address());
  peer.start(0xfffffffdU, 1001, kUnary, flag::whole_message | flag::end_stream, "");
  EXPECT_EQ(0, status_code(peer, 0xfffffffdU));
  peer.query(0xffffffffU, "status");
  EXPECT_EQ(0, status_code(peer, 0xffffffffU));
}

TEST_F(Ipc, UnknownQueryIsInvalidArgument) {
  const auto connection = daemon.dial();
  for (const char* what : {"", "nothing", "Status", "status "})
    EXPECT_STATUS(Code::invalid_argument, connection->query(what).status);
  EXPECT_STATUS(Code::ok, connection->query("status").status);
}

TEST_F(Ipc, PeerThatReportsAnErrorIsGone) {
  RawPeer peer(daemon.socket());
  ASSERT_NO_FATAL_FAILURE(peer.greet());
  const auto text = peer.builder().CreateString("the daemon makes no sense");
  peer.builder().Finish(CreateError(peer.builder(), ErrorCode::internal, text));
  peer.send({.type = FrameType::error}, {}, true);
  EXPECT_TRUE(peer.closed());
  EXPECT_TRUE(eventually([&] { return daemon.log().find("makes no sense") != std::string::npos; }))
      << daemon.log();
}

TEST_F(Ipc, SmallestFramesCarryLargeMessages) {
  const PeerServer server;
  const auto connection =
      daemon.dial({.call_window = 65'536, .connection_window = 65'536, .max_frame = 4096});
  const ChannelId channel = connection->open_channel(server.address());
  const std::string payload = pattern(3'000'000);
  const auto result = connection->unary(channel, kUnary, saying(payload));
  EXPECT_STATUS(Code::ok, result.status);
  EXPECT_TRUE(payload == reply_of(result.response).payload());
}

TEST_F(Ipc, DaemonOfSmallWindowsTakesLargeMessages) {
  const DaemonProcess small(
      {"ipc.max_frame=4KiB", "ipc.call_window=64KiB", "ipc.connection_window=64KiB"});
  const PeerServer server;
  const auto connection = small.dial();
  const ChannelId channel = connection->open_channel(server.address());
  const std::string payload = pattern(3'000'000);
  const auto result = connection->unary(channel, kUnary, saying(payload));
  EXPECT_STATUS(Code::ok, result.status);
  EXPECT_TRUE(payload == reply_of(result.response).payload());
}

}  // namespace
}  // namespace legated::test
