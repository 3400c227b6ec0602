#include "daemon/ipc/output.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>

namespace legated {
namespace {

constexpr size_t kMaxPieces = 64;

}  // namespace

void Output::note_copied(size_t from) {
  const size_t length = buffer_.size() - from;
  pending_ += length;
  if (!pieces_.empty() && pieces_.back().data == nullptr &&
      pieces_.back().offset + pieces_.back().length == from) {
    pieces_.back().length += length;
  } else {
    pieces_.push_back({nullptr, from, length, nullptr});
  }
}

void Output::frame(const legate::ipc::Header& header, const flatbuffers::FlatBufferBuilder* meta,
                   size_t payload_length) {
  const size_t from = buffer_.size();
  legate::ipc::append_frame_head(buffer_, header, meta, payload_length);
  note_copied(from);
}

void Output::payload(std::span<const uint8_t> bytes, const std::shared_ptr<const void>& keep) {
  if (bytes.size() < kReferenceFrom) {
    const size_t from = buffer_.size();
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
    note_copied(from);
    return;
  }
  pieces_.push_back({bytes.data(), 0, bytes.size(), keep});
  pending_ += bytes.size();
}

void Output::compact() {
  // A socket that is never drained to the end would otherwise let the buffer grow without bound.
  size_t sent = buffer_.size();
  for (const Piece& piece : pieces_) {
    if (piece.data != nullptr) continue;
    sent = piece.offset;
    break;
  }
  if (sent < buffer_.size() / 2 + 1) return;
  buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(sent));
  for (Piece& piece : pieces_) {
    if (piece.data == nullptr) piece.offset -= sent;
  }
}

Output::Sent Output::send(int fd, bool& progress) {
  progress = false;
  while (!pieces_.empty()) {
    std::array<iovec, kMaxPieces> vectors;
    size_t count = 0;
    for (const Piece& piece : pieces_) {
      if (count == vectors.size()) break;
      const uint8_t* const data =
          piece.data != nullptr ? piece.data : buffer_.data() + piece.offset;
      vectors[count++] = {const_cast<uint8_t*>(data), piece.length};
    }
    msghdr message{};
    message.msg_iov = vectors.data();
    message.msg_iovlen = count;
    const ssize_t result = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (result < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN && errno != EWOULDBLOCK) return Sent::broken;
      compact();
      return Sent::blocked;
    }
    progress = true;
    size_t sent = static_cast<size_t>(result);
    pending_ -= sent;
    while (sent > 0) {
      Piece& piece = pieces_.front();
      if (sent < piece.length) {
        if (piece.data != nullptr) {
          piece.data += sent;
        } else {
          piece.offset += sent;
        }
        piece.length -= sent;
        break;
      }
      sent -= piece.length;
      pieces_.pop_front();
    }
  }
  buffer_.clear();
  return Sent::all;
}

}  // namespace legated
