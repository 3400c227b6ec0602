#include "cpp-client/server_call.h"

#include <algorithm>

#include "cpp-client/session.h"

namespace legate::client {
namespace {

bool over(const Stream& stream) { return stream.status || stream.answer; }

}  // namespace

ServerCall::ServerCall(std::shared_ptr<Session> session, std::shared_ptr<Stream> stream)
    : session_(std::move(session)), stream_(std::move(stream)) {}

ServerCall::~ServerCall() {
  finish(make_status(Code::internal, "the worker dropped the call " + method() + " unanswered"));
}

const Dispatch& ServerCall::dispatch() const { return stream_->dispatch; }

std::optional<Microseconds> ServerCall::time_left() const {
  if (!dispatch().deadline) return std::nullopt;
  const auto left = *dispatch().deadline - std::chrono::steady_clock::now();
  return std::max(std::chrono::duration_cast<Microseconds>(left), Microseconds(0));
}

std::optional<std::string> ServerCall::read() {
  Lock lock = session_->lock();
  const Inbox& inbox = stream_->inbox;
  stream_->changed.wait(lock, [&] {
    return inbox.has_message() || inbox.ended() || stream_->cancelled || over(*stream_);
  });
  if (stream_->cancelled || over(*stream_)) return std::nullopt;
  return session_->take(*stream_, lock);
}

bool ServerCall::send_headers(const Metadata& headers, ipc::Compression compression) {
  Lock lock = session_->lock();
  if (over(*stream_) || stream_->cancelled || stream_->headers_sent || stream_->posted > 0) {
    return false;
  }
  encode_headers(session_->builder(), headers, compression);
  if (!session_->builder_fits(headers.size())) return false;
  stream_->headers_sent = stream_->accepted = true;
  session_->add({.call_id = stream_->id, .type = ipc::FrameType::headers}, /*with_meta=*/true);
  session_->flush(lock);
  return true;
}

bool ServerCall::write(std::string_view message, bool compress) {
  Lock lock = session_->lock();
  if (over(*stream_)) return false;
  stream_->accepted = true;
  return session_->write(*stream_, message, lock, compress);
}

bool ServerCall::post(std::string message) {
  Lock lock = session_->lock();
  if (over(*stream_)) return false;
  stream_->accepted = true;
  return session_->post_quietly(*stream_, std::move(message));
}

bool ServerCall::cancelled() const {
  const Lock lock = session_->lock();
  return stream_->cancelled;
}

Code ServerCall::cancel_code() const {
  const Lock lock = session_->lock();
  return stream_->cancel_code;
}

bool ServerCall::wait_cancelled(std::chrono::milliseconds timeout) {
  Lock lock = session_->lock();
  return stream_->changed.wait_for(lock, timeout, [&] { return stream_->cancelled; });
}

void ServerCall::accept() {
  Lock lock = session_->lock();
  if (over(*stream_) || stream_->accepted || stream_->cancelled) return;
  stream_->accepted = true;
  session_->add({.call_id = stream_->id, .type = ipc::FrameType::accept});
  session_->flush(lock);
}

bool ServerCall::reject() {
  Lock lock = session_->lock();
  if (over(*stream_) || stream_->accepted) return false;
  session_->add({.call_id = stream_->id, .type = ipc::FrameType::reject});
  session_->end(*stream_, make_status(Code::unavailable, "given back"));
  session_->flush(lock);
  return true;
}

void ServerCall::finish(const Status& status) {
  Lock lock = session_->lock();
  if (over(*stream_)) return;
  stream_->accepted = true;
  stream_->answer = status;
  session_->pump(*stream_);
  stream_->changed.notify_all();
  session_->flush(lock);
}

}  // namespace legate::client
