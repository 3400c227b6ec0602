#pragma once
// The daemon: sessions, what they ask for, and the way it ends. Wires the folders together; the
// loop's thread.
//
// Shutdown (SIGTERM): announced -> servers drain, their calls end -> final GOAWAY, outgoing calls
// end -> gone. The grace bounds the whole of it: what is left then ends UNAVAILABLE. A second
// SIGTERM ends the grace. COMMAND drain is SIGTERM.

#include <map>
#include <memory>
#include <string>

#include "daemon/admin/answer.h"
#include "daemon/admin/commands.h"
#include "daemon/config/config.h"
#include "daemon/inbound/inbound.h"
#include "daemon/ipc/listener.h"
#include "daemon/ipc/session.h"
#include "daemon/outbound/outbound.h"
#include "daemon/system/loop.h"
#include "daemon/system/signals.h"

namespace legated {

class Daemon final : private SessionHost {
 public:
  /// Listens at once. Throws std::runtime_error when the socket can't be served.
  explicit Daemon(const Config& config);
  ~Daemon();

  /// Works until it has been told to stop and has stopped.
  void run();

 private:
  enum class State { running, draining_inbound, draining_outbound, stopped };

  const Identity& identity() const override { return identity_; }
  void on_hello(Session& session) override;
  void on_request(Session& session, const legate::ipc::Frame& frame) override;
  void on_peer_leaving(Session& session) override;
  void on_session_lost(Session& session) override;
  void on_session_done(Session& session) override;

  void on_accept(int fd);
  void on_signal(int signal);
  void on_query(Session& session, const legate::ipc::Frame& frame);
  std::string status_json() const;
  std::string channels_json() const;
  std::string calls_json() const;
  std::string workers_json() const;

  void begin_shutdown(const std::string& reason);
  void on_grace_over();
  void end_commands();
  void go_on_with_shutdown();

  const Config& config_;
  const Identity identity_;
  Loop loop_;
  Signals signals_;
  Listener listener_;
  Inbound inbound_;
  Outbound outbound_;
  std::map<SessionId, std::unique_ptr<Session>> sessions_;
  std::map<JsonAnswer*, std::unique_ptr<JsonAnswer>> queries_;
  Commands commands_;
  size_t pending_hello_ = 0;
  uint32_t next_session_ = 1;
  State state_ = State::running;
  bool grace_is_over_ = false;
  const Loop::Time started_;
  Timer grace_;
};

}  // namespace legated
