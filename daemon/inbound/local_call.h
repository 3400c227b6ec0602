#pragma once
// An incoming call that the daemon answers itself: its own services on its ports. On gRPC's side it
// is what every other call is, a generic bidi call on the loop's queue; in place of a worker it has
// a LocalHandler. The loop's thread.
//
// It holds one message at most: the next request is read when the last answer is on its way, and
// the handler sends only when ready(). So a client that reads slowly waits for itself.

#include <grpc/grpc.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "daemon/core/ids.h"
#include "daemon/core/status.h"
#include "daemon/grpc/message.h"
#include "daemon/grpc/operation.h"

namespace legated {

class LocalCall;

/// What answers one call. Destroyed when the client is gone or has been answered.
class LocalHandler {
 public:
  virtual ~LocalHandler() = default;
  /// Never while the call is not ready().
  virtual void on_message(LocalCall& call, std::string_view message) = 0;
  /// The client sends no more.
  virtual void on_half_close(LocalCall& call) = 0;
  /// The last message is on its way: the call is ready() again.
  virtual void on_sent(LocalCall&) {}
  /// The server drains: the call must end soon, after what is to be said still.
  virtual void on_drain(LocalCall& call);
};

/// The server a local call belongs to.
class LocalCallOwner {
 public:
  /// Bytes of messages that gRPC has not taken. False: there is no memory for them.
  virtual bool may_queue(uint64_t bytes) = 0;
  virtual void unqueue(uint64_t bytes) = 0;
  /// Destroys the call.
  virtual void on_local_call_finished(LocalCall& call) = 0;

 protected:
  ~LocalCallOwner() = default;
};

class LocalCall final : private EndOfPass {
 public:
  /// Takes over a call that gRPC has accepted. Without a handler it can only be ended.
  LocalCall(Loop& loop, LocalCallOwner& owner, DispatchId id, grpc_call* call, std::string method,
            std::unique_ptr<LocalHandler> handler);
  ~LocalCall();

  DispatchId id() const { return id_; }
  const std::string& method() const { return method_; }
  Loop::Time since() const { return since_; }

  // ---- For the handler

  /// Another message can be sent.
  bool ready() const { return !status_ && !message_ && !sending_; }
  /// Only when ready(). Ends the call RESOURCE_EXHAUSTED when there is no memory for it.
  void send(std::string_view message);
  /// Ends the call, after the message that was sent. Only the first counts.
  void finish(Status status);

  // ---- For the server

  void drain();
  /// Ends the call; a message that gRPC has not taken is dropped.
  void end(const Status& status);

 private:
  void run() override { pump(); }
  void pump();
  void on_closed(bool ok);
  void on_received(bool ok);
  void on_sent(bool ok);
  void start_sends();
  void drop_message();

  Loop& loop_;
  LocalCallOwner& owner_;
  const DispatchId id_;
  grpc_call* const call_;
  const std::string method_;
  const Loop::Time since_;
  std::unique_ptr<LocalHandler> handler_;

  grpc_byte_buffer* incoming_ = nullptr;
  ByteBuffer message_;
  uint64_t queued_bytes_ = 0;  // charged to the owner, of message_ or the one being sent
  std::optional<Status> status_;
  uint32_t operations_ = 1;  // gRPC batches under way; the first watches for the close
  bool receiving_ = false;
  bool no_more_ = false;  // the client closed its half, or is gone
  bool sending_ = false;
  bool headers_sent_ = false;
  bool status_sent_ = false;
  bool closed_ = false;
  int cancelled_ = 0;  // filled in by gRPC

  Operation<LocalCall, &LocalCall::on_closed> closed_done_{*this};
  Operation<LocalCall, &LocalCall::on_received> received_done_{*this};
  Operation<LocalCall, &LocalCall::on_sent> sent_done_{*this};
};

}  // namespace legated
