#pragma once
// gRPC's C interface for the load generators: batches and messages. No state; any thread.

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/slice.h>

#include <array>
#include <cstring>

#include "tests/bench/bench.h"

namespace legated::bench {

/// The operations of one batch.
class Batch {
 public:
  grpc_op& add(grpc_op_type type) {
    grpc_op& op = ops_[count_++];
    op = {};
    op.op = type;
    return op;
  }

  void start(grpc_call* call, void* tag) {
    if (grpc_call_start_batch(call, ops_.data(), count_, tag, nullptr) != GRPC_CALL_OK)
      throw Failure("gRPC refused a batch");
  }

 private:
  std::array<grpc_op, 6> ops_;
  size_t count_ = 0;
};

/// A message with a copy of these bytes, for grpc_byte_buffer_destroy.
inline grpc_byte_buffer* make_message(const void* bytes, size_t length) {
  grpc_slice slice = grpc_slice_from_copied_buffer(static_cast<const char*>(bytes), length);
  grpc_byte_buffer* const message = grpc_raw_byte_buffer_create(&slice, 1);
  grpc_slice_unref(slice);
  return message;
}

/// Copies a message of exactly `length` bytes. False when it has another length.
inline bool copy_out(grpc_byte_buffer* message, void* bytes, size_t length) {
  if (grpc_byte_buffer_length(message) != length) return false;
  grpc_byte_buffer_reader reader;
  if (grpc_byte_buffer_reader_init(&reader, message) == 0) return false;
  auto* to = static_cast<char*>(bytes);
  for (grpc_slice* slice; grpc_byte_buffer_reader_peek(&reader, &slice) != 0;) {
    std::memcpy(to, GRPC_SLICE_START_PTR(*slice), GRPC_SLICE_LENGTH(*slice));
    to += GRPC_SLICE_LENGTH(*slice);
  }
  grpc_byte_buffer_reader_destroy(&reader);
  return true;
}

}  // namespace legated::bench
