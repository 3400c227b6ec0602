#include "daemon/admin/query.h"

namespace legated {

using legate::ipc::FrameType;

QueryAnswer::QueryAnswer(Loop& loop, Session& session, CallId id, std::string text,
                         std::function<void(QueryAnswer&)> finished)
    : loop_(loop),
      session_(&session),
      session_id_(session.id()),
      id_(id),
      text_(std::make_shared<const std::string>(std::move(text))),
      finished_(std::move(finished)),
      to_peer_(session.peer_call_window()) {
  to_peer_.on_message(static_cast<uint32_t>(text_->size()));
  session.add_call(id, *this);
  session.notify(*this);
}

SessionCall::Ready QueryAnswer::ready(uint32_t connection_credit) const {
  if (to_peer_.waiting() == 0) return Ready::prompt;
  return to_peer_.can_send(connection_credit) ? Ready::data : Ready::nothing;
}

void QueryAnswer::write_frame(Session& session) {
  if (const auto part = to_peer_.next_part(session.max_frame(), session.connection_credit())) {
    session.output().frame(
        {.call_id = raw(id_), .type = FrameType::data, .flags = part->flags, .aux = part->aux},
        nullptr, part->length);
    session.output().payload(
        {reinterpret_cast<const uint8_t*>(text_->data()) + part->offset, part->length}, text_);
    session.spend(part->length);
    return;
  }
  session.remove_call(id_, *this);
  session.answer(id_, {});
  loop_.queue_pump(*this);
}

std::optional<Violation> QueryAnswer::on_frame(const legate::ipc::Frame& frame) {
  switch (frame.header.type) {
    case FrameType::window:
      if (!to_peer_.on_window(frame.header.aux)) {
        return Violation{legate::ipc::ErrorCode::flow_control,
                         "the window must stay between 1 and 2147483647"};
      }
      session_->notify(*this);
      return std::nullopt;
    case FrameType::cancel:
      to_peer_.drop();
      session_->notify(*this);
      return std::nullopt;
    default: return Violation{legate::ipc::ErrorCode::unexpected_frame, "a query takes no data"};
  }
}

void QueryAnswer::run() {
  const auto finished = std::move(finished_);
  finished(*this);  // destroys this
}

}  // namespace legated
