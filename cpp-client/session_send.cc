// How the session sends what its streams have to say, within credit. The lock is held throughout.
#include <algorithm>

#include "cpp-client/session.h"

namespace legate::client {
namespace {

using ipc::FrameType;

std::span<const uint8_t> as_bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

}  // namespace

void Session::add_start(Stream& stream) {
  ipc::Header header{.call_id = stream.id, .type = FrameType::start};
  std::string_view payload;
  const bool has_message = !stream.messages.empty();
  const auto room = static_cast<size_t>(
      std::min({int64_t{welcome_.limits.max_frame}, stream.credit, send_credit_}));
  const bool whole = has_message && stream.messages.front().length <= room;
  if (whole) {
    payload = stream.messages.front().bytes;
    header.flags = ipc::flag::whole_message;
    header.aux = static_cast<uint32_t>(payload.size());
    stream.credit -= header.aux;
    send_credit_ -= header.aux;
  }
  if (stream.half_close && (whole || !has_message)) {
    header.flags |= ipc::flag::end_stream;
    stream.half_closed = true;
  }
  outbox_.add(header, &builder_, as_bytes(payload));
  if (whole) {
    stream.messages.pop_front();
    ++stream.sent;
  }
  pump(stream);
}

void Session::pump(Stream& stream) {
  while (!stream.status && send_one(stream)) {
  }
}

// Sends the next frame that the stream has ready. False when it has none, or no credit.
bool Session::send_one(Stream& stream) {
  ipc::Header header{.call_id = stream.id, .type = FrameType::data};
  if (!stream.messages.empty()) {
    Stream::Message& message = stream.messages.front();
    const auto left = static_cast<int64_t>(message.bytes.size());
    const int64_t size =
        std::min({left, stream.credit, send_credit_, int64_t{welcome_.limits.max_frame}});
    if (size == 0 && left > 0) {
      if (stream.credit > 0 && !stream.waits_for_connection) {
        stream.waits_for_connection = true;
        const auto self = streams_.find(stream.id);
        if (self != streams_.end()) waiting_.push_back(self->second);
      }
      return false;
    }
    if (message.bytes.size() == message.length) {
      header.flags |= ipc::flag::msg_begin;
      header.aux = static_cast<uint32_t>(message.length);
      if (!message.compress) header.flags |= ipc::flag::no_compress;
    }
    const bool last = size == left;
    if (last) header.flags |= ipc::flag::msg_end;
    if (last && stream.half_close && stream.messages.size() == 1) {
      header.flags |= ipc::flag::end_stream;
      stream.half_closed = true;
    }
    outbox_.add(header, nullptr, as_bytes(message.bytes.substr(0, static_cast<size_t>(size))));
    message.bytes.remove_prefix(static_cast<size_t>(size));
    stream.credit -= size;
    send_credit_ -= size;
    if (last) {
      stream.messages.pop_front();
      ++stream.sent;
      stream.changed.notify_all();
    }
    return true;
  }
  if (stream.half_close && !stream.half_closed) {
    stream.half_closed = true;
    header.flags = ipc::flag::end_stream;
    outbox_.add(header);
    return true;
  }
  if (stream.answer) {
    Status answer = std::move(*stream.answer);
    stream.answer.reset();
    encode_status(builder_, answer);
    if (!builder_fits(answer.trailers.size())) {
      answer = make_status(Code::internal, "the status with its trailers is too long to be sent");
      encode_status(builder_, answer);
    }
    header.type = FrameType::status;
    outbox_.add(header, &builder_);
    end(stream, std::move(answer));
  }
  return false;
}

bool Session::write(Stream& stream, std::string_view message, Lock& guard, bool compress) {
  if (stream.status || stream.cancelled) return false;
  Stream::Message& entry = stream.messages.emplace_back();
  entry.bytes = message;
  entry.length = message.size();
  entry.compress = compress;
  const uint64_t number = ++stream.posted;
  pump(stream);
  flush(guard);
  stream.changed.wait(guard,
                      [&] { return stream.sent >= number || stream.status || stream.cancelled; });
  if (stream.sent >= number) {
    flush(guard);  // the last part was queued by another thread
    return true;
  }
  return false;
}

bool Session::post(Stream& stream, std::string message, Lock& guard) {
  const bool posted = post_quietly(stream, std::move(message));
  flush(guard);
  return posted;
}

bool Session::post_quietly(Stream& stream, std::string message) {
  if (stream.status || stream.cancelled) return false;
  Stream::Message& entry = stream.messages.emplace_back();
  entry.owned = std::move(message);
  entry.bytes = entry.owned;
  entry.length = entry.bytes.size();
  ++stream.posted;
  pump(stream);
  return true;
}

std::optional<std::string> Session::take(Stream& stream, Lock& guard) {
  auto message = stream.inbox.take();
  return_credit(stream);
  flush(guard);
  return message;
}

// New connection credit goes round those who waited for it, a frame each.
void Session::pump_waiting() {
  while (send_credit_ > 0 && !waiting_.empty()) {
    const auto stream = waiting_.front().lock();
    waiting_.pop_front();
    if (stream == nullptr || stream->status) continue;
    stream->waits_for_connection = false;
    if (!send_one(*stream)) continue;
    if (send_credit_ > 0 && stream->credit > 0 && !stream->messages.empty()) {
      stream->waits_for_connection = true;
      waiting_.push_back(stream);
    } else {
      pump(*stream);  // queues it again if need be, or ends it
    }
  }
}

void Session::return_credit(Stream& stream) {
  const uint32_t credit = stream.inbox.take_credit();
  if (credit == 0 || stream.status || lost_) return;
  outbox_.add_urgent({.call_id = stream.id, .type = FrameType::window, .aux = credit});
}

}  // namespace legate::client
