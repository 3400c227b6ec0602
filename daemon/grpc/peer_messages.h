#pragma once
// The bytes of the messages a peer sends on one call, from its frames to gRPC; their order and
// credit are FromPeer's. Each message's whole length is reserved from the session's memory budget
// from its first part until gRPC has taken it. The loop's thread.

#include <optional>

#include "daemon/config/config.h"
#include "daemon/core/short_queue.h"
#include "daemon/core/status.h"
#include "daemon/grpc/message.h"
#include "daemon/ipc/session.h"

namespace legated {

/// A bound on messages and who set it, for the error that names it.
struct MessageLimit {
  uint32_t bytes;
  const char* name;  // static text
};

class PeerMessages {
 public:
  /// `what` is "request" or "answer", for error messages. Static text.
  PeerMessages(const Config& config, const char* what)
      : config_(config), what_(what), limit_{config.limits.max_message, "limits.max_message"} {}

  void set_limit(MessageLimit limit) { limit_ = limit; }

  /// Takes a part that FromPeer has found in order. A status: the message is over a limit and the
  /// call must end with it.
  [[nodiscard]] std::optional<Status> add(Session& session, const legate::ipc::Frame& part);

  /// The oldest whole message, for the batch that sends it; release it with sent(), once the batch
  /// is started.
  grpc_byte_buffer* oldest() const { return whole_.front().bytes.get(); }
  /// gRPC's flags for it.
  uint32_t oldest_flags() const { return whole_.front().flags; }
  void sent();

  /// gRPC has finished a batch that may have carried a message.
  void on_batch_done(Session& session);

  /// Gives all reserved memory back.
  void release_all(Session& session);

 private:
  struct Whole {
    ByteBuffer bytes;
    uint32_t flags = 0;
  };

  const Config& config_;
  const char* what_;
  MessageLimit limit_;
  bool compress_ = true;  // the message under assembly
  MessageBuilder assembling_;
  ShortQueue<Whole> whole_;
  ShortQueue<uint32_t> reserved_;  // a message each, oldest first
  bool in_flight_ = false;
};

}  // namespace legated
