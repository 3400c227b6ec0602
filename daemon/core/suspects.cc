#include "daemon/core/suspects.h"

namespace legated {

void Suspects::on_cancelled(DispatchId call, LeaseId lease, Time now) {
  if (patience_.count() == 0) return;
  calls_[call] = in_time_.insert(in_time_.end(), {call, lease, now + patience_});
}

bool Suspects::on_answered(DispatchId call) {
  if (calls_.empty() && overdue_.empty()) return false;
  if (const auto found = calls_.find(call); found != calls_.end()) {
    in_time_.erase(found->second);
    calls_.erase(found);
    return false;
  }
  const auto found = overdue_.find(call);
  if (found == overdue_.end()) return false;
  const auto suspect = suspects_.find(found->second);
  overdue_.erase(found);
  if (--suspect->second > 0) return false;
  suspects_.erase(suspect);
  return true;
}

void Suspects::forget(LeaseId lease) {
  std::erase_if(calls_, [&](const auto& entry) { return entry.second->lease == lease; });
  std::erase_if(in_time_, [&](const auto& entry) { return entry.lease == lease; });
  std::erase_if(overdue_, [&](const auto& entry) { return entry.second == lease; });
  suspects_.erase(lease);
}

std::vector<LeaseId> Suspects::take_new(Time now) {
  std::vector<LeaseId> found;
  while (!in_time_.empty() && in_time_.front().due <= now) {
    const Cancelled late = in_time_.front();
    in_time_.pop_front();
    calls_.erase(late.call);
    overdue_[late.call] = late.lease;
    if (++suspects_[late.lease] == 1) found.push_back(late.lease);
  }
  return found;
}

std::optional<Suspects::Time> Suspects::due() const {
  if (in_time_.empty()) return std::nullopt;
  return in_time_.front().due;
}

}  // namespace legated
