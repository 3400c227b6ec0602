// Calls that are made more than once: gRPC's retries as STATUS counts them, and legated's hedging.

#include <signal.h>

#include <fstream>

#include "tests/integration/outgoing.h"
#include "tests/integration/scripted_server.h"

namespace legated::test {
namespace {

using legate::client::ChannelOptions;
using legate::client::HedgingOptions;
using legate::client::RetryOptions;
using Plan = ScriptedServer::Plan;

const Plan kFails{.code = 14, .message = "not now"};
const Plan kHolds{.hold = true};
constexpr milliseconds kNever{1'000'000};  // far beyond the test

Plan fails(const std::string& message, const std::string& pushback = {}) {
  Plan plan{.code = 14, .message = message};
  if (!pushback.empty()) plan.trailers = {{"grpc-retry-pushback-ms", pushback}};
  return plan;
}

struct Repeated : testing::Test {
  explicit Repeated(std::vector<std::string> settings = {})
      : daemon(with_channel(std::move(settings))) {}

  /// The channel "h" of the configuration, with `settings` of it.
  std::vector<std::string> with_channel(std::vector<std::string> settings) {
    for (std::string& setting : settings) {
      if (!setting.starts_with("outbound.")) setting = "channels.h." + setting;
    }
    settings.push_back("channels.h.target=" + server.address());
    return settings;
  }

  ChannelId hedged(uint8_t attempts, milliseconds delay) {
    ChannelOptions options;
    options.hedging = HedgingOptions{.attempts = attempts, .delay = delay};
    return connection->open_channel(server.address(), options);
  }
  ChannelId retried(uint8_t attempts) {
    ChannelOptions options;
    options.retry = RetryOptions{.attempts = attempts,
                                 .initial_backoff = milliseconds(1),
                                 .max_backoff = milliseconds(10)};
    return connection->open_channel(server.address(), options);
  }
  UnaryResult call(ChannelId channel, CallOptions options = {}) {
    return connection->unary(channel, kUnary, saying("hello"), options);
  }
  UnaryResult idempotent(ChannelId channel, std::optional<milliseconds> timeout = {}) {
    return call(channel, {.timeout = timeout, .idempotent = true});
  }
  std::shared_ptr<Call> start(ChannelId channel, const std::string& message = saying("hello")) {
    return connection->start_call(channel, kUnary, {.shape = Shape::unary, .idempotent = true},
                                  message, true);
  }
  uint64_t counted(const std::string& what) {
    const auto answer = query(*connection, "channels");
    uint64_t sum = 0;
    for (const auto& one : answer["channels"]) sum += one[what].get<uint64_t>();
    return sum;
  }
  bool nothing_held() {
    if (!no_calls(*connection)) return false;
    const auto answer = query(*connection, "status");
    for (const auto& one : answer["sessions"])
      if (one["memory"] != 0) return false;
    return true;
  }

