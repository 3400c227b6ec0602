// The event loop: timers, end-of-pass work, the gate between the two waiting threads, completions.
#include "daemon/system/loop.h"

#include <gmock/gmock.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/time.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <optional>

namespace legated {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;

struct Call : Watcher, Completion, EndOfPass {
  explicit Call(std::function<void(uint32_t)> function) : action(std::move(function)) {}
  void on_ready(uint32_t events) override { action(events); }
  void on_complete(bool ok) override { action(ok); }
  void run() override { action(0); }
  std::function<void(uint32_t)> action;
};

// A socket pair: [0] is watched by the loop, [1] belongs to the test.
struct Pair {
  Pair() { EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()), 0); }
  ~Pair() {
    close(fds[0]);
    close(fds[1]);
  }
  Pair(const Pair&) = delete;
  Pair& operator=(const Pair&) = delete;
  std::array<int, 2> fds{};
};

void put(int fd) {
  const char byte = 'x';
  EXPECT_EQ(write(fd, &byte, 1), 1);
}

void get(int fd) {
  char byte;
  EXPECT_EQ(read(fd, &byte, 1), 1);
}

// False: nothing came in a time that only a lost wake-up takes.
bool readable(int fd) {
  pollfd wanted{.fd = fd, .events = POLLIN, .revents = 0};
  return poll(&wanted, 1, 20'000) == 1;
}

// A channel to nowhere: watching it completes at the deadline, on a thread of gRPC's.
class Channel {
 public:
  explicit Channel(Loop& loop) : loop_(loop) {
    grpc_channel_credentials* const credentials = grpc_insecure_credentials_create();
    channel_ = grpc_channel_create("unix:/nonexistent/legated-loop-test", credentials, nullptr);
    grpc_channel_credentials_release(credentials);
  }
  ~Channel() { grpc_channel_destroy(channel_); }
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  void complete_soon(Completion& completion, int64_t microseconds) {
    grpc_channel_watch_connectivity_state(
        channel_, GRPC_CHANNEL_IDLE,
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                     gpr_time_from_micros(microseconds, GPR_TIMESPAN)),
        loop_.completions(), &completion);
  }

 private:
  Loop& loop_;
  grpc_channel* channel_;
};

class LoopTest : public testing::Test {
 protected:
  void run() {
    loop_.run();
    loop_.finish_completions();
  }

  Loop loop_{Loop::Options{}};
  std::vector<int> seen_;
};

TEST_F(LoopTest, TimersFireInOrderOfTheirTime) {
  const Loop::Time start = loop_.now();
  Timer late(loop_, [&] { loop_.stop(); });
  Timer third(loop_, [&] { seen_.push_back(3); });
  Timer first(loop_, [&] { seen_.push_back(1); });
  Timer second(loop_, [&] { seen_.push_back(2); });
  late.set(start + 4ms);
  third.set(start + 3ms);
  first.set(start - 1s);
  second.set(start + 2ms);
  run();
  EXPECT_THAT(seen_, ElementsAre(1, 2, 3));
  EXPECT_FALSE(first.is_set());
  EXPECT_GE(Loop::Clock::now(), start + 4ms);
}

TEST_F(LoopTest, TimersOfOneTimeFireInTheOrderTheyWereSet) {
  const Loop::Time when = loop_.now() + 1ms;
  Timer third(loop_, [&] { loop_.stop(); });
  Timer second(loop_, [&] { seen_.push_back(2); });
  Timer first(loop_, [&] { seen_.push_back(1); });
  first.set(when);
  second.set(when);
  third.set(when);
  run();
  EXPECT_THAT(seen_, ElementsAre(1, 2));
}

TEST_F(LoopTest, CancelledMovedAndDestroyedTimers) {
  const Loop::Time start = loop_.now();
  Timer cancelled(loop_, [&] { seen_.push_back(-1); });
  auto destroyed = std::make_unique<Timer>(loop_, [&] { seen_.push_back(-2); });
  Timer moved(loop_, [&] { seen_.push_back(2); });
  Timer killer(loop_, [&] {
    seen_.push_back(1);
    cancelled.cancel();
    destroyed.reset();
  });
  Timer end(loop_, [&] { loop_.stop(); });
  killer.set(start);
  cancelled.set(start);  // due in the same pass, after it
  destroyed->set(start);
  moved.set(start - 1s);
  moved.set(start + 2ms);
  end.set(start + 3ms);
  run();
  EXPECT_THAT(seen_, ElementsAre(1, 2));
}

