#pragma once
// The daemon as a gRPC server on behalf of its peers: LISTEN, REGISTER, SERVE, UNREGISTER. The
// loop's thread.

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string_view>
#include <variant>
#include <vector>

#include "daemon/config/config.h"
#include "daemon/inbound/server.h"
#include "daemon/ipc/session.h"
#include "daemon/services/describe.h"

namespace legated {

class Inbound {
 public:
  /// `on_change` is called when a server has closed.
  Inbound(Loop& loop, const Config& config, std::function<void()> on_change)
      : loop_(loop), config_(config), on_change_(std::move(on_change)) {}

  /// Makes the configuration's servers, which listen from now on. Throws std::runtime_error when one
  /// can't.
  void start();

  /// LISTEN, REGISTER, SERVE, UNREGISTER, DESCRIBE or SET_HEALTH.
  void on_request(Session& session, const legate::ipc::Frame& frame);

  /// The session's leases get no more calls and are told to leave; it gets no new ones.
  void drain_worker(SessionId session);
  /// Calls that the session has been given, and that have not ended toward their clients.
  size_t calls_of(SessionId session) const;
  /// Drains the server of this name, or with this address. False: there is none.
  [[nodiscard]] bool drain_server(std::string_view called);
  /// Calls that it still has; nothing once it has closed.
  std::optional<size_t> calls_of_draining(std::string_view called) const;
  /// Ends the dispatch with this id of the session. False: there is none.
  [[nodiscard]] bool end_call(SessionId session, CallId id, const Status& status);

  /// The peer will leave: it gets no more calls.
  void on_peer_leaving(SessionId session);
  void on_session_lost(SessionId session);

  /// Takes no more gRPC connections and calls; those there are go on.
  void drain();
  /// Ends every call.
  void end_calls(const Status& status);
  /// Closes every gRPC connection, whatever is under way.
  void disconnect_clients();
  /// All servers have closed.
  bool idle() const { return servers_.empty(); }

  const std::vector<std::unique_ptr<Server>>& servers() const { return servers_; }

 private:
  /// Null: there is none.
  using Found = std::variant<Server*, Status>;

  Server& make(const std::string& name, ServerSettings settings);
  Found named(const legate::ipc::Listen& request) const;
  Found known(const legate::ipc::Listen& request, const ServerSettings& settings) const;
  Found find_or_make(Session& session, const legate::ipc::Listen& request, bool& shared);
  void listen(Session& session, const legate::ipc::Frame& frame);
  void register_methods(Session& session, const legate::ipc::Frame& frame);
  void serve(Session& session, const legate::ipc::Frame& frame);
  void unregister(Session& session, const legate::ipc::Frame& frame);
  void describe(Session& session, const legate::ipc::Frame& frame);
  void set_health(Session& session, const legate::ipc::Frame& frame);
  Server* find(SessionId session, uint32_t listen_id) const;
  void tell_holders(Server& server);
  void on_closed(Server& server);

  Loop& loop_;
  const Config& config_;
  std::function<void()> on_change_;
  bool draining_ = false;
  ActivatedSockets activated_;
  std::vector<std::unique_ptr<Server>> servers_;
  std::map<SessionId, std::map<uint32_t, Server*>> held_;  // by the id of the LISTEN
  std::map<SessionId, Session*> peers_;  // that have asked for anything
  std::set<SessionId> drained_;          // workers: they may register nothing more
  uint64_t next_lease_ = 0;
  std::map<Describe*, std::unique_ptr<Describe>> describes_;
};

}  // namespace legated
