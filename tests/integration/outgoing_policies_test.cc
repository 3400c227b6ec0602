// Policies over the real daemon, each kind once: what the server sees of them, what the caller gets, and
// what legatectl tells. Their rules are tested in tests/unit/policies_test.cc.

#include <mutex>
#include <set>

#include "tests/integration/outgoing.h"
#include "tests/integration/unary_server.h"

namespace legated::test {
namespace {

using testing::MatchesRegex;

/// The channel "it" of the configuration has these policies.
struct Policed {
  explicit Policed(const std::vector<std::string>& policies, UnaryServer::Script script = UnaryServer::echo)
      : server(std::move(script)), daemon(settings(server.address(), policies)) {}

  static std::vector<std::string> settings(const std::string& target,
                                           const std::vector<std::string>& policies) {
    std::string lines;
    for (const std::string& line : policies) lines += (lines.empty() ? "" : ";") + line;
    return {"channels.it.target=" + target, "channels.it.policies=" + lines};
  }
  Status call(CallOptions options = {}) {
    return connection->unary(channel, "/a/b", "hello", options).status;
  }
  /// What is told of the policy of this place.
  nlohmann::json report(size_t place = 0) {
    return query(*connection, "channels")["channels"][0]["policies"][place];
  }

  UnaryServer server;
  DaemonProcess daemon;
  std::unique_ptr<Connection> connection = daemon.dial();
  ChannelId channel = connection->open_channel("legated:///it");
};

TEST(OutgoingPolicies, MetadataIsAddedSetAndRemoved) {
  Policed it({"remove-metadata x-internal-*", "set-metadata x-tenant blue whale",
              "add-metadata x-tag daemon", "add-metadata x-blob-bin AAE="});
  EXPECT_STATUS(Code::ok, it.call({.metadata = {{"x-internal-a", "1"},
                                                {"x-tenant", "red"},
                                                {"x-tag", "own"},
                                                {"x-kept", "yes"}}}));
  const auto seen = it.server.last();
  EXPECT_EQ("-", seen.value("x-internal-a"));
  EXPECT_EQ("blue whale", seen.value("x-tenant"));
  EXPECT_EQ("own,daemon", seen.value("x-tag"));
  EXPECT_EQ(std::string("\0\1", 2), seen.value("x-blob-bin"));
  EXPECT_EQ("yes", seen.value("x-kept"));
  EXPECT_EQ("remove-metadata x-internal-*", it.report()["policy"]);
  EXPECT_EQ(1, it.report()["applied"]) << it.report();
}

TEST(OutgoingPolicies, RequestIdIsMadeOnceEach) {
  Policed it({"request-id"});
  std::set<std::string> ids;
  for (int i = 0; i < 10; ++i) {
    EXPECT_STATUS(Code::ok, it.call());
    ids.insert(it.server.last().value("x-request-id"));
  }
  EXPECT_EQ(10U, ids.size());
  EXPECT_THAT(*ids.begin(), MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-"
                                         "[0-9a-f]{12}"));
  EXPECT_STATUS(Code::ok, it.call({.metadata = {{"x-request-id", "mine"}}}));
  EXPECT_EQ("mine", it.server.last().value("x-request-id"));
  EXPECT_EQ(10, it.report()["applied"]);
}

TEST(OutgoingPolicies, TraceparentIsMadeOrGoesOn) {
  Policed it({"traceparent"});
  EXPECT_STATUS(Code::ok, it.call());
  EXPECT_THAT(it.server.last().value("traceparent"),
              MatchesRegex("00-[0-9a-f]{32}-[0-9a-f]{16}-00"));
  const std::string own = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  EXPECT_STATUS(Code::ok, it.call({.metadata = {{"traceparent", own}, {"tracestate", "a=1"}}}));
  EXPECT_EQ(own, it.server.last().value("traceparent"));
  EXPECT_EQ("a=1", it.server.last().value("tracestate"));
}

TEST(OutgoingPolicies, DefaultTimeoutIsForCallsWithoutADeadline) {
  Policed it({"default-timeout 200ms"}, [](const UnaryServer::Request& request) {
    return UnaryServer::Answer{.text = request.message, .hang = request.value("x-slow") != "-"};
  });
  EXPECT_STATUS(Code::deadline_exceeded, it.call({.metadata = {{"x-slow", ""}}}));
  // A deadline of its own is the call's, a later one too.
  const auto patient = it.connection->start_call(
      it.channel, "/a/b", {.shape = Shape::unary, .metadata = {{"x-slow", ""}}, .timeout = kPatience},
      "", true);
  EXPECT_STATUS(Code::deadline_exceeded, it.call({.metadata = {{"x-slow", ""}}}));
  EXPECT_FALSE(patient->wait_ended(milliseconds(0)));
  patient->cancel();
  EXPECT_EQ(2, it.report()["applied"]);
}

TEST(OutgoingPolicies, MaxTimeoutBoundsEveryDeadline) {
  Policed it({"max-timeout 200ms"},
             [](const UnaryServer::Request&) { return UnaryServer::Answer{.hang = true}; });
  EXPECT_STATUS(Code::deadline_exceeded, it.call());
  EXPECT_STATUS(Code::deadline_exceeded, it.call({.timeout = std::chrono::hours(1)}));
  EXPECT_EQ(2U, it.server.count());
}

TEST(OutgoingPolicies, RateLimitRefusesWhatIsOver) {
  Policed it({"rate-limit 2/h burst 3"});
  for (int i = 0; i < 3; ++i) EXPECT_STATUS(Code::ok, it.call());
  const Status refused = it.call();
  EXPECT_STATUS(Code::resource_exhausted, refused);
  EXPECT_EQ(Origin::daemon, refused.origin);
  EXPECT_THAT(refused.message, testing::StartsWith("rate-limit 2/h burst 3: no token is free"));
  EXPECT_EQ(3U, it.server.count());
  EXPECT_EQ(3, it.report()["applied"]);
  EXPECT_EQ(1, it.report()["refused"]);
  EXPECT_EQ("0 tokens", it.report()["state"]);
}

TEST(OutgoingPolicies, RateLimitIsOfTheChannelNotOfAProcess) {
  Policed it({"rate-limit 1/h"});
  EXPECT_STATUS(Code::ok, it.call());
  const auto other = it.daemon.dial();
  EXPECT_STATUS(Code::resource_exhausted,
                other->unary(other->open_channel("legated:///it"), "/a/b", "").status);
}

TEST(OutgoingPolicies, CircuitBreakerOpensProbesAndCloses) {
  Policed it({"circuit-breaker 2 1s"}, [](const UnaryServer::Request& request) {
    if (request.value("x-do") == "fail")
      return UnaryServer::Answer{.code = grpc::StatusCode::UNAVAILABLE, .text = "down"};
    return UnaryServer::Answer{.text = request.message, .hang = request.value("x-do") == "hang"};
  });
  const auto doing = [](const std::string& what) {
    return CallOptions{.shape = Shape::unary, .metadata = {{"x-do", what}}};
  };
  EXPECT_EQ("closed", it.report()["state"]);
  for (int i = 0; i < 2; ++i) EXPECT_STATUS(Code::unavailable, it.call(doing("fail")));
  const Status refused = it.call(doing("succeed"));
  EXPECT_STATUS(Code::unavailable, refused);
  EXPECT_EQ(Origin::daemon, refused.origin);
  EXPECT_THAT(refused.message, testing::StartsWith("circuit-breaker 2 1s: open, the last call ended "
                                                   "UNAVAILABLE"));
  EXPECT_EQ(2U, it.server.count());
  EXPECT_THAT(it.report()["state"].get<std::string>(), testing::StartsWith("open"));

  // The probe that fails opens it again, the one that is answered closes it.
  const auto probe = [&](const std::string& what) {
    Status status;
    EXPECT_TRUE(eventually([&] {
      status = it.call(doing(what));
      return status.origin != Origin::daemon;
    }));
    return status;
  };
  EXPECT_STATUS(Code::unavailable, probe("fail"));
  EXPECT_EQ(3U, it.server.count());
  EXPECT_EQ(Origin::daemon, it.call(doing("succeed")).origin);
  EXPECT_STATUS(Code::ok, probe("succeed"));
  EXPECT_EQ("closed", it.report()["state"]);
  for (int i = 0; i < 10; ++i) EXPECT_STATUS(Code::ok, it.call());
  EXPECT_EQ(14U, it.server.count());
}

TEST(OutgoingPolicies, BreakerIsHalfOpenWhileItsProbeIsUnderWay) {
  Policed it({"circuit-breaker 1 200ms"}, [](const UnaryServer::Request& request) {
    if (request.number == 1) return UnaryServer::Answer{.code = grpc::StatusCode::UNAVAILABLE};
    return UnaryServer::Answer{.hang = true};
  });
  EXPECT_STATUS(Code::unavailable, it.call());
  std::shared_ptr<Call> probe;
  EXPECT_TRUE(eventually([&] {
    probe = it.connection->start_call(it.channel, "/a/b", {.shape = Shape::unary}, "", true);
    return eventually([&] { return it.server.count() == 2 || probe->wait_ended(milliseconds(0)); }) &&
           it.server.count() == 2;
  }));
  EXPECT_EQ("half-open", it.report()["state"]);
  probe->cancel();
}

TEST(OutgoingPolicies, AdHocChannelsHaveThemToo) {
  const UnaryServer server;
  const DaemonProcess daemon;
  const auto connection = daemon.dial();
  const ChannelId channel =
      connection->open_channel(server.address(), {.policies = {"add-metadata x-a 1"}});
  EXPECT_STATUS(Code::ok, connection->unary(channel, "/a/b", "").status);
  EXPECT_EQ("1", server.last().value("x-a"));
  const auto refused =
      connection->wait(connection->open_channel(server.address(), {.policies = {"add-metadata"}}));
  EXPECT_STATUS(Code::invalid_argument, refused.status);
  EXPECT_THAT(refused.status.message, HasSubstr("add-metadata KEY VALUE"));
}

TEST(OutgoingPolicies, TheyCountForEveryAttemptAsOneCall) {
  const UnaryServer server([](const UnaryServer::Request& request) {
    return request.number < 3 ? UnaryServer::Answer{.code = grpc::StatusCode::UNAVAILABLE}
                              : UnaryServer::echo(request);
  });
  const DaemonProcess daemon;
  const auto connection = daemon.dial();
  const ChannelId channel = connection->open_channel(
      server.address(),
      {.retry = legate::client::RetryOptions{.attempts = 3, .initial_backoff = milliseconds(1)},
       .policies = {"rate-limit 1/h", "circuit-breaker 1 1h", "request-id"}});
  EXPECT_STATUS(Code::ok, connection->unary(channel, "/a/b", "").status);
  const auto attempts = server.requests();
  ASSERT_EQ(3U, attempts.size());
  EXPECT_EQ(attempts[0].value("x-request-id"), attempts[2].value("x-request-id"));
}

}  // namespace
}  // namespace legated::test
