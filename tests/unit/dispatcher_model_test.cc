// The dispatcher against a naive model of the rules: a list of waiting calls and a list of leases,
// searched anew each time.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "daemon/core/dispatcher.h"
#include "tests/unit/random.h"

namespace legated {
namespace {

using namespace std::chrono_literals;
using Enqueued = Dispatcher::Enqueued;
using Time = Dispatcher::Time;
using Leases = std::vector<LeaseId>;

constexpr size_t kQueueLimit = 5;
constexpr auto kHold = 10s;
constexpr auto kOverload = 2s;

const std::vector<std::string> kMethods = {"/a/x", "/a/y", "/b/x", "/b/y", "/c/z"};
const std::vector<std::string> kPatterns = {"/a/x", "/a/y", "/b/x", "/a/*", "/b/*", "*"};
const std::vector<std::string> kGenerations = {"", "v1", "v2"};

bool contains(const Leases& leases, LeaseId lease) {
  return std::find(leases.begin(), leases.end(), lease) != leases.end();
}

struct Model {
  struct Lease {
    Registration registered;
    bool suspect = false;
    bool draining = false;
    uint32_t busy = 0;
    Time idle{};
    bool active() const { return !suspect && !draining; }
    uint64_t load_against(const Lease& other) const {
      return uint64_t{busy} * other.registered.weight;
    }
  };
  struct Waiting {
    std::string method;
    Time deadline;
    uint64_t sticky;
    Leases rejected;
    uint64_t order;     // 0: came back
    std::string pool;   // whose bound it counts against; empty: no pool's
    bool held;
    Time since;
  };

  static std::vector<std::string> candidates(const std::string& method) {
    return {method, method.substr(0, method.rfind('/')) + "/*", "*"};
  }

