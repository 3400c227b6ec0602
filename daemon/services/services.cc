#include "daemon/services/services.h"

#include <algorithm>
#include <array>

#include "daemon/services/channelz_service.h"
#include "daemon/services/health_service.h"
#include "grpc/channelz/v1/channelz.pb.h"
#include "grpc/health/v1/health.pb.h"
#include "grpc/reflection/v1/reflection.pb.h"
#include "grpc/reflection/v1alpha/reflection.pb.h"

namespace legated {
namespace {

constexpr std::array kOwn = {kHealthService, kReflectionService, kReflectionAlphaService,
                             kChannelzService};

DescribedFiles own_files(const ServerSettings& settings) {
  DescribedFiles files;
  if (settings.health) {
    describe_linked(*grpc::health::v1::HealthCheckRequest::descriptor()->file(), files);
  }
  if (settings.reflection) {
    describe_linked(*grpc::reflection::v1::ErrorResponse::descriptor()->file(), files);
    describe_linked(*grpc::reflection::v1alpha::ErrorResponse::descriptor()->file(), files);
  }
  if (settings.channelz) {
    describe_linked(*grpc::channelz::v1::GetServersRequest::descriptor()->file(), files);
  }
  return files;
}

}  // namespace

Services::Services(Loop& loop, const ServerSettings& settings, std::chrono::milliseconds hold)
    : settings_(settings), hold_(hold), loop_(loop), forget_(loop, [this] {
        health_.forget(loop_.now() - hold_);
        if (const auto since = health_.departed_since()) forget_.set(*since + hold_);
      }) {
  descriptors_.set_own(own_files(settings));
}

Services::~Services() {
  for (auto& [id, lease] : leases_) release(lease);
}

// ---- Calls -------------------------------------------------------------------------------------

bool Services::on(std::string_view service) const {
  const bool wanted = service == kHealthService     ? settings_.health
                      : service == kChannelzService ? settings_.channelz
                                                    : settings_.reflection;
  return wanted && std::none_of(leases_.begin(), leases_.end(), [&](const auto& lease) {
           return lease.second.served.services.contains(std::string(service));
         });
}

bool Services::serve(std::string_view method) const {
  if (!method.starts_with("/grpc.")) return false;  // nearly every call
  const std::string_view service = service_of(method);
  return std::find(kOwn.begin(), kOwn.end(), service) != kOwn.end() && on(service);
}

std::unique_ptr<LocalHandler> Services::make_handler(std::string_view method) {
  const std::string_view service = service_of(method);
  const std::string_view name = method.substr(method.rfind('/') + 1);
  if (service == kHealthService) return make_health_handler(name, health_);
  if (service == kChannelzService) return make_channelz_handler(name);
  return make_reflection_handler(name, *this);
}

// ---- What they tell ----------------------------------------------------------------------------

void Services::add_lease(LeaseId id, SessionId session, const std::vector<std::string>& patterns) {
  Lease& lease = leases_[id];
  lease.served = served_by(patterns);
  health_.add_lease(id, session, lease.served);
}

void Services::remove_lease(LeaseId id) {
  const auto lease = leases_.find(id);
  if (lease == leases_.end()) return;
  release(lease->second);
  leases_.erase(lease);
  descriptors_.remove(id);
  health_.remove_lease(id, loop_.now());
  if (!forget_.is_set()) forget_.set(loop_.now() + hold_);
}

void Services::release(Lease& lease) {
  if (lease.debtor && *lease.debtor != nullptr) (*lease.debtor)->release(lease.bytes);
  lease.debtor.reset();
}

Status Services::describe(LeaseId id, Session& session, std::string_view bytes) {
  DescribedSet set = read_descriptor_set(bytes);
  if (!set.status.ok()) return set.status;
  Lease& lease = leases_.at(id);
  session.hold(bytes.size());
  release(lease);
  lease.debtor = session.handle();
  lease.bytes = bytes.size();
  lease.files = set.files.size();
  lease.described = std::move(set.services);
  descriptors_.set(id, std::move(set.files));
  health_.add_services(id, lease.described);
  return {};
}

Status Services::set_health(SessionId session, const std::string& service, bool serving) {
  if (!service.empty() && !is_service_name(service)) {
    return {StatusCode::invalid_argument,
            "SET_HEALTH: the service must be \"package.Service\", printable and at most 500 bytes",
            Origin::daemon,
            {}};
  }
  if (!health_.set(session, service, serving)) {
    return {StatusCode::resource_exhausted,
            "SET_HEALTH: this connection has spoken of " +
                std::to_string(HealthState::kMostWords) +
                " services on this server, the most it may",
            Origin::daemon,
            {}};
  }
  return {};
}

std::vector<std::string> Services::service_names() const {
  std::set<std::string> names;
  for (const auto& [id, lease] : leases_) {
    names.insert(lease.served.services.begin(), lease.served.services.end());
    if (lease.served.any) names.insert(lease.described.begin(), lease.described.end());
  }
  for (const std::string_view service : kOwn) {
    if (on(service)) names.emplace(service);
  }
  return {names.begin(), names.end()};
}

std::vector<std::string> Services::own() const {
  std::vector<std::string> names;
  if (on(kHealthService)) names.emplace_back("health");
  if (on(kReflectionService) || on(kReflectionAlphaService)) names.emplace_back("reflection");
  if (on(kChannelzService)) names.emplace_back("channelz");
  return names;
}

}  // namespace legated
