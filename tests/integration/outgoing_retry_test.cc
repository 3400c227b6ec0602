// Retries, counted by the server: each attempt arrives there, and says which it is.

#include "tests/integration/outgoing.h"
#include "tests/integration/unary_server.h"

namespace legated::test {
namespace {

using legate::client::ChannelOptions;
using legate::client::RetryOptions;
using std::chrono::hours;

constexpr milliseconds kShort{1};  // so that retries do not wait

/// A daemon with these settings, and a server that fails this many times before it answers.
struct OutgoingRetry : testing::Test {
  explicit OutgoingRetry(const std::vector<std::string>& settings = {}) : daemon(settings) {}

  void fail(uint64_t times, UnaryServer::Answer with = {.code = grpc::StatusCode::UNAVAILABLE,
                                                        .text = "not now"}) {
    server = std::make_unique<UnaryServer>([times, with](const UnaryServer::Request& request) {
      return request.number <= times ? with : UnaryServer::echo(request);
    });
  }
  UnaryResult call(const ChannelOptions& options, const CallOptions& call_options = {}) {
    return connection->unary(connection->open_channel(server->address(), options), "/a/b", "hello",
                             call_options);
  }
  static ChannelOptions retrying(uint8_t attempts) {
    return {.retry = RetryOptions{
                .attempts = attempts, .initial_backoff = kShort, .max_backoff = kShort}};
  }
  /// How each attempt that arrived numbered itself.
  std::vector<std::string> numbers() const {
    std::vector<std::string> all;
    for (const auto& request : server->requests())
      all.push_back(request.value("grpc-previous-rpc-attempts"));
    return all;
  }

  DaemonProcess daemon;
  std::unique_ptr<UnaryServer> server;
  std::unique_ptr<Connection> connection = daemon.dial();
};

TEST_F(OutgoingRetry, NothingIsTriedAgainUnlessAsked) {
  fail(1);
  EXPECT_STATUS(Code::unavailable, call({}).status);
  EXPECT_EQ(1U, server->count());
}

TEST_F(OutgoingRetry, CallSucceedsAtTheAttemptThatDoes) {
  fail(3);
  const auto result = call(retrying(4));
  EXPECT_STATUS(Code::ok, result.status);
  EXPECT_EQ("hello", result.response);
  EXPECT_THAT(numbers(), ElementsAre("-", "1", "2", "3"));
}

TEST_F(OutgoingRetry, LastStatusIsToldWhenAttemptsAreUsedUp) {
  fail(100);
  const Status status = call(retrying(3)).status;
  EXPECT_STATUS(Code::unavailable, status);
  EXPECT_EQ("not now", status.message);
  EXPECT_EQ(3U, server->count());
}

TEST_F(OutgoingRetry, OtherCodesAreNotTriedAgain) {
  fail(1, {.code = grpc::StatusCode::INTERNAL});
  EXPECT_STATUS(Code::internal, call(retrying(5)).status);
  EXPECT_EQ(1U, server->count());
}

TEST_F(OutgoingRetry, CodesCanBeChosen) {
  fail(2, {.code = grpc::StatusCode::ABORTED});
  ChannelOptions options = retrying(5);
  options.retry->codes = {Code::resource_exhausted, Code::aborted};
  EXPECT_STATUS(Code::ok, call(options).status);
  EXPECT_EQ(3U, server->count());
  fail(1);
  EXPECT_STATUS(Code::unavailable, call(options).status);
}

TEST_F(OutgoingRetry, MetadataTravelsWithEveryAttempt) {
  fail(1);
  EXPECT_STATUS(Code::ok, call(retrying(2), {.metadata = {{"x-a", "1"}}}).status);
  for (const auto& request : server->requests()) EXPECT_EQ("1", request.value("x-a"));
}

TEST_F(OutgoingRetry, DeadlineCoversAllAttempts) {
  fail(100);
  ChannelOptions options = retrying(5);
  options.retry->initial_backoff = options.retry->max_backoff = hours(1);
  const Status status = call(options, {.timeout = milliseconds(300)}).status;
  EXPECT_STATUS(Code::deadline_exceeded, status);
  EXPECT_LT(status.elapsed, kPatience);
  EXPECT_GE(server->count(), 1U);
  EXPECT_LT(server->count(), 5U);
}

TEST_F(OutgoingRetry, CancelEndsTheWaitForTheNextAttempt) {
  fail(100);
  ChannelOptions options = retrying(5);
  options.retry->initial_backoff = options.retry->max_backoff = hours(1);
  const auto call = connection->start_call(connection->open_channel(server->address(), options),
                                           "/a/b", {.shape = Shape::unary}, "hello", true);
  EXPECT_TRUE(eventually([&] { return server->count() >= 1; }));
  call->cancel();
  EXPECT_STATUS(Code::cancelled, call->finish());
}

TEST_F(OutgoingRetry, ThrottleEndsRetriesOfAllCalls) {
  fail(100);
  ChannelOptions options = retrying(5);
  options.retry->throttle_tokens = 4;
  EXPECT_STATUS(Code::unavailable, call(options).status);
  // Four tokens; the second failure leaves half, and nothing is tried again from then on.
  EXPECT_EQ(2U, server->count());
  EXPECT_STATUS(Code::unavailable, call(options).status);
  EXPECT_EQ(3U, server->count());
}

TEST_F(OutgoingRetry, SuccessRefillsTheThrottle) {
  server = std::make_unique<UnaryServer>([](const UnaryServer::Request& request) {
    return request.message == "fail"
               ? UnaryServer::Answer{.code = grpc::StatusCode::UNAVAILABLE}
               : UnaryServer::echo(request);
  });
  ChannelOptions options = retrying(5);
  options.retry->throttle_tokens = 4;
  options.retry->throttle_permille = 1000;
  const ChannelId channel = connection->open_channel(server->address(), options);
  const auto attempts = [&] {
    const uint64_t before = server->count();
    EXPECT_STATUS(Code::unavailable, connection->unary(channel, "/a/b", "fail").status);
    return server->count() - before;
  };
  EXPECT_EQ(2U, attempts());
  EXPECT_EQ(1U, attempts());
  for (int i = 0; i < 4; ++i) EXPECT_STATUS(Code::ok, connection->unary(channel, "/a/b", "").status);
  EXPECT_EQ(2U, attempts());
}

TEST_F(OutgoingRetry, PushbackSaysWhen) {
  // Far before the backoff, which would take an hour.
  fail(2, {.code = grpc::StatusCode::UNAVAILABLE, .trailers = {{"grpc-retry-pushback-ms", "1"}}});
  ChannelOptions options = retrying(5);
  options.retry->initial_backoff = options.retry->max_backoff = hours(1);
  EXPECT_STATUS(Code::ok, call(options, {.timeout = kPatience}).status);
  EXPECT_EQ(3U, server->count());
}

TEST_F(OutgoingRetry, PushbackSaysNever) {
  fail(1, {.code = grpc::StatusCode::UNAVAILABLE, .trailers = {{"grpc-retry-pushback-ms", "-1"}}});
  EXPECT_STATUS(Code::unavailable, call(retrying(5)).status);
  EXPECT_EQ(1U, server->count());
}

TEST_F(OutgoingRetry, ServiceConfigRetries) {
  fail(2);
  const auto result = call({.service_config = R"({"methodConfig": [{
      "name": [{"service": "a"}],
      "retryPolicy": {"maxAttempts": 3, "initialBackoff": "0.001s", "maxBackoff": "0.001s",
                      "backoffMultiplier": 1, "retryableStatusCodes": ["UNAVAILABLE"]}}]})"});
  EXPECT_STATUS(Code::ok, result.status);
  EXPECT_EQ(3U, server->count());
}