  Leases with(const std::string& pattern) const {
    Leases found;
    for (const auto& [id, lease] : leases) {
      const auto& patterns = lease.registered.patterns;
      if (lease.active() && std::count(patterns.begin(), patterns.end(), pattern) > 0)
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

  std::string match_departed(const std::string& method) const {
    for (const std::string& pattern : candidates(method)) {
      if (departed.contains(pattern)) return pattern;
    }
    return {};
  }

  bool hopeless(const std::string& pattern, const Leases& rejected) const {
    const Leases all = with(pattern);
    return std::all_of(all.begin(), all.end(), [&](LeaseId id) { return contains(rejected, id); });
  }

  size_t waiting_in(const std::string& pool) const {
    return static_cast<size_t>(std::count_if(
        waiting.begin(), waiting.end(), [&](const auto& each) { return each.second.pool == pool; }));
  }

  /// `order` 0: it comes back.
  Enqueued place(const Dispatcher::Call& call, Leases rejected, uint64_t order, Time now) {
    const std::string method(call.method);
    const std::string live = match(method);
    const std::string pool = live.empty() ? match_departed(method) : live;
    const bool any_active = std::any_of(leases.begin(), leases.end(),
                                        [](const auto& each) { return each.second.active(); });
    if (pool.empty() && any_active) return Enqueued::unimplemented;
    if (order != 0 && waiting_in(pool) >= kQueueLimit) return Enqueued::queue_full;
    if (!live.empty() && hopeless(live, rejected)) return Enqueued::rejected_by_all;
    waiting[call.id] = {method, call.deadline, call.sticky,  std::move(rejected),
                        order,  pool,          live.empty(), now};
    return Enqueued::queued;
  }

  /// After a lease with these patterns has stopped to be active.
  void settle(const std::vector<std::string>& patterns, Time now) {
    for (const std::string& pattern : patterns) {
      if (with(pattern).empty()) departed.try_emplace(pattern, now);
    }
    for (auto& [call, entry] : waiting) {
      if (entry.held || entry.deadline <= now) continue;
      if (with(entry.pool).empty()) {
        const std::string live = match(entry.method);
        entry.rejected.clear();
        entry.held = live.empty();
        entry.pool = live.empty() ? match_departed(entry.method) : live;
        if (entry.held) entry.since = now;
      } else if (hopeless(entry.pool, entry.rejected)) {
        entry.held = true;
        entry.since = now;
      }
    }
  }

  void unsettle(const std::vector<std::string>& patterns) {
    for (const std::string& pattern : patterns) departed.erase(pattern);
    for (auto& [call, entry] : waiting) {
      if (!entry.held) continue;
      const std::string live = match(entry.method);
      if (live.empty() || hopeless(live, entry.rejected)) continue;
      entry.pool = live;
      entry.held = false;
    }
  }

  bool may_take(const Waiting& entry, LeaseId id) const {
    const Lease& lease = leases.at(id);
    return !entry.held && contains(with(entry.pool), id) && lease.busy < lease.registered.slots &&
           !contains(entry.rejected, id);
  }

  bool takeable(const Waiting& entry) const {
    return std::any_of(leases.begin(), leases.end(),
                       [&](const auto& lease) { return may_take(entry, lease.first); });
  }

  std::map<LeaseId, Lease> leases;
  std::map<DispatchId, Waiting> waiting;
  std::map<std::string, Time> departed;
};

class Simulation {
 public:
  explicit Simulation(uint64_t seed) : random_(seed) {}

  void run() {
    for (int step = 0; step < 200 && !testing::Test::HasFatalFailure(); ++step) {
      now_ += random_.below(3) * 500ms;
      // gRPC ends what is past its deadline.
      std::vector<DispatchId> over;
      for (const auto& [call, entry] : model_.waiting) {
        if (entry.deadline <= now_) over.push_back(call);
      }
      for (const DispatchId call : over) remove(call);
      act();
      ASSERT_EQ(dispatcher_.waiting(), model_.waiting.size()) << "step " << step;
      for (const auto& report : dispatcher_.pools(now_)) {
        ASSERT_EQ(report.pool->waiting, model_.waiting_in(report.pool->pattern()));
      }
    }
  }

 private:
  void act() {
    switch (random_.below(9)) {
      case 0: return add_lease();
      case 1: return random_.one_in(2) ? remove_lease() : retire();
      case 2:
      case 3:
      case 4: return enqueue();
      case 5: return give_back();
      case 6: return end_call();
      case 7:
        return random_.one_in(3)
                   ? expire()
                   : remove(DispatchId{random_.below(static_cast<uint32_t>(next_call_) + 1)});
      default: return hand_out();
    }
  }

  void add_lease() {
    if (model_.leases.size() >= 5) return;
    const LeaseId id{next_lease_++};
    Registration registered;
    for (uint32_t i = random_.between(1, 3); i > 0; --i)
      registered.patterns.push_back(random_.pick(kPatterns));
    registered.slots = random_.between(1, 3);
    registered.weight = static_cast<uint16_t>(random_.between(1, 3));
    registered.generation = random_.pick(kGenerations);
    registered.share = static_cast<uint16_t>(random_.below(3));
    for (const std::string& pattern : registered.patterns)
      shares_[{pattern, registered.generation}] = registered.share;
    dispatcher_.add_lease(id, registered);
    model_.leases[id] = {.registered = registered};
    model_.unsettle(registered.patterns);
  }

  LeaseId any_lease() {
    auto lease = model_.leases.begin();
    std::advance(lease, random_.below(static_cast<uint32_t>(model_.leases.size())));
    return lease->first;
  }

  void remove_lease() {
    if (model_.leases.empty()) return;
    const LeaseId id = any_lease();
    const Model::Lease lease = model_.leases.at(id);
    dispatcher_.remove_lease(id, now_);
    model_.leases.erase(id);
    if (lease.active()) model_.settle(lease.registered.patterns, now_);
  }

  /// Suspect, not suspect any more, or draining.
  void retire() {
    if (model_.leases.empty()) return;
    const LeaseId id = any_lease();
    Model::Lease& lease = model_.leases.at(id);
    const bool was_active = lease.active();
    if (random_.one_in(4)) {
      dispatcher_.drain_lease(id, now_);
      lease.draining = true;
    } else {
      lease.suspect = !lease.suspect;
      dispatcher_.set_suspect(id, lease.suspect, now_);
    }
    const auto& registered = lease.registered;
    if (was_active && !lease.active()) model_.settle(registered.patterns, now_);
    if (was_active || !lease.active()) return;
    for (const std::string& pattern : registered.patterns)
      shares_[{pattern, registered.generation}] = registered.share;
    model_.unsettle(registered.patterns);
  }

  void enqueue() {
    Dispatcher::Call call{DispatchId{next_call_++}, random_.pick(kMethods)};
    if (random_.one_in(3)) call.deadline = now_ + random_.between(1, 6) * 500ms;
    if (random_.one_in(3)) call.sticky = random_.between(1, 4);
    const Enqueued expected = model_.place(call, {}, next_call_, now_);
    ASSERT_EQ(dispatcher_.enqueue(call, now_), expected);
  }

  // A call that was handed out comes back, rejected or not.
  void give_back() {
    if (out_.empty()) return;
    Out out = take_out();
    if (random_.one_in(2)) out.rejected.push_back(out.lease);
    release(out.lease);
    const Enqueued expected = model_.place(out.call, out.rejected, 0, now_);
    ASSERT_EQ(dispatcher_.requeue(out.call, out.rejected, now_), expected);
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

  void remove(DispatchId call) {
    dispatcher_.remove(call);
    model_.waiting.erase(call);
  }

  void expire() {
    const Time since = now_ - kHold;
    for (const DispatchId call : dispatcher_.take_held_since(since)) {
      const auto found = model_.waiting.find(call);
      ASSERT_NE(found, model_.waiting.end());
      ASSERT_TRUE(found->second.held);
      ASSERT_LE(found->second.since, since);
      model_.waiting.erase(found);
    }
    std::erase_if(model_.departed, [&](const auto& entry) {
      if (entry.second > since) return false;
      for (auto& [call, waiting] : model_.waiting) {
        if (waiting.pool == entry.first) waiting.pool.clear();
      }
      return true;
    });
    std::optional<Time> oldest;
    const auto older = [&](Time time) { oldest = std::min(oldest.value_or(time), time); };
    for (const auto& [call, entry] : model_.waiting) {
      if (!entry.held) continue;
      ASSERT_GT(entry.since, since) << "held too long";
      older(entry.since);
    }
    for (const auto& [pattern, time] : model_.departed) older(time);
    ASSERT_EQ(dispatcher_.held_since(), oldest);
  }

  uint16_t share(const std::string& pool, LeaseId lease) const {
    return shares_.at({pool, model_.leases.at(lease).registered.generation});
  }

  void hand_out() {
    while (const auto offer = dispatcher_.next(now_)) {
      const auto found = model_.waiting.find(offer->call);
      ASSERT_NE(found, model_.waiting.end()) << "a call that does not wait";
      const Model::Waiting entry = found->second;
      ASSERT_TRUE(model_.leases.contains(offer->lease));
      ASSERT_TRUE(model_.may_take(entry, offer->lease));
      if (entry.sticky == 0) {
        check_choice(entry, offer->lease);
        check_order(entry);
      } else {
        check_sticky(entry, offer->lease);
      }
      ++model_.leases.at(offer->lease).busy;
      out_.push_back({{offer->call, *std::find(kMethods.begin(), kMethods.end(), entry.method),
                       Time::max(), entry.sticky},
                      offer->lease,
                      entry.rejected});
      model_.waiting.erase(found);
      if (testing::Test::HasFatalFailure()) return;
    }
    check_nothing_forgotten();
  }

  void check_choice(const Model::Waiting& entry, LeaseId chosen) {
    const auto& lease = model_.leases.at(chosen);
    for (const LeaseId id : model_.with(entry.pool)) {
      if (!model_.may_take(entry, id)) continue;
      const auto& other = model_.leases.at(id);
      if (other.registered.generation != lease.registered.generation) {
        if (share(entry.pool, chosen) == 0) {
          ASSERT_EQ(share(entry.pool, id), 0u) << "it stands by, the other does not";
        }
        continue;
      }
      ASSERT_LE(lease.load_against(other), other.load_against(lease)) << "more loaded";
      if (lease.load_against(other) == other.load_against(lease)) {
        ASSERT_LE(lease.idle, other.idle) << "another is longer idle";
      }
    }
  }

  /// Among those without a value that could have had a lease too.
  void check_order(const Model::Waiting& chosen) {
    uint64_t first = UINT64_MAX;
    Time since_of_first{};
    for (const auto& [call, entry] : model_.waiting) {
      if (entry.pool != chosen.pool || entry.held || entry.sticky != 0 || entry.order == 0) continue;
      if (entry.order > first) continue;
      first = entry.order;
      since_of_first = entry.since;
    }
    const bool overloaded = first != UINT64_MAX && now_ - since_of_first > kOverload;
    for (const auto& [call, entry] : model_.waiting) {
      if (entry.pool != chosen.pool || entry.held || entry.sticky != 0) continue;
      if (entry.order == 0) {
        ASSERT_FALSE(chosen.order != 0 && model_.takeable(entry)) << "what came back is first";
      } else if (chosen.order != 0) {
        if (overloaded) {
          ASSERT_LE(entry.order, chosen.order) << "the newest under overload";
        } else {
          ASSERT_GE(entry.order, chosen.order) << "the oldest";
        }
      }
    }
  }

  /// The lease of a value depends on the leases of the pool and their shares alone.
  void check_sticky(const Model::Waiting& entry, LeaseId chosen) {
    std::string pool;
    for (const LeaseId id : model_.with(entry.pool)) {
      if (contains(entry.rejected, id)) continue;
      pool += std::to_string(raw(id)) + ":" + std::to_string(share(entry.pool, id)) + " ";
      ASSERT_FALSE(share(entry.pool, chosen) == 0 && share(entry.pool, id) > 0) << "it stands by";
    }
    const auto [known, fresh] = places_.try_emplace({pool, entry.sticky}, chosen);
    ASSERT_EQ(known->second, chosen) << "value " << entry.sticky << " of pool " << pool;
  }

  void check_nothing_forgotten() {
    for (const auto& [call, entry] : model_.waiting) {
      if (entry.sticky == 0) {
        ASSERT_FALSE(model_.takeable(entry)) << "a call waits though a slot is free";
        continue;
      }
      const Leases all = entry.held ? Leases{} : model_.with(entry.pool);
      const bool all_free = std::all_of(all.begin(), all.end(), [&](LeaseId id) {
        return contains(entry.rejected, id) || model_.may_take(entry, id);
      });
      ASSERT_FALSE(!all.empty() && all_free) << "a sticky call waits though its lease is free";
    }
    for (const auto& [id, lease] : model_.leases) {
      ASSERT_EQ(dispatcher_.leases().at(id).busy, lease.busy);
      ASSERT_LE(lease.busy, lease.registered.slots);
    }
  }

  struct Out {
    Dispatcher::Call call;
    LeaseId lease;
    Leases rejected;
  };

  Out take_out() {
    const auto position = out_.begin() + random_.below(static_cast<uint32_t>(out_.size()));
    Out out = *position;
    out_.erase(position);
    return out;
  }

  Random random_;
  Dispatcher dispatcher_{{.queue = kQueueLimit, .overload = kOverload}};
  Model model_;
  Time now_{1h};
  uint64_t next_lease_ = 1;
  uint64_t next_call_ = 1;
  std::vector<Out> out_;
  std::map<std::pair<std::string, std::string>, uint16_t> shares_;  // by pool and generation
  std::map<std::pair<std::string, uint64_t>, LeaseId> places_;      // by leases of the pool and value
};

TEST(DispatcherModel, AnyOrderOfEventsKeepsTheRules) {
  for (uint64_t seed = 0; seed < 1500 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Simulation(seed).run();
  }
}

// However many calls are under way, and whatever the shares: no generation is ever further than
// one call for each generation from what is due to it.
TEST(DispatcherModel, SharesAreKeptAtEveryMoment) {
  for (uint64_t seed = 0; seed < 300 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Random random(seed);
    Dispatcher dispatcher({.queue = 10, .overload = kOverload});
    const uint32_t generations = random.between(1, 5);
    double total = 0;
    std::vector<double> shares;
    for (uint32_t g = 0; g < generations; ++g) {
      const auto share = static_cast<uint16_t>(random.between(1, 200));
      shares.push_back(share);
      total += share;
      for (uint32_t i = random.between(1, 3); i > 0; --i) {
        dispatcher.add_lease(LeaseId{g + 10 * i}, {.patterns = {"*"},
                                                   .slots = 1000,
                                                   .generation = std::to_string(g),
                                                   .share = share});
      }
    }
    std::vector<LeaseId> busy;
    std::vector<double> got(generations);
    for (uint64_t call = 1; call <= 500; ++call) {
      ASSERT_EQ(dispatcher.enqueue({DispatchId{call}, "/a/x"}, Time{1h}), Enqueued::queued);
      const auto offer = dispatcher.next(Time{1h});
      ASSERT_TRUE(offer.has_value());
      busy.push_back(offer->lease);
      got[raw(offer->lease) % 10] += 1;
      for (uint32_t g = 0; g < generations; ++g) {
        ASSERT_NEAR(got[g], static_cast<double>(call) * shares[g] / total, generations);
      }
      while (!busy.empty() && random.one_in(2)) {
        std::swap(busy[random.below(static_cast<uint32_t>(busy.size()))], busy.back());
        dispatcher.release(busy.back(), Time{1h});
        busy.pop_back();
      }
    }
  }
}

}  // namespace
}  // namespace legated
