#pragma once
// One pool of a dispatcher: the leases with one pattern, by generation, and the calls that wait for
// them. Here is which lease gets a call and which call goes first (PROTOCOL.md, section 10,
// REGISTER). Pure; time is passed in. Owned by its dispatcher.

#include <chrono>
#include <cstdint>
#include <list>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/core/ids.h"

namespace legated {

using DispatchTime = std::chrono::steady_clock::time_point;
using DispatchDuration = std::chrono::steady_clock::duration;

/// What a REGISTER says. `patterns` have passed refuse_pattern; slots and weight are at
/// least 1.
struct Registration {
  std::vector<std::string> patterns;
  uint32_t slots = 1;
  uint16_t weight = 100;
  std::string generation{};
  uint16_t share = 100;
};

/// A lease, in all its pools.
struct LeaseState {
  LeaseId id{};
  Registration registered;
  uint32_t busy = 0;
  uint64_t dispatched = 0;
  DispatchTime idle_since{};
  bool suspect = false;
  bool draining = false;

  bool active() const { return !suspect && !draining; }
  bool free() const { return busy < registered.slots; }
};

class Line;
class Pool;

/// A call that waits. Stays where it is in memory.
struct WaitingCall {
  DispatchId call;
  std::string_view method;
  DispatchTime deadline;
  uint64_t sticky;                // hash of its sticky value; 0: none
  std::vector<LeaseId> rejected;  // leases that gave it back
  DispatchTime since;             // when it began to wait, or to be held
  uint64_t order;                 // 0: came back, and goes first; only those have been rejected
  Pool* pool = nullptr;           // whose bound it counts against
  Line* line = nullptr;           // null: dropped, its deadline has passed
  WaitingCall* before = nullptr;  // in the line
  WaitingCall* behind = nullptr;

  bool rejected_by(LeaseId lease) const;
};

/// Calls in the order of their `order`, linked through themselves.
class Line {
 public:
  bool empty() const { return first_ == nullptr; }
  WaitingCall* first() const { return first_; }
  WaitingCall* last() const { return last_; }

  void insert(WaitingCall& call);
  /// Whatever its order.
  void push_back(WaitingCall& call);
  void erase(WaitingCall& call);

  /// Calls `visit` for those in the line, of which it may erase the one it is given, in the order
  /// in which they are to be served, until it returns true. The newest go first when the oldest
  /// has waited longer than `overload`; those that came back before all.
  template <class Visit>
  void in_turn(DispatchTime now, DispatchDuration overload, Visit visit);

 private:
  void link(WaitingCall& call, WaitingCall* before);

  WaitingCall* first_ = nullptr;
  WaitingCall* last_ = nullptr;
};

class Pool {
 public:
  struct Generation {
    std::string label;
    uint32_t share = 0;
    uint64_t turn = 0;  // virtual time at which its next call is due
    uint64_t dispatched = 0;
    uint32_t leases = 0;
  };

  /// A lease of this pool.
  struct Member {
    LeaseState* lease;
    Generation* generation;
    Line own;  // calls whose sticky value is this lease's
  };

  struct Choice {
    WaitingCall* call = nullptr;
    Member* member = nullptr;
  };

  explicit Pool(std::string pattern) : pattern_(std::move(pattern)) {}

  const std::string& pattern() const { return pattern_; }
  const std::list<Generation>& generations() const { return generations_; }
  const std::list<Member>& members() const { return members_; }

  void join(LeaseState& lease);
  /// Its own calls must be placed anew: they are in no line then, and are returned in order.
  std::vector<WaitingCall*> leave(LeaseId lease);

  /// Whether no lease may have the call.
  bool hopeless(const WaitingCall& call) const;
  /// Into the line that it belongs to. Not a hopeless one.
  void enter(WaitingCall& call);
  bool idle() const { return common_.empty() && sticky_waiting_ == 0; }
  /// Every call out of every line, in order.
  std::vector<WaitingCall*> take_all();
  /// The hopeless ones out of their lines, in order.
  std::vector<WaitingCall*> take_hopeless();
  /// Out of its line, if it is in one of this pool.
  void withdraw(WaitingCall& call);

  /// The next call and who gets it, both still untouched; nothing when no call that waits has a
  /// lease with a free slot. Calls whose deadline has passed leave their line on the way.
  Choice next(DispatchTime now, DispatchDuration overload);
  /// Settles the choice: the call leaves its line, the lease has a slot less.
  void hand_out(const Choice& choice);

  size_t waiting = 0;          // calls that count against its bound, held ones too
  bool in_turn = false;        // the dispatcher's: it is among those with calls to hand out
  DispatchTime departed{};     // the dispatcher's: when its last lease left

 private:
  Member* choose(const WaitingCall& call);
  Member* own_member(const WaitingCall& call);
  void follow_shares();

  const std::string pattern_;
  std::list<Generation> generations_;
  std::list<Member> members_;
  Line common_;
  size_t sticky_waiting_ = 0;
  uint64_t virtual_now_ = 0;
};

}  // namespace legated
