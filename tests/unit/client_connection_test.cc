// The client library's connection as such: greeting, requests, limits, and how it ends.
#include <gtest/gtest.h>

#include <condition_variable>
#include <future>
#include <mutex>

#include "tests/unit/client_fake_daemon.h"

namespace legate::client {
namespace {

using ipc::ErrorCode;
using ipc::FrameType;
using namespace std::chrono_literals;

/// Collects events and waits for one of a kind.
class Events {
 public:
  Options observed(Options options) {
    options.on_event = [this](const Event& event) {
      const std::lock_guard lock(mutex_);
      seen_.push_back(event);
      changed_.notify_all();
    };
    return options;
  }

  Event wait(Event::Kind kind) {
    std::unique_lock lock(mutex_);
    Event found;
    const bool came = changed_.wait_for(lock, 10s, [&] {
      for (const Event& event : seen_) {
        if (event.kind != kind) continue;
        found = event;
        return true;
      }
      return false;
    });
    EXPECT_TRUE(came);
    return found;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Event> seen_;
};

void expect_error(FakeDaemon& daemon, ErrorCode code) {
  const auto error = daemon.expect(FrameType::error);
  EXPECT_EQ(error.as<ipc::Error>().code(), code) << error.as<ipc::Error>().message()->str();
  EXPECT_TRUE(daemon.closed());
}

TEST(ClientConnectionTest, HelloTellsWhoAndHowMuch) {
  Options options = FakeDaemon::all_roles();
  options.name = "somebody";
  options.call_window = 100'000;
  FakeDaemon daemon(options, {});
  const auto& hello = daemon.hello().as<ipc::Hello>();
  EXPECT_EQ(hello.name()->str(), "somebody");
  EXPECT_EQ(hello.call_window(), 100'000);
  EXPECT_EQ(hello.roles(), 7);
  EXPECT_EQ(hello.version_min(), 1);
  EXPECT_EQ(hello.version_max(), 1);

  const Welcome& welcome = daemon.client().welcome();
  EXPECT_EQ(welcome.epoch, "epoch-1");
  EXPECT_EQ(welcome.session, 7);
  EXPECT_EQ(welcome.roles, Role::ANY);
  EXPECT_EQ(welcome.limits.max_frame, 4096);
  EXPECT_EQ(welcome.limits.max_message, 4'194'304);
}

TEST(ClientConnectionTest, DialNamesThePathAndTheCause) {
  try {
    Connection::dial("/nowhere/at/all.sock");
    FAIL() << "dialled nothing";
  } catch (const DialError& error) {
    EXPECT_NE(std::string(error.what()).find("/nowhere/at/all.sock"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("No such file"), std::string::npos) << error.what();
  }
}

TEST(ClientConnectionTest, PingMeasuresAndPongAnswers) {
  FakeDaemon daemon;
  auto rtt = std::async(std::launch::async, [&] { return daemon.client().ping(); });
  const auto ping = daemon.expect(FrameType::ping);
  daemon.send({.type = FrameType::pong, .aux = ping.header.aux});
  EXPECT_TRUE(rtt.get().has_value());

  daemon.send({.type = FrameType::ping, .aux = 77});
  EXPECT_EQ(daemon.expect(FrameType::pong).header.aux, 77);
}

TEST(ClientConnectionTest, APingNobodyAnswersEnds) {
  FakeDaemon daemon;
  EXPECT_EQ(daemon.client().ping(1ms), std::nullopt);
}

TEST(ClientConnectionTest, ARefusedChannelTellsWhy) {
  FakeDaemon daemon;
  const ChannelId channel = daemon.client().open_channel("bad target");
  EXPECT_EQ(daemon.expect(FrameType::open_channel).as<ipc::OpenChannel>().target()->str(),
            "bad target");
  daemon.send_status(channel.value, make_status(Code::invalid_argument, "no", Origin::daemon));
  EXPECT_EQ(daemon.client().wait(channel).status.code, Code::invalid_argument);
}

TEST(ClientConnectionTest, AChannelOpensAndCloses) {
  FakeDaemon daemon;
  const ChannelId channel = daemon.client().open_channel("host:1");
  daemon.expect(FrameType::open_channel);
  Builder builder;
  builder.Finish(ipc::CreateChannelOpened(builder, true, ipc::ConnectivityState::ready));
  daemon.send({.call_id = channel.value, .type = FrameType::channel_opened}, &builder);
  const ChannelOpened opened = daemon.client().wait(channel);
  EXPECT_TRUE(opened.status.ok());
  EXPECT_TRUE(opened.shared);

  auto closing =
      std::async(std::launch::async, [&] { return daemon.client().close_channel(channel); });
  const auto close = daemon.expect(FrameType::close_channel);
  EXPECT_EQ(close.header.aux, channel.value);
  EXPECT_GT(close.header.call_id, channel.value);
  daemon.send_status(close.header.call_id, {});
  EXPECT_TRUE(closing.get().ok());
}

TEST(ClientConnectionTest, AQueryIsOneMessageAndAStatus) {
  FakeDaemon daemon;
  auto answer = std::async(std::launch::async, [&] { return daemon.client().query("status"); });
  const auto query = daemon.expect(FrameType::query);
  EXPECT_EQ(query.as<ipc::Query>().what()->str(), "status");
  daemon.send_data(query.header.call_id, "{}");
  daemon.send_status(query.header.call_id, {});
  EXPECT_EQ(answer.get().json, "{}");
}

TEST(ClientConnectionTest, ALostDaemonEndsEverythingAtOnce) {
  Events events;
  FakeDaemon daemon(events.observed(FakeDaemon::all_roles()), {});
  const ChannelId channel = daemon.client().open_channel("host:1");
  const auto call = daemon.client().start_call(channel, "/a.B/C");
  auto reading = std::async(std::launch::async, [&] { return call->read(); });
  auto listening = std::async(std::launch::async, [&] { return daemon.client().listen(":0"); });
  daemon.expect(FrameType::open_channel);
  daemon.expect(FrameType::start);
  daemon.expect(FrameType::listen);
  daemon.close();

  EXPECT_EQ(reading.get(), std::nullopt);
  const Status status = call->finish();
  EXPECT_EQ(status.code, Code::unavailable);
  EXPECT_EQ(status.origin, Origin::ipc);
  EXPECT_NE(status.message.find("the fake daemon"), std::string::npos) << status.message;
  EXPECT_EQ(listening.get().status.code, Code::unavailable);
  EXPECT_EQ(daemon.client().wait(channel).status.code, Code::unavailable);
  events.wait(Event::Kind::lost);

  // And so does what is started afterwards.
  EXPECT_EQ(daemon.client().start_call(channel, "/a.B/C")->finish().code, Code::unavailable);
  EXPECT_EQ(daemon.client().query("status").status.code, Code::unavailable);
  EXPECT_EQ(daemon.client().ping(), std::nullopt);
}

TEST(ClientConnectionTest, ALeaseTellsItsGenerationAndHearsThatItShouldRetire) {
  Events events;
  FakeDaemon daemon(events.observed(FakeDaemon::all_roles()), {});
  auto registering = std::async(std::launch::async, [&] {
    return daemon.client().register_methods(
        {1}, std::vector<std::string>{"/a.B/*"}, 7, [](std::shared_ptr<ServerCall>) {},
        {.weight = 300, .generation = "v2", .share = 10});
  });
  const auto request = daemon.expect(FrameType::register_methods);
  const auto& meta = request.as<ipc::Register>();
  EXPECT_EQ(meta.slots(), 7u);
  EXPECT_EQ(meta.weight(), 300);
  EXPECT_EQ(meta.generation()->str(), "v2");
  EXPECT_EQ(meta.share(), 10);
  daemon.send({.call_id = request.header.call_id, .type = FrameType::lease});
  const Lease lease = registering.get();
  ASSERT_TRUE(lease.status.ok());
  Builder builder;
  builder.Finish(ipc::CreateRetireDirect(builder, ipc::RetireReason::suspect, "it hangs"));
  daemon.send({.call_id = lease.id.value, .type = FrameType::retire}, &builder);
  const Event event = events.wait(Event::Kind::retire);
  EXPECT_EQ(event.id, lease.id.value);
  EXPECT_EQ(event.reason, ipc::RetireReason::suspect);
  EXPECT_EQ(event.message, "it hangs");
}

TEST(ClientConnectionTest, RetireOfNoLeaseIsAnError) {
  FakeDaemon daemon;
  Builder builder;
  builder.Finish(ipc::CreateRetire(builder));
  daemon.send({.call_id = 9, .type = FrameType::retire}, &builder);
  expect_error(daemon, ErrorCode::unexpected_frame);
}

TEST(ClientConnectionTest, ACommandIsACallOfProgress) {
  FakeDaemon daemon;
  const auto command =
      daemon.client().command({.what = "drain-worker", .session = 3, .server = "s"});
  const auto request = daemon.expect(FrameType::command);
  EXPECT_EQ(request.as<ipc::Command>().what()->str(), "drain-worker");
  EXPECT_EQ(request.as<ipc::Command>().session(), 3u);
  EXPECT_EQ(request.as<ipc::Command>().server()->str(), "s");
  daemon.send_data(command->id(), R"({"left":2})");
  EXPECT_EQ(command->read(), R"({"left":2})");
  command->cancel();
  EXPECT_EQ(daemon.expect(FrameType::cancel).header.call_id, command->id());
  daemon.send_status(command->id(), make_status(Code::cancelled, "waits no more"));
  EXPECT_EQ(command->finish().code, Code::cancelled);
}

TEST(ClientConnectionTest, TheDaemonsErrorIsTheReason) {
  Events events;
  FakeDaemon daemon(events.observed(FakeDaemon::all_roles()), {});
  const auto call = daemon.client().start_call({1}, "/a.B/C");
  Builder builder;
  encode_error(builder, {ErrorCode::too_many, "enough of you"}, FrameType{});
  daemon.send({.type = FrameType::error}, &builder);
  EXPECT_NE(call->finish().message.find("too_many: enough of you"), std::string::npos);
  events.wait(Event::Kind::error);
  events.wait(Event::Kind::lost);
}

TEST(ClientConnectionTest, AfterTheFinalGoawayOldCallsGoOnAndNewOnesEnd) {
  Events events;
  FakeDaemon daemon(events.observed(FakeDaemon::all_roles()), {});
  const auto served = daemon.client().start_call({1}, "/a.B/C");
  const auto late = daemon.client().start_call({1}, "/a.B/C");
  Builder builder;
  builder.Finish(ipc::CreateGoaway(builder, /*final=*/true, served->id(), 5000));
  daemon.send({.type = FrameType::goaway}, &builder);
  EXPECT_EQ(events.wait(Event::Kind::gone_away).grace, 5s);

  EXPECT_EQ(late->finish().code, Code::unavailable);
  EXPECT_EQ(daemon.client().start_call({1}, "/a.B/C")->finish().code, Code::unavailable);
  daemon.send_status(served->id(), {});
  EXPECT_TRUE(served->finish().ok());
}

TEST(ClientConnectionTest, AnUnknownFrameIsAnsweredUnsupported) {
  FakeDaemon daemon;
  daemon.send({.call_id = 4, .type = FrameType{200}}, nullptr, "what is this");
  const auto unsupported = daemon.expect(FrameType::unsupported);
  EXPECT_EQ(unsupported.header.call_id, 4);
  EXPECT_EQ(unsupported.header.aux, 200);
}

TEST(ClientConnectionTest, AnUnknownCriticalFrameEndsTheConnection) {
  FakeDaemon daemon;
  daemon.send({.type = FrameType{200}, .flags = ipc::flag::critical});
  expect_error(daemon, ErrorCode::unsupported);
}

TEST(ClientConnectionTest, AFrameForAnIdNeverOpenedEndsTheConnection) {
  FakeDaemon daemon;
  daemon.send_status(99, {});
  expect_error(daemon, ErrorCode::call_id);
}

TEST(ClientConnectionTest, AFrameThatIsThePeersAloneEndsTheConnection) {
  FakeDaemon daemon;
  daemon.send({.call_id = 2, .type = FrameType::accept});
  expect_error(daemon, ErrorCode::unexpected_frame);
}

TEST(ClientConnectionTest, AWindowBeyondItsBoundEndsTheConnection) {
  FakeDaemon daemon;
  daemon.send_window(0, 0x7fffffff);
  expect_error(daemon, ErrorCode::flow_control);
}

TEST(ClientConnectionTest, CreditOverrunEndsTheConnection) {
  FakeDaemon daemon;
  const auto call = daemon.client().start_call({1}, "/a.B/C");
  daemon.expect(FrameType::start);
  daemon.send_data(call->id(), std::string(65'536, 'x'));
  EXPECT_EQ(daemon.expect(FrameType::window).header.call_id, 0) << "the connection's comes back";
  daemon.send_data(call->id(), "x");
  expect_error(daemon, ErrorCode::flow_control);
  EXPECT_EQ(call->finish().origin, Origin::ipc);
}

TEST(ClientConnectionTest, TheReaderIsNeverHeldUpByADaemonThatDoesNotRead) {
  FakeDaemon daemon;
  // More PONGs than the socket's buffer holds, while nobody reads them.
  std::vector<uint8_t> pings;
  constexpr uint32_t kPings = 60'000;
  for (uint32_t i = 0; i < kPings; ++i)
    ipc::append_frame(pings, {.type = FrameType::ping, .aux = i});
  daemon.send_raw(pings);
  for (uint32_t i = 0; i < kPings; ++i) ASSERT_EQ(daemon.expect(FrameType::pong).header.aux, i);
}

TEST(ClientConnectionTest, ClosingWritesWhatWasQueuedAndEndsCalls) {
  FakeDaemon daemon;
  const auto call = daemon.client().start_call({1}, "/a.B/C");
  daemon.destroy_client();
  daemon.expect(FrameType::start);
  EXPECT_EQ(call->finish().code, Code::unavailable);
  EXPECT_TRUE(daemon.closed());
}

}  // namespace
}  // namespace legate::client
