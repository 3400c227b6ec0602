#pragma once
// The gRPC side of one outgoing call, or of one attempt of a hedged one: the gRPC call, and what
// gRPC fills in. Must not move or go away while an operation is under way. The loop's thread.

#include <grpc/grpc.h>

#include <memory>
#include <string>

#include "daemon/core/status.h"
#include "daemon/grpc/message.h"
#include "daemon/grpc/metadata.h"
#include "daemon/grpc/operation.h"

namespace legated {

class RemoteLeg {
 public:
  RemoteLeg() = default;
  ~RemoteLeg();
  RemoteLeg(const RemoteLeg&) = delete;
  RemoteLeg& operator=(const RemoteLeg&) = delete;

  /// Only when neither has anything under way.
  void swap(RemoteLeg& other);

  /// What a unary call sends.
  struct Request {
    grpc_metadata* metadata;
    size_t metadata_count;
    grpc_byte_buffer* message;
    uint32_t message_flags;
    bool wait_for_ready;
  };
  /// All but the status as one batch: `done`. The status is another: a second answer message would
  /// keep it, and the call, open for ever.
  void start_unary(const Request& request, Completion& done, Completion& status_done);
  void start_status(Completion& done);
  void start_receive(Completion& done);
  void cancel() { grpc_call_cancel(call, nullptr); }

  /// In place of gRPC's. `message` is static text.
  void set_status(grpc_status_code code, const char* message);

  /// gRPC passes on any number.
  uint32_t code() const;
  /// The value of the last such trailer.
  const grpc_slice* trailer(std::string_view key) const;

  grpc_call* call = nullptr;
  ReceivedMetadata headers;
  ReceivedMetadata trailers;
  grpc_byte_buffer* received = nullptr;
  grpc_slice details = grpc_empty_slice();
  const char* error = nullptr;  // gRPC's own account of a status that is not OK

 private:
  grpc_status_code code_ = GRPC_STATUS_OK;
};

/// The flags of a batch's initial metadata.
inline uint32_t initial_flags(bool wait_for_ready) {
  return wait_for_ready ? GRPC_INITIAL_METADATA_WAIT_FOR_READY |
                              GRPC_INITIAL_METADATA_WAIT_FOR_READY_EXPLICITLY_SET
                        : 0;
}

}  // namespace legated
