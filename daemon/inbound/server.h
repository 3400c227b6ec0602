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
#include "daemon/inbound/local_call.h"
#include "daemon/inbound/server_call.h"
#include "daemon/ipc/session.h"
#include "daemon/services/services.h"

namespace legated {

class Server final : private CallOwner, private LocalCallOwner, private EndOfPass {
 public:
  struct Lease {
    Session* session;
    CallId request;  // the id of its REGISTER
  };

  /// `on_closed` is called last, when a closed server has nothing under way any more; it destroys
  /// the server.
  Server(Loop& loop, const Config& config, ServerSettings settings,
         std::function<void(Server&)> on_closed);
  ~Server();

  /// Binds. Not OK: why it can't. Once, first.
  [[nodiscard]] Status listen(const std::string& address);

  const ServerSettings& settings() const { return settings_; }
  /// "127.0.0.1:50051", with the real port.
  const std::string& address() const { return address_; }
  uint32_t port() const { return port_; }

  void add_holder(SessionId session);
  /// Also ends the session's leases.
  void remove_holder(SessionId session);

  /// Begins to answer. Idempotent.
  void serve();
  bool serving() const { return serving_; }

  void add_lease(LeaseId id, Lease lease, const std::vector<std::string>& patterns, uint32_t slots);
  void remove_lease(LeaseId id);
  /// The lease that this session's REGISTER made.
  std::optional<LeaseId> find_lease(SessionId session, CallId request) const;
  size_t count_leases(SessionId session) const;
  /// No lease of this session gets another call.
  void remove_leases(SessionId session);

  /// Takes no more connections and calls; those it has go on. on_closed follows when they have
  /// ended. Idempotent.
  void drain();
  bool draining() const { return draining_; }
  /// Ends every call with this status.
  void end_calls(const Status& status);

  /// Closes every connection; only after drain().
  void disconnect_clients();

  size_t calls() const { return active_; }
  const Dispatcher& dispatcher() const { return dispatcher_; }
  const std::set<SessionId>& holders() const { return holders_; }
  const std::map<LeaseId, Lease>& leases() const { return leases_; }
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
  void on_slot_free(LeaseId lease) override;
  void on_call_over(ServerCall& call) override;
  bool may_queue(uint64_t bytes) override;
  void unqueue(uint64_t bytes) override { queued_bytes_ -= bytes; }
  void on_call_finished(ServerCall& call) override;
  void on_local_call_finished(LocalCall& call) override;
  void run() override;  // hands waiting calls to workers

  void request_call();
  void answer_locally(ServerCall& accepted);
  void on_call_gone();
  void place(ServerCall& call, Dispatcher::Enqueued result);
  void on_hold_over();
  void set_hold_timer();
  void on_shutdown(bool ok);
  void close_if_done();

  Loop& loop_;
  const Config& config_;
  const ServerSettings settings_;
  std::function<void(Server&)> on_closed_;
  grpc_server* server_;
  std::string address_;
  uint32_t port_ = 0;
  bool serving_ = false;
  bool draining_ = false;
  bool shut_down_ = false;
  Dispatcher dispatcher_;
  std::set<SessionId> holders_;
  std::optional<Loop::Time> unheld_since_;
  std::map<LeaseId, Lease> leases_;
  std::unordered_map<DispatchId, std::unique_ptr<ServerCall>>
      calls_;          // also those that wait for a call
  Services services_;
  std::unordered_map<DispatchId, std::unique_ptr<LocalCall>> local_calls_;
  size_t active_ = 0;  // calls that have come and not ended, of both kinds
  uint64_t queued_bytes_ = 0;
  uint64_t next_call_ = 0;
  Timer hold_;
  Operation<Server, &Server::on_shutdown> shutdown_done_{*this};
};

}  // namespace legated
