// Channels: opening, sharing, closing, and the names of methods.

#include <filesystem>

#include "tests/integration/outgoing.h"
#include "tests/integration/raw_peer.h"

namespace legated::test {
namespace {

struct OutgoingChannel : Outgoing {
  /// The entry of the server's channel in the answer to the query; null when there is none.
  nlohmann::json entry() {
    const auto answer = query(*connection, "channels");
    for (const auto& one : answer["channels"])
      if (one["target"] == server.address()) return one;
    return nullptr;
  }
  void expect_channel_works(ChannelId id) {
    EXPECT_STATUS(Code::ok, connection->unary(id, kUnary, saying("hello")).status);
  }
};

TEST_F(OutgoingChannel, BadMethodNamesAreInvalidArgument) {
  for (const std::string& method :
       {std::string(), std::string("/"), std::string("//"), std::string("nothing"),
        std::string("legate.test.v1.Peer/Unary"), std::string("/legate.test.v1.Peer"),
        std::string("/service/"), std::string("//method"), std::string("//a/b"),
        std::string("/a b/c"), std::string("/a/\x01"), std::string("/a/\xff"),
        std::string("/a/b\0c", 6), std::string("/a/b\r\nx: y"), "/a/" + std::string(2000, 'b')}) {
    SCOPED_TRACE(testing::PrintToString(method.substr(0, 100)));
    const auto result = connection->unary(channel, method, "");
    EXPECT_STATUS(Code::invalid_argument, result.status);
    EXPECT_EQ(Origin::daemon, result.status.origin);
  }
  expect_channel_works(channel);
}

TEST_F(OutgoingChannel, UnknownChannelIsFailedPrecondition) {
  for (const uint32_t id : {0U, 2U, 99U, 0xffffffffU}) {
    const auto result = connection->unary({id}, kUnary, "");
    EXPECT_STATUS(Code::failed_precondition, result.status);
    EXPECT_EQ(Origin::daemon, result.status.origin);
    EXPECT_THAT(result.status.message, HasSubstr(std::to_string(id)));
  }
  expect_channel_works(channel);
}

TEST_F(OutgoingChannel, BadTargetsAreRefusedAndTheirCallsToo) {
  for (const std::string& target :
       {std::string(), std::string("a b"), std::string("a\nb"), std::string("a\0b", 3), std::string("\xff"),
        std::string("localhost:65536"), std::string("dns:///a:99999"), std::string("ipv4:127.0.0.1:123456"),
        std::string("[::1]:70000"), std::string("http://a/b"), std::string("legated://a")}) {
    SCOPED_TRACE(testing::PrintToString(target));
    const ChannelId bad = connection->open_channel(target);
    EXPECT_STATUS(Code::invalid_argument, connection->wait(bad).status);
    EXPECT_STATUS(Code::failed_precondition, connection->unary(bad, kUnary, "").status);
  }
  expect_channel_works(channel);
}

TEST_F(OutgoingChannel, ATargetIsNotTakenForAPort) {
  for (const std::string& target : {std::string("dns:///a:65535"), std::string("ipv6:[::7000]:1"),
                                    std::string("unix:/a:99999")}) {
    EXPECT_STATUS(Code::ok, connection->wait(connection->open_channel(target)).status) << target;
  }
}

TEST_F(OutgoingChannel, ClosedWhileItConnectsLeavesNoDescriptorBehind) {
  expect_channel_works(channel);
  const auto descriptors = [&] {
    const auto folder = "/proc/" + std::to_string(daemon.process().pid()) + "/fd";
    return std::distance(std::filesystem::directory_iterator(folder), {});
  };
  const auto before = descriptors();
  for (int i = 0; i < 100; ++i) {
    const auto passing = daemon.dial();
    legate::client::ChannelOptions options;
    options.user_agent = "passing-" + std::to_string(i);  // a channel of its own
    const ChannelId own = passing->open_channel(server.address(), options);
    passing->start_call(own, kUnary, {.shape = Shape::unary}, saying("hello"), true)->cancel();
  }
  EXPECT_TRUE(eventually([&] { return descriptors() <= before; })) << descriptors() << " of " << before;
}

TEST_F(OutgoingChannel, TargetThatCanNotBeResolvedIsUnavailable) {
  const ChannelId lost = connection->open_channel("unix:/nonexistent/legated.sock");
  EXPECT_STATUS(Code::ok, connection->wait(lost).status);
  const auto result = connection->unary(lost, kUnary, "");
  EXPECT_STATUS(Code::unavailable, result.status);
  EXPECT_EQ(Origin::remote, result.status.origin);
}

TEST_F(OutgoingChannel, UnixSocketTargetWorks) {
  const TempDir directory;
  const PeerServer local("unix:" + (directory / "peer.sock"));
  expect_channel_works(connection->open_channel(local.address()));
}

TEST_F(OutgoingChannel, OpenAndStartTravelInOneWrite) {
  RawPeer peer(daemon.socket());
  ASSERT_NO_FATAL_FAILURE(peer.greet());
  peer.hold();
  peer.open_channel(1, server.address());
  peer.start(3, 1, kUnary, legate::ipc::flag::whole_message | legate::ipc::flag::end_stream,
             saying("at once"));
  ASSERT_TRUE(peer.flush());
  EXPECT_TRUE(peer.receive(FrameType::channel_opened, 1));
  const auto reply = peer.receive(FrameType::data, 3);
  ASSERT_TRUE(reply);
  EXPECT_EQ("at once", reply_of(reply->payload).payload());
  EXPECT_EQ(0, status_code(peer, 3));
}

TEST_F(OutgoingChannel, EqualTargetsShareAChannelAcrossConnections) {
  const auto first = connection->wait(channel);
  EXPECT_STATUS(Code::ok, first.status);
  EXPECT_FALSE(first.shared);
  expect_channel_works(channel);

  const auto other = daemon.dial();
  const ChannelId second = other->open_channel(server.address());
  const auto opened = other->wait(second);
  EXPECT_STATUS(Code::ok, opened.status);
  EXPECT_TRUE(opened.shared);
  EXPECT_EQ(legate::ipc::ConnectivityState::ready, opened.state);
  EXPECT_STATUS(Code::ok, other->unary(second, kUnary, "").status);
  EXPECT_EQ(2, entry()["users"]) << entry();
  EXPECT_EQ(2, entry()["ended"]) << entry();

  other->close();
  EXPECT_TRUE(eventually([&] { return entry()["users"] == 1; })) << entry();
  expect_channel_works(channel);
}

TEST_F(OutgoingChannel, DifferentTargetsShareNothing) {
  const PeerServer elsewhere;
  const ChannelId other = connection->open_channel(elsewhere.address());
  EXPECT_FALSE(connection->wait(other).shared);
  expect_channel_works(other);
  EXPECT_EQ(1U, elsewhere.calls_seen());
  EXPECT_EQ(0U, server.calls_seen());
}

TEST_F(OutgoingChannel, ChannelOfAConnectionThatClosedIsGone) {
  const auto other = daemon.dial();
  const PeerServer elsewhere;
  const ChannelId theirs = other->open_channel(elsewhere.address());
  EXPECT_STATUS(Code::ok, other->unary(theirs, kUnary, "").status);
  other->close();
  EXPECT_TRUE(eventually([&] {
    const auto answer = query(*connection, "channels");
    for (const auto& one : answer["channels"])
      if (one["target"] == elsewhere.address()) return false;
    return true;
  })) << query(*connection, "channels");
}

TEST_F(OutgoingChannel, ClosingLetsRunningCallsEnd) {
  const auto call = start(kBidi, Shape::bidi, Command());
  ASSERT_TRUE(call->read());
  EXPECT_STATUS(Code::ok, connection->close_channel(channel));

  EXPECT_STATUS(Code::failed_precondition, connection->unary(channel, kUnary, "").status);
  EXPECT_TRUE(call->write(saying("still here")));
  const auto reply = call->read();
  ASSERT_TRUE(reply) << describe(call->finish());
  EXPECT_EQ("still here", reply_of(*reply).payload());
  EXPECT_STATUS(Code::ok, call->finish());
  EXPECT_TRUE(eventually([&] { return entry().is_null(); })) << entry();
}

TEST_F(OutgoingChannel, ClosingTwiceIsNotFound) {
  EXPECT_STATUS(Code::ok, connection->close_channel(channel));
  EXPECT_STATUS(Code::not_found, connection->close_channel(channel));
  EXPECT_STATUS(Code::not_found, connection->close_channel({12345}));
  expect_channel_works(connection->open_channel(server.address()));
}

TEST_F(OutgoingChannel, OneConnectionCanNotCloseAnothersChannel) {
  EXPECT_STATUS(Code::ok, connection->wait(channel).status);
  const auto other = daemon.dial();
  EXPECT_STATUS(Code::not_found, other->close_channel(channel));
  expect_channel_works(channel);
}

TEST_F(OutgoingChannel, ManyChannelsOpenAndClose) {
  for (int i = 0; i < 200; ++i) {
    const ChannelId one = connection->open_channel("127.0.0.1:" + std::to_string(1 + i));
    ASSERT_STATUS(Code::ok, connection->wait(one).status);
    ASSERT_STATUS(Code::ok, connection->close_channel(one));
  }
  EXPECT_GE(1U, query(*connection, "channels")["channels"].size());
  expect_channel_works(channel);
}

TEST_F(OutgoingChannel, EveryCallIsCountedOnce) {
  for (int i = 0; i < 3; ++i) expect_channel_works(channel);
  Command failing;
  failing.set_status_code(5);
  failing.set_status_message("none such");
  EXPECT_STATUS(Code::not_found, unary(failing).status);
  const auto one = entry();
  EXPECT_EQ(4, one["started"]) << one;
  EXPECT_EQ(4, one["ended"]) << one;
  EXPECT_EQ(1, one["failed"]) << one;
  EXPECT_EQ(0, one["calls"]) << one;
  EXPECT_EQ("NOT_FOUND: none such", one["last_error"]) << one;
}

}  // namespace
}  // namespace legated::test
