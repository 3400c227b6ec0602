#include "cpp-client/call.h"

#include "cpp-client/session.h"

namespace legate::client {

Call::Call(std::shared_ptr<Session> session, std::shared_ptr<Stream> stream)
    : session_(std::move(session)), stream_(std::move(stream)) {}

Call::~Call() { cancel(); }

uint32_t Call::id() const { return stream_->id; }

bool Call::write(std::string_view message, bool compress) {
  Lock lock = session_->lock();
  if (stream_->half_close) return false;
  return session_->write(*stream_, message, lock, compress);
}

bool Call::post(std::string message) {
  Lock lock = session_->lock();
  if (stream_->half_close) return false;
  return session_->post(*stream_, std::move(message), lock);
}

void Call::writes_done() {
  Lock lock = session_->lock();
  if (stream_->status || stream_->half_close) return;
  stream_->half_close = true;
  session_->pump(*stream_);
  session_->flush(lock);
}

std::optional<std::string> Call::read() {
  Lock lock = session_->lock();
  stream_->changed.wait(lock, [&] { return stream_->inbox.has_message() || stream_->status; });
  return session_->take(*stream_, lock);
}

Metadata Call::headers() {
  Lock lock = session_->lock();
  stream_->changed.wait(lock, [&] { return stream_->headers || stream_->status; });
  return stream_->headers.value_or(Metadata{});
}

Status Call::finish() {
  writes_done();
  Lock lock = session_->lock();
  stream_->inbox.discard();
  session_->return_credit(*stream_);
  session_->flush(lock);
  stream_->changed.wait(lock, [&] { return stream_->status.has_value(); });
  return *stream_->status;
}

bool Call::wait_ended(std::chrono::milliseconds timeout) {
  Lock lock = session_->lock();
  return stream_->changed.wait_for(lock, timeout, [&] { return stream_->status.has_value(); });
}

void Call::cancel() {
  Lock lock = session_->lock();
  if (stream_->status || stream_->cancelled) return;
  stream_->cancelled = true;
  stream_->messages.clear();
  stream_->half_close = stream_->half_closed = true;
  session_->add({.call_id = stream_->id, .type = ipc::FrameType::cancel});
  stream_->changed.notify_all();
  session_->flush(lock);
}

}  // namespace legate::client
