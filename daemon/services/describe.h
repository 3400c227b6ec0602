#pragma once
// DESCRIBE under way: one message in DATA frames, under the same credit as a call's, then a STATUS.
// The loop's thread.

#include <functional>
#include <string>
#include <string_view>

#include "daemon/core/messages.h"
#include "daemon/core/status.h"
#include "daemon/ipc/session.h"

namespace legated {

class Describe final : public SessionCall, private EndOfPass {
 public:
  /// What to do with the set, when it is there whole: the answer.
  using Take = std::function<Status(Session& session, std::string_view set)>;

  /// `finished` is called last, and destroys this.
  Describe(Loop& loop, const Config& config, Session& session, CallId id, Take take,
           std::function<void(Describe&)> finished);

  SessionId session_id() const { return session_id_; }

 private:
  Ready ready(uint32_t) const override { return Ready::nothing; }
  void write_frame(Session&) override {}
  std::optional<Violation> on_frame(const legate::ipc::Frame& frame) override;
  void on_session_lost() override { loop_.queue_pump(*this); }
  void run() override;

  Status begin(uint32_t length);
  void end(const Status& status);

  Loop& loop_;
  const Config& config_;
  Session& session_;
  const SessionId session_id_;
  const CallId id_;
  Take take_;
  std::function<void(Describe&)> finished_;
  FromPeer from_peer_;
  std::string set_;
  uint64_t reserved_ = 0;
  bool begun_ = false;
};

}  // namespace legated
