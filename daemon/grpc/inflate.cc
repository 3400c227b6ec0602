#include "daemon/grpc/inflate.h"

#include <zlib.h>

#include <algorithm>
#include <array>

namespace legated {
namespace {

constexpr size_t kPiece = 16 * 1024;  // bytes decompressed at a time

/// zlib's state, and what has come out so far.
class Inflater {
 public:
  explicit Inflater(grpc_compression_algorithm algorithm) {
    // zlib tells the two formats, "deflate" and gzip, by a bit of the window size.
    const int window = algorithm == GRPC_COMPRESS_GZIP ? 15 | 16 : 15;
    ready_ = inflateInit2(&stream_, window) == Z_OK;
    grpc_slice_buffer_init(&out_);
  }
  ~Inflater() {
    if (ready_) inflateEnd(&stream_);
    grpc_slice_buffer_destroy(&out_);
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  /// False: it is corrupt, or longer than `most`; too_long() tells which.
  bool add(const grpc_slice& slice, uint32_t most) {
    if (!ready_) return false;
    stream_.next_in = const_cast<uint8_t*>(GRPC_SLICE_START_PTR(slice));
    stream_.avail_in = static_cast<uInt>(GRPC_SLICE_LENGTH(slice));
    do {
      stream_.next_out = piece_.data();
      stream_.avail_out = static_cast<uInt>(piece_.size());
      result_ = ::inflate(&stream_, Z_NO_FLUSH);
      if (result_ != Z_OK && result_ != Z_STREAM_END && result_ != Z_BUF_ERROR) return false;
      const size_t got = piece_.size() - stream_.avail_out;
      if (out_.length + got > most) {
        too_long_ = true;
        return false;
      }
      if (got > 0) {
        grpc_slice_buffer_add(&out_, grpc_slice_from_copied_buffer(
                                         reinterpret_cast<const char*>(piece_.data()), got));
      }
    } while (stream_.avail_out == 0 && result_ != Z_STREAM_END);
    return stream_.avail_in == 0;
  }

  bool too_long() const { return too_long_; }
  bool at_end() const { return result_ == Z_STREAM_END; }
  ByteBuffer take() { return ByteBuffer(grpc_raw_byte_buffer_create(out_.slices, out_.count)); }

 private:
  z_stream stream_{};
  bool ready_ = false;
  bool too_long_ = false;
  int result_ = Z_OK;
  grpc_slice_buffer out_;
  std::array<uint8_t, kPiece> piece_;
};

}  // namespace

bool is_compressed(const grpc_byte_buffer& message) {
  return message.data.raw.compression != GRPC_COMPRESS_NONE;
}

Inflated inflate(const grpc_byte_buffer& message, uint32_t most, ByteBuffer& plain) {
  Inflater inflater(message.data.raw.compression);
  const grpc_slice_buffer& in = message.data.raw.slice_buffer;
  for (size_t i = 0; i < in.count; ++i) {
    if (!inflater.add(in.slices[i], most))
      return inflater.too_long() ? Inflated::too_long : Inflated::corrupt;
  }
  if (!inflater.at_end()) return Inflated::corrupt;
  plain = inflater.take();
  return Inflated::whole;
}

}  // namespace legated
