// One channel, many processes, one of them greedy: the others' calls are answered, and the greedy one
// meets bounds that are its own. How long the others wait is measured by tests/bench/run --case fairness.

#include <atomic>
#include <thread>

#include "tests/integration/outgoing.h"
#include "tests/integration/unary_server.h"

namespace legated::test {
namespace {

constexpr int kOthers = 19;

/// Calls that begin with "h" hang.
UnaryServer::Answer hang_or_echo(const UnaryServer::Request& request) {
  return {.text = request.message, .hang = request.message.starts_with("h")};
}

struct OutgoingFairness : testing::Test {
  /// A connection, as a process has one, with a channel to the server.
  struct Client {
    Client(const DaemonProcess& daemon, const std::string& target)
        : connection(daemon.dial()), channel(connection->open_channel(target)) {}

    /// Starts a call; its end is counted.
    void begin(const std::string& message) {
      ++begun;
      connection->unary_async(channel, "/a/b", message, {}, [this](const UnaryResult& result) {
        (result.status.ok() ? answered : refused) += 1;
        if (!result.status.ok()) last = result.status.code;
      });
    }
    Status call() { return connection->unary(channel, "/a/b", "ask").status; }

    int begun = 0;
    std::atomic<int> answered = 0;
    std::atomic<int> refused = 0;
    std::atomic<Code> last = Code::ok;
    std::unique_ptr<Connection> connection;  // last: its callbacks use the others
    ChannelId channel;
  };

  void make_others(const std::string& target) {
    for (int i = 0; i < kOthers; ++i) others.push_back(std::make_unique<Client>(*daemon, target));
  }
  void expect_others_are_served(int rounds = 5) {
    for (int round = 0; round < rounds; ++round)
      for (const auto& other : others) EXPECT_STATUS(Code::ok, other->call());
  }

