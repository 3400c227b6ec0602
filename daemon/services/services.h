#pragma once
// The daemon's own services on one server: health, reflection, channelz, where its settings have
// them on and no worker has registered that very service. Keeps what they tell: leases, what peers
// say of their health, and descriptors, whose bytes are charged to the session that sent them.
// Owned by its server, used on the loop's thread.

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/config/server_settings.h"
#include "daemon/ipc/session.h"
#include "daemon/services/descriptor_index.h"
#include "daemon/services/health_state.h"
#include "daemon/services/reflection_service.h"

namespace legated {

class Services final : private Reflected {
 public:
  /// A service without leases is remembered for `hold`. `settings` must outlive this.
  Services(Loop& loop, const ServerSettings& settings, std::chrono::milliseconds hold);
  ~Services();

  /// Whether calls of this method are answered here.
  bool serve(std::string_view method) const;
  /// What answers such a call. Null: the service has no such method.
  std::unique_ptr<LocalHandler> make_handler(std::string_view method);

  /// The server answers calls, and does not drain.
  void set_serving(bool serving) { health_.set_serving(serving); }
  void add_lease(LeaseId id, SessionId session, const std::vector<std::string>& patterns);
  /// Whether it gets calls: one that is drained or suspect does not.
  void set_active(LeaseId id, bool active) { health_.set_active(id, active); }
  void remove_lease(LeaseId id);
  /// Its leases have been removed before.
  void remove_session(SessionId session) { health_.remove_session(session); }

  /// DESCRIBE by the lease's own session.
  [[nodiscard]] Status describe(LeaseId id, Session& session, std::string_view set);
  /// SET_HEALTH.
  [[nodiscard]] Status set_health(SessionId session, const std::string& service, bool serving);

  // ---- For the operator

  /// Those that answer now: "health", "reflection", "channelz".
  std::vector<std::string> own() const;
  std::map<std::string, ServingStatus> health() const { return health_.list(); }
  /// Files registered by the lease.
  size_t descriptors(LeaseId id) const { return leases_.at(id).files; }

 private:
  struct Lease {
    Served served;
    std::set<std::string> described;  // services in its descriptors
    size_t files = 0;
    uint64_t bytes = 0;                        // charged to the debtor
    std::shared_ptr<Session* const> debtor{};  // of the descriptors
  };

  DescriptorIndex& descriptors() override { return descriptors_; }
  std::vector<std::string> service_names() const override;
  bool on(std::string_view service) const;
  static void release(Lease& lease);

  const ServerSettings& settings_;
  const std::chrono::milliseconds hold_;
  Loop& loop_;
  HealthState health_;
  DescriptorIndex descriptors_;
  std::map<LeaseId, Lease> leases_;
  Timer forget_;
};

}  // namespace legated
