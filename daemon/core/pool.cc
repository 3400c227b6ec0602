#include "daemon/core/pool.h"

#include <algorithm>
#include <cmath>

namespace legated {
namespace {

// Virtual time that a call of a generation with share 1 takes. Large enough for the whole shares'
// quotients to be exact to a thousandth, small enough for 10^11 calls.
constexpr uint64_t kTurn = uint64_t{1} << 26;

uint64_t mixed(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

/// Weighted rendezvous hashing: of all leases the one with the highest score has the value.
double score(uint64_t sticky, LeaseId lease, uint64_t weight) {
  const uint64_t hash = mixed(sticky ^ mixed(raw(lease) + 0x9e3779b97f4a7c15U));
  const double uniform = (static_cast<double>(hash >> 11) + 0.5) * 0x1p-53;
  return -static_cast<double>(weight) / std::log(uniform);
}

bool less_loaded(const LeaseState& a, const LeaseState& b) {
  const uint64_t load_a = uint64_t{a.busy} * b.registered.weight;
  const uint64_t load_b = uint64_t{b.busy} * a.registered.weight;
  return load_a < load_b || (load_a == load_b && a.idle_since < b.idle_since);
}

}  // namespace

bool WaitingCall::rejected_by(LeaseId lease) const {
  return std::find(rejected.begin(), rejected.end(), lease) != rejected.end();
}

// ---- Line --------------------------------------------------------------------------------------

void Line::link(WaitingCall& call, WaitingCall* before) {
  call.line = this;
  call.before = before;
  call.behind = before == nullptr ? first_ : before->behind;
  (call.before == nullptr ? first_ : call.before->behind) = &call;
  (call.behind == nullptr ? last_ : call.behind->before) = &call;
}

void Line::insert(WaitingCall& call) {
  if (call.order == 0) return link(call, nullptr);
  WaitingCall* before = last_;
  while (before != nullptr && before->order > call.order) before = before->before;
  link(call, before);
}

void Line::push_back(WaitingCall& call) { link(call, last_); }

void Line::erase(WaitingCall& call) {
  (call.before == nullptr ? first_ : call.before->behind) = call.behind;
  (call.behind == nullptr ? last_ : call.behind->before) = call.before;
  call.line = nullptr;
  call.before = call.behind = nullptr;
}

template <class Visit>
void Line::in_turn(DispatchTime now, DispatchDuration overload, Visit visit) {
  WaitingCall* call = first_;
  while (call != nullptr && call->order == 0) {
    WaitingCall* const behind = call->behind;
    if (visit(*call)) return;
    call = behind;
  }
  const bool newest = call != nullptr && overload.count() > 0 && now - call->since > overload;
  if (newest) call = last_;
  while (call != nullptr && call->order != 0) {
    WaitingCall* const following = newest ? call->before : call->behind;
    if (visit(*call)) return;
    call = following;
  }
}

// ---- Leases ------------------------------------------------------------------------------------

void Pool::join(LeaseState& lease) {
  const Registration& registered = lease.registered;
  auto generation = std::find_if(generations_.begin(), generations_.end(), [&](const auto& each) {
    return each.label == registered.generation;
  });
  if (generation == generations_.end()) {
    generation = generations_.insert(generations_.end(), Generation{registered.generation});
  }
  generation->share = registered.share;
  ++generation->leases;
  members_.push_back({&lease, &*generation, {}});
  follow_shares();
}

std::vector<WaitingCall*> Pool::leave(LeaseId lease) {
  const auto member = std::find_if(members_.begin(), members_.end(),
                                   [&](const auto& each) { return each.lease->id == lease; });
  std::vector<WaitingCall*> own;
  if (member == members_.end()) return own;
  while (WaitingCall* const call = member->own.first()) {
    withdraw(*call);
    own.push_back(call);
  }
  if (--member->generation->leases == 0) {
    generations_.remove_if([&](const auto& each) { return &each == member->generation; });
  }
  members_.erase(member);
  return own;
}

/// Sticky calls that wait go where their value belongs now.
void Pool::follow_shares() {
  if (sticky_waiting_ == 0) return;
  std::vector<WaitingCall*> moving;
  for (Member& member : members_) {
    for (WaitingCall* call = member.own.first(); call != nullptr; call = call->behind) {
      if (own_member(*call) != &member) moving.push_back(call);
    }
  }
  for (WaitingCall* const call : moving) {
    withdraw(*call);
    enter(*call);
  }
}

// ---- Lines -------------------------------------------------------------------------------------

bool Pool::hopeless(const WaitingCall& call) const {
  return std::all_of(members_.begin(), members_.end(),
                     [&](const auto& member) { return call.rejected_by(member.lease->id); });
}

void Pool::enter(WaitingCall& call) {
  if (call.sticky == 0) return common_.insert(call);
  own_member(call)->own.insert(call);
  ++sticky_waiting_;
}

void Pool::withdraw(WaitingCall& call) {
  if (call.line == nullptr) return;
  if (call.line != &common_) --sticky_waiting_;
  call.line->erase(call);
}

std::vector<WaitingCall*> Pool::take_all() {
  std::vector<WaitingCall*> all;
  const auto take = [&](Line& line) {
    while (WaitingCall* const call = line.first()) {
      withdraw(*call);
      all.push_back(call);
    }
  };
  take(common_);
  for (Member& member : members_) take(member.own);
  std::stable_sort(all.begin(), all.end(), [](auto* a, auto* b) { return a->order < b->order; });
  return all;
}

std::vector<WaitingCall*> Pool::take_hopeless() {
  std::vector<WaitingCall*> all;
  const auto take = [&](Line& line) {
    for (WaitingCall* call = line.first(); call != nullptr && call->order == 0;) {
      WaitingCall* const behind = call->behind;
      if (hopeless(*call)) {
        withdraw(*call);
        all.push_back(call);
      }
      call = behind;
    }
  };
  take(common_);
  for (Member& member : members_) take(member.own);
  return all;
}

// ---- Choosing ----------------------------------------------------------------------------------

Pool::Member* Pool::own_member(const WaitingCall& call) {
  Member* best = nullptr;
  double best_score = 0;
  bool best_stands_by = false;
  for (Member& member : members_) {
    if (call.rejected_by(member.lease->id)) continue;
    const bool stands_by = member.generation->share == 0;
    if (best != nullptr && stands_by && !best_stands_by) continue;
    const uint64_t share = stands_by ? 1 : member.generation->share;
    const double own = score(call.sticky, member.lease->id, share * member.lease->registered.weight);
    if (best != nullptr && stands_by == best_stands_by && own <= best_score) continue;
    best = &member;
    best_score = own;
    best_stands_by = stands_by;
  }
  return best;
}

Pool::Member* Pool::choose(const WaitingCall& call) {
  Member* best = nullptr;
  uint64_t best_turn = 0;
  for (Member& member : members_) {
    if (!member.lease->free() || call.rejected_by(member.lease->id)) continue;
    const Generation& generation = *member.generation;
    // One that had no free slot for a while makes up for nothing.
    const uint64_t turn = std::max(generation.turn, virtual_now_);
    const bool first = best == nullptr;
    if (!first && &generation == best->generation) {
      if (less_loaded(*member.lease, *best->lease)) best = &member;
      continue;
    }
    const bool stands_by = generation.share == 0;
    const bool best_stands_by = !first && best->generation->share == 0;
    if (first || (best_stands_by && !stands_by) ||
        (best_stands_by == stands_by && turn < best_turn)) {
      best = &member;
      best_turn = turn;
    }
  }
  return best;
}

Pool::Choice Pool::next(DispatchTime now, DispatchDuration overload) {
  Choice choice;
  const bool any_free = std::any_of(members_.begin(), members_.end(),
                                    [](const auto& member) { return member.lease->free(); });
  if (!any_free) return choice;
  const auto try_line = [&](Line& line, auto member_for) {
    line.in_turn(now, overload, [&](WaitingCall& call) {
      if (call.deadline <= now) {  // gRPC is about to say so, and no worker shall see it
        withdraw(call);
        return false;
      }
      Member* const member = member_for(call);
      if (member == nullptr) return false;  // only leases that gave it back are free
      if (choice.call == nullptr || call.order < choice.call->order) choice = {&call, member};
      return true;
    });
  };
  try_line(common_, [&](const WaitingCall& call) { return choose(call); });
  if (sticky_waiting_ == 0) return choice;
  for (Member& member : members_) {
    if (member.lease->free()) try_line(member.own, [&](const WaitingCall&) { return &member; });
  }
  return choice;
}

void Pool::hand_out(const Choice& choice) {
  withdraw(*choice.call);
  LeaseState& lease = *choice.member->lease;
  ++lease.busy;
  ++lease.dispatched;
  Generation& generation = *choice.member->generation;
  ++generation.dispatched;
  if (generations_.size() == 1) return;
  generation.turn = std::max(generation.turn, virtual_now_);
  // Those who stand by share alike, in a time of their own: it tells nothing about the others.
  if (generation.share > 0) virtual_now_ = generation.turn;
  generation.turn += kTurn / std::max<uint32_t>(generation.share, 1);
}

}  // namespace legated