  std::optional<DaemonProcess> daemon;
  std::vector<std::unique_ptr<Client>> others;
};

TEST_F(OutgoingFairness, ThousandsOfCallsInFlightKeepNobodyOut) {
  const UnaryServer server(hang_or_echo);
  daemon.emplace();
  Client greedy(*daemon, server.address());
  make_others(server.address());
  for (int i = 0; i < 3000; ++i) greedy.begin("hang");
  ASSERT_TRUE(eventually([&] { return server.count() == 3000; })) << server.count();
  expect_others_are_served();
  EXPECT_EQ(0, greedy.answered + greedy.refused);
}

TEST_F(OutgoingFairness, ConnectionsMaxCallsBoundsTheGreedy) {
  const UnaryServer server(hang_or_echo);
  daemon.emplace(std::vector<std::string>{"ipc.max_calls=100"});
  Client greedy(*daemon, server.address());
  make_others(server.address());
  for (int i = 0; i < 250; ++i) greedy.begin("hang");
  EXPECT_TRUE(eventually([&] { return greedy.refused == 150; })) << greedy.refused;
  EXPECT_EQ(Code::resource_exhausted, greedy.last);
  EXPECT_TRUE(eventually([&] { return server.count() == 100; }));
  expect_others_are_served();
}

TEST_F(OutgoingFairness, ChannelsMaxCallsLeavesStreamsToTheOthers) {
  // The server grants 50 streams to a connection, which all share. Without the bound the greedy
  // process would hold them all, and the others' calls wait behind its own.
  UnaryServer::Options options;
  options.arguments = {{GRPC_ARG_MAX_CONCURRENT_STREAMS, 50}};
  const UnaryServer server(hang_or_echo, options);
  daemon.emplace(std::vector<std::string>{"channels.shared.target=" + server.address(),
                                          "channels.shared.max_calls=40"});
  Client greedy(*daemon, "legated:///shared");
  make_others("legated:///shared");
  for (int i = 0; i < 500; ++i) greedy.begin("hang");
  EXPECT_TRUE(eventually([&] { return greedy.refused == 460; })) << greedy.refused;
  EXPECT_EQ(Code::resource_exhausted, greedy.last);
  expect_others_are_served();
  EXPECT_EQ(40U + kOthers * 5, server.count());
}

TEST_F(OutgoingFairness, ChannelsMaxCallsCountsWhatIsOpen) {
  const UnaryServer server(hang_or_echo);
  daemon.emplace(std::vector<std::string>{"channels.shared.target=" + server.address(),
                                          "channels.shared.max_calls=2"});
  const auto connection = daemon->dial();
  const ChannelId channel = connection->open_channel("legated:///shared");
  const ChannelId again = connection->open_channel("legated:///shared");
  const auto begin = [&](ChannelId on) {
    return connection->start_call(on, "/a/b", {.shape = Shape::unary}, "hang", true);
  };
  const auto first = begin(channel);
  const auto second = begin(again);  // the same channel under another id
  const Status refused = begin(channel)->finish();
  EXPECT_STATUS(Code::resource_exhausted, refused);
  EXPECT_EQ("this connection has 2 calls open on the channel, the most channels.shared.max_calls allows",
            refused.message);
  first->cancel();
  EXPECT_STATUS(Code::cancelled, first->finish());
  EXPECT_TRUE(eventually([&] { return connection->unary(channel, "/a/b", "ask").status.ok(); }));
  second->cancel();
}

struct MaxInFlight : OutgoingFairness {
  explicit MaxInFlight(const std::vector<std::string>& more = {}) {
    std::vector<std::string> settings{"channels.shared.target=" + server.address(),
                                      "channels.shared.max_in_flight=2"};
    settings.insert(settings.end(), more.begin(), more.end());
    daemon.emplace(settings);
    greedy.emplace(*daemon, kTarget);
  }
  /// Takes the places that there are.
  void hang() {
    for (int i = 0; i < 2; ++i) {
      hanging.push_back(greedy->connection->start_call(greedy->channel, "/a/b", {.shape = Shape::unary},
                                                       "hang", true));
    }
    ASSERT_TRUE(eventually([&] { return server.count() == 2; }));
  }
  uint64_t waiting() {
    return query(*greedy->connection, "channels")["channels"][0]["waiting"].get<uint64_t>();
  }

