// The connectivity of channels: what those who watch are told, and CONNECT.

#include <mutex>

#include "tests/integration/black_hole.h"
#include "tests/integration/outgoing.h"
#include "tests/integration/unary_server.h"

namespace legated::test {
namespace {

using legate::client::ChannelOptions;
using legate::client::Event;
using State = legate::ipc::ConnectivityState;
using testing::ElementsAre;

const char* name_of(State state) { return legate::ipc::EnumNameConnectivityState(state); }

/// A connection to the daemon that notes what it is told of its channels.
class Watcher {
 public:
  explicit Watcher(const DaemonProcess& daemon)
      : connection_(daemon.dial({.on_event = [this](const Event& event) { on_event(event); }})) {}
  ~Watcher() { connection_->close(); }

  Connection& connection() { return *connection_; }
  /// Opens a channel and notes the state that it has then.
  ChannelId open(const std::string& target, ChannelOptions options = {}, bool watch = true) {
    options.watch = watch;
    const ChannelId channel = connection_->open_channel(target, options);
    const auto opened = connection_->wait(channel);
    EXPECT_STATUS(Code::ok, opened.status);
    const std::lock_guard lock(mutex_);
    opened_ = opened.state;
    return channel;
  }
  State opened() const { return opened_; }
  /// All that was told so far.
  std::vector<std::string> told() const {
    const std::lock_guard lock(mutex_);
    return told_;
  }
  std::string last() const {
    const auto all = told();
    return all.empty() ? "" : all.back();
  }
  void expect(const std::string& state) {
    EXPECT_TRUE(eventually([&] { return last() == state; }))
        << "told last: " << last() << ", expected " << state;
  }

 private:
  void on_event(const Event& event) {
    if (event.kind != Event::Kind::channel_state) return;
    const std::lock_guard lock(mutex_);
    told_.push_back(name_of(event.state));
  }

