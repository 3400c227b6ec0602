// The connections beneath a channel: keepalive, idleness, connecting, and what they say of us.

#include "tests/integration/black_hole.h"
#include "tests/integration/outgoing.h"
#include "tests/integration/tcp_proxy.h"
#include "tests/integration/unary_server.h"

namespace legated::test {
namespace {

using legate::client::ChannelOptions;

struct OutgoingConnection : testing::Test {
  std::shared_ptr<Call> begin(ChannelId channel, CallOptions options = {}) {
    options.shape = Shape::unary;
    return connection->start_call(channel, "/a/b", options, "hello", true);
  }
  Status call(ChannelId channel) { return connection->unary(channel, "/a/b", "hello").status; }
  std::string state_of(const std::string& target) {
    const auto answer = query(*connection, "channels");
    for (const auto& one : answer["channels"])
      if (one["target"] == target) return one["state"];
    return "none";
  }
  bool ended(Call& one) { return one.wait_ended(milliseconds(0)); }

  DaemonProcess daemon;
  std::unique_ptr<Connection> connection = daemon.dial();
};

UnaryServer::Answer hang(const UnaryServer::Request&) { return {.hang = true}; }

// ---- Keepalive ---------------------------------------------------------------------------------

TEST_F(OutgoingConnection, KeepaliveEndsCallsOfASilentServer) {
  const UnaryServer server(hang);
  TcpProxy guarded(server.address());
  TcpProxy bare(server.address());
  const auto watched =
      begin(connection->open_channel(guarded.address(), {.keepalive_time = milliseconds(500),
                                                         .keepalive_timeout = milliseconds(500)}));
  const auto unwatched = begin(connection->open_channel(bare.address()));
  ASSERT_TRUE(eventually([&] { return server.count() == 2; }));
  guarded.freeze();
  bare.freeze();
  ASSERT_TRUE(eventually([&] { return ended(*watched); })) << "no keepalive";
  const Status status = watched->finish();
  EXPECT_STATUS(Code::unavailable, status);
  EXPECT_THAT(status.message, HasSubstr("keepalive"));
  EXPECT_GE(status.elapsed, milliseconds(500));
  EXPECT_FALSE(ended(*unwatched)) << "ended without keepalive";
  bare.cut();
  EXPECT_STATUS(Code::unavailable, unwatched->finish());
}

TEST_F(OutgoingConnection, KeepaliveLetsASlowServerBe) {
  const UnaryServer server(hang);
  TcpProxy proxy(server.address());
  const auto slow =
      begin(connection->open_channel(proxy.address(), {.keepalive_time = milliseconds(100),
                                                       .keepalive_timeout = kPatience}));
  ASSERT_TRUE(eventually([&] { return server.count() == 1; }));
  // Each ping and its answer are seventeen bytes: some have passed, and the call goes on.
  const uint64_t before = proxy.bytes_to_server();
  EXPECT_TRUE(eventually([&] { return proxy.bytes_to_server() >= before + 2 * 17; }));
  EXPECT_FALSE(ended(*slow));
  slow->cancel();
}

TEST_F(OutgoingConnection, IdleConnectionIsWatchedOnlyIfAsked) {
  const UnaryServer server;
  TcpProxy guarded(server.address());
  TcpProxy bare(server.address());
  ChannelOptions options{.keepalive_time = milliseconds(300), .keepalive_timeout = milliseconds(1500)};
  EXPECT_STATUS(Code::ok, call(connection->open_channel(bare.address(), options)));
  options.keepalive_without_calls = true;
  EXPECT_STATUS(Code::ok, call(connection->open_channel(guarded.address(), options)));
  guarded.freeze();
  bare.freeze();
  EXPECT_TRUE(eventually([&] { return guarded.open() == 0; }));
  EXPECT_EQ(1U, bare.open());
}

// ---- Idleness ----------------------------------------------------------------------------------

TEST_F(OutgoingConnection, IdleTimeoutClosesTheConnection) {
  const UnaryServer server;
  const TcpProxy proxy(server.address());
  const ChannelId channel =
      connection->open_channel(proxy.address(), {.idle_timeout = milliseconds(1000)});
  EXPECT_STATUS(Code::ok, call(channel));
  EXPECT_TRUE(eventually([&] { return proxy.open() == 0; })) << "the idle connection stays open";
  EXPECT_TRUE(eventually([&] { return state_of(proxy.address()) == "IDLE"; }));
  EXPECT_STATUS(Code::ok, call(channel));
  EXPECT_EQ(2U, proxy.accepted());
}

// ---- Connecting --------------------------------------------------------------------------------

TEST_F(OutgoingConnection, ConnectTimeoutEndsAnAttempt) {
  BlackHole one;
  BlackHole two;
  one.listen();
  two.listen();
  const auto impatient =
      begin(connection->open_channel(one.address(), {.connect_timeout = milliseconds(300),
                                                     .initial_backoff = milliseconds(100)}));
  const auto patient = begin(connection->open_channel(two.address()));
  ASSERT_TRUE(eventually([&] { return ended(*impatient); }));
  EXPECT_STATUS(Code::unavailable, impatient->finish());
  EXPECT_FALSE(ended(*patient)) << "gRPC's own time to connect is 20 s";
  patient->cancel();
}

TEST_F(OutgoingConnection, BackoffBoundsTheTimeBetweenAttempts) {
  const UnaryServer server;
  TcpProxy proxy(server.address());
  proxy.cut();
  const auto waiting =
      begin(connection->open_channel(proxy.address(), {.initial_backoff = milliseconds(100),
                                                       .max_backoff = milliseconds(100)}),
            {.wait_for_ready = true});
  // gRPC's own backoff makes seven attempts in half a minute.
  EXPECT_TRUE(eventually([&] { return proxy.accepted() >= 15; })) << proxy.accepted();
  EXPECT_FALSE(ended(*waiting));
  waiting->cancel();
}

TEST_F(OutgoingConnection, BackoffKeepsAttemptsApart) {
  const UnaryServer server;
  TcpProxy eager(server.address());
  TcpProxy slow(server.address());
  eager.cut();
  slow.cut();
  const auto wait_on = [&](const TcpProxy& proxy, milliseconds backoff) {
    return begin(connection->open_channel(proxy.address(),
                                          {.initial_backoff = backoff, .max_backoff = backoff}),
                 {.wait_for_ready = true});
  };
  const auto second = wait_on(slow, std::chrono::hours(1));
  ASSERT_TRUE(eventually([&] { return slow.accepted() == 1; }));
  const auto first = wait_on(eager, milliseconds(100));
  EXPECT_TRUE(eventually([&] { return eager.accepted() >= 15; }));
  EXPECT_EQ(1U, slow.accepted());
  first->cancel();
  second->cancel();
}

// ---- Names that the server sees ----------------------------------------------------------------

TEST_F(OutgoingConnection, AuthorityIsTheTargetsUnlessSet) {
  const UnaryServer server;
  EXPECT_STATUS(Code::ok, call(connection->open_channel(server.address())));
  EXPECT_EQ(server.address(), server.last().authority);
  EXPECT_STATUS(Code::ok, call(connection->open_channel(server.address(),
                                                        {.authority = "orders.internal"})));
  EXPECT_EQ("orders.internal", server.last().authority);
}

TEST_F(OutgoingConnection, UserAgentIsPutBeforeGrpcs) {
  const UnaryServer server;
  EXPECT_STATUS(Code::ok, call(connection->open_channel(server.address())));
  const std::string plain = server.last().value("user-agent");
  EXPECT_THAT(plain, testing::StartsWith("grpc-c/"));
  EXPECT_STATUS(Code::ok, call(connection->open_channel(server.address(),
                                                        {.user_agent = "orders/1.2 (test)"})));
  EXPECT_EQ("orders/1.2 (test) " + plain, server.last().value("user-agent"));
}

TEST_F(OutgoingConnection, NamesThatAreNoneAreRefused) {
  const auto refusal = [&](const ChannelOptions& options) {
    const auto opened = connection->wait(connection->open_channel("localhost:1", options));
    EXPECT_STATUS(Code::invalid_argument, opened.status);
    return opened.status.message;
  };
  EXPECT_THAT(refusal({.authority = "a b"}), HasSubstr("authority must be"));
  EXPECT_THAT(refusal({.authority = std::string(256, 'a')}), HasSubstr("authority must be"));
  EXPECT_THAT(refusal({.user_agent = "a\nb"}), HasSubstr("user_agent must be"));
  EXPECT_THAT(refusal({.user_agent = std::string(256, 'a')}), HasSubstr("user_agent must be"));
  EXPECT_THAT(refusal({.tls = legate::client::TlsOptions{.server_name = "a b"}}),
              HasSubstr("tls server_name must be"));
  EXPECT_THAT(refusal({.keepalive_time = std::chrono::hours(25)}), HasSubstr("at most 24 h"));
}

}  // namespace
}  // namespace legated::test
