#pragma once
// The leases of one server: whose they are, and which of them are told to retire (PROTOCOL.md,
// section 10, RETIRE). What calls they get is the dispatcher's to say. The loop's thread.

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "daemon/config/config.h"
#include "daemon/core/dispatcher.h"
#include "daemon/core/suspects.h"
#include "daemon/ipc/session.h"
#include "daemon/services/services.h"

namespace legated {

class Leases {
 public:
  struct Lease {
    Session* session;
    CallId request;  // the id of its REGISTER
    Loop::Time since{};
    bool advised = false;  // RETIRE for recycling was sent
  };

  /// `changed` is called when the dispatcher may have calls to hand out, or hold, without its user's
  /// doing.
  Leases(Loop& loop, const Config& config, Dispatcher& dispatcher, Services& services,
         std::function<void()> changed);

  void add(LeaseId id, Lease lease, Registration registration);
  void remove(LeaseId id);
  /// All of the session's.
  void remove(SessionId session);

  const Lease& at(LeaseId id) const { return leases_.at(id); }
  const std::map<LeaseId, Lease>& all() const { return leases_; }
  /// The lease that this session's REGISTER made.
  std::optional<LeaseId> find(SessionId session, CallId request) const;
  size_t count(SessionId session) const;

  /// The session's get no more calls, and are told to leave.
  void drain(SessionId session);
  /// Tells all, when nothing waits for them any more, that their server drains.
  void tell_drained();
  /// Ends all of them, and says so to their sessions.
  void end(const Status& status);

  /// The lease has been given its `dispatched`th call.
  void on_offered(LeaseId id, uint64_t dispatched);
  /// A call of the lease was cancelled and has still to be answered.
  void on_cancelled(DispatchId call, LeaseId id);
  /// The call's slot is free.
  void on_answered(DispatchId call, LeaseId id);

 private:
  std::vector<LeaseId> of(std::optional<SessionId> session) const;
  void retire(LeaseId id, legate::ipc::RetireReason reason, const std::string& message);
  void advise(LeaseId id, const std::string& why);
  Loop::Time due(LeaseId id, const Lease& lease) const;
  void on_recycle_time();
  void on_suspect_time();
  void set_timers();
  void forget(LeaseId id);

  Loop& loop_;
  const Config& config_;
  Dispatcher& dispatcher_;
  Services& services_;  // tell of them
  std::function<void()> changed_;
  std::map<LeaseId, Lease> leases_;
  Suspects suspects_;
  Timer recycle_;
  Timer suspect_;
};

}  // namespace legated