TEST_F(LoopTest, ATimerMayDestroyOrSetItself) {
  auto once = std::make_unique<std::optional<Timer>>();
  once->emplace(loop_, [&] {
    seen_.push_back(1);
    once->reset();
  });
  (*once)->set(loop_.now());
  int rounds = 0;
  std::optional<Timer> again;
  again.emplace(loop_, [&] {
    if (++rounds == 3) return loop_.stop();
    again->set(loop_.now() + 100us);
  });
  again->set(loop_.now());
  run();
  EXPECT_THAT(seen_, ElementsAre(1));
  EXPECT_EQ(rounds, 3);
}

TEST_F(LoopTest, PumpsRunBeforeFlushesWhateverQueuedThem) {
  Call last_pump([&](uint32_t) { seen_.push_back(3); });
  Call flush([&](uint32_t) {
    seen_.push_back(10);
    loop_.queue_pump(last_pump);
    loop_.stop();
  });
  Call second_pump([&](uint32_t) { seen_.push_back(2); });
  Call first_pump([&](uint32_t) {
    seen_.push_back(1);
    loop_.queue_pump(second_pump);
  });
  loop_.queue_flush(flush);
  loop_.queue_pump(first_pump);
  run();
  EXPECT_THAT(seen_, ElementsAre(1, 2, 10, 3));
}

TEST_F(LoopTest, EndOfPassWorkRunsOnceHoweverOftenItIsQueued) {
  Call again([&](uint32_t) { seen_.push_back(2); });
  Call work([&](uint32_t) {
    seen_.push_back(1);
    loop_.queue_flush(again);
    loop_.stop();
  });
  for (int i = 0; i < 3; ++i) loop_.queue_pump(work);
  loop_.queue_flush(work);
  run();
  EXPECT_THAT(seen_, ElementsAre(1, 2));
}

TEST_F(LoopTest, EndOfPassWorkIsNotRunAfterDestruction) {
  auto doomed = std::make_unique<Call>([&](uint32_t) { seen_.push_back(-1); });
  auto doomed_later = std::make_unique<Call>([&](uint32_t) { seen_.push_back(-2); });
  std::optional<Call> last;
  last.emplace([&](uint32_t) {
    seen_.push_back(1);
    doomed_later.reset();
    last.reset();
  });
  Call end([&](uint32_t) { loop_.stop(); });
  loop_.queue_pump(*doomed);
  loop_.queue_pump(*last);
  loop_.queue_flush(*doomed_later);
  loop_.queue_flush(end);
  doomed.reset();
  run();
  EXPECT_THAT(seen_, ElementsAre(1));
}

TEST_F(LoopTest, WorkQueuedByATimerRunsInItsPass) {
  Call pump([&](uint32_t) { seen_.push_back(2); });
  Timer second(loop_, [&] { loop_.stop(); });
  Timer first(loop_, [&] {
    seen_.push_back(1);
    loop_.queue_pump(pump);
  });
  first.set(loop_.now());
  second.set(loop_.now() + 1ms);
  run();
  EXPECT_THAT(seen_, ElementsAre(1, 2));
}

TEST_F(LoopTest, StopFromAnotherThreadEndsRun) {
  for (int i = 0; i < 300; ++i) {
    Loop loop{Loop::Options{}};
    std::jthread other([&] { loop.stop(); });
    loop.run();
    loop.finish_completions();
  }
}

TEST_F(LoopTest, StopFromACompletionEndsRun) {
  Channel channel(loop_);
  Call done([&](uint32_t) { loop_.stop(); });
  channel.complete_soon(done, 1000);
  run();
}

TEST_F(LoopTest, ADescriptorThatIsUnwatchedInThePassIsNotServed) {
  Pair one, other;
  std::optional<Call> first, second;
  const auto only = [&](int unwatched) {
    return [&, unwatched](uint32_t events) {
      EXPECT_TRUE(events & EPOLLIN);
      seen_.push_back(unwatched);
      loop_.unwatch(one.fds[0]);
      loop_.unwatch(other.fds[0]);
      loop_.stop();
    };
  };
  first.emplace(only(1));
  second.emplace(only(2));
  loop_.watch(one.fds[0], EPOLLIN, *first);
  loop_.watch(other.fds[0], EPOLLIN, *second);
  put(one.fds[1]);
  put(other.fds[1]);
  run();
  EXPECT_THAT(seen_, testing::SizeIs(1));
}

