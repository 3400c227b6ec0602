// Hedging under random orders of events: attempts that end in any order, statuses, pushback, late
// timers, a caller that stops, a throttle that comes and goes.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "daemon/core/hedging.h"
#include "tests/unit/random.h"

namespace legated {
namespace {

using std::chrono::milliseconds;
using Time = Hedging::Time;

class Simulation {
 public:
  explicit Simulation(uint64_t seed)
      : random_(seed),
        rules_{.attempts = random_.between(2, 5),
               .delay = milliseconds(random_.below(20)),
               .codes = {14}},
        deadline_(random_.one_in(2) ? Time::max() : now_ + milliseconds(random_.below(100))),
        hedging_(rules_, deadline_) {}

  /// How it ended.
  std::string run() {
    step();
    for (int i = 0; i < 500 && !(decided_ && running_.empty()); ++i) {
      act();
      if (testing::Test::HasFatalFailure()) return "failed";
      // The caller steps after each event; the timer may be late.
      step();
      if (testing::Test::HasFatalFailure()) return "failed";
    }
    EXPECT_TRUE(decided_) << "never ends";
    EXPECT_TRUE(running_.empty());
    return end_;
  }

 private:
  void act() {
    now_ += milliseconds(random_.below(10));
    if (random_.one_in(60) && !decided_) {
      stopped_ = true;
      for (const uint32_t attempt : running_) cancelled_.insert(attempt);
      return hedging_.stop();
    }
    if (running_.empty()) {
      // Only a pushed-back attempt can be waited for.
      ASSERT_NE(hedging_.next_step(), Time::max()) << "waits for nothing";
      now_ = std::max(now_, hedging_.next_step());
      return;
    }
    if (!random_.one_in(3)) return;
    auto chosen = running_.begin();
    std::advance(chosen, random_.below(static_cast<uint32_t>(running_.size())));
    const uint32_t attempt = *chosen;
    running_.erase(chosen);
    const auto code = cancelled_.contains(attempt) && random_.one_in(2) ? StatusCode::cancelled
                      : now_ >= deadline_   ? StatusCode::deadline_exceeded
                      : random_.one_in(2)   ? StatusCode::unavailable
                      : random_.one_in(3)   ? StatusCode::not_found
                                            : StatusCode::ok;
    std::optional<Pushback> pushback;
    if (code == StatusCode::unavailable && random_.one_in(3)) {
      pushback = random_.one_in(3) ? Pushback{} : Pushback{milliseconds(random_.below(50))};
      if (!pushback->after) {
        forbidden_ = true;
      } else {
        not_before_ = std::max(not_before_, now_ + *pushback->after);
      }
    }
    ended_.insert(attempt);
    last_code_[attempt] = code;
    hedging_.on_end(attempt, code, decided_ ? std::nullopt : pushback, now_);
  }

  void step() {
    const bool may_hedge = !random_.one_in(10);
    const auto step = hedging_.step(now_, may_hedge);
    if (step.start > 0) start(step.start, may_hedge);
    if (!step.decided) return;
    ASSERT_FALSE(decided_) << "decided twice";
    decided_ = step.decided;
    ASSERT_TRUE(ended_.contains(*decided_)) << "has not ended";
    const StatusCode code = last_code_[*decided_];
    if (code == StatusCode::unavailable) {
      ASSERT_TRUE(stopped_ || running_.empty()) << "others could still win";
      end_ = stopped_ ? "stopped" : started_ == rules_.attempts ? "all failed" : "no more";
    } else {
      end_ = stopped_ ? "stopped" : code == StatusCode::ok ? "won" : "another status";
    }
    for (const uint32_t attempt : running_) cancelled_.insert(attempt);
  }

  void start(uint32_t count, bool may_hedge) {
    ASSERT_FALSE(decided_ || stopped_ || (forbidden_ && started_ > 0));
    for (; count > 0; --count, ++started_) {
      if (started_ > 0) {
        ASSERT_TRUE(may_hedge);
        ASSERT_LT(now_, deadline_);
        ASSERT_GE(now_, not_before_) << "the server asked for patience";
      }
      running_.insert(started_);
    }
    ASSERT_LE(started_, rules_.attempts);
    ASSERT_EQ(started_, hedging_.started());
  }

  Random random_;
  Time now_{std::chrono::hours(1)};
  HedgingRules rules_;
  Time deadline_;
  Hedging hedging_;
  std::set<uint32_t> running_, ended_, cancelled_;
  std::map<uint32_t, StatusCode> last_code_;
  uint32_t started_ = 0;
  Time not_before_ = Time::min();
  bool stopped_ = false, forbidden_ = false;
  std::optional<uint32_t> decided_;
  std::string end_;
};

TEST(HedgingModel, AnyOrderOfEventsKeepsTheRules) {
  std::map<std::string, int> ends;
  for (uint64_t seed = 0; seed < 50'000 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    ++ends[Simulation(seed).run()];
  }
  for (const char* end : {"won", "another status", "all failed", "no more", "stopped"})
    EXPECT_GT(ends[end], 500) << "hardly ever seen: " << end;
}

}  // namespace
}  // namespace legated
