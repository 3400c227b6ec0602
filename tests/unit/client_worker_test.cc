// The client library's worker side against a scripted daemon: leases, handlers, cancellation.
#include <gtest/gtest.h>

#include <atomic>
#include <future>

#include "tests/unit/client_fake_daemon.h"

namespace legate::client {
namespace {

namespace flag = ipc::flag;
using ipc::FrameType;
using namespace std::chrono_literals;

constexpr uint32_t kLease = 3;  // LISTEN took id 1

class ClientWorkerTest : public testing::Test {
 protected:
  /// Leaves the dispatches to the test.
  void hold_dispatches(uint32_t slots = 4) {
    daemon.serve_handlers([&] {
      const Listening listening = daemon.client().listen("127.0.0.1:0");
      EXPECT_EQ(listening.port, 4321);
      const Lease lease = daemon.client().register_methods(
          listening.server, {"/a.B/*"}, slots,
          [this](std::shared_ptr<ServerCall> call) { held.set_value(std::move(call)); });
      EXPECT_TRUE(lease.status.ok());
      EXPECT_EQ(lease.id.value, kLease);
    });
  }

  void handle(Handlers handlers, uint32_t slots = 4) {
    daemon.serve_handlers([&] {
      const Listening listening = daemon.client().listen("127.0.0.1:0");
      daemon.client().register_methods(listening.server, std::move(handlers), slots);
    });
  }

  std::shared_ptr<ServerCall> dispatch(std::string_view message = "question") {
    daemon.send_dispatch(2, kLease, "/a.B/C", message);
    return held.get_future().get();
  }

