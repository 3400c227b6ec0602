#pragma once
// Frames on their way into a socket. Small things are copied into one buffer, large payload is sent
// from where it lies. Owned by a session; the loop's thread.

#include <flatbuffers/flatbuffers.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "ipc-schema/cpp/frame.h"

namespace legated {

class Output {
 public:
  /// Payload from this size on is referenced, not copied: below, the copy is cheaper than one more
  /// iovec.
  static constexpr size_t kReferenceFrom = 4096;

  /// The head of a frame; exactly `payload_length` bytes of payload() must follow.
  void frame(const legate::ipc::Header& header,
             const flatbuffers::FlatBufferBuilder* meta = nullptr, size_t payload_length = 0);

  /// `keep` keeps the bytes alive until they are sent.
  void payload(std::span<const uint8_t> bytes, const std::shared_ptr<const void>& keep);

  /// Bytes not yet taken by the socket.
  size_t pending() const { return pending_; }

  enum class Sent { all, blocked, broken };
  /// Sends what the socket takes. `progress` tells whether it took anything. `broken`: errno says
  /// why.
  Sent send(int fd, bool& progress);

 private:
  struct Piece {
    const uint8_t* data;  // null: in buffer_, from `offset`
    size_t offset;
    size_t length;
    std::shared_ptr<const void> keep;
  };
  void note_copied(size_t from);
  void compact();

  std::vector<uint8_t> buffer_;
  std::deque<Piece> pieces_;
  size_t pending_ = 0;
};

}  // namespace legated
