// Fuzz target: the frame decoder on any bytes.
//
// The input is a stream of frames. However it is cut into chunks, the decoder must give the same
// frames and the same error; every field of every verified table can be read; and a frame encodes
// to the bytes it was decoded from.
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "tests/unit/golden_vectors.h"

namespace legate::ipc {
namespace {

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

struct Decoded {
  std::vector<std::string> frames;
  std::optional<ErrorCode> error;
};

std::string tell(const Frame& frame) {
  const Header& h = frame.header;
  return name(h.type) + ' ' + std::to_string(h.flags) + ' ' + std::to_string(h.call_id) + ' ' +
         std::to_string(h.aux) + ' ' + meta_json(frame) + ' ' + to_hex(frame.payload);
}

void check_encoding(const Frame& frame, std::span<const uint8_t> taken) {
  const auto head = encode(frame.header);
  require(std::ranges::equal(head, taken.first(kHeaderSize)), "a header encodes to its bytes");
  if (!is_known(frame.header.type)) return;
  require(std::ranges::equal(frame.meta, taken.subspan(kHeaderSize, frame.meta.size())),
          "meta is as it came");
  require(frame.payload.empty() ||
              frame.payload.data() + frame.payload.size() == taken.data() + taken.size(),
          "payload is the input's own");
}

// Takes what is whole off the front of `input`. False when the stream has failed.
bool take_frames(FrameDecoder& decoder, std::span<const uint8_t>& input, Decoded& decoded) {
  while (true) {
    const std::span<const uint8_t> before = input;
    Frame frame;
    switch (decoder.next(input, frame)) {
      case FrameDecoder::Result::need_more:
        require(input.size() == before.size(), "nothing is taken of part of a frame");
        require(decoder.wanted() > input.size(), "more is wanted than is there");
        return true;
      case FrameDecoder::Result::error: decoded.error = decoder.error().code; return false;
      case FrameDecoder::Result::frame:
        check_encoding(frame, before.first(before.size() - input.size()));
        decoded.frames.push_back(tell(frame));
    }
  }
}

Decoded decode_whole(std::span<const uint8_t> input) {
  FrameDecoder decoder(kMinMaxFrame, kDefaultMaxMeta);
  Decoded decoded;
  take_frames(decoder, input, decoded);
  return decoded;
}

// As a connection does it: the unread rest stays, and lies where it happens to lie.
Decoded decode_in_chunks(std::span<const uint8_t> input) {
  FrameDecoder decoder(kMinMaxFrame, kDefaultMaxMeta);
  Decoded decoded;
  std::vector<uint8_t> unread;
  uint32_t random = 2'166'136'261u;
  for (const uint8_t byte : input) random = (random ^ byte) * 16'777'619u;
  while (!input.empty()) {
    random = random * 1'664'525u + 1'013'904'223u;
    const size_t length = std::min<size_t>(1 + (random >> 16) % 61, input.size());
    unread.insert(unread.end(), input.begin(), input.begin() + static_cast<std::ptrdiff_t>(length));
    input = input.subspan(length);
    std::span<const uint8_t> rest = unread;
    if (!take_frames(decoder, rest, decoded)) break;
    unread.erase(unread.begin(), unread.end() - static_cast<std::ptrdiff_t>(rest.size()));
  }
  return decoded;
}

void check(std::span<const uint8_t> input) {
  const Decoded whole = decode_whole(input);
  const Decoded chunks = decode_in_chunks(input);
  require(whole.frames == chunks.frames, "chunks do not change the frames");
  require(whole.error == chunks.error, "chunks do not change the error");
}

}  // namespace
}  // namespace legate::ipc

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  legate::ipc::check({data, size});
  return 0;
}