  FakeDaemon daemon;
  std::promise<std::shared_ptr<ServerCall>> held;
};

TEST_F(ClientWorkerTest, AHandlerAcceptsAnswersAndEnds) {
  handle({{"/a.B/C", [](ServerCall& call) {
             EXPECT_EQ(call.method(), "/a.B/C");
             EXPECT_EQ(call.peer(), "ipv4:127.0.0.1:5");
             EXPECT_EQ(call.authority(), "example.test");
             EXPECT_LE(*call.time_left(), 3s);
             EXPECT_GT(*call.time_left(), 0s);
             EXPECT_EQ(call.read(), "question");
             EXPECT_EQ(call.read(), std::nullopt);
             EXPECT_TRUE(call.send_headers({{"h", "1"}}));
             EXPECT_FALSE(call.send_headers({}));
             EXPECT_TRUE(call.write("answer"));
             Status status = make_status(Code::not_found, "gone");
             status.trailers = {{"t", "2"}};
             status.details = "d";
             return status;
           }}});
  daemon.send_dispatch(2, kLease, "/a.B/C", "question", 3'000'000);
  daemon.expect(FrameType::accept);
  EXPECT_EQ(decode_metadata(daemon.expect(FrameType::headers).as<ipc::Headers>().metadata()),
            (Metadata{{"h", "1"}}));
  const auto data = daemon.expect(FrameType::data);
  EXPECT_EQ(data.payload, "answer");
  EXPECT_EQ(data.header.flags, flag::whole_message);
  const Status status = decode_status(daemon.expect(FrameType::status).as<ipc::Status>());
  EXPECT_EQ(status.code, Code::not_found);
  EXPECT_EQ(status.message, "gone");
  EXPECT_EQ(status.details, "d");
  EXPECT_EQ(status.trailers, (Metadata{{"t", "2"}}));
}

TEST_F(ClientWorkerTest, TheMostExactPatternServes) {
  const auto answering = [](std::string text) {
    return [text = std::move(text)](ServerCall& call) {
      call.post(text);
      return Status{};
    };
  };
  handle(
      {{"*", answering("any")}, {"/a.B/*", answering("service")}, {"/a.B/C", answering("exact")}});
  uint32_t id = 0;
  for (const auto& [method, answer] :
       {std::pair{"/a.B/C", "exact"}, {"/a.B/D", "service"}, {"/x/Y", "any"}}) {
    daemon.send_dispatch(id += 2, kLease, method, "");
    daemon.expect(FrameType::accept);
    EXPECT_EQ(daemon.expect(FrameType::data).payload, answer);
    daemon.expect(FrameType::status);
  }
}

TEST_F(ClientWorkerTest, AHandlerThatDoesNoIoSeesCancel) {
  handle({{"*", [](ServerCall& call) {
             EXPECT_TRUE(call.wait_cancelled(10s));
             EXPECT_EQ(call.cancel_code(), Code::deadline_exceeded);
             EXPECT_FALSE(call.write("nobody reads this"));
             return make_status(call.cancel_code(), "seen");
           }}});
  daemon.send_dispatch(2, kLease, "/a.B/C", "");
  daemon.expect(FrameType::accept);
  daemon.send({.call_id = 2, .type = FrameType::cancel, .aux = 4});
  EXPECT_EQ(daemon.expect(FrameType::status).as<ipc::Status>().message()->str(), "seen");
}

TEST_F(ClientWorkerTest, AHandlerThatThrowsEndsItsCallUnknown) {
  handle({{"*", [](ServerCall&) -> Status { throw std::runtime_error("oh no"); }}});
  daemon.send_dispatch(2, kLease, "/a.B/C", "");
  daemon.expect(FrameType::accept);
  const auto status = daemon.expect(FrameType::status);
  EXPECT_EQ(status.as<ipc::Status>().code(), 2);
  EXPECT_NE(status.as<ipc::Status>().message()->str().find("oh no"), std::string::npos);
}

TEST_F(ClientWorkerTest, HandlersRunAtOnceUpToTheSlots) {
  std::atomic<int> running = 0;
  std::promise<void> both;
  handle({{"*",
           [&](ServerCall& call) {
             if (++running == 2) both.set_value();
             call.wait_cancelled(10s);
             return Status{};
           }}},
         2);
  daemon.send_dispatch(2, kLease, "/a.B/C", "");
  daemon.send_dispatch(4, kLease, "/a.B/C", "");
  EXPECT_EQ(both.get_future().wait_for(10s), std::future_status::ready);
  daemon.send({.call_id = 2, .type = FrameType::cancel, .aux = 1});
  daemon.send({.call_id = 4, .type = FrameType::cancel, .aux = 1});
  for (int i = 0; i < 4; ++i) daemon.receive();
  EXPECT_TRUE(daemon.client().wait_idle(10s));
}

TEST_F(ClientWorkerTest, ALostConnectionCancelsTheHandler) {
  std::promise<void> began;
  std::promise<Code> seen;
  handle({{"*", [&](ServerCall& call) {
             EXPECT_EQ(call.read(), "x");
             began.set_value();
             EXPECT_EQ(call.read(), std::nullopt);
             EXPECT_TRUE(call.wait_cancelled(10s));
             seen.set_value(call.cancel_code());
             return Status{};
           }}});
  Builder builder;
  builder.Finish(ipc::CreateStart(builder, builder.CreateString("/a.B/C"), 0, 0, 0, Shape::bidi,
                                  false, kLease));
  daemon.send({.call_id = 2, .type = FrameType::start, .flags = flag::whole_message, .aux = 1},
              &builder, "x");
  began.get_future().get();
  daemon.close();
  EXPECT_EQ(seen.get_future().get(), Code::unavailable);
  daemon.destroy_client();
}

TEST_F(ClientWorkerTest, ATestDecidesWhetherToAccept) {
  hold_dispatches();
  const auto call = dispatch();
  EXPECT_TRUE(daemon.quiet()) << "nothing is accepted by itself";
  call->accept();
  call->accept();
  EXPECT_EQ(daemon.expect(FrameType::accept).header.call_id, 2);
  EXPECT_FALSE(call->reject());
  EXPECT_TRUE(daemon.quiet());
}

TEST_F(ClientWorkerTest, ARejectedDispatchIsGone) {
  hold_dispatches();
  const auto call = dispatch();
  EXPECT_TRUE(call->reject());
  EXPECT_EQ(daemon.expect(FrameType::reject).header.call_id, 2);
  EXPECT_FALSE(call->write("x"));
  call->finish({});
  daemon.send({.call_id = 2, .type = FrameType::cancel, .aux = 1});  // late
  EXPECT_TRUE(daemon.quiet());
}

TEST_F(ClientWorkerTest, TheStatusFollowsTheDataThatWaitsForCredit) {
  hold_dispatches();
  const auto call = dispatch();
  EXPECT_TRUE(call->post(std::string(65'536 + 1, 'x')));
  call->finish({});
  EXPECT_FALSE(call->write("too late"));
  for (int i = 0; i < 16; ++i) daemon.expect(FrameType::data);
  EXPECT_TRUE(daemon.quiet());
  daemon.send_window(2, 1);
  EXPECT_EQ(daemon.expect(FrameType::data).header.flags, flag::msg_end);
  daemon.expect(FrameType::status);
}

TEST_F(ClientWorkerTest, ACancelledCallDropsTheDataAheadOfItsStatus) {
  hold_dispatches();
  const auto call = dispatch();
  EXPECT_TRUE(call->post(std::string(65'536 + 1, 'x')));
  call->finish({});
  for (int i = 0; i < 16; ++i) daemon.expect(FrameType::data);
  daemon.send({.call_id = 2, .type = FrameType::cancel, .aux = 1});
  daemon.expect(FrameType::status);
}

TEST_F(ClientWorkerTest, AnUnansweredCallThatIsDroppedEndsInternal) {
  hold_dispatches();
  dispatch().reset();
  held = {};
  EXPECT_EQ(daemon.expect(FrameType::status).as<ipc::Status>().code(), 13);
}

TEST_F(ClientWorkerTest, TrailersTooLongEndTheCallInternal) {
  hold_dispatches();
  const auto call = dispatch();
  Status status;
  status.trailers = {{"t", std::string(200'000, 'x')}};
  call->finish(status);
  EXPECT_EQ(daemon.expect(FrameType::status).as<ipc::Status>().code(), 13);
}

TEST_F(ClientWorkerTest, ADispatchOfAnUnknownLeaseIsRejected) {
  daemon.send_dispatch(2, 55, "/a.B/C", "");
  EXPECT_EQ(daemon.expect(FrameType::reject).header.call_id, 2);
}

TEST_F(ClientWorkerTest, AfterUnregisterTheRunningCallGoesOn) {
  hold_dispatches();
  const auto call = dispatch();
  auto unregistered =
      std::async(std::launch::async, [&] { return daemon.client().unregister({kLease}); });
  const auto unregister = daemon.expect(FrameType::unregister);
  EXPECT_EQ(unregister.header.aux, kLease);
  daemon.send_status(unregister.header.call_id, {});
  EXPECT_TRUE(unregistered.get().ok());
  EXPECT_FALSE(daemon.client().wait_idle(1ms));
  call->finish({});
  daemon.expect(FrameType::status);
  EXPECT_TRUE(daemon.client().wait_idle(10s));
}

TEST_F(ClientWorkerTest, ADispatchIdThatDoesNotRiseEndsTheConnection) {
  hold_dispatches();
  daemon.send_dispatch(4, 55, "/a.B/C", "");
  daemon.expect(FrameType::reject);
  daemon.send_dispatch(2, 55, "/a.B/C", "");
  EXPECT_EQ(daemon.expect(FrameType::error).as<ipc::Error>().code(), ipc::ErrorCode::call_id);
}

TEST_F(ClientWorkerTest, DescriptorsAreSentInPartsAsCreditComes) {
  hold_dispatches();
  const std::string set(70'000, 'd');  // more than the call's window
  auto described =
      std::async(std::launch::async, [&] { return daemon.client().describe({kLease}, set); });
  const auto request = daemon.expect(FrameType::describe);
  EXPECT_EQ(request.header.aux, kLease);
  std::string received;
  for (bool last = false; !last;) {
    const auto part = daemon.expect(FrameType::data);
    EXPECT_EQ(part.header.call_id, request.header.call_id);
    EXPECT_EQ(part.header.aux, received.empty() ? set.size() : 0);
    received += part.payload;
    daemon.send_window(request.header.call_id, static_cast<uint32_t>(part.payload.size()));
    last = part.header.has(flag::end_stream);
    EXPECT_EQ(part.header.has(flag::msg_end), last);
  }
  EXPECT_EQ(received, set);
  daemon.send_status(request.header.call_id, make_status(Code::invalid_argument, "no"));
  EXPECT_EQ(described.get().code, Code::invalid_argument);
}

TEST_F(ClientWorkerTest, HealthIsSetForAServiceOrForAll) {
  hold_dispatches();
  for (const std::string service : {"a.B", ""}) {
    auto set = std::async(std::launch::async, [&] {
      return daemon.client().set_health({1}, service, Health::not_serving);
    });
    const auto request = daemon.expect(FrameType::set_health);
    const auto& meta = request.as<ipc::SetHealth>();
    EXPECT_EQ(meta.server(), 1U);
    EXPECT_EQ(ipc::view(meta.service()), service);
    EXPECT_EQ(meta.health(), Health::not_serving);
    daemon.send_status(request.header.call_id, {});
    EXPECT_TRUE(set.get().ok());
  }
}

}  // namespace
}  // namespace legate::client
