#pragma once
// What grpc.health.v1 says of one server and of the services on it (PROTOCOL.md, section 10,
// SET_HEALTH). Pure; time is passed in. Owned by the server's Services, used on the loop's thread.
//
// A service is known while a lease serves it, and for the hold time after the last one has left:
// its calls wait as long, and it is NOT_SERVING.

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "daemon/core/ids.h"
#include "daemon/services/served.h"

namespace legated {

/// The values are those of HealthCheckResponse.ServingStatus.
enum class ServingStatus : uint8_t { serving = 1, not_serving = 2, service_unknown = 3 };

/// The changes that a client which watches has not been sent yet. Each is told once, in order; of a
/// client that reads too slowly the ones in between are left out, never the last.
class HealthChanges {
 public:
  void push(ServingStatus status);
  std::optional<ServingStatus> take();
  bool empty() const { return waiting_.empty(); }

  static constexpr size_t kMost = 16;

 private:
  std::deque<ServingStatus> waiting_;
  std::optional<ServingStatus> taken_;
};

class HealthState {
 public:
  using Time = std::chrono::steady_clock::time_point;

  class Watcher {
   public:
    virtual void on_health(ServingStatus status) = 0;

   protected:
    ~Watcher() = default;
  };

  /// The server answers calls, and does not drain.
  void set_serving(bool serving);

  void add_lease(LeaseId id, SessionId session, const Served& served);
  /// Services that a lease of "*" is known to serve, besides those its peer has named.
  void add_services(LeaseId id, const std::set<std::string>& services);
  /// Whether it gets calls: one that is drained or suspect does not.
  void set_active(LeaseId id, bool active);
  void remove_lease(LeaseId id, Time now);

  /// What a peer says of a service, or with "" of all it serves. False: it has spoken of too many.
  [[nodiscard]] bool set(SessionId session, const std::string& service, bool serving);
  /// What it has said is forgotten; its leases have been removed.
  void remove_session(SessionId session);
  static constexpr size_t kMostWords = 1000;  // services that one peer may speak of

  /// Services that have had no lease since `since` or longer are unknown from now on.
  void forget(Time since);
  /// For a timer that ends in forget().
  std::optional<Time> departed_since() const;

  /// Of a service; "" is the server.
  ServingStatus status(std::string_view service) const;
  /// Of all that are known, and the server.
  std::map<std::string, ServingStatus> list() const;

  /// From now on the watcher is told of every change of the state returned.
  ServingStatus watch(const std::string& service, Watcher& watcher);
  void unwatch(const std::string& service, Watcher& watcher);

 private:
  struct Lease {
    SessionId session;
    bool any;
    std::set<std::string> services;
    bool active = true;
  };
  struct Service {
    std::set<LeaseId> leases;
    Time departed{};  // when the last of them left
  };
  struct Watched {
    ServingStatus told;
    std::set<Watcher*> watchers;
  };
  using Words = std::map<std::string, bool, std::less<>>;

  bool stands_for(const Lease& lease, std::string_view service) const;
  void link(LeaseId id, Lease& lease, const std::string& service);
  void tell();

  bool serving_ = false;
  std::map<LeaseId, Lease> leases_;
  std::map<std::string, Service, std::less<>> services_;
  std::map<SessionId, Words> words_;
  std::map<std::string, Watched, std::less<>> watched_;
};

}  // namespace legated
