// The client library's calls, outgoing and dispatched, against a scripted daemon.
#include <gtest/gtest.h>

#include <future>

#include "tests/unit/client_fake_daemon.h"

namespace legate::client {
namespace {

namespace flag = ipc::flag;
using ipc::FrameType;
using namespace std::chrono_literals;

constexpr uint8_t kWholeAndEnd = flag::whole_message | flag::end_stream;

TEST(ClientCallTest, AUnaryCallIsOneFrame) {
  FakeDaemon daemon;
  auto result = std::async(std::launch::async, [&] {
    return daemon.client().unary(
        {9}, "/a.B/C", "question",
        {.metadata = {{"k", "v"}, {"k", ""}, {"b-bin", std::string("\0\xff", 2)}}, .timeout = 2s});
  });
  const auto start = daemon.expect(FrameType::start);
  EXPECT_EQ(start.header.flags, kWholeAndEnd);
  EXPECT_EQ(start.header.aux, 8);
  EXPECT_EQ(start.payload, "question");
  const auto& table = start.as<ipc::Start>();
  EXPECT_EQ(table.method()->str(), "/a.B/C");
  EXPECT_EQ(table.channel(), 9);
  EXPECT_EQ(table.shape(), Shape::unary);
  EXPECT_EQ(table.timeout_us(), 2'000'000);
  EXPECT_EQ(decode_metadata(table.metadata()),
            (Metadata{{"k", "v"}, {"k", ""}, {"b-bin", std::string("\0\xff", 2)}}));

  daemon.send_headers(start.header.call_id, {{"h", "1"}});
  daemon.send_data(start.header.call_id, "answer");
  Status status = make_status(Code::ok, "fine", Origin::remote);
  status.trailers = {{"t", "2"}};
  status.details = "details";
  daemon.send_status(start.header.call_id, status);

  const UnaryResult unary = result.get();
  EXPECT_TRUE(unary.status.ok());
  EXPECT_EQ(unary.status.message, "fine");
  EXPECT_EQ(unary.status.details, "details");
  EXPECT_EQ(unary.status.trailers, (Metadata{{"t", "2"}}));
  EXPECT_EQ(unary.status.origin, Origin::remote);
  EXPECT_EQ(unary.headers, (Metadata{{"h", "1"}}));
  EXPECT_EQ(unary.response, "answer");
}

TEST(ClientCallTest, AnEmptyMessageIsSentAndReceived) {
  FakeDaemon daemon;
  auto result =
      std::async(std::launch::async, [&] { return daemon.client().unary({1}, "/a.B/C", ""); });
  const auto start = daemon.expect(FrameType::start);
  EXPECT_EQ(start.header.flags, kWholeAndEnd);
  daemon.send_data(start.header.call_id, "");
  daemon.send_status(start.header.call_id, {});
  EXPECT_TRUE(result.get().status.ok());
}

TEST(ClientCallTest, ATimeoutThatIsOverIsNotSentAsNone) {
  FakeDaemon daemon;
  const auto call = daemon.client().start_call({1}, "/a.B/C", {.timeout = Microseconds(-5)});
  EXPECT_EQ(daemon.expect(FrameType::start).as<ipc::Start>().timeout_us(), 1);
}

TEST(ClientCallTest, ALongMessageIsSplitAtMaxFrame) {
  FakeDaemon daemon;
  std::string message(10'000, 'm');
  message += "end";
  const auto call = daemon.client().start_call({1}, "/a.B/C", {}, message, true);
  EXPECT_EQ(daemon.expect(FrameType::start).header.flags, 0);
  const auto first = daemon.expect(FrameType::data);
  EXPECT_EQ(first.header.flags, flag::msg_begin);
  EXPECT_EQ(first.header.aux, 10'003);
  EXPECT_EQ(first.payload.size(), 4096);
  const auto second = daemon.expect(FrameType::data);
  EXPECT_EQ(second.header.flags, 0);
  const auto third = daemon.expect(FrameType::data);
  EXPECT_EQ(third.header.flags, flag::msg_end | flag::end_stream);
  EXPECT_EQ(first.payload + second.payload + third.payload, message);
}

TEST(ClientCallTest, AWriterWaitsForTheCallsCredit) {
  FakeDaemon daemon;
  const auto call = daemon.client().start_call({1}, "/a.B/C");
  auto written =
      std::async(std::launch::async, [&] { return call->write(std::string(65'536 + 10, 'x')); });
  daemon.expect(FrameType::start);
  for (int i = 0; i < 16; ++i) EXPECT_EQ(daemon.expect(FrameType::data).payload.size(), 4096);
  EXPECT_TRUE(daemon.quiet());
  EXPECT_EQ(written.wait_for(0s), std::future_status::timeout);
  daemon.send_window(call->id(), 4);
  EXPECT_EQ(daemon.expect(FrameType::data).payload.size(), 4);
  daemon.send_window(call->id(), 100);
  const auto last = daemon.expect(FrameType::data);
  EXPECT_EQ(last.payload.size(), 6);
  EXPECT_EQ(last.header.flags, flag::msg_end);
  EXPECT_TRUE(written.get());
}

TEST(ClientCallTest, ConnectionCreditGoesRoundTheCallsThatWait) {
  FakeDaemon daemon(FakeDaemon::all_roles(), {.max_frame = 4096, .connection_window = 65'536});
  const auto hog = daemon.client().start_call({1}, "/a.B/C");
  const auto one = daemon.client().start_call({1}, "/a.B/C");
  const auto two = daemon.client().start_call({1}, "/a.B/C");
  EXPECT_TRUE(hog->write(std::string(65'536, 'x')));
  for (int i = 0; i < 19; ++i) daemon.receive();

  EXPECT_TRUE(one->post(std::string(8192, '1')));
  EXPECT_TRUE(two->post(std::string(8192, '2')));
  EXPECT_TRUE(daemon.quiet());
  daemon.send_window(0, 65'536);
  for (const uint32_t id : {one->id(), two->id(), one->id(), two->id()}) {
    EXPECT_EQ(daemon.expect(FrameType::data).header.call_id, id);
  }
}

TEST(ClientCallTest, AWriterWakesWhenTheCallEnds) {
  FakeDaemon daemon;
  const auto call = daemon.client().start_call({1}, "/a.B/C");
  auto written =
      std::async(std::launch::async, [&] { return call->write(std::string(100'000, 'x')); });
  daemon.expect(FrameType::start);
  daemon.send_status(call->id(), make_status(Code::aborted, "enough", Origin::remote));
  EXPECT_FALSE(written.get());
  EXPECT_FALSE(call->write("more"));
  EXPECT_EQ(call->finish().code, Code::aborted);
}

TEST(ClientCallTest, ReadsWhatCameBeforeTheStatusAndThenTheEnd) {
  FakeDaemon daemon;
  const auto call = daemon.client().start_call({1}, "/a.B/C", {}, "x", true);
  daemon.send_data(call->id(), "one");
  daemon.send_data(call->id(), "two");
  daemon.send_status(call->id(), {});
  EXPECT_TRUE(call->wait_ended(10s));
  EXPECT_EQ(call->read(), "one");
  EXPECT_EQ(call->read(), "two");
  EXPECT_EQ(call->read(), std::nullopt);
  EXPECT_EQ(call->headers(), Metadata{}) << "there were none";
}

TEST(ClientCallTest, FinishReturnsTheCreditOfWhatNobodyReads) {
  FakeDaemon daemon;
  const auto call = daemon.client().start_call({1}, "/a.B/C");
  auto status = std::async(std::launch::async, [&] { return call->finish(); });
  daemon.expect(FrameType::start);
  EXPECT_EQ(daemon.expect(FrameType::data).header.flags, flag::end_stream);
  for (int i = 0; i < 20; ++i) {
    daemon.send_data(call->id(), std::string(32'768, 'x'));
    auto window = daemon.expect(FrameType::window);
    if (window.header.call_id == 0) window = daemon.expect(FrameType::window);
    EXPECT_EQ(window.header.call_id, call->id());
    EXPECT_EQ(window.header.aux, 32'768);
  }
  daemon.send_status(call->id(), {});
  EXPECT_TRUE(status.get().ok());
}

TEST(ClientCallTest, CancelIsSentOnceAndTheStatusEndsTheCall) {
  FakeDaemon daemon;
  const auto call = daemon.client().start_call({1}, "/a.B/C");
  daemon.expect(FrameType::start);
  call->cancel();
  call->cancel();
  EXPECT_FALSE(call->write("x"));
  EXPECT_EQ(daemon.expect(FrameType::cancel).header.call_id, call->id());
  EXPECT_TRUE(daemon.quiet());
  daemon.send_status(call->id(), make_status(Code::cancelled, "you said so"));
  EXPECT_EQ(call->finish().code, Code::cancelled);
}

TEST(ClientCallTest, ACallNobodyHoldsIsCancelled) {
  FakeDaemon daemon;
  const uint32_t id = daemon.client().start_call({1}, "/a.B/C")->id();
  daemon.expect(FrameType::start);
  EXPECT_EQ(daemon.expect(FrameType::cancel).header.call_id, id);
  // What the daemon had sent before it knew is late: dropped, and the connection's credit returned.
  daemon.send_status(id, {});
  daemon.send_data(id, std::string(65'536, 'x'));
  EXPECT_EQ(daemon.expect(FrameType::window).header.aux, 65'536);
}

TEST(ClientCallTest, MetadataTooLongForAFrameEndsTheCallHere) {
  FakeDaemon daemon;
  const auto call =
      daemon.client().start_call({1}, "/a.B/C", {.metadata = {{"k", std::string(200'000, 'v')}}});
  EXPECT_EQ(call->finish().code, Code::resource_exhausted);
  const Metadata many(5000, {"k", "v"});
  EXPECT_EQ(daemon.client().unary({1}, "/a.B/C", "", {.metadata = many}).status.code,
            Code::resource_exhausted);
}

TEST(ClientCallTest, AsyncCallsChainOnTheReaderThread) {
  FakeDaemon daemon;
  std::promise<std::string> last;
  daemon.client().unary_async({1}, "/a.B/C", "1", {}, [&](const UnaryResult& first) {
    daemon.client().unary_async(
        {1}, "/a.B/C", first.response + "2", {},
        [&](const UnaryResult& second) { last.set_value(second.response); });
  });
  for (int i = 0; i < 2; ++i) {
    const auto start = daemon.expect(FrameType::start);
    daemon.send_data(start.header.call_id, start.payload + "!");
    daemon.send_status(start.header.call_id, {});
  }
  EXPECT_EQ(last.get_future().get(), "1!2!");
}

TEST(ClientCallTest, AsyncCallsThatEndAtOnceDoNotNest) {
  FakeDaemon daemon;
  int left = 100'000;  // nested, they would not fit the stack
  std::promise<void> all;
  std::function<void(UnaryResult)> again = [&](const UnaryResult& result) {
    EXPECT_EQ(result.status.code, Code::unavailable);
    if (--left == 0) return all.set_value();
    daemon.client().unary_async({1}, "/a.B/C", "", {}, again);
  };
  daemon.client().unary_async({1}, "/a.B/C", "", {}, again);
  daemon.expect(FrameType::start);
  daemon.close();
  all.get_future().get();
}

TEST(ClientCallTest, AsyncCallsEndWithTheConnection) {
  FakeDaemon daemon;
  std::promise<Status> ended;
  daemon.client().unary_async({1}, "/a.B/C", "1", {},
                              [&](const UnaryResult& result) { ended.set_value(result.status); });
  daemon.expect(FrameType::start);
  daemon.close();
  EXPECT_EQ(ended.get_future().get().code, Code::unavailable);
}

}  // namespace
}  // namespace legate::client
