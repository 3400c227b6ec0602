// The dispatcher against a naive model of the rules: a list of waiting calls and a list of leases,
// searched anew each time.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "daemon/core/dispatcher.h"
#include "tests/unit/random.h"

namespace legated {
namespace {

using namespace std::chrono_literals;
using Enqueued = Dispatcher::Enqueued;
using Time = Dispatcher::Time;
using Leases = std::vector<LeaseId>;

constexpr size_t kQueueLimit = 12;
constexpr auto kHold = 10s;

const std::vector<std::string> kMethods = {"/a/x", "/a/y", "/b/x", "/b/y", "/c/z"};
const std::vector<std::string> kPatterns = {"/a/x", "/a/y", "/b/x", "/a/*", "/b/*", "*"};

bool contains(const Leases& leases, LeaseId lease) {
  return std::find(leases.begin(), leases.end(), lease) != leases.end();
}

struct Model {
  struct Lease {
    std::vector<std::string> patterns;
    uint32_t slots;
    uint32_t busy = 0;
    Time idle{};
  };
  struct Waiting {
    std::string method;
    Time deadline;
    Leases rejected;
    std::string pattern;  // what it was matched with; empty: held
    Time since;
  };

  static std::vector<std::string> candidates(const std::string& method) {
    return {method, method.substr(0, method.rfind('/')) + "/*", "*"};
  }

  Leases with(const std::string& pattern) const {
    Leases found;
    for (const auto& [id, lease] : leases) {
      if (std::count(lease.patterns.begin(), lease.patterns.end(), pattern) > 0)
        found.push_back(id);
    }
    return found;
  }

  std::string match(const std::string& method) const {
    for (const std::string& pattern : candidates(method)) {
      if (!with(pattern).empty()) return pattern;
    }
    return {};
  }

  bool hopeless(const std::string& pattern, const Leases& rejected) const {
    const Leases all = with(pattern);
    return std::all_of(all.begin(), all.end(), [&](LeaseId id) { return contains(rejected, id); });
  }

  Enqueued place(DispatchId call, const std::string& method, Time deadline, Leases rejected,
                 Time now) {
    const std::string pattern = match(method);
    if (!pattern.empty()) {
      if (hopeless(pattern, rejected)) return Enqueued::rejected_by_all;
    } else if (!leases.empty()) {
      const auto all = candidates(method);
      if (std::none_of(all.begin(), all.end(),
                       [&](const auto& p) { return departed.contains(p); })) {
        return Enqueued::unimplemented;
      }
    }
    waiting[call] = {method, deadline, std::move(rejected), pattern, now};
    return Enqueued::queued;
  }

  void remove_lease(LeaseId id, Time now) {
    const auto patterns = leases.at(id).patterns;
    leases.erase(id);
    for (const std::string& pattern : patterns) {
      if (with(pattern).empty()) departed[pattern] = now;
    }
    for (auto& [call, entry] : waiting) {
      if (entry.pattern.empty()) continue;
      if (with(entry.pattern).empty()) {
        entry = {entry.method, entry.deadline, {}, match(entry.method), now};
      } else if (hopeless(entry.pattern, entry.rejected)) {
        entry.pattern.clear();
        entry.since = now;
      }
    }
  }

  void add_lease(LeaseId id, Lease lease) {
    for (const std::string& pattern : lease.patterns) departed.erase(pattern);
    leases[id] = std::move(lease);
    for (auto& [call, entry] : waiting) {
      if (!entry.pattern.empty()) continue;
      const std::string pattern = match(entry.method);
      if (!pattern.empty() && !hopeless(pattern, entry.rejected)) entry.pattern = pattern;
    }
  }

  bool may_take(const Waiting& entry, LeaseId id) const {
    const Lease& lease = leases.at(id);
    return !entry.pattern.empty() && contains(with(entry.pattern), id) &&
           lease.busy < lease.slots && !contains(entry.rejected, id);
  }

  std::map<LeaseId, Lease> leases;
  std::map<DispatchId, Waiting> waiting;
  std::map<std::string, Time> departed;
};

class Simulation {
 public:
  explicit Simulation(uint64_t seed) : random_(seed) {}

  void run() {
    for (int step = 0; step < 150 && !testing::Test::HasFatalFailure(); ++step) {
      now_ += random_.below(3) * 500ms;
      act();
      ASSERT_EQ(dispatcher_.waiting(), model_.waiting.size()) << "step " << step;
    }
  }

 private:
  void act() {
    switch (random_.below(8)) {
      case 0: return add_lease();
      case 1: return remove_lease();
      case 2:
      case 3: return enqueue();
      case 4: return give_back();
      case 5: return end_call();
      case 6: return random_.one_in(3) ? expire() : remove();
      default: return hand_out();
    }
  }

  void add_lease() {
    if (model_.leases.size() >= 4) return;
    const LeaseId id{next_lease_++};
    std::vector<std::string> patterns;
    for (uint32_t i = random_.between(1, 3); i > 0; --i)
      patterns.push_back(random_.pick(kPatterns));
    const uint32_t slots = random_.between(1, 3);
    dispatcher_.add_lease(id, patterns, slots);
    model_.add_lease(id, {patterns, slots, 0, {}});
  }

