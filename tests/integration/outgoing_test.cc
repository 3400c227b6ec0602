// Calls from a process through the daemon to gRPC servers in C++ and Go: shapes, statuses, messages.

#include "tests/integration/outgoing.h"

#include "tests/integration/echo_server.h"

namespace legated::test {
namespace {

// ---- Against each server -----------------------------------------------------------------------

enum class Language { cpp, go };

/// A Peer server in one language, a daemon, and a channel between them.
class OutgoingTo : public testing::TestWithParam<Language> {
 protected:
  OutgoingTo() {
    std::string address;
    if (GetParam() == Language::cpp) {
      cpp_ = std::make_unique<PeerServer>();
      address = cpp_->address();
    } else {
      go_ = std::make_unique<ChildProcess>(
          std::vector<std::string>{program("peer-server"), "--addr", "127.0.0.1:0"});
      const std::string line = go_->line();
      EXPECT_THAT(line, HasSubstr("listening ")) << "the Go server did not start";
      address = "127.0.0.1:" + line.substr(line.rfind(' ') + 1);
    }
    channel = connection->open_channel(address);
  }

  std::unique_ptr<PeerServer> cpp_;
  std::unique_ptr<ChildProcess> go_;
  DaemonProcess daemon;
  std::unique_ptr<Connection> connection = daemon.dial();
  ChannelId channel;
};

INSTANTIATE_TEST_SUITE_P(, OutgoingTo, testing::Values(Language::cpp, Language::go),
                         [](const auto& server) {
                           return server.param == Language::cpp ? "Cpp" : "Go";
                         });

Command with_metadata() {
  Command command;
  command.set_payload("hello");
  command.set_headers_first(true);
  add_header(command, "x-header", "one");
  add_header(command, "x-header", "two");
  add_trailer(command, "x-trailer", "three");
  return command;
}

void expect_metadata(const Metadata& headers, const Status& status) {
  EXPECT_THAT(values(headers, "x-header"), ElementsAre("one", "two"));
  EXPECT_THAT(values(status.trailers, "x-trailer"), ElementsAre("three"));
  EXPECT_EQ(Origin::remote, status.origin);
}

TEST_P(OutgoingTo, UnaryGivesHeadersReplyAndTrailers) {
  const auto result = connection->unary(channel, kUnary, with_metadata().SerializeAsString());
  EXPECT_STATUS(Code::ok, result.status);
  EXPECT_EQ("hello", reply_of(result.response).payload());
  expect_metadata(result.headers, result.status);
  EXPECT_GT(result.status.elapsed.count(), 0);
}

TEST_P(OutgoingTo, ClientStreamGathersEveryMessageInOrder) {
  const auto call =
      connection->start_call(channel, kClientStream, {.shape = Shape::client_streaming},
                             with_metadata().SerializeAsString());
  for (const char* word : {" big", " wide", " world"}) EXPECT_TRUE(call->write(saying(word)));
  call->writes_done();
  const auto reply = call->read();
  ASSERT_TRUE(reply) << describe(call->finish());
  EXPECT_EQ("hello big wide world", reply_of(*reply).payload());
  EXPECT_EQ(4U, reply_of(*reply).messages_received());
  EXPECT_FALSE(call->read());
  const Status status = call->finish();
  EXPECT_STATUS(Code::ok, status);
  expect_metadata(call->headers(), status);
}

TEST_P(OutgoingTo, ServerStreamGivesEveryReplyInOrder) {
  Command command = with_metadata();
  command.set_response_count(100);
  const auto call =
      connection->start_call(channel, kServerStream, {.shape = Shape::server_streaming},
                             command.SerializeAsString(), true);
  for (uint32_t i = 0; i < 100; ++i) {
    const auto reply = call->read();
    ASSERT_TRUE(reply) << "no reply " << i << ": " << describe(call->finish());
    EXPECT_EQ(i, reply_of(*reply).index());
  }
  EXPECT_FALSE(call->read()) << "a reply too many";
  const Status status = call->finish();
  EXPECT_STATUS(Code::ok, status);
  expect_metadata(call->headers(), status);
}

TEST_P(OutgoingTo, BidiAnswersWhileTheClientStillWrites) {
  const auto call = connection->start_call(channel, kBidi, {.shape = Shape::bidi},
                                           with_metadata().SerializeAsString());
  EXPECT_THAT(values(call->headers(), "x-header"), ElementsAre("one", "two"));
  EXPECT_TRUE(call->read());
  for (uint32_t i = 1; i < 20; ++i) {
    ASSERT_TRUE(call->write(saying(std::to_string(i))));
    const auto reply = call->read();
    ASSERT_TRUE(reply) << "no reply " << i << ": " << describe(call->finish());
    EXPECT_EQ(std::to_string(i), reply_of(*reply).payload());
  }
  call->writes_done();
  EXPECT_FALSE(call->read());
  const Status status = call->finish();
  EXPECT_STATUS(Code::ok, status);
  expect_metadata(call->headers(), status);
}

TEST_P(OutgoingTo, EveryStatusCodeArrivesWithItsMessage) {
  for (uint32_t code = 1; code <= 16; ++code) {
    SCOPED_TRACE(code);
    Command command;
    command.set_status_code(code);
    command.set_status_message("code " + std::to_string(code) + ", ünïcode, 50 %\nnext line");
    const auto result = connection->unary(channel, kUnary, command.SerializeAsString());
    EXPECT_EQ(code, static_cast<uint32_t>(result.status.code)) << describe(result.status);
    EXPECT_EQ(command.status_message(), result.status.message);
    EXPECT_EQ(Origin::remote, result.status.origin);
    EXPECT_TRUE(result.response.empty());
  }
}

TEST_P(OutgoingTo, UnknownStatusCodeIsUnknownWithItsNumber) {
  Command command;
  command.set_status_code(99);
  command.set_status_message("odd");
  const auto result = connection->unary(channel, kUnary, command.SerializeAsString());
  EXPECT_STATUS(Code::unknown, result.status);
  EXPECT_THAT(result.status.message, HasSubstr("99"));
  EXPECT_THAT(result.status.message, HasSubstr("odd"));
}

TEST_P(OutgoingTo, StatusDetailsAreByteExact) {
  Command command;
  command.set_status_code(9);
  command.set_status_message("with details");
  // A google.rpc.Status with the same code, which gRPC-Go checks, and an unknown field with zeros.
  command.set_status_details(std::string("\x08\x09\x12\x0cwith details\xa2\x06\x03\0\xff\0", 22));
  const auto result = connection->unary(channel, kUnary, command.SerializeAsString());
  EXPECT_STATUS(Code::failed_precondition, result.status);
  ASSERT_TRUE(result.status.details);
  EXPECT_EQ(command.status_details(), *result.status.details);
  EXPECT_THAT(result.status.trailers,
              testing::Not(Contains(Pair("grpc-status-details-bin", testing::_))))
      << "details are told once";
}

TEST_P(OutgoingTo, StatusAfterRepliesComesAfterThem) {
  Command command;
  command.set_status_code(10);
  command.set_response_count(5);
  const auto call =
      connection->start_call(channel, kServerStream, {.shape = Shape::server_streaming},
                             command.SerializeAsString(), true);
  size_t replies = 0;
  while (call->read()) ++replies;
  EXPECT_EQ(5U, replies);
  EXPECT_STATUS(Code::aborted, call->finish());
}

TEST_P(OutgoingTo, EarlyStatusEndsACallThatStillWrites) {
  Command command;
  command.set_status_code(7);
  const auto call =
      connection->start_call(channel, kBidi, {.shape = Shape::bidi}, command.SerializeAsString());
  ASSERT_TRUE(call->wait_ended(kPatience));
  EXPECT_FALSE(call->write(saying("too late")));
  EXPECT_STATUS(Code::permission_denied, call->finish());
}

TEST_P(OutgoingTo, UnknownMethodIsUnimplemented) {
  const auto result = connection->unary(channel, "/legate.test.v1.Peer/Nothing", "");
  EXPECT_STATUS(Code::unimplemented, result.status);
  EXPECT_EQ(Origin::remote, result.status.origin);
}

TEST_P(OutgoingTo, TimeoutReachesTheServer) {
  Command command;
  command.set_echo_metadata(true);
  const auto result = connection->unary(channel, kUnary, command.SerializeAsString(),
                                        {.timeout = std::chrono::seconds(20)});
  EXPECT_STATUS(Code::ok, result.status);
  const auto left = values(result.headers, "x-deadline-ms");
  ASSERT_EQ(1U, left.size()) << "the server saw no deadline";
  EXPECT_LE(std::stol(left.front()), 20'100);
  EXPECT_GT(std::stol(left.front()), 10'000);
}

// ---- Messages of an exact length ---------------------------------------------------------------

struct OutgoingMessages : testing::Test {
  DaemonProcess daemon;
  EchoServer server;
  std::unique_ptr<Connection> connection = daemon.dial();
  ChannelId channel = connection->open_channel(server.address());
};

constexpr size_t kLengths[] = {0, 1, 65'536, 65'537, 262'144, 262'145, 3'900 * 1024, 4'194'304};

TEST_F(OutgoingMessages, EveryLengthGoesThereAndBack) {
  for (const size_t length : kLengths) {
    SCOPED_TRACE(length);
    const std::string message = pattern(length);
    const auto call =
        connection->start_call(channel, EchoServer::kEcho, {.shape = Shape::unary}, message, true);
    const auto reply = call->read();
    ASSERT_TRUE(reply) << describe(call->finish());
    EXPECT_TRUE(message == *reply) << "got " << reply->size() << " bytes";
    EXPECT_FALSE(call->read()) << "a message too many";
    EXPECT_STATUS(Code::ok, call->finish());
  }
}

TEST_F(OutgoingMessages, LengthsMixInOneStream) {
  const auto call = connection->start_call(channel, EchoServer::kEcho, {.shape = Shape::bidi});
  for (int round = 0; round < 2; ++round) {
    for (const size_t length : kLengths) {
      const std::string message = pattern(length);
      ASSERT_TRUE(call->write(message)) << describe(call->finish());
      const auto reply = call->read();
      ASSERT_TRUE(reply) << length << ": " << describe(call->finish());
      ASSERT_TRUE(message == *reply) << length << ": got " << reply->size() << " bytes";
    }
  }
  EXPECT_STATUS(Code::ok, call->finish());
}

TEST_F(OutgoingMessages, EmptyMessageIsNotNoMessage) {
  for (const int count : {0, 1, 3}) {
    SCOPED_TRACE(count);
    const auto call = connection->start_call(channel, EchoServer::kEcho, {.shape = Shape::bidi});
    for (int i = 0; i < count; ++i) EXPECT_TRUE(call->write(""));
    call->writes_done();
    int replies = 0;
    while (call->read()) ++replies;
    EXPECT_EQ(count, replies);
    EXPECT_STATUS(Code::ok, call->finish());
  }
}

TEST_F(OutgoingMessages, TooLongARequestIsRefusedWithTheLimitsName) {
  const auto result = connection->unary(channel, EchoServer::kEcho, pattern(4'194'305));
  EXPECT_STATUS(Code::resource_exhausted, result.status);
  EXPECT_EQ(Origin::daemon, result.status.origin);
  EXPECT_THAT(result.status.message, HasSubstr("limits.max_message"));
  EXPECT_EQ(0U, server.messages_seen());
  EXPECT_STATUS(Code::ok, connection->unary(channel, EchoServer::kEcho, "small").status);
}

TEST_F(OutgoingMessages, TooLongAMessageInMidStreamEndsTheCallOnly) {
  const auto call = connection->start_call(channel, EchoServer::kEcho, {.shape = Shape::bidi}, "a");
  EXPECT_TRUE(call->read());
  call->write(pattern(5'000'000));
  const Status status = call->finish();
  EXPECT_STATUS(Code::resource_exhausted, status);
  EXPECT_STATUS(Code::ok, connection->unary(channel, EchoServer::kEcho, "small").status);
}

TEST_F(OutgoingMessages, TooLongAReplyIsResourceExhausted) {
  EXPECT_STATUS(Code::ok, connection->unary(channel, EchoServer::kZeros, "4194304").status);
  const auto result = connection->unary(channel, EchoServer::kZeros, "4194305");
  EXPECT_STATUS(Code::resource_exhausted, result.status);
  EXPECT_TRUE(result.response.empty());
  EXPECT_STATUS(Code::ok, connection->unary(channel, EchoServer::kEcho, "small").status);
}

// ---- The number of messages --------------------------------------------------------------------

TEST_F(OutgoingMessages, OkWithoutTheOneAnswerIsInternal) {
  for (const Shape shape : {Shape::unary, Shape::client_streaming}) {
    const auto call =
        connection->start_call(channel, EchoServer::kNothing, {.shape = shape}, "a", true);
    EXPECT_FALSE(call->read());
    EXPECT_STATUS(Code::internal, call->finish());
  }
  const auto call = connection->start_call(channel, EchoServer::kNothing,
                                           {.shape = Shape::server_streaming}, "a", true);
  EXPECT_FALSE(call->read());
  EXPECT_STATUS(Code::ok, call->finish());
}

TEST_F(OutgoingMessages, TwoAnswersWhereOneIsDueAreInternal) {
  const auto call = connection->start_call(channel, EchoServer::kTwice,
                                           {.shape = Shape::client_streaming}, "a", true);
  EXPECT_STATUS(Code::internal, call->finish());
  const auto both = connection->start_call(channel, EchoServer::kTwice,
                                           {.shape = Shape::server_streaming}, "a", true);
  EXPECT_TRUE(both->read() && both->read());
  EXPECT_STATUS(Code::ok, both->finish());
}

TEST_F(OutgoingMessages, WrongNumberOfRequestsIsInvalidArgument) {
  for (const Shape shape : {Shape::unary, Shape::server_streaming}) {
    SCOPED_TRACE(EnumNameShape(shape));
    const auto none =
        connection->start_call(channel, EchoServer::kEcho, {.shape = shape}, std::nullopt, true);
    EXPECT_STATUS(Code::invalid_argument, none->finish());
    const auto two = connection->start_call(channel, EchoServer::kEcho, {.shape = shape}, "a");
    two->write("b");
    EXPECT_STATUS(Code::invalid_argument, two->finish());
  }
  EXPECT_STATUS(Code::ok, connection->unary(channel, EchoServer::kEcho, "a").status);
}

}  // namespace
}  // namespace legated::test
