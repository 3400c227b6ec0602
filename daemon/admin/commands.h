#pragma once
// COMMAND: cancels a call, drains a worker, a server or the whole daemon (PROTOCOL.md, section 10).
// Drains are begun at once; here are those who wait for their end. The loop's thread.

#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>

#include "daemon/admin/answer.h"
#include "daemon/inbound/inbound.h"
#include "daemon/outbound/outbound.h"

namespace legated {

class Commands final : private EndOfPass {
 public:
  /// `connected` tells whether there is such a connection; `shut_down` begins the daemon's end.
  Commands(Loop& loop, Inbound& inbound, Outbound& outbound,
           std::function<bool(SessionId)> connected, std::function<void()> shut_down)
      : loop_(loop),
        inbound_(inbound),
        outbound_(outbound),
        connected_(std::move(connected)),
        shut_down_(std::move(shut_down)) {}

  void on_command(Session& session, const legate::ipc::Frame& frame);

  /// A call or a server has ended.
  void update() {
    if (!drains_.empty()) loop_.queue_pump(*this);
  }
  /// The daemon is about to close its connections.
  void finish(const Status& status);

 private:
  /// Calls not yet ended; nothing when the drain is done.
  using Left = std::function<std::optional<size_t>()>;
  struct Drain {
    std::unique_ptr<JsonAnswer> answer;
    Left left;
    std::optional<size_t> told;
  };

  void run() override;
  [[nodiscard]] Status cancel(SessionId session, CallId call);
  void drain_worker(Session& session, CallId id, SessionId worker);
  void drain_server(Session& session, CallId id, const std::string& server);
  void drain_all(Session& session, CallId id);
  void wait(Session& session, CallId id, Left left);

  Loop& loop_;
  Inbound& inbound_;
  Outbound& outbound_;
  std::function<bool(SessionId)> connected_;
  std::function<void()> shut_down_;
  std::list<Drain> drains_;
};

}  // namespace legated