  static constexpr const char* kTarget = "legated:///shared";
  const UnaryServer server{hang_or_echo};
  std::vector<std::shared_ptr<Call>> hanging;
  std::optional<Client> greedy;
};

TEST_F(MaxInFlight, GivesEachProcessItsTurn) {
  hang();
  for (int i = 0; i < 200; ++i) greedy->begin("greedy");
  make_others(kTarget);
  for (const auto& other : others) other->begin("other");
  ASSERT_TRUE(eventually([&] { return waiting() == 200 + kOthers; })) << waiting();
  EXPECT_EQ(2U, server.count());
  hanging[0]->cancel();
  EXPECT_TRUE(eventually([&] { return greedy->answered == 200; })) << greedy->answered;
  // One of the greedy's, and one of each of the others.
  const auto requests = server.requests();
  EXPECT_EQ(kOthers, std::count_if(requests.begin() + 2, requests.begin() + 3 + kOthers,
                                   [](const auto& request) { return request.message == "other"; }));
  EXPECT_TRUE(eventually([&] {
    return std::ranges::all_of(others, [](auto& other) { return other->answered == 1; });
  }));
  EXPECT_EQ(0U, waiting());
  hanging[1]->cancel();
}

TEST_F(MaxInFlight, ACallThatWaitsEndsAtItsDeadline) {
  hang();
  const auto late = greedy->connection->unary(greedy->channel, "/a/b", "late", {.timeout = milliseconds(50)});
  EXPECT_STATUS(Code::deadline_exceeded, late.status);
  EXPECT_EQ("the deadline passed while the call waited for its turn: channels.shared.max_in_flight lets 2 be "
            "with the server",
            late.status.message);
  EXPECT_EQ(0U, late.status.attempts);
  EXPECT_EQ(2U, server.count());
  for (const auto& call : hanging) call->cancel();
}

TEST_F(MaxInFlight, WhoDoesNotWaitAnyMoreIsSkipped) {
  hang();
  const auto begin = [](Client& client) {
    return client.connection->start_call(client.channel, "/a/b", {.shape = Shape::unary}, "gone", true);
  };
  const auto cancelled = begin(*greedy);
  Client lost(*daemon, kTarget);
  const auto of_lost = begin(lost);
  ASSERT_TRUE(eventually([&] { return waiting() == 2; }));
  const auto calls = query(*lost.connection, "calls")["calls"];
  EXPECT_EQ(2, std::ranges::count_if(calls, [](auto& call) { return call["state"] == "waiting"; })) << calls;
  cancelled->cancel();
  EXPECT_STATUS(Code::cancelled, cancelled->finish());
  lost.connection.reset();
  EXPECT_TRUE(eventually([&] { return waiting() == 0; }));
  for (const auto& call : hanging) call->cancel();
  EXPECT_TRUE(eventually([&] { return greedy->call().ok(); }));
  EXPECT_EQ("ask", server.last().message);
  EXPECT_EQ(3U, server.count());
}

TEST_F(MaxInFlight, CountsEveryShape) {
  hang();
  const auto stream = greedy->connection->start_call(greedy->channel, "/a/b", {.shape = Shape::bidi}, "ask", true);
  EXPECT_TRUE(eventually([&] { return waiting() == 1; }));
  hanging[0]->cancel();
  EXPECT_STATUS(Code::ok, stream->finish());
  hanging[1]->cancel();
}

struct MaxInFlightHedged : MaxInFlight {
  MaxInFlightHedged() : MaxInFlight({"channels.shared.hedging_attempts=2", "channels.shared.hedging_delay=0s"}) {}
};

TEST_F(MaxInFlightHedged, AHedgedCallHasOneTurn) {
  for (int i = 0; i < 5; ++i) {
    EXPECT_STATUS(Code::ok, greedy->connection
                                ->unary(greedy->channel, "/a/b", "ask", {.idempotent = true})
                                .status);
  }
  EXPECT_EQ(0U, waiting());
}

TEST_F(OutgoingFairness, MemoryBudgetIsTheGreedysOwn) {
  const UnaryServer server(hang_or_echo);
  daemon.emplace(std::vector<std::string>{"ipc.memory_budget=4MiB"});
  // Nobody answers there, so the messages stay with the daemon.
  Client greedy(*daemon, server.address());
  const auto black_hole = greedy.connection->open_channel("unix:/nonexistent/sock");
  std::vector<std::shared_ptr<Call>> calls;
  for (int i = 0; i < 20; ++i) {
    calls.push_back(greedy.connection->start_call(
        black_hole, "/a/b", {.shape = Shape::unary, .wait_for_ready = true},
        std::string(1 << 20, 'x'), true));
  }
  EXPECT_TRUE(eventually([&] {
    return std::ranges::any_of(calls, [](auto& call) { return call->wait_ended(milliseconds(0)); });
  }));
  make_others(server.address());
  expect_others_are_served();
  for (const auto& call : calls) call->cancel();
}

TEST_F(OutgoingFairness, FloodOfSmallCallsLeavesRoomForOthers) {
  const UnaryServer server(hang_or_echo);
  daemon.emplace();
  Client greedy(*daemon, server.address());
  make_others(server.address());
  // Always many waiting, while each of the others makes a call.
  std::atomic<bool> stop = false;
  std::thread flood([&] {
    while (!stop) {
      if (greedy.begun - greedy.answered - greedy.refused < 200) {
        greedy.begin("ask");
      } else {
        std::this_thread::yield();
      }
    }
  });
  expect_others_are_served(1);
  stop = true;
  flood.join();
  EXPECT_TRUE(eventually([&] { return greedy.answered == greedy.begun; }));
  EXPECT_EQ(0, greedy.refused);
}

}  // namespace
}  // namespace legated::test
