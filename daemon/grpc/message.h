#pragma once
// gRPC messages as the daemon carries them: no copy between gRPC and the frames' payload where it
// can be had.

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/slice.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <variant>

#include "daemon/ipc/output.h"

namespace legated {

struct ByteBufferDeleter {
  void operator()(grpc_byte_buffer* buffer) const { grpc_byte_buffer_destroy(buffer); }
};
using ByteBuffer = std::unique_ptr<grpc_byte_buffer, ByteBufferDeleter>;

/// A message received from gRPC. Immutable; shared with the outputs that reference its bytes until
/// they are sent.
class ReceivedMessage : public std::enable_shared_from_this<ReceivedMessage> {
 public:
  /// Takes the buffer, which must not be null. Null result: its contents can't be decompressed.
  static std::shared_ptr<ReceivedMessage> take(grpc_byte_buffer* buffer);
  explicit ReceivedMessage(ByteBuffer buffer);

  enum class Fault { corrupt, too_long };
  /// Takes the buffer, which must not be null and may be compressed, of a call on which gRPC does
  /// not decompress. Longer than `most` bytes is too long.
  static std::variant<std::shared_ptr<ReceivedMessage>, Fault> receive(grpc_byte_buffer* buffer,
                                                                       uint32_t most);

  uint32_t length() const { return length_; }
  /// A copy.
  std::string text() const;

  /// Appends `length` bytes from `offset` on as payload.
  void write_to(Output& output, uint32_t offset, uint32_t length) const;

 private:
  const ByteBuffer buffer_;
  const uint32_t length_;
};

/// A message for gRPC, put together from the payload of frames.
class MessageBuilder {
 public:
  void append(std::span<const uint8_t> part);

  /// The whole message; the builder is empty again.
  ByteBuffer finish();

 private:
  ByteBuffer buffer_;  // null: no bytes yet
};

}  // namespace legated