  mutable std::mutex mutex_;
  std::vector<std::string> told_;  // guarded by mutex_
  State opened_{};
  std::unique_ptr<Connection> connection_;
};

struct OutgoingState : testing::Test {
  DaemonProcess daemon;
};

/// Whether `told` is a part of `whole`, in its order: a state that is over soon may be left out.
bool in_order(const std::vector<std::string>& told, const std::vector<std::string>& whole) {
  size_t at = 0;
  for (const std::string& state : whole)
    if (at < told.size() && told[at] == state) ++at;
  return at == told.size();
}

TEST_F(OutgoingState, LifeIsToldInOrderToEverybody) {
  // Each state lasts until the test goes on: a port that takes connections and says nothing, which
  // then is nobody's.
  auto hole = std::make_unique<BlackHole>();
  const std::string address = hole->address();
  hole->listen();
  const ChannelOptions quick{.connect_timeout = milliseconds(500),
                             .initial_backoff = milliseconds(100),
                             .max_backoff = milliseconds(100)};
  Watcher one(daemon);
  Watcher two(daemon);
  const ChannelId channel = one.open(address, quick);
  EXPECT_EQ(State::idle, one.opened());
  two.open(address, quick);
  EXPECT_STATUS(Code::ok, one.connection().connect(channel));
  one.expect("transient_failure");
  two.expect("transient_failure");

  hole.reset();
  auto server = std::make_unique<UnaryServer>(UnaryServer::echo,
                                              UnaryServer::Options{.address = address});
  one.expect("ready");
  two.expect("ready");
  server.reset();
  one.expect("idle");
  two.expect("idle");
  for (Watcher* watcher : {&one, &two}) {
    const auto told = watcher->told();
    EXPECT_THAT(told.front(), AnyOf("connecting", "transient_failure"));
    EXPECT_THAT(told, Contains("ready"));
    for (size_t i = 1; i < told.size(); ++i) EXPECT_NE(told[i - 1], told[i]);
    // Ready comes from connecting or, when that was short, from the failure before it.
    const auto ready = std::ranges::find(told, "ready") - told.begin();
    EXPECT_TRUE(in_order({told.begin() + ready, told.end()}, {"ready", "idle"}))
        << testing::PrintToString(told);
  }
}

TEST_F(OutgoingState, ConnectLeavesIdle) {
  const UnaryServer server;
  Watcher watcher(daemon);
  const ChannelId channel = watcher.open(server.address());
  EXPECT_EQ(State::idle, watcher.opened());
  EXPECT_THAT(watcher.told(), IsEmpty());
  EXPECT_STATUS(Code::ok, watcher.connection().connect(channel));
  watcher.expect("ready");
  EXPECT_TRUE(in_order(watcher.told(), {"connecting", "ready"}));
  EXPECT_EQ(0U, server.count());
}

TEST_F(OutgoingState, ConnectingLasts) {
  BlackHole hole;
  hole.listen();
  Watcher watcher(daemon);
  const ChannelId channel = watcher.open(hole.address());
  EXPECT_STATUS(Code::ok, watcher.connection().connect(channel));
  watcher.expect("connecting");
}

TEST_F(OutgoingState, WhoComesLaterIsToldTheStateThen) {
  const UnaryServer server;
  Watcher first(daemon);
  const ChannelId channel = first.open(server.address());
  EXPECT_STATUS(Code::ok, first.connection().connect(channel));
  first.expect("ready");
  Watcher second(daemon);
  second.open(server.address());
  EXPECT_EQ(State::ready, second.opened());
  EXPECT_THAT(second.told(), IsEmpty());
}

TEST_F(OutgoingState, OnlyThoseWhoWatchAreTold) {
  const UnaryServer server;
  Watcher watching(daemon);
  Watcher deaf(daemon);
  const ChannelId channel = deaf.open(server.address(), {}, false);
  watching.open(server.address());
  EXPECT_STATUS(Code::ok, deaf.connection().connect(channel));
  watching.expect("ready");
  // What the daemon tells on a connection stays in order: an answer comes behind a state.
  EXPECT_TRUE(deaf.connection().ping(kPatience));
  EXPECT_THAT(deaf.told(), IsEmpty());
}

TEST_F(OutgoingState, NothingIsToldAfterClosing) {
  auto server = std::make_unique<UnaryServer>();
  Watcher stays(daemon);
  Watcher leaves(daemon);
  const ChannelId channel = stays.open(server->address());
  const ChannelId closed = leaves.open(server->address());
  EXPECT_STATUS(Code::ok, stays.connection().connect(channel));
  leaves.expect("ready");
  EXPECT_STATUS(Code::ok, leaves.connection().close_channel(closed));
  const auto before = leaves.told();
  server.reset();
  stays.expect("idle");
  EXPECT_TRUE(leaves.connection().ping(kPatience));
  EXPECT_EQ(before, leaves.told());
  EXPECT_STATUS(Code::not_found, leaves.connection().connect(closed));
}

TEST_F(OutgoingState, ChannelCanBeWatchedAgainAfterItsLastUserClosedIt) {
  const UnaryServer server;
  Watcher watcher(daemon);
  for (int round = 0; round < 3; ++round) {
    const ChannelId channel = watcher.open(server.address());
    EXPECT_EQ(State::idle, watcher.opened());
    const size_t before = watcher.told().size();
    EXPECT_STATUS(Code::ok, watcher.connection().connect(channel));
    EXPECT_TRUE(eventually([&] {
      return watcher.told().size() > before && watcher.last() == "ready";
    }));
    EXPECT_STATUS(Code::ok, watcher.connection().close_channel(channel));
  }
}

TEST_F(OutgoingState, WatchedTwiceOnOneConnectionIsToldOfEach) {
  const UnaryServer server;
  Watcher watcher(daemon);
  const ChannelId channel = watcher.open(server.address());
  watcher.open(server.address());
  EXPECT_STATUS(Code::ok, watcher.connection().connect(channel));
  EXPECT_TRUE(eventually([&] { return std::ranges::count(watcher.told(), "ready") == 2; }));
}

TEST_F(OutgoingState, DaemonStopsWhileChannelsAreWatched) {
  BlackHole hole;
  hole.listen();
  Watcher watcher(daemon);
  const ChannelId channel = watcher.open(hole.address());
  EXPECT_STATUS(Code::ok, watcher.connection().connect(channel));
  watcher.expect("connecting");
  daemon.process().signal(SIGTERM);
  EXPECT_EQ(0, daemon.process().wait());
  daemon.expect_death();
}

}  // namespace
}  // namespace legated::test
