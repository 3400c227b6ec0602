#include "daemon/core/outgoing_call.h"

#include <cassert>

namespace legated {

namespace flag = legate::ipc::flag;

OutgoingCall::OutgoingCall(Shape shape, uint32_t receive_window, uint32_t send_window)
    : shape_(shape), from_peer_(receive_window), to_peer_(send_window) {}

std::optional<Violation> OutgoingCall::on_part(uint8_t flags, uint32_t aux, uint32_t length) {
  if (auto violation = from_peer_.on_part(flags, aux, length)) return violation;
  // Its beginning is enough: it might never get the credit to end.
  const bool another = (flags & flag::msg_begin) != 0 && requests_ > 0;
  if ((flags & flag::msg_end) != 0) ++requests_;
  if (one_request() && (another || (from_peer_.closed() && requests_ == 0))) {
    refuse({StatusCode::invalid_argument,
            another ? "more than one request message for a method that takes one"
                          : "no request message for a method that takes one",
            Origin::app,
            {}});
  }
  return std::nullopt;
}

void OutgoingCall::on_cancel() {
  to_peer_.drop();
  if (over()) return;
  cancelled_ = true;
  if (started_) {
    cancel_wanted_ = true;
  } else {
    refused_ = true;
    status_ = Status{StatusCode::cancelled, "cancelled by the client", Origin::app, {}};
  }
}

void OutgoingCall::on_peer_lost() {
  peer_lost_ = true;
  if (started_ && !remote_ended_) cancel_wanted_ = true;
  to_peer_.drop();
}

void OutgoingCall::refuse(Status status) {
  if (over()) return;
  refused_ = true;
  status_ = std::move(status);
  if (started_) cancel_wanted_ = true;
  to_peer_.drop();
}

void OutgoingCall::refuse_answer(Status status) {
  if (!refused_ && status_ && status_->ok()) status_.reset();
  refuse(std::move(status));
}

void OutgoingCall::on_sent(bool ok) {
  --operations_;
  sending_ = false;
  // On failure the call is over, and gRPC's status, which follows, says why.
  if (sending_message_ && ok) from_peer_.on_taken();
  sending_message_ = false;
  send_failed_ |= !ok;
}

void OutgoingCall::on_headers(bool empty) {
  --operations_;
  headers_known_ = true;
  headers_empty_ = empty;
}

void OutgoingCall::on_message(std::optional<uint32_t> length) {
  --operations_;
  take_message(length);
}

void OutgoingCall::take_message(std::optional<uint32_t> length) {
  receiving_ = false;
  if (length) {
    deliver(*length);
  } else {
    no_more_messages_ = true;
  }
  count_answers();
}

void OutgoingCall::deliver(uint32_t length) {
  ++answers_;
  if (one_answer() && answers_ > 1) {
    refuse({StatusCode::internal,
            "the server sent more than one answer message to a method that gives one",
            Origin::remote,
            {}});
    return;
  }
  // What gRPC received before its own status is still the peer's; after any other end it is
  // dropped.
  to_peer_.on_message(length);
}

void OutgoingCall::on_status(Status status) {
  --operations_;
  remote_ended_ = true;
  if (status_) return;
  // Not OK even if gRPC was faster: the answer has been dropped.
  if (cancelled_ && (status.ok() || status.code == StatusCode::cancelled)) {
    status = {StatusCode::cancelled, "cancelled by the client", Origin::app, {}};
  }
  status_ = std::move(status);
  count_answers();
  // The deadline is the caller's too: it does not wait for data any more.
  if (status_->code == StatusCode::deadline_exceeded) to_peer_.drop();
}

void OutgoingCall::count_answers() {
  // A message may still come after the status when its receive is under way.
  if (!remote_ended_ || receiving_ || refused_ || !status_->ok()) return;
  if (!one_answer() || answers_ == 1) return;
  status_ = Status{StatusCode::internal,
                   answers_ == 0
                       ? "the server answered OK without a message to a method that gives one"
                       : "the server sent more than one answer message to a method that gives one",
                   Origin::remote,
                   {}};
}

void OutgoingCall::on_unary(bool headers_empty, std::optional<uint32_t> length) {
  sending_ = false;
  from_peer_.on_taken();
  on_headers(headers_empty);
  take_message(length);
}

bool OutgoingCall::ready_to_start() const {
  return !started_ && !over() && (!begin_whole_ || whole_request());
}

OutgoingWork OutgoingCall::take_work(bool may_receive) {
  OutgoingWork work;
  if (cancel_wanted_) {
    cancel_wanted_ = false;
    work.cancel = !remote_ended_;
  }
  if (over()) return work;

  if (!started_ && !ready_to_start()) return work;
  if (!started_ && shape_ == Shape::unary && whole_request()) {
    work.unary = true;
    started_ = sending_ = half_closed_ = receiving_ = true;
    operations_ += 2;  // the status is a batch of its own
    return work;
  }
  if (!sending_ && !send_failed_) {
    work.start = !started_;
    work.send_message = from_peer_.whole() > 0;
    work.half_close = !half_closed_ && from_peer_.closed() && from_peer_.whole() <= 1;
    if (work.sends()) {
      ++operations_;
      sending_ = true;
      sending_message_ = work.send_message;
      half_closed_ |= work.half_close;
    }
    if (work.start) {
      operations_ += 2;  // headers and status
      started_ = true;
    }
  }
  if (headers_known_ && !receiving_ && !no_more_messages_ && may_receive &&
      to_peer_.waiting() == 0 && to_peer_.has_credit()) {
    work.receive_message = true;
    receiving_ = true;
    ++operations_;
  }
  return work;
}

OutgoingCall::Frame OutgoingCall::next_frame(uint32_t connection_credit) const {
  if (status_written_ || peer_lost_) return Frame::none;
  // After the peer's CANCEL or a daemon's refusal gRPC's remaining events do not matter; otherwise
  // what it still delivers comes first.
  const bool dropped = cancelled_ || refused_;
  const bool complete = status_ && (dropped || (!receiving_ && headers_known_));
  const bool trailers_only = complete && answers_ == 0 && headers_empty_;
  if (headers_known_ && !headers_written_ && !trailers_only && !dropped) return Frame::headers;
  if (to_peer_.waiting() > 0)
    return to_peer_.can_send(connection_credit) ? Frame::data : Frame::none;
  return complete ? Frame::status : Frame::none;
}

}  // namespace legated
