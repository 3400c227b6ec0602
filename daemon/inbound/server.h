#pragma once
// One gRPC server: its port, the processes that hold it, its leases and its calls. The loop's
// thread.
//
// gRPC keeps accepting calls nobody asked for, so requests are always outstanding, and what can't
// be served is answered here.

#include <grpc/grpc.h>

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>

#include "daemon/config/config.h"
#include "daemon/config/server_settings.h"
#include "daemon/core/dispatcher.h"
#include "daemon/grpc/operation.h"
#include "daemon/inbound/acceptor.h"
#include "daemon/inbound/leases.h"
#include "daemon/inbound/local_call.h"
#include "daemon/inbound/port.h"
#include "daemon/inbound/server_call.h"
#include "daemon/inbound/server_credentials.h"
#include "daemon/ipc/session.h"
#include "daemon/services/services.h"

namespace legated {

class Server final : private CallOwner, private LocalCallOwner, private EndOfPass {
 public:
  /// `name` is that of the configuration, empty when a peer asked for the server. The settings have
  /// been checked. `on_closed` is called last, when a closed server has nothing under way any more;
  /// it destroys the server.
  Server(Loop& loop, const Config& config, std::string name, ServerSettings settings,
         std::function<void(Server&)> on_closed);
  ~Server();

  /// Listens on the settings' addresses. Not OK: why it can't. Once, first.
  [[nodiscard]] Status listen(const ActivatedSockets& activated);

  const std::string& name() const { return name_; }
  const ServerSettings& settings() const { return settings_; }
  /// The settings with the daemon's defaults filled in.
  const ServerSettings& limits() const { return limits_; }
  const Port& port() const { return port_; }
  /// "127.0.0.1:50051", the first address with the real port; empty before listen().
  const std::string& address() const {
    static const std::string none;
    return port_.addresses().empty() ? none : port_.addresses().front();
  }

  void add_holder(SessionId session);
  /// Also ends the session's leases.
  void remove_holder(SessionId session);

  /// Begins to answer. Idempotent.
  void serve();
  bool serving() const { return serving_; }

  Leases& leases() { return leases_; }
  const Leases& leases() const { return leases_; }

  /// Takes no more connections and calls; those it has go on. on_closed follows when they have
  /// ended. Idempotent. With `tell_workers` they hear of it when no call waits for them any more.
  void drain(bool tell_workers = false);
  bool draining() const { return draining_; }
  /// `on_end` is called whenever a call has ended, from now on.
  void watch(std::function<void()> on_end) { on_call_end_ = std::move(on_end); }
  /// Ends the dispatch with this id of the session. False: there is none.
  [[nodiscard]] bool end_call(SessionId session, CallId id, const Status& status);
  /// Ends every call with this status.
  void end_calls(const Status& status);

  /// Closes every connection; only after drain().
  void disconnect_clients();

  size_t calls() const { return active_; }
  const Policies& policies() const { return policies_; }
  /// Calls that this session has been given, and that have not ended toward their clients.
  size_t calls_of(SessionId session) const;
  const Dispatcher& dispatcher() const { return dispatcher_; }
  const std::set<SessionId>& holders() const { return holders_; }
  /// The daemon's own services on this port, and what they tell.
  Services& services() { return services_; }
  const Services& services() const { return services_; }
  template <class Visit>
  void each_local_call(Visit visit) const {
    for (const auto& [id, call] : local_calls_) visit(*call);
  }
  template <class Visit>
  void each_call(Visit visit) const {
    for (const auto& [id, call] : calls_) {
      if (call->since() != Loop::Time{}) visit(*call);
    }
  }

 private:
  void on_call_accepted(ServerCall& call, bool ok) override;
  void on_call_returned(ServerCall& call) override;
  void on_slot_free(ServerCall& call, LeaseId lease) override;
  void on_call_over(ServerCall& call) override;
  bool may_queue(uint64_t bytes) override;
  void unqueue(uint64_t bytes) override { queued_bytes_ -= bytes; }
  void on_call_finished(ServerCall& call) override;
  void on_local_call_finished(LocalCall& call) override;
  void run() override;  // hands waiting calls to workers

  void create();
  /// For a daemon that can't start; nothing has been served.
  void shut_down_unserved();
  void request_call();
  Dispatcher::Call described(const ServerCall& call) const;
  std::string pool_of(const std::string& method) const;
  void answer_locally(ServerCall& accepted);
  void on_call_gone();
  void place(ServerCall& call, Dispatcher::Enqueued result);
  void on_hold_over();
  void set_hold_timer();
  void on_shutdown(bool ok);
  void close_if_done();

  Loop& loop_;
  const Config& config_;
  const std::string name_;
  const ServerSettings settings_;
  const ServerSettings limits_;
  std::function<void(Server&)> on_closed_;
  Acceptor acceptor_;
  ServerCredentials credentials_;
  Port port_;
  grpc_server* server_;
  bool serving_ = false;
  bool draining_ = false;
  bool shut_down_ = false;
  bool tell_workers_ = false;  // as soon as no call waits
  bool workers_told_ = false;
  Policies policies_;
  Dispatcher dispatcher_;
  Services services_;
  Leases leases_;
  std::set<SessionId> holders_;
  std::optional<Loop::Time> unheld_since_;
  std::function<void()> on_call_end_;
  std::unordered_map<DispatchId, std::unique_ptr<ServerCall>>
      calls_;          // also those that wait for a call
  std::unordered_map<DispatchId, std::unique_ptr<LocalCall>> local_calls_;
  size_t active_ = 0;  // calls that have come and not ended, of both kinds
  uint64_t queued_bytes_ = 0;
  uint64_t next_call_ = 0;
  Timer hold_;
  Operation<Server, &Server::on_shutdown> shutdown_done_{*this};
};

}  // namespace legated
