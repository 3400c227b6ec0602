#include "daemon/inbound/leases.h"

#include <algorithm>
#include <utility>

#include "daemon/telemetry/log.h"

namespace legated {

using legate::ipc::FrameType;
using legate::ipc::RetireReason;
namespace {

/// Up to a tenth more, another share of it for each lease: workers that were started together shall
/// not leave together.
template <class Value>
Value spread(LeaseId id, Value value) {
  return value + value * static_cast<int64_t>(raw(id) * 37 % 100) / 1000;
}

}  // namespace

Leases::Leases(Loop& loop, const Config& config, Dispatcher& dispatcher, Services& services,
               std::function<void()> changed)
    : loop_(loop),
      config_(config),
      dispatcher_(dispatcher),
      services_(services),
      changed_(std::move(changed)),
      suspects_(config.inbound.suspect),
      recycle_(loop, [this] { on_recycle_time(); }),
      suspect_(loop, [this] { on_suspect_time(); }) {}

void Leases::add(LeaseId id, Lease lease, Registration registration) {
  lease.since = loop_.now();
  leases_[id] = lease;
  services_.add_lease(id, lease.session->id(), registration.patterns);
  dispatcher_.add_lease(id, std::move(registration));
  set_timers();
  changed_();
}

void Leases::forget(LeaseId id) {
  leases_.erase(id);
  suspects_.forget(id);
  services_.remove_lease(id);
  dispatcher_.remove_lease(id, loop_.now());
}

void Leases::remove(LeaseId id) {
  forget(id);
  set_timers();
  changed_();
}

std::vector<LeaseId> Leases::of(std::optional<SessionId> session) const {
  std::vector<LeaseId> ids;
  for (const auto& [id, lease] : leases_) {
    if (!session || lease.session->id() == *session) ids.push_back(id);
  }
  return ids;
}

void Leases::remove(SessionId session) {
  for (const LeaseId id : of(session)) remove(id);
}

std::optional<LeaseId> Leases::find(SessionId session, CallId request) const {
  for (const auto& [id, lease] : leases_) {
    if (lease.session->id() == session && lease.request == request) return id;
  }
  return std::nullopt;
}

size_t Leases::count(SessionId session) const { return of(session).size(); }

// ---- Retiring ----------------------------------------------------------------------------------

/// May cost a session that reads nothing its connection, and with it leases: whoever retires several
/// goes by a list of ids.
void Leases::retire(LeaseId id, RetireReason reason, const std::string& message) {
  const auto found = leases_.find(id);
  if (found == leases_.end()) return;
  const Lease lease = found->second;
  auto& fbb = lease.session->builder();
  const auto text = fbb.CreateString(message);
  fbb.Finish(legate::ipc::CreateRetire(fbb, reason, text));
  lease.session->control(FrameType::retire, lease.request, 0, &fbb);
}

void Leases::drain(SessionId session) {
  for (const LeaseId id : of(session)) {
    if (!leases_.contains(id) || dispatcher_.leases().at(id).draining) continue;
    dispatcher_.drain_lease(id, loop_.now());
    services_.set_active(id, false);
    retire(id, RetireReason::drain, "the operator drains this worker");
  }
  changed_();
}

void Leases::tell_drained() {
  for (const LeaseId id : of(std::nullopt)) {
    if (!leases_.contains(id) || dispatcher_.leases().at(id).draining) continue;
    retire(id, RetireReason::drain, "the operator drains the server");
  }
}

void Leases::end(const Status& status) {
  while (!leases_.empty()) {
    const auto [id, lease] = *leases_.begin();
    forget(id);
    lease.session->answer(lease.request, status);
  }
  set_timers();
}

void Leases::on_offered(LeaseId id, uint64_t dispatched) {
  const auto limit = static_cast<int64_t>(config_.inbound.recycle_calls);
  if (limit == 0 || static_cast<int64_t>(dispatched) < spread(id, limit)) return;
  advise(id, "inbound.recycle_calls, " + std::to_string(limit) + ", is reached");
}

void Leases::advise(LeaseId id, const std::string& why) {
  const auto found = leases_.find(id);
  if (found == leases_.end() || std::exchange(found->second.advised, true)) return;
  if (dispatcher_.leases().at(id).draining) return;
  const Session& session = *found->second.session;
  log::info("lease_recycle",
            {{"session", raw(session.id())}, {"peer", session.peer().name}, {"reason", why}});
  retire(id, RetireReason::recycle, why + "; be replaced, then leave");
}

Loop::Time Leases::due(LeaseId id, const Lease& lease) const {
  return lease.since + spread(id, Loop::Clock::duration(config_.inbound.recycle_age));
}

void Leases::on_recycle_time() {
  for (const LeaseId id : of(std::nullopt)) {
    const auto found = leases_.find(id);
    if (found == leases_.end() || due(id, found->second) > loop_.now()) continue;
    advise(id, "inbound.recycle_age, " + std::to_string(config_.inbound.recycle_age.count()) +
                   " ms, is reached");
  }
  set_timers();
}

void Leases::set_timers() {
  std::optional<Loop::Time> first;
  if (config_.inbound.recycle_age.count() > 0) {
    for (const auto& [id, lease] : leases_) {
      if (!lease.advised) first = std::min(first.value_or(Loop::Time::max()), due(id, lease));
    }
  }
  first ? recycle_.set(*first) : recycle_.cancel();
  const auto suspect = suspects_.due();
  suspect ? suspect_.set(*suspect) : suspect_.cancel();
}

// ---- Suspects ----------------------------------------------------------------------------------

void Leases::on_cancelled(DispatchId call, LeaseId id) {
  if (!leases_.contains(id)) return;  // unregistered, or its connection is gone
  suspects_.on_cancelled(call, id, loop_.now());
  if (!suspect_.is_set()) set_timers();
}

void Leases::on_answered(DispatchId call, LeaseId id) {
  if (!suspects_.on_answered(call)) return;
  const Lease& lease = leases_.at(id);
  dispatcher_.set_suspect(id, false, loop_.now());
  services_.set_active(id, dispatcher_.leases().at(id).active());
  log::info("lease_recovered",
            {{"session", raw(lease.session->id())}, {"peer", lease.session->peer().name}});
  changed_();
}

void Leases::on_suspect_time() {
  const std::string why = "a cancelled call has not been answered within inbound.suspect, " +
                          std::to_string(config_.inbound.suspect.count()) + " ms";
  for (const LeaseId id : suspects_.take_new(loop_.now())) {
    const auto found = leases_.find(id);
    if (found == leases_.end()) continue;
    const Session& session = *found->second.session;
    dispatcher_.set_suspect(id, true, loop_.now());
    services_.set_active(id, false);
    log::warn("lease_suspect",
              {{"session", raw(session.id())}, {"peer", session.peer().name}, {"reason", why}});
    retire(id, RetireReason::suspect, why + "; no more calls until it is");
  }
  set_timers();
  changed_();
}

}  // namespace legated
