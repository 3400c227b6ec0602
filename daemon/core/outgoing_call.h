#pragma once
// The state machine of an outgoing call: the peer is the gRPC client, the daemon calls on its
// behalf (the table in PROTOCOL.md, section 6). It takes events from both legs and says what to do
// next on each; it holds no bytes, does no I/O and reads no clock. Owned by one call object, used
// on the loop's thread.
//
// Invariants, tested with random event orders: exactly one STATUS per call unless the peer is lost;
// no gRPC operation is asked for twice, nor after the call's end; what is queued for the peer never
// exceeds one message.

#include <optional>

#include "daemon/core/messages.h"
#include "daemon/core/status.h"

namespace legated {

using legate::ipc::Shape;

/// gRPC operations to start now. All sends go in one batch; each receive is a batch of its own.
struct OutgoingWork {
  bool unary = false;  // the whole request is here: all but the status in one batch; nothing else is set
  bool start = false;  // send initial metadata; also begin receiving headers and status
  bool send_message = false;  // the oldest whole message
  bool half_close = false;
  bool receive_message = false;
  bool cancel = false;

  bool sends() const { return start || send_message || half_close; }
};

class OutgoingCall {
 public:
  /// Windows in bytes: what the peer may send, and what it takes.
  OutgoingCall(Shape shape, uint32_t receive_window, uint32_t send_window);

  /// A unary call only begins when its request is complete.
  void begin_whole() { begin_whole_ = true; }

  // ---- Events from the peer -------------------------------------------------------------------
  [[nodiscard]] std::optional<Violation> on_part(uint8_t flags, uint32_t aux, uint32_t length);
  [[nodiscard]] bool on_window(uint32_t bytes) { return to_peer_.on_window(bytes); }
  void on_cancel();
  void on_peer_lost();

  /// The daemon ends the call. The first reason counts: nothing after the peer's CANCEL or gRPC's
  /// own status.
  void refuse(Status status);
  /// What the server has sent can't be given to the peer. As refuse(), but goes before gRPC's OK: of
  /// an answer and its status, either may come first.
  void refuse_answer(Status status);

  // ---- Events from gRPC -----------------------------------------------------------------------
  void on_sent(bool ok);
  void on_headers(bool empty);
  void on_message(std::optional<uint32_t> length);  // nullopt: no more messages
  void on_status(Status status);
  /// The batch of a `unary` is done; the status comes by on_status.
  void on_unary(bool headers_empty, std::optional<uint32_t> length);

  // ---- What to do next ------------------------------------------------------------------------

  /// The gRPC operations to start; they count as started. `may_receive`: there is memory for
  /// another message.
  OutgoingWork take_work(bool may_receive);

  enum class Frame { none, headers, data, status };
  /// The frame that may be written to the peer now.
  Frame next_frame(uint32_t connection_credit) const;
  void on_headers_written() { headers_written_ = true; }
  std::optional<ToPeer::Part> next_part(uint32_t max_frame, uint32_t connection_credit) {
    return to_peer_.next_part(max_frame, connection_credit);
  }
  void on_status_written() { status_written_ = true; }

  /// Valid when next_frame is `status`.
  const Status& status() const { return *status_; }

  /// No gRPC operation is under way and the peer needs nothing more: the call may be destroyed.
  bool finished() const { return operations_ == 0 && (status_written_ || peer_lost_); }

  /// take_work() would begin the gRPC call.
  bool ready_to_start() const;
  /// Whether the gRPC call was ever begun.
  bool started() const { return started_; }
  /// Nothing the peer sends matters any more.
  bool over() const { return status_.has_value() || cancelled_ || peer_lost_; }
  bool status_known() const { return status_.has_value(); }
  size_t messages_waiting() const { return to_peer_.waiting(); }
  FromPeer& from_peer() { return from_peer_; }

 private:
  bool one_answer() const { return shape_ == Shape::unary || shape_ == Shape::client_streaming; }
  bool whole_request() const { return from_peer_.closed() && from_peer_.whole() == 1; }
  bool one_request() const { return shape_ == Shape::unary || shape_ == Shape::server_streaming; }
  void deliver(uint32_t length);
  void take_message(std::optional<uint32_t> length);
  void count_answers();

  Shape shape_;
  FromPeer from_peer_;
  ToPeer to_peer_;
  uint32_t requests_ = 0;    // whole messages from the peer
  uint32_t answers_ = 0;     // messages from gRPC
  uint32_t operations_ = 0;  // gRPC batches under way
  bool begin_whole_ = false;
  bool started_ = false;
  bool sending_ = false;
  bool sending_message_ = false;
  bool send_failed_ = false;
  bool half_closed_ = false;
  bool headers_known_ = false;
  bool headers_empty_ = true;
  bool headers_written_ = false;
  bool receiving_ = false;
  bool no_more_messages_ = false;
  bool cancelled_ = false;  // by the peer
  bool refused_ = false;    // the status is the daemon's own
  bool peer_lost_ = false;
  bool cancel_wanted_ = false;  // gRPC has to be told
  bool remote_ended_ = false;   // gRPC's status has come
  bool status_written_ = false;
  std::optional<Status> status_;  // the one status
};

}  // namespace legated
