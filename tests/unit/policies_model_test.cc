// A circuit breaker and a rate limit behind it against a model of their rules, in any order of
// calls, ends and pauses. The model knows eras, the time between two changes of state, and counts
// tokens in tenths, as time goes in steps of 100 ms.
#include <gtest/gtest.h>

#include "daemon/core/policies.h"
#include "tests/unit/random.h"

namespace legated {
namespace {

using namespace std::chrono_literals;
using Time = Policies::Time;

constexpr int kFailures = 3, kPause = 20, kBurst = 4, kTenthsPerStep = 2;

struct Model {
  enum class State { closed, open, half_open };
  enum class Verdict { none, success, failure };
  enum class Answer { admitted, broken, limited };

  void change(State to) {
    state = to;
    ++era;
    failures = 0;
    probing = false;
    wait = kPause;
  }

  void step() {
    tenths = std::min(tenths + kTenthsPerStep, 10 * kBurst);
    if (state != State::closed) --wait;
    if (state == State::open && wait <= 0) state = State::half_open;
  }

  Answer admit(int call) {
    if (state == State::open || (probing && wait > 0)) return Answer::broken;
    if (tenths < 10) {
      // The turn was taken, and given back: of an older probe only the verdict counts.
      probing = false;
      return Answer::limited;
    }
    tenths -= 10;
    if (state == State::half_open) {
      probing = true;
      probe = call;
      wait = kPause;
    }
    return Answer::admitted;
  }

  void end(int call, int begun, Verdict verdict) {
    if (begun != era) return;
    if (verdict == Verdict::none) {
      if (probing && probe == call) probing = false;
    } else if (state == State::half_open) {
      change(verdict == Verdict::success ? State::closed : State::open);
    } else {
      failures = verdict == Verdict::success ? 0 : failures + 1;
      if (failures == kFailures) change(State::open);
    }
  }

  State state = State::closed;
  int era = 0;
  int failures = 0;
  int wait = 0;  // steps until calls, or another probe, may pass
  bool probing = false;
  int probe = 0;
  int tenths = 10 * kBurst;
};

class Simulation {
 public:
  explicit Simulation(uint64_t seed)
      : random_(seed),
        policies_(std::get<Policies>(
            Policies::parse({"circuit-breaker 3 2s", "rate-limit 2/s burst 4"}))) {}

  void run() {
    // Some runs have many failures, some few.
    failing_ = random_.between(1, 9);
    for (int i = 0; i < 300 && !testing::Test::HasFatalFailure(); ++i) {
      switch (random_.below(6)) {
        case 0:
        case 1: admit(); break;
        case 2:
        case 3: end(); break;
        case 4: pause(random_.between(1, 6)); break;
        default: if (random_.one_in(4)) pause(random_.between(10, 40));
      }
      check();
    }
  }

 private:
  struct Call {
    AdmissionId id;
    int number;
    int era;
  };

  void pause(uint32_t steps) {
    now_ += steps * 100ms;
    for (; steps > 0; --steps) model_.step();
  }

  void admit() {
    std::vector<std::pair<std::string, std::string>> metadata;
    uint64_t timeout = 0;
    AdmissionId id{};
    const auto status = policies_.admit({metadata, timeout}, now_, {}, id);
    const int number = ++calls_;
    switch (model_.admit(number)) {
      case Model::Answer::admitted:
        ASSERT_FALSE(status) << status->message;
        under_way_.push_back({id, number, model_.era});
        ++admitted_;
        break;
      case Model::Answer::broken:
        ASSERT_TRUE(status);
        ASSERT_EQ(status->code, StatusCode::unavailable);
        ASSERT_NE(status->message.find(" in " + std::to_string(100 * model_.wait) + " ms"),
                  std::string::npos)
            << status->message << ", not " << model_.wait;
        ++broken_;
        break;
      case Model::Answer::limited:
        ASSERT_TRUE(status);
        ASSERT_EQ(status->code, StatusCode::resource_exhausted);
        ++limited_;
    }
  }

  void end() {
    if (under_way_.empty()) return;
    const auto position =
        under_way_.begin() + random_.below(static_cast<uint32_t>(under_way_.size()));
    const Call call = *position;
    under_way_.erase(position);
    Status status{StatusCode::ok, "", Origin::remote, {}};
    auto verdict = Model::Verdict::success;
    if (random_.one_in(5)) {
      status = {StatusCode::cancelled, "", Origin::app, {}};
      verdict = Model::Verdict::none;
    } else if (random_.below(10) < failing_) {
      status.code = StatusCode::unavailable;
      verdict = Model::Verdict::failure;
    }
    policies_.on_end(call.id, status, now_);
    model_.end(call.number, call.era, verdict);
  }

  void check() {
    const auto reports = policies_.report(now_);
    const std::string& state = reports[0].state;
    switch (model_.state) {
      case Model::State::closed: ASSERT_EQ(state, "closed"); break;
      case Model::State::half_open: ASSERT_EQ(state, "half-open"); break;
      case Model::State::open: ASSERT_TRUE(state.starts_with("open ")) << state;
    }
    ASSERT_EQ(reports[1].state.substr(0, 1), std::to_string(model_.tenths / 10));
    for (const auto& report : reports) ASSERT_EQ(report.applied, admitted_);
    ASSERT_EQ(reports[0].refused, broken_);
    ASSERT_EQ(reports[1].refused, limited_);
  }

  Random random_;
  Policies policies_;
  Model model_;
  Time now_{1h};
  uint32_t failing_ = 0;
  int calls_ = 0;
  uint64_t admitted_ = 0, broken_ = 0, limited_ = 0;
  std::vector<Call> under_way_;
};

TEST(PoliciesModel, AnyOrderOfCallsAndEndsKeepsTheRules) {
  for (uint64_t seed = 0; seed < 300 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Simulation(seed).run();
  }
}

}  // namespace
}  // namespace legated
