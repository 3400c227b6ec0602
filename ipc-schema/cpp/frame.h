#pragma once
// The frame codec of the legated IPC protocol (PROTOCOL.md, sections 2 and 4). No I/O, no threads,
// no clock.
//
// Decoding never copies payload: a Frame views the caller's buffer. Its meta table is verified
// before anybody can read it, and is copied only when it lies unaligned in that buffer.

#include <flatbuffers/flatbuffers.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "legate_generated.h"

namespace legate::ipc {

enum class FrameType : uint8_t {
  hello = 1,
  hello_ack = 2,
  error = 3,
  ping = 4,
  pong = 5,
  goaway = 6,
  window = 7,
  unsupported = 8,
  start = 16,
  headers = 17,
  data = 18,
  status = 19,
  cancel = 20,
  accept = 21,
  reject = 22,
  open_channel = 32,
  channel_opened = 33,
  close_channel = 34,
  channel_state = 35,
  connect = 36,
  listen = 48,
  listening = 49,
  register_methods = 50,
  lease = 51,
  serve = 52,
  unregister = 53,
  describe = 54,
  set_health = 55,
  retire = 56,
  query = 64,
  command = 65,
};

/// The name PROTOCOL.md uses, for example "HELLO_ACK"; "type N" for an unknown type.
std::string name(FrameType type);
bool is_known(FrameType type);

namespace flag {
inline constexpr uint8_t end_stream = 0x01;
inline constexpr uint8_t msg_begin = 0x02;
inline constexpr uint8_t msg_end = 0x04;
inline constexpr uint8_t no_compress = 0x08;
inline constexpr uint8_t critical = 0x80;
inline constexpr uint8_t whole_message = msg_begin | msg_end;
}  // namespace flag

inline constexpr size_t kHeaderSize = 16;
inline constexpr uint32_t kProtocolVersion = 1;
inline constexpr uint32_t kDefaultMaxFrame = 65'536;
inline constexpr uint32_t kMinMaxFrame = 4'096;
inline constexpr uint32_t kMaxMaxFrame = 1'048'576;
inline constexpr uint32_t kDefaultMaxMeta = 131'072;
inline constexpr uint32_t kDefaultCallWindow = 262'144;
inline constexpr uint32_t kDefaultConnectionWindow = 4'194'304;
inline constexpr uint32_t kMinWindow = 65'536;
inline constexpr uint32_t kMaxWindow = 2'147'483'647;

struct Header {
  uint32_t body_length = 0;
  uint32_t call_id = 0;
  FrameType type{};
  uint8_t flags = 0;
  uint16_t meta_words = 0;
  uint32_t aux = 0;

  size_t meta_length() const { return size_t{meta_words} * 8; }
  bool has(uint8_t bits) const { return (flags & bits) == bits; }
};

std::array<uint8_t, kHeaderSize> encode(const Header& header);
Header decode_header(std::span<const uint8_t, kHeaderSize> bytes);

/// One decoded frame. Valid until the decoder's next call or a change of the input buffer.
struct Frame {
  Header header;
  std::span<const uint8_t> meta;     // verified, 8-byte aligned
  std::span<const uint8_t> payload;  // points into the input

  /// The meta as its table. Only for types that have one, and only the table of that type.
  template <class Table>
  const Table& as() const {
    return *flatbuffers::GetRoot<Table>(meta.data());
  }
};

struct DecodeError {
  ErrorCode code{};
  FrameType type{};
  std::string message;
};

/// Splits a byte stream into frames. One per connection; owned by whoever reads the connection.
class FrameDecoder {
 public:
  enum class Result { frame, need_more, error };

  /// Sizes in bytes. max_frame bounds the payload, max_meta the meta table.
  FrameDecoder(uint32_t max_frame, uint32_t max_meta)
      : max_frame_(max_frame), max_meta_(max_meta) {}

  /// Takes one frame off the front of `input`, advancing it. `need_more`: `input` holds only part
  /// of a frame, `wanted()` tells how many bytes the whole of it has. `error`: the connection must
  /// end; see `error()`.
  Result next(std::span<const uint8_t>& input, Frame& frame);

  size_t wanted() const { return wanted_; }
  const DecodeError& error() const { return error_; }

 private:
  Result fail(ErrorCode code, FrameType type, std::string message);
  bool check_header(const Header& header);
  bool check_meta(const Header& header, Frame& frame, const uint8_t* bytes);

  uint32_t max_frame_;
  uint32_t max_meta_;
  size_t wanted_ = kHeaderSize;
  std::vector<uint64_t> aligned_;  // holds the meta of a frame that came unaligned
  DecodeError error_;
};

/// Appends a frame to `out`. `header.body_length` and `header.meta_words` are filled in from `meta`
/// and `payload_length`; the payload itself is appended by the caller, who may send it from where
/// it lies. `meta` is a finished builder, or null for a type without meta. At most 65,535 words of
/// meta.
void append_frame_head(std::vector<uint8_t>& out, Header header,
                       const flatbuffers::FlatBufferBuilder* meta, size_t payload_length);

/// Appends a whole frame.
void append_frame(std::vector<uint8_t>& out, const Header& header,
                  const flatbuffers::FlatBufferBuilder* meta = nullptr,
                  std::span<const uint8_t> payload = {});

/// The text of a FlatBuffers string that may be absent.
inline std::string_view view(const flatbuffers::String* text) {
  return text == nullptr ? std::string_view{} : std::string_view{text->c_str(), text->size()};
}

/// The bytes of a FlatBuffers byte vector that may be absent.
inline std::string_view view(const flatbuffers::Vector<uint8_t>* bytes) {
  return bytes == nullptr
             ? std::string_view{}
             : std::string_view{reinterpret_cast<const char*>(bytes->data()), bytes->size()};
}

}  // namespace legate::ipc
