#include "cpp-client/outbox.h"

namespace legate::client {
namespace {

// Small frames share a chunk up to this size; it is also how far an urgent frame can lie behind.
constexpr size_t kChunk = 65'536;

}  // namespace

void Outbox::add(const ipc::Header& header, const flatbuffers::FlatBufferBuilder* meta,
                 std::span<const uint8_t> payload) {
  if (broken_) return;
  if (chunks_.empty() || chunks_.back().size() + payload.size() > kChunk) chunks_.emplace_back();
  ipc::append_frame(chunks_.back(), header, meta, payload);
}

void Outbox::add_urgent(const ipc::Header& header, const flatbuffers::FlatBufferBuilder* meta) {
  if (!broken_) ipc::append_frame(urgent_, header, meta);
}

bool Outbox::next_chunk() {
  sending_.clear();
  sent_ = 0;
  sending_.swap(urgent_);
  if (!chunks_.empty()) {
    if (sending_.empty()) {
      sending_.swap(chunks_.front());
    } else {
      sending_.insert(sending_.end(), chunks_.front().begin(), chunks_.front().end());
    }
    chunks_.pop_front();
  }
  return !sending_.empty();
}

void Outbox::flush(const Socket& socket, std::unique_lock<std::mutex>& lock, Wait wait) {
  if (flushing_ || broken_) return;
  flushing_ = true;
  while (sent_ < sending_.size() || next_chunk()) {
    lock.unlock();
    const ssize_t sent = socket.send_now(std::span(sending_).subspan(sent_));
    if (sent == 0 && wait == Wait::until_sent) socket.wait_writable(-1);
    lock.lock();
    if (sent < 0) {
      broken_ = true;
      urgent_.clear();
      chunks_.clear();
      sending_.clear();
      sent_ = 0;
      break;
    }
    sent_ += static_cast<size_t>(sent);
    if (sent == 0 && wait == Wait::no) break;
  }
  flushing_ = false;
  idle_.notify_all();
}

void Outbox::drain(const Socket& socket, std::unique_lock<std::mutex>& lock,
                   std::chrono::milliseconds timeout) {
  const auto end = std::chrono::steady_clock::now() + timeout;
  while (!empty() && !broken_) {
    const auto now = std::chrono::steady_clock::now();
    if (now >= end) return;
    if (flushing_) {
      idle_.wait_until(lock, end);
      continue;
    }
    flush(socket, lock, Wait::no);
    if (empty()) return;
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - now);
    lock.unlock();
    socket.wait_writable(static_cast<int>(left.count()) + 1);
    lock.lock();
  }
}

}  // namespace legate::client
