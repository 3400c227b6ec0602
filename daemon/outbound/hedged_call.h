#pragma once
// The gRPC side of a unary call that is made more than once: its attempts, which race. Hedging says
// when one starts and which of them is the call; the others are cancelled, and freed when gRPC is
// done with them. Must not go away before idle(). The loop's thread.

#include <grpc/grpc.h>

#include <memory>
#include <vector>

#include "daemon/core/hedging.h"
#include "daemon/grpc/message.h"
#include "daemon/grpc/metadata.h"
#include "daemon/outbound/channels.h"
#include "daemon/outbound/remote_leg.h"
#include "daemon/system/loop.h"

namespace legated {

class HedgedCall {
 public:
  /// What all attempts have in common. `metadata` must outlive them.
  struct Request {
    grpc_slice method;  // a reference of its owner's
    SendMetadata& metadata;
    gpr_timespec deadline;
    Loop::Time deadline_time;  // the same for the state machine
    bool wait_for_ready;
  };

  /// `pump` is queued when there is an answer, and whenever an attempt has ended.
  HedgedCall(Loop& loop, Channel& channel, const Request& request, EndOfPass& pump);
  ~HedgedCall();

  /// The first attempt; all share the bytes of `message`.
  void start(const grpc_byte_buffer* message, uint32_t flags);
  /// Cancels what is under way. There is still an answer, if there has been none.
  void cancel();

  /// Once: `leg` becomes that of the attempt that was decided on, with all it got. True when the
  /// attempt was not the first. Nothing: not decided yet, or taken already.
  std::optional<bool> take_answer(RemoteLeg& leg);

  uint32_t attempts() const { return hedging_.started(); }
  /// gRPC has nothing under way.
  bool idle() const { return running_ == 0; }

 private:
  class Attempt;

  void on_timer();
  void step();
  void start_attempt();
  void on_end(Attempt& attempt);

  Loop& loop_;
  Channel& channel_;
  const Request request_;
  EndOfPass& pump_;
  Hedging hedging_;
  Timer timer_;
  ByteBuffer message_;
  uint32_t message_flags_ = 0;
  std::vector<std::unique_ptr<Attempt>> attempts_;
  uint32_t running_ = 0;
  std::optional<uint32_t> answer_;
  bool taken_ = false;
};

}  // namespace legated
