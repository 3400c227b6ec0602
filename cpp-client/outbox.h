#pragma once
// Outbox: the frames that wait to be written, and their writing. Frames that are ready together
// leave in one write; urgent ones (PING, PONG, WINDOW, ERROR) go ahead of the others.
//
// Guarded by the mutex of the session that owns it, which flush() lets go during system calls.
// Many threads may flush: one writes, and takes along what the others add meanwhile.

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <span>
#include <vector>

#include "cpp-client/socket.h"
#include "ipc-schema/cpp/frame.h"

namespace legate::client {

class Outbox {
 public:
  void add(const ipc::Header& header, const flatbuffers::FlatBufferBuilder* meta = nullptr,
           std::span<const uint8_t> payload = {});
  void add_urgent(const ipc::Header& header, const flatbuffers::FlatBufferBuilder* meta = nullptr);

  /// Something is left that did not fit, and nobody is writing it.
  bool stuck() const { return !flushing_ && !empty(); }
  bool empty() const { return sent_ == sending_.size() && urgent_.empty() && chunks_.empty(); }

  enum class Wait : uint8_t { until_sent, no };
  /// Writes what is there; `lock` holds the session's mutex. With `no` it leaves what does not fit to
  /// the next flush. Once the socket is broken, which its reader learns by itself, frames are dropped.
  void flush(const Socket& socket, std::unique_lock<std::mutex>& lock, Wait wait);

  /// Waits until nothing is left to write or `timeout` is over, writing if nobody else does.
  void drain(const Socket& socket, std::unique_lock<std::mutex>& lock,
             std::chrono::milliseconds timeout);

 private:
  bool next_chunk();

  std::vector<uint8_t> urgent_;
  std::deque<std::vector<uint8_t>> chunks_;  // whole frames each
  std::vector<uint8_t> sending_;             // whole frames; sent_ bytes of it are gone
  size_t sent_ = 0;
  bool flushing_ = false;
  bool broken_ = false;
  std::condition_variable idle_;  // flushing_ became false
};

}  // namespace legate::client
