#pragma once
// Answers of JSON messages and a STATUS, under the same credit as any call: the one message of a
// QUERY, the progress of a COMMAND. The loop's thread.

#include <functional>
#include <optional>
#include <string>

#include "daemon/core/messages.h"
#include "daemon/ipc/session.h"

namespace legated {

class JsonAnswer final : public SessionCall, private EndOfPass {
 public:
  /// `finished` is called last, and destroys the answer.
  JsonAnswer(Loop& loop, Session& session, CallId id, std::function<void(JsonAnswer&)> finished);

  SessionId session_id() const { return session_id_; }

  /// A message. One that has not begun to leave gives way to it.
  void say(std::string text);
  /// STATUS, behind what was said.
  void finish(const Status& status);
  /// STATUS, at once.
  void cut(const Status& status);

 private:
  Ready ready(uint32_t connection_credit) const override;
  void write_frame(Session& session) override;
  std::optional<Violation> on_frame(const legate::ipc::Frame& frame) override;
  void on_session_lost() override;
  void run() override;
  void begin(std::string text);
  void leave();

  Loop& loop_;
  Session* session_;  // null: gone, or answered
  const SessionId session_id_;
  const CallId id_;
  std::function<void(JsonAnswer&)> finished_;
  ToPeer to_peer_;
  std::shared_ptr<const std::string> text_;  // on its way when to_peer_ has a message
  std::optional<std::string> next_;
  std::optional<Status> status_;
};

}  // namespace legated