TEST_F(OutgoingRetry, StreamIsTriedAgainUntilItIsAnswered) {
  fail(2);
  const auto stream =
      connection->start_call(connection->open_channel(server->address(), retrying(4)), "/a/b",
                             {.shape = Shape::bidi}, "hello");
  EXPECT_EQ("hello", stream->read());
  EXPECT_STATUS(Code::ok, stream->finish());
  EXPECT_EQ(3U, server->count());
}

TEST_F(OutgoingRetry, OptionsOutOfRangeAreRefused) {
  fail(0);
  const auto refusal = [&](const ChannelOptions& options) {
    const auto opened = connection->wait(connection->open_channel(server->address(), options));
    EXPECT_STATUS(Code::invalid_argument, opened.status);
    return opened.status.message;
  };
  const auto with = [](auto change) {
    ChannelOptions options = retrying(2);
    change(*options.retry);
    return options;
  };
  EXPECT_THAT(refusal(retrying(0)), HasSubstr("retry attempts must be 2 to 5"));
  EXPECT_THAT(refusal(retrying(1)), HasSubstr("retry attempts must be 2 to 5"));
  EXPECT_THAT(refusal(retrying(6)), HasSubstr("retry attempts must be 2 to 5"));
  EXPECT_THAT(refusal(with([](auto& retry) { retry.initial_backoff = milliseconds(0); })),
              HasSubstr("retry backoffs"));
  EXPECT_THAT(refusal(with([](auto& retry) { retry.multiplier_percent = 99; })),
              HasSubstr("retry multiplier"));
  EXPECT_THAT(refusal(with([](auto& retry) { retry.codes = {Code{17}}; })),
              HasSubstr("retry codes"));
  EXPECT_THAT(refusal(with([](auto& retry) { retry.throttle_tokens = 1001; })),
              HasSubstr("throttle_tokens"));
  ChannelOptions both = retrying(2);
  both.service_config = "{}";
  EXPECT_THAT(refusal(both), HasSubstr("service_config and retry can't both be set"));
}

// ---- The daemon's ceiling ----------------------------------------------------------------------

struct OutgoingRetryCeiling : OutgoingRetry {
  OutgoingRetryCeiling() : OutgoingRetry({"outbound.max_attempts=2"}) {}
};

TEST_F(OutgoingRetryCeiling, HoldsForEveryChannel) {
  fail(100);
  EXPECT_STATUS(Code::unavailable, call(retrying(5)).status);
  EXPECT_EQ(2U, server->count());
}

TEST_F(OutgoingRetryCeiling, HoldsForServiceConfigsToo) {
  fail(100);
  const auto result = call({.service_config = R"({"methodConfig": [{
      "name": [{}],
      "retryPolicy": {"maxAttempts": 5, "initialBackoff": "0.001s", "maxBackoff": "0.001s",
                      "backoffMultiplier": 1, "retryableStatusCodes": ["UNAVAILABLE"]}}]})"});
  EXPECT_STATUS(Code::unavailable, result.status);
  EXPECT_EQ(2U, server->count());
}

struct OutgoingRetryOff : OutgoingRetry {
  OutgoingRetryOff() : OutgoingRetry({"outbound.max_attempts=1"}) {}
};

TEST_F(OutgoingRetryOff, CeilingOfOneForbidsRetries) {
  fail(1);
  EXPECT_STATUS(Code::unavailable, call(retrying(5)).status);
  EXPECT_EQ(1U, server->count());
}

}  // namespace
}  // namespace legated::test
