#pragma once
// Compressed messages. gRPC 1.51 would decompress them itself, but without any bound: a few hundred
// KiB of a client's become as many MiB of the daemon's. Pure functions.

#include "daemon/grpc/message.h"

namespace legated {

/// Whether the message has come compressed.
bool is_compressed(const grpc_byte_buffer& message);

enum class Inflated { whole, corrupt, too_long };

/// Decompresses a message that is_compressed() into `plain`, which is left alone unless the whole of
/// it has at most `most` bytes; no more than about that is ever held.
Inflated inflate(const grpc_byte_buffer& message, uint32_t most, ByteBuffer& plain);

}  // namespace legated