  ScriptedServer server;
  DaemonProcess daemon;
  std::unique_ptr<Connection> connection = daemon.dial();
};

#define EXPECT_ATTEMPTS(count, result) \
  EXPECT_EQ(uint32_t{count}, (result).status.attempts) << describe((result).status)

// ---- Attempts ----------------------------------------------------------------------------------

TEST_F(Repeated, ACallThatWentOffWasAttemptedOnce) {
  const ChannelId plain = connection->open_channel(server.address());
  EXPECT_ATTEMPTS(1, call(plain));
  server.plan({kFails});
  EXPECT_ATTEMPTS(1, call(plain));
  EXPECT_ATTEMPTS(1, call(retried(3)));
  const auto stream =
      connection->start_call(plain, kUnary, {.shape = Shape::bidi}, saying("hello"), true);
  EXPECT_EQ(1U, stream->finish().attempts);
}

TEST_F(Repeated, ACallThatNeverLeftWasNotAttempted) {
  const ChannelId plain = connection->open_channel(server.address());
  const auto refused = call(plain, {.metadata = {{"Bad", "x"}}});
  EXPECT_STATUS(Code::invalid_argument, refused.status);
  EXPECT_ATTEMPTS(0, refused);
  EXPECT_ATTEMPTS(0, call({12345}));
  EXPECT_ATTEMPTS(0, call(hedged(2, kNever), {.metadata = {{"Bad", "x"}}, .idempotent = true}));
  EXPECT_TRUE(server.calls().empty());
}

TEST_F(Repeated, ACallThatCanNotConnectWasAttemptedOnce) {
  ChannelOptions options;
  options.retry = RetryOptions{.attempts = 3, .initial_backoff = milliseconds(1)};
  for (const auto& more : {ChannelOptions(), options}) {
    const auto result = call(connection->open_channel("unix:/nonexistent/peer.sock", more));
    EXPECT_STATUS(Code::unavailable, result.status);
    EXPECT_ATTEMPTS(1, result);
  }
}

TEST_F(Repeated, RetriesAreCounted) {
  const ChannelId channel = retried(4);
  server.plan({kFails, kFails});
  const auto good = call(channel);
  EXPECT_STATUS(Code::ok, good.status);
  EXPECT_ATTEMPTS(3, good);
  EXPECT_EQ(3U, server.calls().size());
  EXPECT_EQ(2U, counted("retries"));

  server.plan({kFails, kFails, kFails, kFails});
  const auto bad = call(channel);
  EXPECT_STATUS(Code::unavailable, bad.status);
  EXPECT_ATTEMPTS(4, bad);
  EXPECT_EQ(5U, counted("retries"));

  server.plan({kFails});
  const auto stream =
      connection->start_call(channel, kUnary, {.shape = Shape::bidi}, saying("hello"), true);
  EXPECT_TRUE(stream->read());
  EXPECT_EQ(2U, stream->finish().attempts);
}

struct RepeatedByServiceConfig : Repeated {
  RepeatedByServiceConfig()
      : Repeated({R"(service_config={"methodConfig": [{"name": [{}], "retryPolicy": {)"
                  R"("maxAttempts": 5, "initialBackoff": "0.001s", "maxBackoff": "0.01s",)"
                  R"("backoffMultiplier": 1, "retryableStatusCodes": ["UNAVAILABLE"]}}]})",
                  "outbound.max_attempts=3"}) {}
};

TEST_F(RepeatedByServiceConfig, RetriesAreCountedAndBounded) {
  server.plan({kFails, kFails, kFails, kFails, kFails});
  const auto result = call(connection->open_channel("legated:///h"));
  EXPECT_STATUS(Code::unavailable, result.status);
  EXPECT_ATTEMPTS(3, result);
  EXPECT_EQ(3U, server.calls().size());
}

TEST_F(Repeated, LegatectlShowsAttempts) {
  server.plan({kFails});
  ChildProcess process({program("legatectl"), "--socket", daemon.socket(), "-o", "json", "call",
                        server.address(), kUnary});
  const auto json = nlohmann::json::parse(process.rest(), nullptr, false);
  EXPECT_EQ(64 + 14, process.wait());
  EXPECT_EQ(1, json["status"]["attempts"]) << json;

  const TempDir directory;
  ChildProcess verbose({program("legatectl"), "--socket", daemon.socket(), "call", "-v",
                        server.address(), kUnary},
                       directory / "errors");
  EXPECT_EQ(0, verbose.wait());
  std::ifstream errors(directory / "errors");
  EXPECT_THAT(std::string(std::istreambuf_iterator<char>(errors), {}), HasSubstr(", 1 attempt\n"));
}

// ---- Hedging -----------------------------------------------------------------------------------

TEST_F(Repeated, HedgeWinsAndTheSlowAttemptIsCancelled) {
  server.plan({kHolds});
  const auto result = idempotent(hedged(3, milliseconds(20)));
  EXPECT_STATUS(Code::ok, result.status);
  EXPECT_NE("0", reply_of(result.response).payload()) << "the first never answers";
  EXPECT_GE(result.status.attempts, 2U);
  EXPECT_TRUE(eventually([&] { return server.cancelled() == 1; }));
  const auto seen = server.calls();
  EXPECT_EQ("hello", seen[1].payload);
  EXPECT_TRUE(eventually([&] { return nothing_held(); }));
  EXPECT_EQ(result.status.attempts - 1, counted("hedges"));
}

TEST_F(Repeated, HeadersAndTrailersAreTheWinners) {
  server.plan({{.code = 14, .message = "lost", .trailers = {{"x-which", "loser"}}},
               {.trailers = {{"x-which", "winner"}}}});
  const auto result = idempotent(hedged(2, kNever));
  EXPECT_STATUS(Code::ok, result.status);
  EXPECT_THAT(values(result.status.trailers, "x-which"), ElementsAre("winner"));
  EXPECT_EQ("1", reply_of(result.response).payload());
  EXPECT_ATTEMPTS(2, result);
  EXPECT_EQ(1U, counted("hedges"));
  EXPECT_EQ(1U, counted("hedges_won"));
}

TEST_F(Repeated, OnlyIdempotentUnaryCallsAreHedged) {
  const ChannelId channel = hedged(5, milliseconds(0));  // all would go at once
  const auto result = call(channel);
  EXPECT_STATUS(Code::ok, result.status);
  EXPECT_ATTEMPTS(1, result);
  const auto stream = connection->start_call(
      channel, kUnary, {.shape = Shape::bidi, .idempotent = true}, saying("hello"), true);
  EXPECT_TRUE(stream->read());
  EXPECT_EQ(1U, stream->finish().attempts);
  EXPECT_EQ(2U, server.calls().size());
  EXPECT_ATTEMPTS(1, idempotent(connection->open_channel(server.address())));
  EXPECT_EQ(3U, server.calls().size()) << "without hedging the mark changes nothing";
}

TEST_F(Repeated, LastStatusIsTheCallsWhenAllFail) {
  server.plan({fails("a"), fails("b"), fails("c")});
  const auto result = idempotent(hedged(3, kNever));
  EXPECT_STATUS(Code::unavailable, result.status);
  EXPECT_EQ("c", result.status.message);
  EXPECT_EQ(Origin::remote, result.status.origin);
  EXPECT_ATTEMPTS(3, result);
}

TEST_F(Repeated, AnotherStatusEndsTheCall) {
  server.plan({kHolds, {.code = 5, .message = "none such"}, {.code = 5, .message = "none such"}});
  const auto result = idempotent(hedged(3, milliseconds(20)));
  EXPECT_STATUS(Code::not_found, result.status);
  EXPECT_TRUE(eventually([&] { return server.cancelled() == 1; }));
}

TEST_F(Repeated, DeadlineCoversAllAttempts) {
  server.plan({kHolds, kHolds, kHolds});
  const auto result = idempotent(hedged(3, milliseconds(0)), milliseconds(500));
  EXPECT_STATUS(Code::deadline_exceeded, result.status);
  EXPECT_ATTEMPTS(3, result);
  EXPECT_TRUE(eventually([&] { return server.calls().size() == server.cancelled(); }));
  EXPECT_TRUE(eventually([&] { return nothing_held(); }));
}

TEST_F(Repeated, DeadlineOfARequestThatNeverComesWhole) {
  const auto unfinished = connection->start_call(
      hedged(2, kNever), kUnary,
      {.shape = Shape::unary, .timeout = milliseconds(200), .idempotent = true});
  const Status status = [&] {
    unfinished->wait_ended(kPatience);
    return unfinished->finish();
  }();
  EXPECT_STATUS(Code::deadline_exceeded, status);
  EXPECT_EQ(Origin::daemon, status.origin);
  EXPECT_EQ(0U, status.attempts);
}

TEST_F(Repeated, CancelReachesEveryAttempt) {
  server.plan({kHolds, kHolds});
  const auto running = start(hedged(2, milliseconds(0)));
  ASSERT_TRUE(eventually([&] { return server.calls().size() == 2; }));
  running->cancel();
  EXPECT_STATUS(Code::cancelled, running->finish());
  EXPECT_TRUE(eventually([&] { return server.cancelled() == 2; }));
  EXPECT_TRUE(eventually([&] { return nothing_held(); }));
}

TEST_F(Repeated, CancelEndsACallThatWaitsForPushback) {
  server.plan({fails("later", "600000")});
  const auto waiting = start(hedged(2, kNever));
  ASSERT_TRUE(eventually([&] {
    const auto calls = query(*connection, "calls")["calls"];
    return server.calls().size() == 1 && calls.size() == 1 && calls[0]["attempts"] == 1;
  }));
  waiting->cancel();
  EXPECT_FALSE(waiting->finish().ok());
  EXPECT_TRUE(eventually([&] { return nothing_held(); }));
  EXPECT_EQ(1U, server.calls().size());
}

TEST_F(Repeated, PushbackPutsTheNextAttemptOff) {
  server.plan({fails("later", "400")});
  const auto result = idempotent(hedged(2, kNever));
  EXPECT_STATUS(Code::ok, result.status);
  const auto seen = server.calls();
  ASSERT_EQ(2U, seen.size());
  EXPECT_GE(seen[1].when - seen[0].when, milliseconds(400));
}

TEST_F(Repeated, PushbackForbidsFurtherAttempts) {
  server.plan({fails("stay away", "-1")});
  const auto result = idempotent(hedged(3, kNever));
  EXPECT_STATUS(Code::unavailable, result.status);
  EXPECT_EQ("stay away", result.status.message);
  EXPECT_ATTEMPTS(1, result);
  EXPECT_EQ(1U, server.calls().size());
}

TEST_F(Repeated, SecondAnswerMessageIsInternal) {
  const PeerServer streamer;
  ChannelOptions options;
  options.hedging = HedgingOptions{.attempts = 2};
  Command command;
  command.set_response_count(2);
  const auto result = connection->unary(connection->open_channel(streamer.address(), options),
                                        kServerStream, command.SerializeAsString(),
                                        {.idempotent = true});
  EXPECT_STATUS(Code::internal, result.status);
  EXPECT_THAT(result.status.message, HasSubstr("more than one answer message"));
  EXPECT_EQ("", result.response);
  EXPECT_TRUE(eventually([&] { return nothing_held(); }));
}

TEST_F(Repeated, LargeRequestComesInPartsAndGoesToAll) {
  const std::string payload = pattern(1'500'000);
  server.plan({kHolds, kHolds, kHolds});
  const auto call = start(hedged(3, milliseconds(0)), saying(payload));
  ASSERT_TRUE(eventually([&] { return server.calls().size() == 3; }));
  server.release();
  EXPECT_STATUS(Code::ok, call->finish());
  for (const auto& seen : server.calls()) EXPECT_EQ(payload, seen.payload);
  EXPECT_TRUE(eventually([&] { return nothing_held(); }));
}

TEST_F(Repeated, ClientThatDiesTakesAllAttemptsAlong) {
  server.plan({kHolds, kHolds});
  const auto other = daemon.dial();
  ChannelOptions options;
  options.hedging = HedgingOptions{.attempts = 2};
  const auto channel = other->open_channel(server.address(), options);
  const auto call = other->start_call(channel, kUnary, {.shape = Shape::unary, .idempotent = true},
                                      saying("hello"), true);
  ASSERT_TRUE(eventually([&] { return server.calls().size() == 2; }));
  other->close();
  EXPECT_TRUE(eventually([&] { return server.cancelled() == 2; }));
  EXPECT_TRUE(eventually([&] { return nothing_held(); }));
}

TEST_F(Repeated, ManyHedgedCallsLeaveNothingBehind) {
  const ChannelId channel = hedged(4, milliseconds(1));
  std::vector<std::shared_ptr<Call>> calls;
  for (int i = 0; i < 200; ++i) {
    calls.push_back(start(channel));
    if (i % 5 == 0) calls.back()->cancel();
  }
  for (const auto& call : calls) {
    const Status status = call->finish();
    EXPECT_TRUE(status.ok() || status.code == Code::cancelled) << describe(status);
  }
  EXPECT_TRUE(eventually([&] { return nothing_held(); }));
}

TEST_F(Repeated, MistakenHedgingIsRefused) {
  ChannelOptions both;
  both.hedging = HedgingOptions{};
  both.retry = RetryOptions{};
  ChannelOptions few;
  few.hedging = HedgingOptions{.attempts = 1};
  ChannelOptions many;
  many.hedging = HedgingOptions{.attempts = 6};
  ChannelOptions ok;
  ok.hedging = HedgingOptions{.codes = {Code::ok}};
  for (const auto& options : {both, few, many, ok}) {
    const auto opened = connection->wait(connection->open_channel(server.address(), options));
    EXPECT_STATUS(Code::invalid_argument, opened.status);
    EXPECT_THAT(opened.status.message, HasSubstr("hedging"));
  }
}

struct HedgedByConfiguration : Repeated {
  HedgedByConfiguration()
      : Repeated({"hedging_attempts=5", "hedging_delay=0s", "hedging_codes=UNAVAILABLE,ABORTED",
                  "hedging_methods=/other.Service/*;/legate.test.v1.Peer/Unary",
                  "outbound.max_attempts=2"}) {}
};

TEST_F(HedgedByConfiguration, MethodsAreIdempotentAndAttemptsBounded) {
  server.plan({{.code = 10, .message = "a"}, {.code = 10, .message = "b"}});
  const auto result = call(connection->open_channel("legated:///h"));
  EXPECT_STATUS(Code::aborted, result.status);
  EXPECT_ATTEMPTS(2, result);
  EXPECT_EQ(2U, server.calls().size());
}

TEST_F(HedgedByConfiguration, ProcessThatIsKilledTakesAllAttemptsAlong) {
  server.plan({kHolds, kHolds});
  ChildProcess client(
      {program("legatectl"), "--socket", daemon.socket(), "call", "legated:///h", kUnary});
  ASSERT_TRUE(eventually([&] { return server.calls().size() == 2; }));
  client.signal(SIGKILL);
  EXPECT_TRUE(eventually([&] { return server.cancelled() == 2; }));
  EXPECT_TRUE(eventually([&] { return nothing_held(); }));
}

struct HedgedWithThrottle : Repeated {
  HedgedWithThrottle()
      : Repeated({"hedging_attempts=3", "hedging_delay=1h", "hedging_methods=*",
                  "retry_throttle_tokens=4", "retry_throttle_ratio=0.1"}) {}
};

TEST_F(HedgedWithThrottle, FailuresStopFurtherHedges) {
  const ChannelId channel = connection->open_channel("legated:///h");
  server.plan({kFails, kFails, kFails});
  EXPECT_ATTEMPTS(2, call(channel));  // 4 tokens, 3, then 2: not more than half
  EXPECT_ATTEMPTS(1, call(channel));
}

}  // namespace
}  // namespace legated::test
