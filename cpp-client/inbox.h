#pragma once
// Inbox: where the messages of one call arrive, and the credit they are worth (PROTOCOL.md,
// sections 6 and 7). No I/O and no lock: the session that owns the call guards it.

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>

#include "ipc-schema/cpp/frame.h"

namespace legate::client {

/// A breach of the protocol by the other side; the connection must end with this ERROR.
struct Violation {
  ipc::ErrorCode code{};
  std::string message;
};

class Inbox {
 public:
  /// `window`: the credit in bytes that the sender starts with.
  explicit Inbox(uint32_t window) : window_(window), credit_(window) {}

  /// Files the payload of one START or DATA frame.
  [[nodiscard]] std::optional<Violation> add(const ipc::Header& header,
                                             std::span<const uint8_t> payload);

  /// The oldest message that is complete, if any. Taking it earns the sender its credit back.
  std::optional<std::string> take();
  bool has_message() const { return !messages_.empty() && messages_.front().complete(); }

  /// Everything that is here or still comes counts as taken, and is dropped.
  void discard();

  /// END_STREAM has come: no message follows those that are here.
  bool ended() const { return ended_; }

  /// Credit to return now, in bytes; 0 while it can wait. The caller must send it.
  uint32_t take_credit();

 private:
  struct Message {
    uint32_t length = 0;
    uint32_t received = 0;
    uint32_t returned = 0;  // of the received bytes, those already counted in due_
    std::string bytes;

    bool complete() const { return received == length; }
  };

  std::optional<Violation> file(const ipc::Header& header, std::span<const uint8_t> payload);
  void settle();

  const uint32_t window_;
  uint32_t credit_;               // what the sender may still send
  uint32_t due_ = 0;              // to be returned with the next WINDOW
  std::deque<Message> messages_;  // only the last may be incomplete
  bool discarding_ = false;
  bool ended_ = false;
};

}  // namespace legate::client
