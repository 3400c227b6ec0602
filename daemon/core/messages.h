#pragma once
// The two message streams of a call on its IPC leg: parts, whole messages, credit. The bytes
// themselves lie with the owner of the call; these classes say what may be done with them. Pure, no
// I/O; owned by a call.

#include <cstdint>
#include <optional>
#include <string_view>

#include "daemon/core/credit.h"
#include "daemon/core/short_queue.h"

namespace legated {

/// A peer broke the protocol; the connection must end.
struct Violation {
  legate::ipc::ErrorCode code;
  std::string_view message;  // static text
};

/// Messages that come from the peer in parts and are handed to gRPC whole.
class FromPeer {
 public:
  explicit FromPeer(uint32_t window) : credit_(window) {}

  /// A START or DATA frame came. `length` is its payload in bytes, `aux` the message's length on
  /// MSG_BEGIN.
  [[nodiscard]] std::optional<Violation> on_part(uint8_t flags, uint32_t aux, uint32_t length);

  /// The length of the message that is being assembled, when one is.
  std::optional<uint32_t> assembling() const { return total_; }

  /// Whole messages that gRPC has not taken yet.
  size_t whole() const { return whole_.size(); }

  /// The peer closed its half.
  bool closed() const { return closed_; }

  /// gRPC has taken the oldest whole message.
  void on_taken();

  /// Credit to return to the peer in a WINDOW frame now; 0 for none.
  uint32_t take_grant() { return credit_.take_grant(total_ ? *total_ - received_ : 0); }

  /// Parts and whole messages held, in bytes.
  uint64_t held() const { return held_; }

 private:
  struct Whole {
    uint32_t length;
    uint32_t returned;  // credit already given back while it was assembled
  };

  void return_early();

  ReceiveCredit credit_;
  std::optional<uint32_t> total_;
  uint32_t received_ = 0;  // of the message being assembled
  uint32_t returned_ = 0;  // likewise
  ShortQueue<Whole> whole_;
  uint64_t held_ = 0;
  bool closed_ = false;
};

/// Messages that come from gRPC whole and go to the peer in parts.
class ToPeer {
 public:
  struct Part {
    uint32_t offset;  // within the oldest message
    uint32_t length;
    uint8_t flags;  // MSG_BEGIN, MSG_END, END_STREAM
    uint32_t aux;   // the message's length on MSG_BEGIN
  };

  explicit ToPeer(uint32_t window) : credit_(window) {}

  /// gRPC delivered a message of this many bytes.
  void on_message(uint32_t length) {
    if (!dropped_) messages_.push_back(length);
  }

  /// gRPC will deliver no more: the last part carries END_STREAM, alone if need be.
  void on_end() { end_ = !dropped_; }

  /// Messages not sent to their end.
  size_t waiting() const { return messages_.size(); }

  /// Whether a message that came now could be sent at least in part.
  bool has_credit() const { return credit_.available() > 0; }

  /// The peer granted credit. False: too much; a connection error.
  [[nodiscard]] bool on_window(uint32_t bytes) { return credit_.add(bytes); }

  /// Whether next_part would give a part.
  bool can_send(uint32_t connection_credit) const;

  /// The next part to send, of at most `max_frame` bytes and `connection_credit`; nullopt when
  /// there is none or no credit. Takes the call's credit; the connection's is the caller's to take.
  std::optional<Part> next_part(uint32_t max_frame, uint32_t connection_credit);

  /// Drops all that is not sent, and all that still comes.
  void drop();

 private:
  SendCredit credit_;
  ShortQueue<uint32_t> messages_;
  uint32_t sent_ = 0;  // of the oldest message
  bool end_ = false;   // END_STREAM is to be sent
  bool dropped_ = false;
};

}  // namespace legated
