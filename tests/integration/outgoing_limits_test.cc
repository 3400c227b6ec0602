// Limits of messages and metadata, of a channel and of a call, on the way to the server and back: what
// is over ends with an error that names whose it was and which knob bounds it.

#include "tests/integration/echo_server.h"
#include "tests/integration/outgoing.h"
#include "tests/integration/unary_server.h"

namespace legated::test {
namespace {

using legate::client::ChannelOptions;

constexpr uint32_t kDaemons = 100'000;  // limits.max_message

struct OutgoingLimits : testing::Test {
  ChannelId open(const ChannelOptions& options) {
    return connection->open_channel(server.address(), options);
  }
  /// A call whose request has this many bytes and whose answer has as many.
  Status echo(ChannelId channel, size_t bytes, CallOptions options = {}) {
    return connection->unary(channel, EchoServer::kEcho, std::string(bytes, 'x'), options).status;
  }
  /// A short request, and an answer of this many bytes.
  Status receive(ChannelId channel, size_t bytes, CallOptions options = {}) {
    return connection->unary(channel, EchoServer::kZeros, std::to_string(bytes), options).status;
  }
  void expect_over(const Status& status, const std::string& leg, const std::string& knob) {
    EXPECT_STATUS(Code::resource_exhausted, status);
    EXPECT_THAT(status.message, HasSubstr(leg));
    EXPECT_THAT(status.message, HasSubstr(knob));
  }

