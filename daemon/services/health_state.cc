#include "daemon/services/health_state.h"

#include <algorithm>

namespace legated {

// ---- Changes -----------------------------------------------------------------------------------

void HealthChanges::push(ServingStatus status) {
  if (waiting_.size() == kMost) waiting_.pop_back();
  const auto last = waiting_.empty() ? taken_ : std::optional(waiting_.back());
  if (last != status) waiting_.push_back(status);
}

std::optional<ServingStatus> HealthChanges::take() {
  if (waiting_.empty()) return std::nullopt;
  taken_ = waiting_.front();
  waiting_.pop_front();
  return taken_;
}

// ---- State -------------------------------------------------------------------------------------

void HealthState::set_serving(bool serving) {
  serving_ = serving;
  tell();
}

void HealthState::link(LeaseId id, Lease& lease, const std::string& service) {
  lease.services.insert(service);
  services_[service].leases.insert(id);
}

void HealthState::add_lease(LeaseId id, SessionId session, const Served& served) {
  Lease& lease = leases_[id] = {session, served.any, {}, true};
  for (const std::string& service : served.services) link(id, lease, service);
  if (const auto words = words_.find(session); served.any && words != words_.end()) {
    for (const auto& [service, serving] : words->second) {
      if (!service.empty()) link(id, lease, service);
    }
  }
  tell();
}

void HealthState::add_services(LeaseId id, const std::set<std::string>& services) {
  const auto lease = leases_.find(id);
  if (lease == leases_.end() || !lease->second.any) return;
  for (const std::string& service : services) link(id, lease->second, service);
  tell();
}

void HealthState::set_active(LeaseId id, bool active) {
  leases_.at(id).active = active;
  tell();
}

void HealthState::remove_lease(LeaseId id, Time now) {
  const auto lease = leases_.find(id);
  if (lease == leases_.end()) return;
  for (const std::string& name : lease->second.services) {
    Service& service = services_.find(name)->second;
    service.leases.erase(id);
    service.departed = now;
  }
  leases_.erase(lease);
  tell();
}

bool HealthState::set(SessionId session, const std::string& service, bool serving) {
  Words& words = words_[session];
  if (words.size() >= kMostWords && !words.contains(service)) return false;
  words[service] = serving;
  if (!service.empty()) {
    for (auto& [id, lease] : leases_) {
      if (lease.any && lease.session == session) link(id, lease, service);
    }
  }
  tell();
  return true;
}

void HealthState::remove_session(SessionId session) {
  words_.erase(session);
  tell();
}

void HealthState::forget(Time since) {
  std::erase_if(services_, [&](const auto& entry) {
    return entry.second.leases.empty() && entry.second.departed <= since;
  });
  tell();
}

std::optional<HealthState::Time> HealthState::departed_since() const {
  std::optional<Time> oldest;
  for (const auto& [name, service] : services_) {
    if (!service.leases.empty()) continue;
    oldest = std::min(oldest.value_or(service.departed), service.departed);
  }
  return oldest;
}

bool HealthState::stands_for(const Lease& lease, std::string_view service) const {
  if (!lease.active) return false;
  const auto words = words_.find(lease.session);
  if (words == words_.end()) return true;
  for (const std::string_view about : {std::string_view{}, service}) {
    const auto word = words->second.find(about);
    if (word != words->second.end() && !word->second) return false;
  }
  return true;
}

ServingStatus HealthState::status(std::string_view service) const {
  bool up = false;
  if (service.empty()) {
    up = std::any_of(leases_.begin(), leases_.end(),
                     [&](const auto& lease) { return stands_for(lease.second, {}); });
  } else {
    const auto known = services_.find(service);
    if (known == services_.end()) return ServingStatus::service_unknown;
    const auto& leases = known->second.leases;
    up = std::any_of(leases.begin(), leases.end(),
                     [&](LeaseId id) { return stands_for(leases_.at(id), service); });
  }
  return up && serving_ ? ServingStatus::serving : ServingStatus::not_serving;
}

std::map<std::string, ServingStatus> HealthState::list() const {
  std::map<std::string, ServingStatus> all{{"", status({})}};
  for (const auto& [name, service] : services_) all[name] = status(name);
  return all;
}

// ---- Watchers ----------------------------------------------------------------------------------

ServingStatus HealthState::watch(const std::string& service, Watcher& watcher) {
  Watched& watched = watched_[service];
  watched.told = status(service);
  watched.watchers.insert(&watcher);
  return watched.told;
}

void HealthState::unwatch(const std::string& service, Watcher& watcher) {
  const auto watched = watched_.find(service);
  if (watched == watched_.end()) return;
  watched->second.watchers.erase(&watcher);
  if (watched->second.watchers.empty()) watched_.erase(watched);
}

void HealthState::tell() {
  for (auto& [name, watched] : watched_) {
    const ServingStatus now = status(name);
    if (now == watched.told) continue;
    watched.told = now;
    for (Watcher* const watcher : watched.watchers) watcher->on_health(now);
  }
}

}  // namespace legated
