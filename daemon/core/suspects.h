#pragma once
// Leases whose worker seems to hang: a call of theirs was cancelled, and no STATUS came in time
// (PROTOCOL.md, section 10, RETIRE). Pure; time is passed in. Owned by its server, used on the
// loop's thread.

#include <chrono>
#include <list>
#include <map>
#include <optional>
#include <unordered_map>
#include <vector>

#include "daemon/core/ids.h"

namespace legated {

class Suspects {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Duration = std::chrono::steady_clock::duration;

  /// `patience` is how long a cancelled call may wait for its STATUS; 0: for ever.
  explicit Suspects(Duration patience) : patience_(patience) {}

  /// The call was cancelled, and the worker has still to answer it.
  void on_cancelled(DispatchId call, LeaseId lease, Time now);

  /// The call has been answered. True when its lease was suspect, and is no more.
  bool on_answered(DispatchId call);

  /// The lease has ended: it is suspect no more, whatever its calls do.
  void forget(LeaseId lease);

  /// Leases that have become suspect by now.
  std::vector<LeaseId> take_new(Time now);

  /// When take_new() may have something.
  std::optional<Time> due() const;

 private:
  struct Cancelled {
    DispatchId call;
    LeaseId lease;
    Time due;
  };

  const Duration patience_;
  std::list<Cancelled> in_time_;  // in the order of `due`
  std::unordered_map<DispatchId, std::list<Cancelled>::iterator> calls_;  // of in_time_
  std::unordered_map<DispatchId, LeaseId> overdue_;
  std::map<LeaseId, size_t> suspects_;  // calls of theirs that are overdue
};

}  // namespace legated