  DaemonProcess daemon{{"limits.max_message=" + std::to_string(kDaemons), "limits.max_metadata=8KiB"}};
  EchoServer server;
  std::unique_ptr<Connection> connection = daemon.dial();
};

TEST_F(OutgoingLimits, DaemonsBoundsBothLegs) {
  const ChannelId channel = open({});
  EXPECT_STATUS(Code::ok, echo(channel, kDaemons));
  expect_over(echo(channel, kDaemons + 1), "request message of 100001 bytes exceeds",
              "limits.max_message, 100000 bytes");
  EXPECT_EQ(1U, server.messages_seen());
  EXPECT_STATUS(Code::ok, receive(channel, kDaemons));
  expect_over(receive(channel, kDaemons + 1), "Received message larger than max", "limits.max_message");
}

TEST_F(OutgoingLimits, ChannelsBoundsWhatIsSent) {
  const ChannelId channel = open({.max_send_message = 1000});
  EXPECT_STATUS(Code::ok, echo(channel, 1000));
  expect_over(echo(channel, 1001), "request message of 1001 bytes exceeds",
              "the channel's max_send_message, 1000 bytes");
  EXPECT_STATUS(Code::ok, receive(channel, 50'000));
  EXPECT_EQ(2U, server.messages_seen());
}

TEST_F(OutgoingLimits, ChannelsBoundsWhatIsReceived) {
  const ChannelId channel = open({.max_receive_message = 1000});
  EXPECT_STATUS(Code::ok, receive(channel, 1000));
  expect_over(receive(channel, 1001), "Received message larger than max (1001 vs. 1000)",
              "the channel's max_receive_message");
}

TEST_F(OutgoingLimits, CallsBoundsBothLegs) {
  const ChannelId channel = open({.max_send_message = 5000, .max_receive_message = 5000});
  EXPECT_STATUS(Code::ok, echo(channel, 5000));
  const CallOptions small_send{.max_send_message = 2000};
  EXPECT_STATUS(Code::ok, echo(channel, 2000, small_send));
  expect_over(echo(channel, 2001, small_send), "request message of 2001 bytes",
              "the call's max_send_message, 2000 bytes");
  const CallOptions small_receive{.max_receive_message = 2000};
  EXPECT_STATUS(Code::ok, receive(channel, 2000, small_receive));
  expect_over(receive(channel, 2001, small_receive), "the server's message of 2001 bytes",
              "the call's max_receive_message, 2000 bytes");
}

TEST_F(OutgoingLimits, StreamEndsAtTheMessageThatIsOver) {
  const ChannelId channel = open({.max_receive_message = 1000});
  const auto call = connection->start_call(channel, EchoServer::kEcho, {.shape = Shape::bidi},
                                           std::string(1000, 'x'));
  EXPECT_TRUE(call->read());
  call->write(std::string(1001, 'x'));
  EXPECT_FALSE(call->read());
  expect_over(call->finish(), "larger than max", "the channel's max_receive_message");
}

TEST_F(OutgoingLimits, CallCanNotWidenItsChannels) {
  const ChannelId channel = open({.max_send_message = 1000, .max_receive_message = 2000});
  const Status send = echo(channel, 1, {.max_send_message = 1001});
  EXPECT_STATUS(Code::invalid_argument, send);
  EXPECT_THAT(send.message, HasSubstr("the call's max_send_message of 1001 bytes is above the "
                                      "channel's max_send_message, 1000 bytes"));
  const Status receive = echo(channel, 1, {.max_receive_message = 2001});
  EXPECT_STATUS(Code::invalid_argument, receive);
  EXPECT_THAT(receive.message, HasSubstr("above the channel's max_receive_message, 2000 bytes"));
  const Status daemons = echo(open({}), 1, {.max_send_message = kDaemons + 1});
  EXPECT_STATUS(Code::invalid_argument, daemons);
  EXPECT_THAT(daemons.message, HasSubstr("above limits.max_message, 100000 bytes"));
}

TEST_F(OutgoingLimits, ChannelCanNotWidenTheDaemons) {
  const auto refusal = [&](const ChannelOptions& options) {
    const auto opened = connection->wait(open(options));
    EXPECT_STATUS(Code::invalid_argument, opened.status);
    return opened.status.message;
  };
  EXPECT_EQ("max_send_message of 100001 bytes is above the daemon's limits.max_message, 100000 bytes",
            refusal({.max_send_message = kDaemons + 1}));
  EXPECT_EQ(
      "max_receive_message of 100001 bytes is above the daemon's limits.max_message, 100000 bytes",
      refusal({.max_receive_message = kDaemons + 1}));
  EXPECT_EQ("max_metadata of 8193 bytes is above the daemon's limits.max_metadata, 8192 bytes",
            refusal({.max_metadata = 8193}));
}

TEST_F(OutgoingLimits, MetadataIsBoundedByTheChannel) {
  const UnaryServer metadata_server([](const UnaryServer::Request& request) {
    UnaryServer::Answer answer;
    auto& metadata = request.message == "trailers" ? answer.trailers : answer.headers;
    metadata.emplace_back("x", std::string(request.message == "little" ? 99 : 100, 'v'));
    return answer;
  });
  const auto call = [&](ChannelId channel, const std::string& message, size_t bytes) {
    return connection
        ->unary(channel, "/a/b", message, {.metadata = {{"x", std::string(bytes - 1, 'v')}}})
        .status;
  };
  const ChannelId narrow = connection->open_channel(metadata_server.address(), {.max_metadata = 100});
  EXPECT_STATUS(Code::ok, call(narrow, "little", 100));
  const std::string knob = "of 101 bytes exceeds the channel's max_metadata, 100 bytes";
  expect_over(call(narrow, "little", 101), "metadata", knob);
  EXPECT_EQ(1U, metadata_server.count());
  expect_over(call(narrow, "headers", 100), "the server's headers", knob);
  expect_over(call(narrow, "trailers", 100), "the server's trailers", knob);

  const ChannelId wide = connection->open_channel(metadata_server.address());
  EXPECT_STATUS(Code::ok, call(wide, "headers", 8192));
  expect_over(call(wide, "headers", 8193), "metadata of 8193 bytes",
              "limits.max_metadata, 8192 bytes");
}

TEST_F(OutgoingLimits, BoundOfTheServerIsNotTakenForOurs) {
  const UnaryServer strict([](const UnaryServer::Request&) {
    return UnaryServer::Answer{.code = grpc::StatusCode::RESOURCE_EXHAUSTED,
                               .text = "Received message larger than max (9 vs. 8)"};
  });
  const ChannelId channel = connection->open_channel(strict.address());
  const Status status = connection->unary(channel, "/a/b", "123456789").status;
  EXPECT_EQ("Received message larger than max (9 vs. 8)", status.message);
  EXPECT_EQ(Origin::remote, status.origin);
}

}  // namespace
}  // namespace legated::test