TEST_F(LoopTest, RewatchChangesWhatIsWaitedFor) {
  Pair pair;
  Call watcher([&](uint32_t events) {
    if (seen_.empty()) {
      EXPECT_EQ(events, uint32_t{EPOLLOUT});
      put(pair.fds[1]);
      loop_.rewatch(pair.fds[0], EPOLLIN);
      seen_.push_back(1);
    } else {
      EXPECT_EQ(events, uint32_t{EPOLLIN});
      loop_.unwatch(pair.fds[0]);
      loop_.stop();
    }
  });
  loop_.watch(pair.fds[0], EPOLLOUT, watcher);
  run();
  EXPECT_THAT(seen_, ElementsAre(1));
}

// The other thread writes whenever the last byte was answered: right after a pass, when the gate is
// being armed.
void ping_pong(Loop& loop, Pair& pair, int rounds, std::atomic<bool>& lost) {
  for (int i = 0; i < rounds && !lost; ++i) {
    put(pair.fds[1]);
    if (!readable(pair.fds[1])) {
      lost = true;
      break;
    }
    get(pair.fds[1]);
  }
  loop.stop();
}

TEST_F(LoopTest, NoWakeUpIsLostWhileTheGateIsArmed) {
  for (const Loop::Options options :
       {Loop::Options{.yield = 0}, Loop::Options{}, Loop::Options{.spin = 20us}}) {
    Loop loop(options);
    Pair pair;
    Call echo([&](uint32_t) {
      get(pair.fds[0]);
      put(pair.fds[0]);
    });
    loop.watch(pair.fds[0], EPOLLIN, echo);
    std::atomic<bool> lost = false;
    std::jthread writer([&] { ping_pong(loop, pair, 4000, lost); });
    loop.run();
    writer.join();
    loop.finish_completions();
    loop.unwatch(pair.fds[0]);
    EXPECT_FALSE(lost);
  }
}

TEST_F(LoopTest, CompletionsOfOtherThreadsAreHandled) {
  Channel channel(loop_);
  int left = 200;
  std::optional<Call> done;
  done.emplace([&](uint32_t ok) {
    EXPECT_FALSE(ok) << "the deadline passed";
    if (--left == 0) return loop_.stop();
    channel.complete_soon(*done, left % 3 * 100);
  });
  channel.complete_soon(*done, 0);
  run();
  EXPECT_EQ(left, 0);
}

TEST_F(LoopTest, ACompletionsPumpAndTimerFollowAtOnce) {
  Channel channel(loop_);
  Timer timer(loop_, [&] {
    seen_.push_back(3);
    loop_.stop();
  });
  Call pump([&](uint32_t) { seen_.push_back(2); });
  Call done([&](uint32_t) {
    seen_.push_back(1);
    loop_.queue_pump(pump);
    timer.set(loop_.now() + 1ms);
  });
  channel.complete_soon(done, 2000);
  run();
  EXPECT_THAT(seen_, ElementsAre(1, 2, 3));
}

// Whichever thread has the baton does the work of both; nothing it touches is guarded by anything
// else.
TEST_F(LoopTest, SocketsCompletionsAndTimersShareOneThreadOfWork) {
  Channel channel(loop_);
  Pair pair;
  int inside = 0;
  uint64_t completions = 0, ticks = 0;
  const auto alone = [&](auto work) {
    EXPECT_EQ(inside++, 0);
    work();
    --inside;
  };
  Call echo([&](uint32_t) {
    alone([&] {
      get(pair.fds[0]);
      put(pair.fds[0]);
    });
  });
  std::atomic<bool> ending = false;
  std::optional<Call> done;
  done.emplace([&](uint32_t) {
    alone([&] {
      ++completions;
      if (!ending) channel.complete_soon(*done, 50);
    });
  });
  std::optional<Timer> tick;
  tick.emplace(loop_, [&] {
    alone([&] {
      ++ticks;
      tick->set(loop_.now() + 70us);
    });
  });
  loop_.watch(pair.fds[0], EPOLLIN, echo);
  channel.complete_soon(*done, 0);
  tick->set(loop_.now());
  std::atomic<bool> lost = false;
  std::jthread writer([&] { ping_pong(loop_, pair, 4000, lost); });
  loop_.run();
  writer.join();
  ending = true;
  loop_.finish_completions();
  tick.reset();
  loop_.unwatch(pair.fds[0]);
  EXPECT_FALSE(lost);
  EXPECT_GT(completions, 0u);
  EXPECT_GT(ticks, 0u);
}

TEST_F(LoopTest, FinishCompletionsWaitsForWhatIsUnderWay) {
  Channel channel(loop_);
  Call done([&](uint32_t) { seen_.push_back(1); });
  loop_.stop();
  loop_.run();
  channel.complete_soon(done, 3000);
  loop_.finish_completions();
  EXPECT_THAT(seen_, ElementsAre(1));
}

}  // namespace
}  // namespace legated
