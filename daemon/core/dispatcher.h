#pragma once
// Which worker gets which incoming call: leases, slots and the bounded queue of one server
// (PROTOCOL.md, section 10, REGISTER). Pure; time is passed in. Owned by its server, used on the
// loop's thread.

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "daemon/core/ids.h"

namespace legated {

class Dispatcher {
 public:
  using Time = std::chrono::steady_clock::time_point;

  struct Offer {
    DispatchId call;
    LeaseId lease;
  };

  enum class Enqueued { queued, unimplemented, queue_full, rejected_by_all };

  /// At most `queue_limit` calls wait at once.
  explicit Dispatcher(size_t queue_limit) : queue_limit_(queue_limit) {}

  /// `patterns` have passed refuse_pattern; `slots` is at least 1.
  void add_lease(LeaseId lease, const std::vector<std::string>& patterns, uint32_t slots);

  /// Calls offered under the lease are the caller's to bring back with requeue(). Waiting calls
  /// that no other lease matches, or only leases that have rejected them, are held for the next
  /// generation of the worker, and so are new ones until take_held_since() has passed.
  void remove_lease(LeaseId lease, Time now);

  /// A new call. `deadline` is Time::max() for none.
  Enqueued enqueue(DispatchId call, std::string_view method, Time deadline, Time now);

  /// A call that was offered and not accepted waits again, first in its queue, and is not offered
  /// to the leases that have rejected it. The queue's bound does not apply.
  Enqueued requeue(DispatchId call, std::string_view method, Time deadline,
                   std::vector<LeaseId> rejected, Time now);

  /// The call is no longer waiting. Harmless when it was not.
  void remove(DispatchId call);

  /// A call under the lease has ended.
  void release(LeaseId lease, Time now);

  /// The next call to hand out, its slot taken; nullopt when no waiting call has a worker with a
  /// free slot.
  std::optional<Offer> next(Time now);

  /// Takes no more calls from the queue when true: the server drains.
  void pause(bool paused) { paused_ = paused; }

  /// Calls that have been held since `since` or longer; they wait no more. Patterns whose last
  /// lease left before `since` are forgotten.
  std::vector<DispatchId> take_held_since(Time since);

  size_t waiting() const { return waiting_.size(); }
  /// Since when the oldest held call is held, or the pattern that departed first has no lease: for
  /// a timer that ends in take_held_since().
  std::optional<Time> held_since() const;

  struct LeaseState {
    std::vector<std::string> patterns;
    uint32_t slots = 1;
    uint32_t busy = 0;
    uint64_t dispatched = 0;
    Time idle_since{};
  };
  const std::map<LeaseId, LeaseState>& leases() const { return leases_; }

 private:
  struct Waiting {
    std::string method;
    Time deadline;
    Time since;                     // when it began to wait in this queue
    std::vector<LeaseId> rejected;  // leases that gave it back
    bool returned;                  // first in its queue
    std::string queue;              // the pattern it waits for; empty: held
  };

  struct Pool {
    std::vector<LeaseId> leases;
    std::deque<DispatchId> queue;
  };

  template <class Map>
  static std::optional<std::string> match(const Map& patterns, std::string_view method);
  Enqueued place(DispatchId call, Waiting waiting);
  static bool hopeless(const Pool& pool, const Waiting& waiting);
  static bool contains(const std::vector<LeaseId>& leases, LeaseId lease);
  std::optional<Offer> take_from(Pool& pool, Time now);

  size_t queue_limit_;
  bool paused_ = false;
  std::map<LeaseId, LeaseState> leases_;
  std::map<std::string, Pool, std::less<>>
      pools_;              // by pattern; a pool exists while a lease has its pattern
  std::string last_pool_;  // the pool served last: pools that share slots take turns
  std::map<std::string, Time, std::less<>>
      departed_;                 // patterns without a lease any more, and since when
  std::deque<DispatchId> held_;  // waiting while no lease matches, in the order of `since`
  std::unordered_map<DispatchId, Waiting> waiting_;
};

}  // namespace legated
