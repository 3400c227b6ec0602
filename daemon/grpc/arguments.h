#pragma once
// Arguments of gRPC channels and servers.

#include <grpc/compression.h>
#include <grpc/grpc.h>

#include <chrono>
#include <string>
#include <vector>

#include "daemon/config/channel_settings.h"

namespace legated {

/// A list of them, made on the stack; what they refer to must outlive it.
class Arguments {
 public:
  void set(const char* key, int64_t value) {
    grpc_arg& arg = args_.emplace_back();
    arg.type = GRPC_ARG_INTEGER;
    arg.key = const_cast<char*>(key);
    arg.value.integer = static_cast<int>(value);
  }
  void set(const char* key, const std::string& value) {
    if (value.empty()) return;
    grpc_arg& arg = args_.emplace_back();
    arg.type = GRPC_ARG_STRING;
    arg.key = const_cast<char*>(key);
    arg.value.string = const_cast<char*>(value.c_str());
  }
  void set_unless_zero(const char* key, std::chrono::milliseconds time) {
    if (time.count() > 0) set(key, time.count());
  }
  void set_unless_zero(const char* key, uint32_t value) {
    if (value > 0) set(key, value);
  }
  /// gRPC 1.51 resizes the windows of a connection's streams to what it has measured, and when it has
  /// made them smaller it may end a stream that has kept to the larger one: PROTOCOL_ERROR.
  void set_fixed_windows(uint32_t bytes) {
    set(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    set(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, bytes);
  }
  void add(const grpc_arg& arg) { args_.push_back(arg); }
  grpc_channel_args get() { return {args_.size(), args_.data()}; }

 private:
  std::vector<grpc_arg> args_;
};

inline grpc_compression_algorithm algorithm(Compression compression) {
  switch (compression) {
    case Compression::deflate: return GRPC_COMPRESS_DEFLATE;
    case Compression::gzip: return GRPC_COMPRESS_GZIP;
    default: return GRPC_COMPRESS_NONE;
  }
}

}  // namespace legated
