#include "daemon/core/dispatcher.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <utility>

namespace legated {
namespace {

std::string_view key_of(std::string_view pattern) {
  return pattern.ends_with('*') ? pattern.substr(0, pattern.size() - 1) : pattern;
}

}  // namespace

uint64_t Dispatcher::sticky_hash(std::string_view value) {
  uint64_t hash = 0xcbf29ce484222325U;  // FNV-1a
  for (const char c : value) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return std::max<uint64_t>(hash, 1);
}

// ---- Leases ------------------------------------------------------------------------------------

void Dispatcher::add_lease(LeaseId lease, Registration registration) {
  std::sort(registration.patterns.begin(), registration.patterns.end());
  const auto twice = std::unique(registration.patterns.begin(), registration.patterns.end());
  registration.patterns.erase(twice, registration.patterns.end());
  LeaseState& state = leases_[lease];
  state.id = lease;
  state.registered = std::move(registration);
  join_pools(state);
}

void Dispatcher::remove_lease(LeaseId lease, Time now) {
  const auto found = leases_.find(lease);
  if (found == leases_.end()) return;
  if (found->second.active()) leave_pools(found->second, now);
  leases_.erase(found);
}

void Dispatcher::set_suspect(LeaseId lease, bool suspect, Time now) {
  LeaseState& state = leases_.at(lease);
  if (state.suspect == suspect) return;
  if (state.active()) leave_pools(state, now);
  state.suspect = suspect;
  if (state.active()) join_pools(state);
}

void Dispatcher::drain_lease(LeaseId lease, Time now) {
  LeaseState& state = leases_.at(lease);
  if (state.active()) leave_pools(state, now);
  state.draining = true;
}

void Dispatcher::join_pools(LeaseState& lease) {
  ++active_leases_;
  for (const std::string& pattern : lease.registered.patterns) {
    Pool& pool = pools_.try_emplace(std::string(key_of(pattern)), pattern).first->second;
    std::erase(departed_, &pool);
    pool.join(lease);
  }
  place_held();
}

/// What was held may have a worker now; what still matches nothing waits on for its hold time.
void Dispatcher::place_held() {
  for (WaitingCall* call = held_.first(); call != nullptr;) {
    WaitingCall* const behind = call->behind;
    Pool* const pool = match(call->method).pool;
    if (pool != nullptr && !pool->hopeless(*call)) {
      held_.erase(*call);
      enter(*call, *pool);
    }
    call = behind;
  }
}

void Dispatcher::leave_pools(LeaseState& lease, Time now) {
  --active_leases_;
  std::vector<WaitingCall*> homeless;
  for (const std::string& pattern : lease.registered.patterns) {
    Pool& pool = pools_.find(key_of(pattern))->second;
    const auto own = pool.leave(lease.id);
    if (pool.members().empty()) {
      const auto others = pool.take_all();
      homeless.insert(homeless.end(), own.begin(), own.end());
      homeless.insert(homeless.end(), others.begin(), others.end());
      pool.departed = now;
      departed_.push_back(&pool);
      if (std::exchange(pool.in_turn, false)) std::erase(turns_, &pool);
      continue;
    }
    for (WaitingCall* const call : own) {
      if (pool.hopeless(*call)) {
        hold(*call, &pool, now);
      } else {
        pool.enter(*call);
      }
    }
    for (WaitingCall* const call : pool.take_hopeless()) hold(*call, &pool, now);
  }
  for (WaitingCall* const call : homeless) {
    call->rejected.clear();
    const Match found = match(call->method);
    if (found.pool != nullptr) {
      enter(*call, *found.pool);
    } else {
      hold(*call, found.departed, now);
    }
  }
}

// ---- Calls -------------------------------------------------------------------------------------

Dispatcher::Match Dispatcher::match(std::string_view method) const {
  const size_t slash = method.rfind('/');
  const std::array<std::string_view, 3> keys = {
      method, method.substr(0, slash == std::string_view::npos ? 0 : slash + 1), {}};
  Match match;
  for (const std::string_view key : keys) {
    const auto found = pools_.find(key);
    if (found == pools_.end()) continue;
    if (!found->second.members().empty()) return {.pool = &found->second};
    if (match.departed == nullptr) match.departed = &found->second;
  }
  return match;
}

void Dispatcher::count_against(WaitingCall& call, Pool* pool) {
  --(call.pool == nullptr ? poolless_ : call.pool->waiting);
  call.pool = pool;
  ++(call.pool == nullptr ? poolless_ : call.pool->waiting);
}

void Dispatcher::enter(WaitingCall& call, Pool& pool) {
  count_against(call, &pool);
  pool.enter(call);
  if (std::exchange(pool.in_turn, true)) return;
  turns_.push_back(&pool);
}

void Dispatcher::hold(WaitingCall& call, Pool* pool, Time now) {
  count_against(call, pool);
  call.since = now;
  held_.push_back(call);
}

Dispatcher::Enqueued Dispatcher::place(const Call& call, std::vector<LeaseId> rejected,
                                       bool returned, Time now) {
  const Match found = match(call.method);
  Pool* const pool = found.pool != nullptr ? found.pool : found.departed;
  if (pool == nullptr && active_leases_ > 0) return Enqueued::unimplemented;
  if (!returned && (pool == nullptr ? poolless_ : pool->waiting) >= limits_.queue) {
    return Enqueued::queue_full;
  }
  WaitingCall& waiting = waiting_[call.id];
  waiting = {.call = call.id,
             .method = call.method,
             .deadline = call.deadline,
             .sticky = call.sticky,
             .rejected = std::move(rejected),
             .since = now,
             .order = returned ? 0 : next_order_++};
  ++poolless_;
  if (found.pool == nullptr) {
    hold(waiting, pool, now);
  } else if (!returned || !pool->hopeless(waiting)) {
    enter(waiting, *pool);
  } else {
    --poolless_;
    waiting_.erase(call.id);
    return Enqueued::rejected_by_all;
  }
  return Enqueued::queued;
}

Dispatcher::Enqueued Dispatcher::enqueue(const Call& call, Time now) {
  return place(call, {}, false, now);
}

Dispatcher::Enqueued Dispatcher::requeue(const Call& call, std::vector<LeaseId> rejected,
                                         Time now) {
  return place(call, std::move(rejected), true, now);
}

void Dispatcher::remove(DispatchId call) {
  const auto found = waiting_.find(call);
  if (found == waiting_.end()) return;
  WaitingCall& waiting = found->second;
  if (waiting.line == &held_) {
    held_.erase(waiting);
  } else if (waiting.pool != nullptr) {
    waiting.pool->withdraw(waiting);
  }
  --(waiting.pool == nullptr ? poolless_ : waiting.pool->waiting);
  waiting_.erase(found);
}

void Dispatcher::release(LeaseId lease, Time now) {
  const auto found = leases_.find(lease);
  if (found == leases_.end()) return;
  assert(found->second.busy > 0);
  --found->second.busy;
  found->second.idle_since = now;
}

std::optional<Dispatcher::Offer> Dispatcher::next(Time now) {
  for (size_t tried = 0; tried < turns_.size();) {
    Pool& pool = *turns_[tried];
    const Pool::Choice choice = pool.next(now, limits_.overload);
    if (choice.call == nullptr && !pool.idle()) {
      ++tried;
      continue;
    }
    turns_.erase(turns_.begin() + static_cast<std::ptrdiff_t>(tried));
    pool.in_turn = false;
    if (choice.call == nullptr) continue;
    pool.hand_out(choice);
    const LeaseState& lease = *choice.member->lease;
    const Offer offer{choice.call->call, lease.id, lease.dispatched};
    --pool.waiting;
    waiting_.erase(offer.call);
    if (!pool.idle()) {
      pool.in_turn = true;
      turns_.push_back(&pool);
    }
    return offer;
  }
  return std::nullopt;
}

// ---- Held --------------------------------------------------------------------------------------

std::vector<DispatchId> Dispatcher::take_held_since(Time since) {
  std::vector<DispatchId> expired;
  while (!held_.empty() && held_.first()->since <= since) {
    expired.push_back(held_.first()->call);
    remove(expired.back());
  }
  while (!departed_.empty() && departed_.front()->departed <= since) {
    Pool* const pool = departed_.front();
    departed_.erase(departed_.begin());
    // Calls that came later wait their own time, and dropped ones for gRPC.
    if (pool->waiting > 0) {
      for (auto& [id, call] : waiting_) {
        if (call.pool == pool) count_against(call, nullptr);
      }
    }
    pools_.erase(std::string(key_of(pool->pattern())));
  }
  return expired;
}

std::optional<Dispatcher::Time> Dispatcher::held_since() const {
  std::optional<Time> oldest;
  if (!held_.empty()) oldest = held_.first()->since;
  if (!departed_.empty())
    oldest = std::min(oldest.value_or(Time::max()), departed_.front()->departed);
  return oldest;
}

// ---- Reports -----------------------------------------------------------------------------------

std::string_view Dispatcher::pool_of(std::string_view method) const {
  const Match found = match(method);
  const Pool* const pool = found.pool != nullptr ? found.pool : found.departed;
  return pool == nullptr ? std::string_view{} : pool->pattern();
}

std::vector<Dispatcher::PoolReport> Dispatcher::pools(Time now) const {
  std::unordered_map<const Pool*, DispatchDuration> oldest;
  for (const auto& [id, call] : waiting_) {
    DispatchDuration& waited = oldest[call.pool];
    waited = std::max(waited, now - call.since);
  }
  std::vector<PoolReport> reports;
  for (const auto& [key, pool] : pools_) reports.push_back({&pool, oldest[&pool]});
  std::sort(reports.begin(), reports.end(), [](const auto& a, const auto& b) {
    return a.pool->pattern() < b.pool->pattern();
  });
  return reports;
}

}  // namespace legated
