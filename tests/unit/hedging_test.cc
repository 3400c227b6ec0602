#include "daemon/core/hedging.h"

#include <gtest/gtest.h>

namespace legated {
namespace {

using std::chrono::milliseconds;
using Time = Hedging::Time;

constexpr Time kStart{std::chrono::hours(1)};
constexpr auto kUnavailable = StatusCode::unavailable;

Time at(int ms) { return kStart + milliseconds(ms); }

struct HedgingTest : testing::Test {
  Hedging make(uint32_t attempts, int delay_ms, Time deadline = Time::max()) {
    rules = {.attempts = attempts, .delay = milliseconds(delay_ms), .codes = {14, 8}};
    return {rules, deadline};
  }
  HedgingRules rules;
};

void expect_step(Hedging& hedging, int ms, uint32_t start, std::optional<uint32_t> decided = {}) {
  const auto step = hedging.step(at(ms), true);
  EXPECT_EQ(step.start, start) << "at " << ms;
  EXPECT_EQ(step.decided, decided) << "at " << ms;
}

TEST_F(HedgingTest, GoesOffAtEachDelayUntilAllHave) {
  Hedging hedging = make(3, 10);
  expect_step(hedging, 0, 1);
  EXPECT_EQ(hedging.next_step(), at(10));
  expect_step(hedging, 9, 0);
  expect_step(hedging, 10, 1);
  EXPECT_EQ(hedging.next_step(), at(20));
  expect_step(hedging, 20, 1);
  EXPECT_EQ(hedging.next_step(), Time::max());
  expect_step(hedging, 100, 0);
  EXPECT_EQ(hedging.started(), 3u);
}

TEST_F(HedgingTest, WithoutADelayAllGoAtOnce) {
  Hedging hedging = make(4, 0);
  expect_step(hedging, 0, 4);
  EXPECT_EQ(hedging.next_step(), Time::max());
}

TEST_F(HedgingTest, LateTimerStartsOneNotAllThatWereMissed) {
  Hedging hedging = make(4, 10);
  expect_step(hedging, 0, 1);
  expect_step(hedging, 35, 1);
  EXPECT_EQ(hedging.next_step(), at(45));
}

TEST_F(HedgingTest, FirstGoodAnswerDecidesWhicheverItIs) {
  Hedging hedging = make(3, 10);
  expect_step(hedging, 0, 1);
  expect_step(hedging, 10, 1);
  hedging.on_end(1, StatusCode::ok, {}, at(12));
  EXPECT_EQ(hedging.next_step(), Time::max());
  expect_step(hedging, 12, 0, 1);
  hedging.on_end(0, StatusCode::cancelled, {}, at(13));
  expect_step(hedging, 13, 0);
}

TEST_F(HedgingTest, AnotherStatusThanThoseListedDecides) {
  Hedging hedging = make(3, 10);
  expect_step(hedging, 0, 1);
  hedging.on_end(0, StatusCode::not_found, {}, at(1));
  expect_step(hedging, 1, 0, 0);
  EXPECT_EQ(hedging.started(), 1u);
}

TEST_F(HedgingTest, AListedStatusLetsTheNextGoAtOnce) {
  Hedging hedging = make(3, 1000);
  expect_step(hedging, 0, 1);
  hedging.on_end(0, kUnavailable, {}, at(5));
  EXPECT_LE(hedging.next_step(), at(5));
  expect_step(hedging, 5, 1);
  EXPECT_EQ(hedging.next_step(), at(1005)) << "then the delay again";
}

TEST_F(HedgingTest, LastFailureIsTheCallWhenAllHaveFailed) {
  Hedging hedging = make(2, 10);
  expect_step(hedging, 0, 1);
  expect_step(hedging, 10, 1);
  hedging.on_end(1, kUnavailable, {}, at(11));
  expect_step(hedging, 11, 0);
  hedging.on_end(0, StatusCode::resource_exhausted, {}, at(12));
  expect_step(hedging, 12, 0, 0);
}

TEST_F(HedgingTest, PushbackPutsTheNextOff) {
  Hedging hedging = make(3, 10);
  expect_step(hedging, 0, 1);
  hedging.on_end(0, kUnavailable, Pushback::parse("500"), at(2));
  EXPECT_EQ(hedging.next_step(), at(502));
  expect_step(hedging, 501, 0);
  expect_step(hedging, 502, 1);
  EXPECT_EQ(hedging.next_step(), at(512)) << "then the delay again";
}

TEST_F(HedgingTest, AFailureWithoutPushbackDoesNotUndoAnEarlierOne) {
  Hedging hedging = make(4, 10);
  expect_step(hedging, 0, 1);
  expect_step(hedging, 10, 1);
  hedging.on_end(0, kUnavailable, Pushback::parse("500"), at(12));
  hedging.on_end(1, kUnavailable, {}, at(13));
  EXPECT_EQ(hedging.next_step(), at(512));
}

TEST_F(HedgingTest, PushbackThatForbidsLeavesTheOthersRunning) {
  Hedging hedging = make(4, 10);
  expect_step(hedging, 0, 1);
  expect_step(hedging, 10, 1);
  hedging.on_end(0, kUnavailable, Pushback::parse("-1"), at(12));
  expect_step(hedging, 100, 0);
  hedging.on_end(1, StatusCode::ok, {}, at(110));
  expect_step(hedging, 110, 0, 1);
}

TEST_F(HedgingTest, PushbackPastTheDeadlineEndsTheCallAtOnce) {
  Hedging hedging = make(3, 10, at(100));
  expect_step(hedging, 0, 1);
  hedging.on_end(0, kUnavailable, Pushback::parse("98"), at(2));
  expect_step(hedging, 2, 0, 0);
}

TEST_F(HedgingTest, NothingGoesAfterTheDeadlineButTheFirst) {
  Hedging late = make(3, 10, at(0));
  expect_step(late, 0, 1);
  Hedging hedging = make(3, 10, at(15));
  expect_step(hedging, 0, 1);
  expect_step(hedging, 10, 1);
  expect_step(hedging, 20, 0);
  EXPECT_EQ(hedging.next_step(), Time::max());
}

TEST_F(HedgingTest, StopDecidesOnWhatEndsNextOrEndedLast) {
  Hedging running = make(3, 10);
  expect_step(running, 0, 1);
  running.stop();
  expect_step(running, 20, 0);
  running.on_end(0, kUnavailable, {}, at(21));
  expect_step(running, 21, 0, 0);

  Hedging waiting = make(3, 10);
  expect_step(waiting, 0, 1);
  waiting.on_end(0, kUnavailable, Pushback::parse("500"), at(2));
  expect_step(waiting, 2, 0);
  waiting.stop();
  expect_step(waiting, 3, 0, 0);
}

TEST_F(HedgingTest, ThrottledAttemptIsLeftOutForGood) {
  Hedging hedging = make(3, 10);
  EXPECT_EQ(hedging.step(at(0), false).start, 1u) << "the first is no hedge";
  EXPECT_EQ(hedging.step(at(10), false).start, 0u);
  expect_step(hedging, 20, 0);
  hedging.on_end(0, kUnavailable, {}, at(21));
  expect_step(hedging, 21, 0, 0);
}

TEST(Pushback, IsANumberOfMillisecondsOrNever) {
  EXPECT_EQ(Pushback::parse("0").after, milliseconds(0));
  EXPECT_EQ(Pushback::parse("1500").after, milliseconds(1500));
  EXPECT_EQ(Pushback::parse("2147483647").after, milliseconds(2147483647));
  for (const char* never : {"", "-1", "soon", "1.5", "1s", " 1", "2147483648", "99999999999999999999"})
    EXPECT_EQ(Pushback::parse(never).after, std::nullopt) << never;
}

TEST(HedgingThrottle, StopsAtHalfItsTokensAndRecovers) {
  HedgingThrottle throttle(4, 0.5);
  throttle.on_end(false);
  EXPECT_TRUE(throttle.allows());
  throttle.on_end(false);
  EXPECT_FALSE(throttle.allows());
  for (int i = 0; i < 10; ++i) throttle.on_end(false);
  for (int i = 0; i < 4; ++i) throttle.on_end(true);
  EXPECT_FALSE(throttle.allows());
  throttle.on_end(true);
  EXPECT_TRUE(throttle.allows());
  HedgingThrottle none(0, 0.1);
  none.on_end(false);
  EXPECT_TRUE(none.allows());
}

}  // namespace
}  // namespace legated
