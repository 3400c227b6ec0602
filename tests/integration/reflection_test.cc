// DESCRIBE, and what grpc.reflection makes of it: real clients, workers that come and go, sets of
// every kind.
#include <gmock/gmock.h>

#include "tests/integration/services.h"

namespace legated::test {
namespace {

using google::protobuf::FileDescriptorSet;
using legate::client::Code;
using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
namespace flag = legate::ipc::flag;

/// A set of one file, with one service of one method, and `filling` bytes of comments.
std::string one_service(const std::string& file, const std::string& service, size_t filling = 0) {
  FileDescriptorSet set;
  auto& made = *set.add_file();
  made.set_name(file);
  made.set_package("t");
  made.add_message_type()->set_name(service + "Message");
  auto& declared = *made.add_service();
  declared.set_name(service);
  auto& method = *declared.add_method();
  method.set_name("Do");
  method.set_input_type(".t." + service + "Message");
  method.set_output_type(".t." + service + "Message");
  if (filling > 0) {
    auto& location = *made.mutable_source_code_info()->add_location();
    location.set_leading_comments(std::string(filling, 'x'));
  }
  return set.SerializeAsString();
}

/// What grpcurl prints; its errors too.
std::string grpcurl(std::vector<std::string> arguments) {
  const TempDir folder;
  arguments.insert(arguments.begin(), {program("grpcurl"), "-plaintext"});
  ChildProcess process(arguments, folder / "errors");
  std::string out = process.rest();
  if (process.wait() != 0) {
    ChildProcess errors({"cat", folder / "errors"});
    out += "failed: " + errors.rest();
  }
  return out;
}

// ---- Clients -----------------------------------------------------------------------------------

TEST(ReflectionService, BothVersionsTellTheSame) {
  const DaemonProcess daemon;
  const ManualWorker worker(daemon, {"/legate.test.v1.Peer/*"}, 4);
  Reflection v1(worker.address);
  ReflectionAlpha alpha(worker.address);
  const auto listed =
      ElementsAre("grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection",
                  "grpc.reflection.v1alpha.ServerReflection", kPeerService);
  EXPECT_THAT(v1.services(), listed) << "also without descriptors";
  EXPECT_THAT(v1.files_of(kPeerService), ElementsAre("error 5"));
  const auto status = worker.connection->describe(worker.lease, peer_descriptors());
  ASSERT_TRUE(status.ok()) << describe(status);
  EXPECT_THAT(v1.services(), listed);
  EXPECT_THAT(alpha.services(), listed);
  for (const char* symbol : {kPeerService, "legate.test.v1.Peer.Unary", "legate.test.v1.Command",
                             "legate.test.v1.Command.payload"}) {
    EXPECT_THAT(v1.files_of(symbol), ElementsAre("peer.proto")) << symbol;
    EXPECT_THAT(alpha.files_of(symbol), ElementsAre("peer.proto")) << symbol;
  }
  EXPECT_THAT(v1.files_of("grpc.health.v1.Health"), ElementsAre("grpc/health/v1/health.proto"));
  EXPECT_TRUE(v1.finish().ok());
  EXPECT_TRUE(alpha.finish().ok());
}

TEST(ReflectionService, AnOpenStreamSeesWorkersComeAndGo) {
  const DaemonProcess daemon;
  const ManualWorker first(daemon, {"/t.One/*"}, 4);
  ASSERT_TRUE(first.connection->describe(first.lease, one_service("one.proto", "One")).ok());
  Reflection stream(first.address);
  EXPECT_THAT(stream.services(), AllOf(Contains("t.One"), Not(Contains("t.Two"))));
  {
    const ManualWorker second(daemon, {"*"}, 4, first.address);
    ASSERT_TRUE(second.connection->describe(second.lease, one_service("two.proto", "Two")).ok());
    EXPECT_THAT(stream.services(), AllOf(Contains("t.One"), Contains("t.Two")));
    EXPECT_THAT(stream.files_of("t.Two.Do"), ElementsAre("two.proto"));
    // The next generation of the first.
    ASSERT_TRUE(second.connection->describe(second.lease, one_service("one.proto", "Three")).ok());
    EXPECT_THAT(stream.files_of("t.Three"), ElementsAre("one.proto"));
    EXPECT_THAT(stream.files_of("t.One"), ElementsAre("error 5")) << "the later one.proto counts";
  }
  EXPECT_TRUE(eventually([&] { return stream.files_of("t.Three").front() == "error 5"; }));
  EXPECT_THAT(stream.files_of("t.One"), ElementsAre("one.proto"));
  EXPECT_THAT(stream.services(), Not(Contains("t.Three")));
}

TEST(ReflectionService, GrpcurlNeedsNoProto) {
  const DaemonProcess daemon;
  ChildProcess worker({program("greeter-worker"), "--socket", daemon.socket(), "--print-port"});
  const std::string address = "127.0.0.1:" + worker.line().substr(std::string("listening ").size());
  const std::string service = "legated.greeter.v1.Greeter";
  EXPECT_THAT(grpcurl({address, "list"}), AllOf(HasSubstr(service), HasSubstr("grpc.health.v1")));
  EXPECT_THAT(grpcurl({address, "list", service}), HasSubstr(service + ".CollectHellos"));
  EXPECT_THAT(grpcurl({address, "describe", service}), HasSubstr("rpc ListHellos"));
  EXPECT_THAT(grpcurl({address, "describe", "legated.greeter.v1.HelloRequest"}),
              HasSubstr("uint32 count = 2"));
  EXPECT_THAT(grpcurl({"-d", R"({"name":"Ada"})", address, service + "/SayHello"}),
              HasSubstr("Hello, Ada!"));
  EXPECT_THAT(grpcurl({"-d", R"({"name":"Ada"}{"name":"Grace"})", address, service + "/Chat"}),
              AllOf(HasSubstr("Hello, Ada!"), HasSubstr("Hello, Grace!")));
  EXPECT_THAT(grpcurl({"-d", R"({"service":")" + service + R"("})", address,
                       "grpc.health.v1.Health/Check"}),
              HasSubstr("SERVING"));
  EXPECT_THAT(grpcurl({address, "describe", "no.Such"}), HasSubstr("failed: "));
}

TEST(ReflectionService, OffIsUnimplemented) {
  const DaemonProcess daemon;
  const ServerHolder holder(daemon, {.reflection = ServerHolder::Switch::off});
  const Worker worker(daemon, 16, holder.address);
  EXPECT_EQ(Reflection(holder.address).finish().error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(ReflectionAlpha(holder.address).finish().error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(check(holder.address, ""), "SERVING") << "the others are on";
}

TEST(ReflectionService, ANoRequestEndsTheStream) {
  const DaemonProcess daemon;
  const Worker worker(daemon);
  Command none;
  none.set_payload("\xff");
  ClientCall call(connect(worker.address),
                  "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo");
  call.send(none);
  EXPECT_EQ(call.wait().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

// A client that asks and asks, and does not read: the daemon must not keep the answers.
TEST(ReflectionService, ASlowReaderWaitsForItself) {
  const DaemonProcess daemon;
  const ManualWorker worker(daemon, {"/t.Big/*"}, 4);
  const std::string set = one_service("big.proto", "Big", 1'000'000);
  ASSERT_TRUE(worker.connection->describe(worker.lease, set).ok());
  const uint64_t before = daemon.resident();
  {
    Reflection stream(worker.address);
    grpc::reflection::v1::ServerReflectionRequest request;
    request.set_file_by_filename("big.proto");
    for (int i = 0; i < 150; ++i) ASSERT_TRUE(stream.stream().Write(request));
    EXPECT_EQ(check(worker.address, "t.Big"), "SERVING") << "nobody else waits";
    EXPECT_LT(daemon.resident(), before + 100'000'000);
    grpc::reflection::v1::ServerReflectionResponse response;
    for (int i = 0; i < 150; ++i) ASSERT_TRUE(stream.stream().Read(&response)) << i;
  }
  EXPECT_TRUE(eventually([&] {
    return ask(*worker.connection, "status")["calls"]["incoming"] == 0;
  }));
}

// ---- DESCRIBE ----------------------------------------------------------------------------------

TEST(Describe, SetsLargerThanAFrameAndAWindowPass) {
  const DaemonProcess daemon({"ipc.max_frame=4KiB", "ipc.call_window=64KiB"});
  const ManualWorker worker(daemon, {"/t.Big/*"}, 4);
  const std::string set = one_service("big.proto", "Big", 3'000'000);
  const auto status = worker.connection->describe(worker.lease, set);
  ASSERT_TRUE(status.ok()) << describe(status);
  Reflection stream(worker.address);
  EXPECT_THAT(stream.files_of("t.Big"), ElementsAre("big.proto"));
  const auto lease = ask(*worker.connection, "workers")["servers"][0]["leases"][0];
  EXPECT_EQ(lease["descriptors"], 1);
}

TEST(Describe, ItIsChargedWhileItIsRegistered) {
  const DaemonProcess daemon({"ipc.memory_budget=4MiB"});
  const ManualWorker worker(daemon, {"/t.Big/*"}, 4);
  const auto memory = [&] {
    return ask(*worker.connection, "status")["sessions"][0]["memory"].get<size_t>();
  };
  const std::string set = one_service("big.proto", "Big", 1'500'000);
  ASSERT_TRUE(worker.connection->describe(worker.lease, set).ok());
  EXPECT_EQ(memory(), set.size());
  ASSERT_TRUE(worker.connection->describe(worker.lease, set).ok()) << "it replaces the first";
  EXPECT_EQ(memory(), set.size());
  const auto refused =
      worker.connection->describe(worker.lease, one_service("b.proto", "B", 3'500'000));
  EXPECT_EQ(refused.code, Code::resource_exhausted);
  EXPECT_THAT(refused.message, HasSubstr("ipc.memory_budget"));
  EXPECT_EQ(memory(), set.size());
  ASSERT_TRUE(worker.connection->unregister(worker.lease).ok());
  EXPECT_EQ(memory(), 0U);
  EXPECT_EQ(worker.connection->describe(worker.lease, set).code, Code::failed_precondition);
  EXPECT_EQ(memory(), 0U);
}

TEST(Describe, WhatIsNoSetIsRefusedAndChangesNothing) {
  const DaemonProcess daemon;
  const ManualWorker worker(daemon, {"/t.One/*"}, 4);
  ASSERT_TRUE(worker.connection->describe(worker.lease, one_service("one.proto", "One")).ok());
  FileDescriptorSet lacking;
  lacking.add_file()->set_name("a.proto");
  lacking.mutable_file(0)->add_dependency("b.proto");
  FileDescriptorSet deep;
  auto* message = deep.add_file()->add_message_type();
  for (int i = 0; i < 90; ++i) message = message->add_nested_type();
  for (const auto& [set, reason] : std::vector<std::pair<std::string, std::string>>{
           {"", "no file"},
           {"garbage \xff\xff\xff", "protobuf"},
           {lacking.SerializeAsString(), "a.proto imports \"b.proto\""},
           {deep.SerializeAsString(), "nested deeper"}}) {
    const auto status = worker.connection->describe(worker.lease, set);
    EXPECT_EQ(status.code, Code::invalid_argument);
    EXPECT_THAT(status.message, HasSubstr(reason));
  }
  const auto large = worker.connection->describe(worker.lease, std::string(5'000'000, 'x'));
  EXPECT_EQ(large.code, Code::resource_exhausted);
  EXPECT_THAT(large.message, HasSubstr("limits.max_message"));
  const auto lost = worker.connection->describe({77}, one_service("a", "A"));
  EXPECT_EQ(lost.code, Code::failed_precondition);
  Reflection stream(worker.address);
  EXPECT_THAT(stream.files_of("t.One"), ElementsAre("one.proto"));
}

class DescribeFrames : public testing::Test {
 protected:
  DescribeFrames() : holder(daemon) {
    auto& builder = peer().builder();
    builder.Clear();
    builder.Finish(legate::ipc::CreateRegister(
        builder, 1, builder.CreateVectorOfStrings(std::vector<std::string>{"/t.One/*"}), 1));
    peer().send({.call_id = 5, .type = FrameType::register_methods}, {}, /*with_meta=*/true);
    EXPECT_TRUE(peer().receive(FrameType::lease, 5));
  }
  RawPeer& peer() { return holder.peer; }
  void describe(uint32_t id) {
    peer().send({.call_id = id, .type = FrameType::describe, .aux = 5});
  }

  const DaemonProcess daemon;
  ServerHolder holder;
  const std::string set = one_service("one.proto", "One");
};

TEST_F(DescribeFrames, PartsAndABareEndMakeASet) {
  const auto length = static_cast<uint32_t>(set.size());
  describe(7);
  peer().data(7, flag::msg_begin, std::string_view(set).substr(0, 10), length);
  peer().data(7, flag::msg_end, std::string_view(set).substr(10), 0);
  peer().window(7, 100);
  peer().data(7, flag::end_stream, {}, 0);
  EXPECT_EQ(status_code(peer(), 7), 0);
  peer().data(7, flag::end_stream, {}, 0);  // late
  describe(9);
  peer().data(9, flag::whole_message | flag::end_stream, set, length);
  EXPECT_EQ(status_code(peer(), 9), 0) << "it replaces the first";
}

TEST_F(DescribeFrames, NoneOrTwoMessagesAreRefused) {
  const auto length = static_cast<uint32_t>(set.size());
  describe(7);
  peer().data(7, flag::end_stream, {}, 0);
  EXPECT_EQ(status_code(peer(), 7), 3);
  describe(9);
  peer().data(9, flag::whole_message, set, length);
  peer().data(9, flag::whole_message, set, length);
  EXPECT_EQ(status_code(peer(), 9), 3);
}

TEST_F(DescribeFrames, ItCanBeCancelledAndIsBounded) {
  for (const uint32_t id : {7U, 9U, 11U, 13U, 15U}) describe(id);
  EXPECT_EQ(status_code(peer(), 15), 8);
  peer().data(7, flag::msg_begin, "part", 1000);
  peer().send({.call_id = 7, .type = FrameType::cancel});
  EXPECT_EQ(status_code(peer(), 7), 1);
  peer().data(7, flag::msg_end, "late", 0);
  describe(17);
  peer().data(17, flag::whole_message | flag::end_stream, set, static_cast<uint32_t>(set.size()));
  EXPECT_EQ(status_code(peer(), 17), 0);
}

TEST_F(DescribeFrames, WrongFramingEndsTheConnection) {
  describe(7);
  peer().data(7, flag::msg_begin, "part", 1000);
  peer().data(7, flag::end_stream, {}, 0);
  EXPECT_EQ(peer().error(), ErrorCode::message_framing);
}

}  // namespace
}  // namespace legated::test
