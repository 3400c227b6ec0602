#include "daemon/admin/answer.h"

namespace legated {

using legate::ipc::FrameType;

JsonAnswer::JsonAnswer(Loop& loop, Session& session, CallId id,
                       std::function<void(JsonAnswer&)> finished)
    : loop_(loop),
      session_(&session),
      session_id_(session.id()),
      id_(id),
      finished_(std::move(finished)),
      to_peer_(session.peer_call_window()) {
  session.add_call(id, *this);
}

void JsonAnswer::begin(std::string text) {
  text_ = std::make_shared<const std::string>(std::move(text));
  to_peer_.on_message(static_cast<uint32_t>(text_->size()));
}

void JsonAnswer::say(std::string text) {
  if (session_ == nullptr || status_) return;
  if (to_peer_.waiting() > 0) {
    next_ = std::move(text);
    return;
  }
  begin(std::move(text));
  session_->notify(*this);
}

void JsonAnswer::finish(const Status& status) {
  if (session_ == nullptr || status_) return;
  status_ = status;
  session_->notify(*this);
}

void JsonAnswer::cut(const Status& status) {
  if (session_ == nullptr) return;
  if (!status_) status_ = status;
  leave();
}

void JsonAnswer::leave() {
  Session* const session = std::exchange(session_, nullptr);
  session->remove_call(id_, *this);
  session->answer(id_, *status_);
  loop_.queue_pump(*this);
}

SessionCall::Ready JsonAnswer::ready(uint32_t connection_credit) const {
  if (to_peer_.waiting() == 0) return status_ ? Ready::prompt : Ready::nothing;
  return to_peer_.can_send(connection_credit) ? Ready::data : Ready::nothing;
}

void JsonAnswer::write_frame(Session& session) {
  const auto part = to_peer_.next_part(session.max_frame(), session.connection_credit());
  if (!part) return leave();
  session.output().frame(
      {.call_id = raw(id_), .type = FrameType::data, .flags = part->flags, .aux = part->aux},
      nullptr, part->length);
  session.output().payload(
      {reinterpret_cast<const uint8_t*>(text_->data()) + part->offset, part->length}, text_);
  session.spend(part->length);
  if (to_peer_.waiting() == 0 && next_) begin(*std::exchange(next_, std::nullopt));
}

std::optional<Violation> JsonAnswer::on_frame(const legate::ipc::Frame& frame) {
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
      cut({StatusCode::cancelled, "cancelled by the caller", Origin::app, {}});
      return std::nullopt;
    default:
      return Violation{legate::ipc::ErrorCode::unexpected_frame,
                       "queries and commands take no data"};
  }
}

void JsonAnswer::on_session_lost() {
  session_ = nullptr;
  loop_.queue_pump(*this);
}

void JsonAnswer::run() {
  const auto finished = std::move(finished_);
  finished(*this);  // destroys this
}

}  // namespace legated