  LeaseId any_lease() {
    auto lease = model_.leases.begin();
    std::advance(lease, random_.below(static_cast<uint32_t>(model_.leases.size())));
    return lease->first;
  }

  void remove_lease() {
    if (model_.leases.empty()) return;
    const LeaseId id = any_lease();
    dispatcher_.remove_lease(id, now_);
    model_.remove_lease(id, now_);
  }

  void enqueue() {
    const DispatchId call{next_call_++};
    const std::string& method = random_.pick(kMethods);
    const Time deadline = random_.one_in(3) ? now_ + random_.below(6) * 500ms : Time::max();
    const Enqueued expected = model_.waiting.size() >= kQueueLimit
                                  ? Enqueued::queue_full
                                  : model_.place(call, method, deadline, {}, now_);
    ASSERT_EQ(dispatcher_.enqueue(call, method, deadline, now_), expected);
  }

  // A call that was handed out comes back, rejected or not.
  void give_back() {
    if (out_.empty()) return;
    Out out = take_out();
    if (random_.one_in(2)) out.rejected.push_back(out.lease);
    release(out.lease);
    const Enqueued expected = model_.place(out.call, out.method, Time::max(), out.rejected, now_);
    ASSERT_EQ(dispatcher_.requeue(out.call, out.method, Time::max(), out.rejected, now_), expected);
  }

  void end_call() {
    if (!out_.empty()) release(take_out().lease);
  }

  void release(LeaseId lease) {
    dispatcher_.release(lease, now_);
    const auto found = model_.leases.find(lease);
    if (found == model_.leases.end()) return;
    --found->second.busy;
    found->second.idle = now_;
  }

  void remove() {
    const DispatchId call{random_.below(static_cast<uint32_t>(next_call_) + 1)};
    dispatcher_.remove(call);
    model_.waiting.erase(call);
  }

  void expire() {
    const Time since = now_ - kHold;
    for (const DispatchId call : dispatcher_.take_held_since(since)) {
      const auto found = model_.waiting.find(call);
      ASSERT_NE(found, model_.waiting.end());
      ASSERT_TRUE(found->second.pattern.empty());
      ASSERT_LE(found->second.since, since);
      model_.waiting.erase(found);
    }
    std::erase_if(model_.departed, [&](const auto& entry) { return entry.second <= since; });
    std::optional<Time> oldest;
    const auto older = [&](Time time) { oldest = std::min(oldest.value_or(time), time); };
    for (const auto& [call, entry] : model_.waiting) {
      if (!entry.pattern.empty()) continue;
      ASSERT_GT(entry.since, since) << "held too long";
      older(entry.since);
    }
    for (const auto& [pattern, time] : model_.departed) older(time);
    ASSERT_EQ(dispatcher_.held_since(), oldest);
  }

  void hand_out() {
    while (const auto offer = dispatcher_.next(now_)) {
      const auto found = model_.waiting.find(offer->call);
      ASSERT_NE(found, model_.waiting.end()) << "a call that does not wait";
      const Model::Waiting entry = found->second;
      ASSERT_GT(entry.deadline, now_);
      ASSERT_TRUE(model_.leases.contains(offer->lease));
      ASSERT_TRUE(model_.may_take(entry, offer->lease));
      auto& lease = model_.leases.at(offer->lease);
      for (const LeaseId id : model_.with(entry.pattern)) {
        if (!model_.may_take(entry, id)) continue;
        const auto& other = model_.leases.at(id);
        ASSERT_LE(other.slots - other.busy, lease.slots - lease.busy)
            << "more slots are free elsewhere";
        if (other.slots - other.busy == lease.slots - lease.busy) {
          ASSERT_GE(other.idle, lease.idle) << "another is longer idle";
        }
      }
      ++lease.busy;
      out_.push_back({offer->call, offer->lease, entry.method, entry.rejected});
      model_.waiting.erase(found);
    }
    for (const auto& [call, entry] : model_.waiting) {
      if (entry.deadline <= now_) continue;
      for (const auto& [id, lease] : model_.leases) {
        ASSERT_FALSE(model_.may_take(entry, id)) << "a call waits though a slot is free";
      }
    }
    for (const auto& [id, lease] : model_.leases) {
      ASSERT_EQ(dispatcher_.leases().at(id).busy, lease.busy);
      ASSERT_LE(lease.busy, lease.slots);
    }
  }

  struct Out {
    DispatchId call;
    LeaseId lease;
    std::string method;
    Leases rejected;
  };

  Out take_out() {
    const auto position = out_.begin() + random_.below(static_cast<uint32_t>(out_.size()));
    Out out = *position;
    out_.erase(position);
    return out;
  }

  Random random_;
  Dispatcher dispatcher_{kQueueLimit};
  Model model_;
  Time now_{1h};
  uint64_t next_lease_ = 1;
  uint64_t next_call_ = 1;
  std::vector<Out> out_;
};

TEST(DispatcherModel, AnyOrderOfEventsKeepsTheRules) {
  for (uint64_t seed = 0; seed < 5000 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Simulation(seed).run();
  }
}

}  // namespace
}  // namespace legated
