#include "daemon/core/hedging.h"

#include <algorithm>
#include <charconv>

namespace legated {

Pushback Pushback::parse(std::string_view value) {
  int32_t number = -1;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc() || end != value.data() + value.size() || number < 0) return {};
  return {.after = std::chrono::milliseconds(number)};
}

void Hedging::on_end(uint32_t attempt, StatusCode code, std::optional<Pushback> pushback,
                     Time now) {
  --running_;
  if (decided_) return;
  last_ = attempt;
  if (stopped_ || !rules_.goes_on_after(code)) {
    decided_ = attempt;
    return;
  }
  if (pushback && !pushback->after) closed_ = true;
  if (pushback && pushback->after) not_before_ = std::max(not_before_, now + *pushback->after);
  due_ = std::max(now, not_before_);
}

Hedging::Step Hedging::step(Time now, bool may_hedge) {
  Step step;
  while (!decided_ && more() && now >= due_) {
    if (started_ > 0 && (now >= deadline_ || !may_hedge)) {
      closed_ = true;
      break;
    }
    ++step.start;
    ++started_;
    ++running_;
    due_ = std::max(now + rules_.delay, not_before_);
  }
  // The last to fail is the call when none can follow it: no use in waiting for a deadline.
  if (!decided_ && running_ == 0 && started_ > 0 && (!more() || due_ >= deadline_))
    decided_ = last_;
  if (decided_ && !told_) {
    told_ = true;
    step.decided = decided_;
  }
  return step;
}

Hedging::Time Hedging::next_step() const { return !decided_ && more() ? due_ : Time::max(); }

}  // namespace legated
