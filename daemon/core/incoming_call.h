#pragma once
// The state machine of an incoming call: a remote gRPC client called a port of the daemon, a peer
// serves the call (the dispatch table in PROTOCOL.md, section 6). It takes events from both legs
// and says what to do next on each; it holds no bytes, does no I/O and reads no clock. Owned by one
// call object, used on the loop's thread.
//
// Invariants, tested with random event orders: the client gets exactly one status; no gRPC
// operation is asked for twice, nor after the call's end; a call that was accepted is never offered
// again.

#include <optional>
#include <span>

#include "daemon/core/messages.h"
#include "daemon/core/status.h"

namespace legated {

/// gRPC operations to start now. All sends go in one batch.
struct IncomingWork {
  bool send_headers = false;  // initial metadata
  bool send_message = false;  // the oldest whole message
  bool send_status = false;
  bool receive_message = false;

  bool sends() const { return send_headers || send_message || send_status; }
};

class IncomingCall {
 public:
  enum class Phase { queued, offered, accepted, cancelled, ended };

  Phase phase() const { return phase_; }

  // ---- Dispatch -------------------------------------------------------------------------------

  /// A worker is chosen: START is to be written, then what has come from the client, whose lengths
  /// are given oldest first. Windows in bytes, as in OutgoingCall.
  void offer(uint32_t receive_window, uint32_t send_window, std::span<const uint32_t> lengths);
  /// The worker gave the call back, or died before it accepted: it is queued again.
  void withdraw();

  // ---- Events from the worker -----------------------------------------------------------------
  void on_accept();
  [[nodiscard]] std::optional<Violation> on_headers();
  [[nodiscard]] std::optional<Violation> on_part(uint8_t flags, uint32_t aux, uint32_t length);
  [[nodiscard]] bool on_window(uint32_t bytes);
  /// The worker's STATUS: the slot is free.
  void on_status(Status status);
  /// The connection of a worker that had accepted is gone.
  void on_worker_lost(Status status);

  /// The daemon ends the call; a worker that has it is told by CANCEL.
  void refuse(Status status);

  // ---- Events from gRPC -----------------------------------------------------------------------
  void on_message(
      std::optional<uint32_t> length);  // nullopt: the client closed its half, or is gone
  void on_sent(bool ok);
  /// The call's end at the transport. `cancelled`: the client cancelled, vanished, or its deadline
  /// passed.
  void on_closed(bool cancelled, bool deadline_passed);

  // ---- What to do next ------------------------------------------------------------------------
  IncomingWork take_work(bool may_receive);

  enum class Frame { none, start, data, cancel };
  Frame next_frame(uint32_t connection_credit) const;
  void on_start_written() { start_written_ = true; }
  std::optional<ToPeer::Part> next_part(uint32_t max_frame, uint32_t connection_credit) {
    return to_peer_->next_part(max_frame, connection_credit);
  }
  /// The status code for the CANCEL frame.
  StatusCode take_cancel();

  /// Valid when status_known().
  const Status& status() const { return *status_; }
  bool status_known() const { return status_.has_value(); }

  /// No gRPC operation is under way, the client has been answered or is gone, and no worker holds
  /// the call.
  bool finished() const { return operations_ == 0 && phase_ == Phase::ended; }

  /// Only while a worker has the call.
  FromPeer& from_worker() { return *from_worker_; }

 private:
  bool with_worker() const { return phase_ == Phase::offered || phase_ == Phase::accepted; }
  void cancel_worker(StatusCode code);

  Phase phase_ = Phase::queued;
  std::optional<FromPeer> from_worker_;
  std::optional<ToPeer> to_peer_;
  uint32_t received_ = 0;      // messages from gRPC
  uint32_t first_length_ = 0;  // of the first of them, in bytes
  uint32_t operations_ = 1;    // gRPC batches under way; the first watches for the close
  bool receiving_ = false;
  bool no_more_messages_ = false;
  bool sending_ = false;
  bool sending_message_ = false;
  bool send_failed_ = false;
  bool drop_answers_ = false;  // the daemon's status goes out at once
  bool headers_known_ = false;
  bool headers_sent_ = false;
  bool start_written_ = false;
  bool status_sent_ = false;
  bool closed_ = false;
  std::optional<StatusCode> cancel_;  // CANCEL is to be written
  std::optional<Status> status_;      // the one status
};

}  // namespace legated
