#pragma once
// Answers to QUERY: one JSON message and a STATUS, under the same credit as any call. The loop's
// thread.

#include <functional>
#include <string>

#include "daemon/core/messages.h"
#include "daemon/ipc/session.h"

namespace legated {

class QueryAnswer final : public SessionCall, private EndOfPass {
 public:
  /// `finished` is called last, and destroys the answer.
  QueryAnswer(Loop& loop, Session& session, CallId id, std::string text,
              std::function<void(QueryAnswer&)> finished);

  SessionId session_id() const { return session_id_; }

 private:
  Ready ready(uint32_t connection_credit) const override;
  void write_frame(Session& session) override;
  std::optional<Violation> on_frame(const legate::ipc::Frame& frame) override;
  void on_session_lost() override { loop_.queue_pump(*this); }
  void run() override;

  Loop& loop_;
  Session* session_;
  const SessionId session_id_;
  const CallId id_;
  const std::shared_ptr<const std::string> text_;
  std::function<void(QueryAnswer&)> finished_;
  ToPeer to_peer_;
};

}  // namespace legated
