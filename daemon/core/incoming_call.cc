#include "daemon/core/incoming_call.h"

#include <cassert>

namespace legated {
namespace {

// Before a worker has accepted, a second message is read ahead only behind a small first one:
// nearly always it is the end of the stream, which then travels with the first message.
constexpr uint32_t kReadAhead = 65'536;

}  // namespace

void IncomingCall::offer(uint32_t receive_window, uint32_t send_window,
                         std::span<const uint32_t> lengths) {
  assert(phase_ == Phase::queued);
  phase_ = Phase::offered;
  start_written_ = false;
  from_worker_.emplace(receive_window);
  to_peer_.emplace(send_window);
  for (const uint32_t length : lengths) to_peer_->on_message(length);
  if (no_more_messages_) to_peer_->on_end();
}

void IncomingCall::withdraw() {
  assert(phase_ == Phase::offered);
  phase_ = Phase::queued;
  from_worker_.reset();
  to_peer_.reset();
}

void IncomingCall::on_accept() {
  if (phase_ == Phase::offered) phase_ = Phase::accepted;
}

std::optional<Violation> IncomingCall::on_headers() {
  on_accept();
  if (phase_ != Phase::accepted) return std::nullopt;
  if (headers_known_ || headers_sent_) {
    return Violation{legate::ipc::ErrorCode::unexpected_frame,
                     "HEADERS a second time, or after DATA"};
  }
  headers_known_ = true;
  return std::nullopt;
}

std::optional<Violation> IncomingCall::on_part(uint8_t flags, uint32_t aux, uint32_t length) {
  on_accept();
  if (phase_ != Phase::accepted) return std::nullopt;
  if ((flags & legate::ipc::flag::end_stream) != 0) {
    return Violation{legate::ipc::ErrorCode::unexpected_frame,
                     "END_STREAM from the answering side; send STATUS"};
  }
  // Headers are settled as soon as a message follows them.
  headers_known_ = true;
  return from_worker_->on_part(flags, aux, length);
}

bool IncomingCall::on_window(uint32_t bytes) {
  on_accept();
  return phase_ != Phase::accepted || to_peer_->on_window(bytes);
}

void IncomingCall::on_status(Status status) {
  phase_ = Phase::ended;
  cancel_.reset();
  if (!status_) status_ = std::move(status);
}

void IncomingCall::on_worker_lost(Status status) { on_status(std::move(status)); }

void IncomingCall::cancel_worker(StatusCode code) {
  if (with_worker() && start_written_) {
    phase_ = Phase::cancelled;
    cancel_ = code;
    to_peer_->drop();
  } else if (phase_ != Phase::cancelled) {
    phase_ = Phase::ended;
  }
}

void IncomingCall::refuse(Status status) {
  if (status_) return;
  status_ = std::move(status);
  drop_answers_ = true;
  cancel_worker(status_->code);
}

void IncomingCall::on_message(std::optional<uint32_t> length) {
  --operations_;
  receiving_ = false;
  if (length) {
    if (received_++ == 0) first_length_ = *length;
    if (with_worker()) to_peer_->on_message(*length);
  } else {
    no_more_messages_ = true;
    if (with_worker()) to_peer_->on_end();
  }
}

void IncomingCall::on_sent(bool ok) {
  --operations_;
  sending_ = false;
  if (sending_message_ && ok) from_worker_->on_taken();
  sending_message_ = false;
  send_failed_ |= !ok;
}

void IncomingCall::on_closed(bool cancelled, bool deadline_passed) {
  --operations_;
  closed_ = true;
  if (cancelled && phase_ != Phase::ended) {
    cancel_worker(deadline_passed ? StatusCode::deadline_exceeded : StatusCode::cancelled);
  }
}

IncomingWork IncomingCall::take_work(bool may_receive) {
  IncomingWork work;
  if (closed_) return work;

  if (!sending_ && !send_failed_ && !status_sent_) {
    const size_t whole = from_worker_ && !drop_answers_ ? from_worker_->whole() : 0;
    work.send_message = whole > 0;
    work.send_status = status_ && whole <= 1;
    work.send_headers = !headers_sent_ && (headers_known_ || work.send_status);
    if (work.sends()) {
      ++operations_;
      sending_ = true;
      sending_message_ = work.send_message;
      headers_sent_ |= work.send_headers;
      status_sent_ |= work.send_status;
    }
  }
  const bool first = received_ == 0 || (received_ == 1 && first_length_ <= kReadAhead);
  const bool wanted = phase_ == Phase::accepted
                          ? to_peer_->waiting() == 0 && to_peer_->has_credit()
                          : (phase_ == Phase::queued || phase_ == Phase::offered) && first;
  if (wanted && may_receive && !receiving_ && !no_more_messages_ && !status_) {
    work.receive_message = true;
    receiving_ = true;
    ++operations_;
  }
  return work;
}

IncomingCall::Frame IncomingCall::next_frame(uint32_t connection_credit) const {
  if (cancel_) return Frame::cancel;
  if (!with_worker()) return Frame::none;
  if (!start_written_) return Frame::start;
  return to_peer_->can_send(connection_credit) ? Frame::data : Frame::none;
}

StatusCode IncomingCall::take_cancel() {
  const StatusCode code = *cancel_;
  cancel_.reset();
  return code;
}

}  // namespace legated
