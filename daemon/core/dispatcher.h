#pragma once
// Which worker gets which incoming call: the leases of one server, their pools, and the calls that
// wait (PROTOCOL.md, section 10, REGISTER). Pure; time is passed in. Owned by its server, used on
// the loop's thread.
//
// A pool whose last active lease has left stays for the hold time, *departed*: its calls are held.

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "daemon/core/ids.h"
#include "daemon/core/pool.h"

namespace legated {

class Dispatcher {
 public:
  using Time = DispatchTime;

  struct Limits {
    size_t queue = 0;              // calls that wait in one pool
    DispatchDuration overload{0};  // the newest go first when the oldest has waited longer; 0: never
  };

  struct Offer {
    DispatchId call;
    LeaseId lease;
    uint64_t dispatched;  // calls the lease has been given, this one too
  };

  enum class Enqueued { queued, unimplemented, queue_full, rejected_by_all };

  /// A call that comes, or comes back. `method` must stay while the call waits.
  struct Call {
    DispatchId id;
    std::string_view method;
    Time deadline = Time::max();
    uint64_t sticky = 0;  // sticky_hash() of its value; 0: none
  };

  explicit Dispatcher(Limits limits) : limits_(limits) {}

  /// Never 0.
  static uint64_t sticky_hash(std::string_view value);

  /// The patterns have passed refuse_pattern().
  void add_lease(LeaseId lease, Registration registration);

  /// Calls offered under the lease are the caller's to bring back with requeue(). Waiting calls
  /// that no other lease matches, or only leases that have rejected them, are held for the next
  /// generation of the worker, and so are new ones until take_held_since() has passed.
  void remove_lease(LeaseId lease, Time now);

  /// A suspect or draining lease gets nothing, as if it had been removed, but stays known, and its
  /// slots are counted. One that drains does so for good.
  void set_suspect(LeaseId lease, bool suspect, Time now);
  void drain_lease(LeaseId lease, Time now);

  Enqueued enqueue(const Call& call, Time now);

  /// A call that was offered and not accepted waits again, first in its pool, and is not offered
  /// to the leases that have rejected it. The pool's bound does not apply.
  Enqueued requeue(const Call& call, std::vector<LeaseId> rejected, Time now);

  /// The call is no longer waiting. Harmless when it was not.
  void remove(DispatchId call);

  /// A call under the lease has ended.
  void release(LeaseId lease, Time now);

  /// The next call to hand out, its slot taken; nullopt when no waiting call has a worker with a
  /// free slot.
  std::optional<Offer> next(Time now);

  /// Calls that have been held since `since` or longer; they wait no more. Pools whose last lease
  /// left before `since` are forgotten.
  std::vector<DispatchId> take_held_since(Time since);

  size_t waiting() const { return waiting_.size(); }
  /// Since when the oldest held call is held, or the pool that departed first has no lease: for
  /// a timer that ends in take_held_since().
  std::optional<Time> held_since() const;

  /// The pattern of the pool that the method's calls wait in; empty: of none.
  std::string_view pool_of(std::string_view method) const;

  const std::map<LeaseId, LeaseState>& leases() const { return leases_; }
  /// In the order of their patterns; `oldest` is how long the oldest call waits in it.
  struct PoolReport {
    const Pool* pool;
    DispatchDuration oldest{0};
  };
  std::vector<PoolReport> pools(Time now) const;

 private:
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  struct Match {
    Pool* pool = nullptr;      // with active leases
    Pool* departed = nullptr;  // when there is none
  };

  Match match(std::string_view method) const;
  Enqueued place(const Call& call, std::vector<LeaseId> rejected, bool returned, Time now);
  void enter(WaitingCall& call, Pool& pool);
  void hold(WaitingCall& call, Pool* pool, Time now);
  void count_against(WaitingCall& call, Pool* pool);
  void join_pools(LeaseState& lease);
  void leave_pools(LeaseState& lease, Time now);
  void place_held();

  const Limits limits_;
  std::map<LeaseId, LeaseState> leases_;
  size_t active_leases_ = 0;
  // By pattern without its '*': what a method begins with, for the lookup.
  mutable std::unordered_map<std::string, Pool, Hash, std::equal_to<>> pools_;
  std::deque<Pool*> turns_;      // those with calls to hand out: pools that share slots take turns
  std::vector<Pool*> departed_;  // in the order of their departure
  std::unordered_map<DispatchId, WaitingCall> waiting_;
  Line held_;             // waiting while no lease matches, in the order of `since`
  size_t poolless_ = 0;   // calls that wait though no pool, departed or not, matches
  uint64_t next_order_ = 1;
};

}  // namespace legated
