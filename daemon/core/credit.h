#pragma once
// The credit ledger: bytes one side may still send (PROTOCOL.md, section 7). One pair per call and
// one per connection. Pure values, owned by their call or session.

#include <cstdint>

#include "ipc-schema/cpp/frame.h"

namespace legated {

/// Credit the peer has granted this side.
class SendCredit {
 public:
  explicit SendCredit(uint32_t window) : available_(window) {}

  uint32_t available() const { return available_; }

  /// The peer granted more. False: the window would pass 2^31 - 1, or the grant is empty; a
  /// connection error.
  [[nodiscard]] bool add(uint32_t bytes) {
    if (bytes == 0 || uint64_t{available_} + bytes > legate::ipc::kMaxWindow) return false;
    available_ += bytes;
    return true;
  }

  /// At most available().
  void spend(uint32_t bytes) { available_ -= bytes; }

 private:
  uint32_t available_;
};

/// Credit this side has granted the peer.
class ReceiveCredit {
 public:
  explicit ReceiveCredit(uint32_t window) : window_(window), available_(window) {}

  uint32_t window() const { return window_; }

  /// The peer sent bytes. False: it had no credit for them; a connection error.
  [[nodiscard]] bool receive(uint32_t bytes) {
    if (bytes > available_) return false;
    available_ -= bytes;
    return true;
  }

  /// Bytes have been consumed and may be granted again.
  void give_back(uint32_t bytes) { owed_ += bytes; }

  /// What to grant in a WINDOW frame now: nothing until half a window is owed, to keep such frames
  /// few, unless the sender lacks credit for the `expected` bytes that must come before anything
  /// more can be consumed.
  [[nodiscard]] uint32_t take_grant(uint32_t expected = 0) {
    if (owed_ < (window_ + 1) / 2 && (owed_ == 0 || expected <= available_)) return 0;
    const uint32_t grant = owed_;
    owed_ = 0;
    available_ += grant;
    return grant;
  }

 private:
  uint32_t window_;
  uint32_t available_;
  uint32_t owed_ = 0;
};

}  // namespace legated
