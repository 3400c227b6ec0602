#include "daemon/core/dispatcher.h"

#include <algorithm>
#include <cassert>

namespace legated {
namespace {

std::string service_pattern(std::string_view method) {
  const size_t slash = method.rfind('/');
  return slash == std::string_view::npos ? std::string{}
                                         : std::string(method.substr(0, slash + 1)) + "*";
}

}  // namespace

template <class Map>
std::optional<std::string> Dispatcher::match(const Map& patterns, std::string_view method) {
  if (patterns.contains(method)) return std::string(method);
  if (std::string service = service_pattern(method); patterns.contains(service)) return service;
  if (patterns.contains("*")) return "*";
  return std::nullopt;
}

void Dispatcher::add_lease(LeaseId lease, const std::vector<std::string>& patterns,
                           uint32_t slots) {
  leases_[lease] = {.patterns = patterns, .slots = slots};
  for (const std::string& pattern : patterns) {
    departed_.erase(pattern);
    auto& members = pools_[pattern].leases;
    if (!contains(members, lease)) members.push_back(lease);
  }
  // What was held may have a worker now; what still matches nothing waits on for its hold time.
  std::deque<DispatchId> held;
  held.swap(held_);
  for (const DispatchId call : held) {
    const auto found = waiting_.find(call);
    if (found == waiting_.end()) continue;
    Waiting& waiting = found->second;
    const auto pattern = match(pools_, waiting.method);
    Pool* const pool = pattern ? &pools_.find(*pattern)->second : nullptr;
    if (pool == nullptr || hopeless(*pool, waiting)) {
      held_.push_back(call);
      continue;
    }
    waiting.queue = *pattern;
    if (waiting.returned) {
      pool->queue.push_front(call);
    } else {
      pool->queue.push_back(call);
    }
  }
}

void Dispatcher::remove_lease(LeaseId lease, Time now) {
  const auto state = leases_.find(lease);
  if (state == leases_.end()) return;
  const std::vector<std::string> patterns = std::move(state->second.patterns);
  leases_.erase(state);

  std::vector<DispatchId> homeless;
  for (const std::string& pattern : patterns) {
    const auto pool = pools_.find(pattern);
    if (pool == pools_.end()) continue;
    std::erase(pool->second.leases, lease);
    if (!pool->second.leases.empty()) {
      std::erase_if(pool->second.queue, [&](DispatchId call) {
        Waiting& waiting = waiting_.find(call)->second;
        if (!hopeless(pool->second, waiting)) return false;
        waiting.queue.clear();
        waiting.since = now;
        held_.push_back(call);
        return true;
      });
      continue;
    }
    homeless.insert(homeless.end(), pool->second.queue.begin(), pool->second.queue.end());
    pools_.erase(pool);
    departed_[pattern] = now;
  }
  for (const DispatchId call : homeless) {
    const auto found = waiting_.find(call);
    Waiting waiting = std::move(found->second);
    waiting_.erase(found);
    waiting.since = now;
    waiting.rejected.clear();
    waiting.returned = false;
    place(call, std::move(waiting));  // held at the least: its pattern has just departed
  }
}

bool Dispatcher::hopeless(const Pool& pool, const Waiting& waiting) {
  return std::all_of(pool.leases.begin(), pool.leases.end(),
                     [&](LeaseId lease) { return contains(waiting.rejected, lease); });
}

Dispatcher::Enqueued Dispatcher::place(DispatchId call, Waiting waiting) {
  bool in_front = false;
  std::deque<DispatchId>* queue = &held_;
  if (const auto pattern = match(pools_, waiting.method)) {
    Pool& pool = pools_.find(*pattern)->second;
    if (hopeless(pool, waiting)) return Enqueued::rejected_by_all;
    waiting.queue = *pattern;
    queue = &pool.queue;
    in_front = waiting.returned;
  } else if (!leases_.empty() && !match(departed_, waiting.method)) {
    return Enqueued::unimplemented;
  } else {
    waiting.queue.clear();
  }
  waiting_[call] = std::move(waiting);
  if (in_front) {
    queue->push_front(call);
  } else {
    queue->push_back(call);
  }
  return Enqueued::queued;
}

Dispatcher::Enqueued Dispatcher::enqueue(DispatchId call, std::string_view method, Time deadline,
                                         Time now) {
  if (waiting_.size() >= queue_limit_) return Enqueued::queue_full;
  return place(call, {std::string(method), deadline, now, {}, false, {}});
}

Dispatcher::Enqueued Dispatcher::requeue(DispatchId call, std::string_view method, Time deadline,
                                         std::vector<LeaseId> rejected, Time now) {
  return place(call, {std::string(method), deadline, now, std::move(rejected), true, {}});
}

bool Dispatcher::contains(const std::vector<LeaseId>& leases, LeaseId lease) {
  return std::find(leases.begin(), leases.end(), lease) != leases.end();
}

void Dispatcher::remove(DispatchId call) {
  const auto found = waiting_.find(call);
  if (found == waiting_.end()) return;
  if (found->second.queue.empty()) {
    std::erase(held_, call);
  } else if (const auto pool = pools_.find(found->second.queue); pool != pools_.end()) {
    std::erase(pool->second.queue, call);
  }
  waiting_.erase(found);
}

void Dispatcher::release(LeaseId lease, Time now) {
  const auto found = leases_.find(lease);
  if (found == leases_.end()) return;
  assert(found->second.busy > 0);
  --found->second.busy;
  found->second.idle_since = now;
}

std::optional<Dispatcher::Offer> Dispatcher::take_from(Pool& pool, Time now) {
  for (auto position = pool.queue.begin(); position != pool.queue.end(); ++position) {
    const auto call = waiting_.find(*position);
    // Past its deadline: gRPC is about to say so, and no worker shall see it.
    if (call->second.deadline <= now) continue;
    const std::vector<LeaseId>& rejected = call->second.rejected;
    std::map<LeaseId, LeaseState>::iterator best = leases_.end();
    bool any_free = false;
    for (const LeaseId id : pool.leases) {
      const auto lease = leases_.find(id);
      const uint32_t free = lease->second.slots - lease->second.busy;
      if (free == 0) continue;
      any_free = true;
      if (contains(rejected, id)) continue;
      const uint32_t best_free = best == leases_.end() ? 0 : best->second.slots - best->second.busy;
      if (free > best_free ||
          (free == best_free && lease->second.idle_since < best->second.idle_since))
        best = lease;
    }
    if (!any_free) return std::nullopt;
    if (best == leases_.end()) continue;  // only leases that gave it back are free
    const Offer offer{*position, best->first};
    ++best->second.busy;
    ++best->second.dispatched;
    pool.queue.erase(position);
    waiting_.erase(call);
    return offer;
  }
  return std::nullopt;
}

std::optional<Dispatcher::Offer> Dispatcher::next(Time now) {
  if (paused_ || waiting_.size() == held_.size()) return std::nullopt;
  auto pool = pools_.upper_bound(last_pool_);
  for (size_t tried = 0; tried < pools_.size(); ++tried, ++pool) {
    if (pool == pools_.end()) pool = pools_.begin();
    if (pool->second.queue.empty()) continue;
    if (auto offer = take_from(pool->second, now)) {
      last_pool_ = pool->first;
      return offer;
    }
  }
  return std::nullopt;
}

std::vector<DispatchId> Dispatcher::take_held_since(Time since) {
  std::erase_if(departed_, [&](const auto& entry) { return entry.second <= since; });
  std::vector<DispatchId> expired;
  while (!held_.empty()) {
    const auto found = waiting_.find(held_.front());
    if (found->second.since > since) break;
    expired.push_back(held_.front());
    waiting_.erase(found);
    held_.pop_front();
  }
  return expired;
}

std::optional<Dispatcher::Time> Dispatcher::held_since() const {
  std::optional<Time> oldest;
  if (!held_.empty()) oldest = waiting_.find(held_.front())->second.since;
  for (const auto& [pattern, since] : departed_) oldest = std::min(oldest.value_or(since), since);
  return oldest;
}

}  // namespace legated
