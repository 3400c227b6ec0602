// The frame codec: every way to cut a stream, every error, limits at their edge. The bytes of
// well-formed frames are pinned by golden_test.cc.
#include "ipc-schema/cpp/frame.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/golden_vectors.h"

namespace legate::ipc {
namespace {

using Result = FrameDecoder::Result;
using testing::HasSubstr;
using Bytes = std::vector<uint8_t>;

constexpr uint32_t kAnyFrame = kDefaultMaxFrame;
constexpr uint32_t kAnyMeta = kDefaultMaxMeta;

Bytes frame_of(const Header& header, size_t payload = 0) {
  Bytes bytes;
  append_frame(bytes, header, nullptr, Bytes(payload, 0x5a));
  return bytes;
}

Bytes head_of(const Header& header) {
  const auto head = encode(header);
  return {head.begin(), head.end()};
}

// START with a meta of exactly `words` words, at least 6.
Bytes start_of(size_t words, size_t payload = 0) {
  flatbuffers::FlatBufferBuilder builder;
  const std::string method(words * 8 - 29, 'm');
  builder.Finish(CreateStartDirect(builder, method.c_str()));
  Bytes bytes;
  append_frame(bytes, {.call_id = 3, .type = FrameType::start}, &builder, Bytes(payload, 0x5a));
  EXPECT_EQ(
      decode_header(std::span<const uint8_t, kHeaderSize>(bytes.data(), kHeaderSize)).meta_words,
      words);
  return bytes;
}

struct Outcome {
  Result result{};
  DecodeError error;
  size_t left = 0;  // bytes the decoder did not take
};

Outcome decode(const Bytes& bytes, uint32_t max_frame = kAnyFrame, uint32_t max_meta = kAnyMeta) {
  FrameDecoder decoder(max_frame, max_meta);
  std::span<const uint8_t> input = bytes;
  Frame frame;
  const Result result = decoder.next(input, frame);
  return {result, decoder.error(), input.size()};
}

void expect_error(const Bytes& bytes, ErrorCode code, FrameType type, const std::string& text,
                  uint32_t max_frame = kAnyFrame, uint32_t max_meta = kAnyMeta) {
  const Outcome outcome = decode(bytes, max_frame, max_meta);
  ASSERT_EQ(outcome.result, Result::error) << text;
  EXPECT_EQ(outcome.error.code, code) << outcome.error.message;
  EXPECT_EQ(outcome.error.type, type);
  EXPECT_THAT(outcome.error.message, HasSubstr(text));
  EXPECT_THAT(outcome.error.message, testing::StartsWith(name(type) + ": "));
  EXPECT_EQ(outcome.left, bytes.size());
}

// Golden frames one after the other, and what each is.
struct Stream {
  Bytes bytes;
  std::vector<std::string> frames;
};

std::string tell(const Frame& frame) {
  const Header& h = frame.header;
  return name(h.type) + ' ' + std::to_string(h.flags) + ' ' + std::to_string(h.call_id) + ' ' +
         std::to_string(h.aux) + ' ' + meta_json(frame) + ' ' + to_hex(frame.payload);
}

// Decodes what is whole in `bytes`, appends it to `frames`, and drops it.
void take_frames(FrameDecoder& decoder, Bytes& bytes, std::vector<std::string>& frames) {
  std::span<const uint8_t> input = bytes;
  Frame frame;
  Result result{};
  while ((result = decoder.next(input, frame)) == Result::frame) frames.push_back(tell(frame));
  ASSERT_EQ(result, Result::need_more) << decoder.error().message;
  ASSERT_GT(decoder.wanted(), input.size());
  bytes.erase(bytes.begin(), bytes.end() - static_cast<std::ptrdiff_t>(input.size()));
}

Stream golden_stream(const std::string& prefix = "") {
  Stream s;
  for (const GoldenVector& vector : golden_vectors()) {
    if (!vector.name.starts_with(prefix)) continue;
    if (!describe(vector.bytes).starts_with("frame: ")) continue;
    s.bytes.insert(s.bytes.end(), vector.bytes.begin(), vector.bytes.end());
    FrameDecoder decoder(kAnyFrame, kAnyMeta);
    Bytes copy = vector.bytes;
    take_frames(decoder, copy, s.frames);
  }
  return s;
}

TEST(FrameDecoder, TakesSeveralFramesOutOfOneBuffer) {
  const Stream stream = golden_stream();
  ASSERT_GT(stream.frames.size(), 40u);
  FrameDecoder decoder(kAnyFrame, kAnyMeta);
  Bytes bytes = stream.bytes;
  std::vector<std::string> frames;
  take_frames(decoder, bytes, frames);
  EXPECT_EQ(frames, stream.frames);
  EXPECT_TRUE(bytes.empty());
}

TEST(FrameDecoder, GivesTheSameFramesForEverySplitOfTheStream) {
  const Stream stream = golden_stream("un");  // unary-…, unknown-…, unregister, unsupported
  for (size_t split = 0; split <= stream.bytes.size(); ++split) {
    const auto middle = stream.bytes.begin() + static_cast<std::ptrdiff_t>(split);
    FrameDecoder decoder(kAnyFrame, kAnyMeta);
    Bytes bytes(stream.bytes.begin(), middle);
    std::vector<std::string> frames;
    take_frames(decoder, bytes, frames);
    bytes.insert(bytes.end(), middle, stream.bytes.end());
    take_frames(decoder, bytes, frames);
    ASSERT_EQ(frames, stream.frames) << "split at " << split;
  }
}

TEST(FrameDecoder, GivesTheSameFramesByteByByte) {
  const Stream stream = golden_stream();
  FrameDecoder decoder(kAnyFrame, kAnyMeta);
  Bytes bytes;
  std::vector<std::string> frames;
  for (const uint8_t byte : stream.bytes) {
    bytes.push_back(byte);
    take_frames(decoder, bytes, frames);
  }
  EXPECT_EQ(frames, stream.frames);
}

TEST(FrameDecoder, TellsHowManyBytesTheFrameHas) {
  const Bytes bytes = start_of(7, 10);
  for (size_t length = 0; length < bytes.size(); ++length) {
    FrameDecoder decoder(kAnyFrame, kAnyMeta);
    std::span<const uint8_t> input(bytes.data(), length);
    Frame frame;
    ASSERT_EQ(decoder.next(input, frame), Result::need_more);
    EXPECT_EQ(decoder.wanted(), length < kHeaderSize ? kHeaderSize : bytes.size());
    EXPECT_EQ(input.size(), length);
  }
}

TEST(FrameDecoder, ReadsMetaAtEveryAlignmentAndNeverCopiesPayload) {
  const Bytes bytes = start_of(7, 10);
  for (size_t shift = 0; shift < 8; ++shift) {
    std::vector<uint64_t> storage(bytes.size() / 8 + 2);
    uint8_t* begin = reinterpret_cast<uint8_t*>(storage.data()) + shift;
    std::ranges::copy(bytes, begin);
    FrameDecoder decoder(kAnyFrame, kAnyMeta);
    std::span<const uint8_t> input(begin, bytes.size());
    Frame frame;
    ASSERT_EQ(decoder.next(input, frame), Result::frame);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(frame.meta.data()) % 8, 0u);
    EXPECT_EQ(frame.meta.data() == begin + kHeaderSize, shift == 0);
    EXPECT_EQ(frame.payload.data(), begin + kHeaderSize + 7 * 8);
    EXPECT_EQ(view(frame.as<Start>().method()), std::string(7 * 8 - 29, 'm'));
  }
}

TEST(FrameDecoder, PayloadMayBeJustMaxFrame) {
  const Header data{.call_id = 3, .type = FrameType::data};
  EXPECT_EQ(decode(frame_of(data, 4'096), 4'096).result, Result::frame);
  expect_error(frame_of(data, 4'097), ErrorCode::frame_too_large, FrameType::data,
               "payload of 4097 bytes exceeds max_frame 4096", 4'096);
  EXPECT_EQ(decode(start_of(7, 4'096), 4'096).result, Result::frame);
  expect_error(start_of(7, 4'097), ErrorCode::frame_too_large, FrameType::start, "payload of 4097",
               4'096);
}

TEST(FrameDecoder, MetaMayBeJustMaxMeta) {
  EXPECT_EQ(decode(start_of(8), kAnyFrame, 64).result, Result::frame);
  expect_error(start_of(9), ErrorCode::frame_too_large, FrameType::start,
               "meta of 72 bytes exceeds max_meta 64", kAnyFrame, 64);
  EXPECT_EQ(decode(start_of(kDefaultMaxMeta / 8)).result, Result::frame);
  expect_error(start_of(kDefaultMaxMeta / 8 + 1), ErrorCode::frame_too_large, FrameType::start,
               "exceeds max_meta");
}

TEST(FrameDecoder, RefusesALengthBeforeTheBodyIsThere) {
  const Bytes head = head_of({.body_length = UINT32_MAX, .call_id = 3, .type = FrameType::data});
  expect_error(head, ErrorCode::frame_too_large, FrameType::data, "4294967295");
  // With a 16-byte meta in front, the payload is just at the limit and the frame is awaited.
  const Outcome outcome = decode(head_of({.body_length = 16 + kAnyFrame,
                                          .call_id = 3,
                                          .type = FrameType::start,
                                          .flags = 0,
                                          .meta_words = 2,
                                          .aux = 0}));
  EXPECT_EQ(outcome.result, Result::need_more);
}

TEST(FrameDecoder, RefusesAMetaLongerThanTheBody) {
  for (const uint32_t body : {0u, 7u, 15u}) {
    expect_error(head_of({.body_length = body,
                          .call_id = 3,
                          .type = FrameType::headers,
                          .flags = 0,
                          .meta_words = 2,
                          .aux = 0}),
                 ErrorCode::malformed_frame, FrameType::headers,
                 "does not fit a body of " + std::to_string(body));
  }
}

TEST(FrameDecoder, UnknownTypesAreFramesUnlessCritical) {
  for (int value = 0; value < 256; ++value) {
    const auto type = static_cast<FrameType>(value);
    if (is_known(type)) continue;
    EXPECT_EQ(decode(frame_of({.call_id = 9, .type = type}, 5)).result, Result::frame) << value;
    expect_error(frame_of({.call_id = 9, .type = type, .flags = flag::critical}, 5),
                 ErrorCode::unsupported, type, "does not know the type");
  }
}

TEST(FrameDecoder, AnUnknownTypesMetaIsSkippedAndNotShown) {
  const Bytes body(16, 0xff);
  Bytes bytes = head_of({.body_length = 16,
                         .call_id = 9,
                         .type = FrameType{200},
                         .flags = 0,
                         .meta_words = 1,
                         .aux = 0});
  bytes.insert(bytes.end(), body.begin(), body.end());
  FrameDecoder decoder(kAnyFrame, kAnyMeta);
  std::span<const uint8_t> input = bytes;
  Frame frame;
  ASSERT_EQ(decoder.next(input, frame), Result::frame);
  EXPECT_TRUE(frame.meta.empty());
  EXPECT_EQ(frame.payload.size(), 8u);
  EXPECT_TRUE(input.empty());
}

TEST(FrameDecoder, CriticalIsAllowedOnEveryKnownType) {
  for (const GoldenVector& vector : golden_vectors()) {
    if (!describe(vector.bytes).starts_with("frame: ")) continue;
    if (!is_known(static_cast<FrameType>(vector.bytes[8]))) continue;
    Bytes bytes = vector.bytes;
    bytes[9] |= flag::critical;
    EXPECT_EQ(decode(bytes).result, Result::frame) << vector.name;
  }
}

TEST(FrameDecoder, RefusesEveryUndefinedFlagOnEveryKnownType) {
  for (int value = 0; value < 256; ++value) {
    const auto type = static_cast<FrameType>(value);
    if (!is_known(type)) continue;
    for (const int bit : {0x10, 0x20, 0x40}) {
      expect_error(
          head_of(
              {.body_length = 0, .call_id = 3, .type = type, .flags = static_cast<uint8_t>(bit)}),
          ErrorCode::malformed_frame, type, "are not allowed on this type");
    }
  }
}

TEST(FrameDecoder, AFlippedByteOfAMetaNeverReadsOutsideOfIt) {
  // Either result is right; the sanitizers watch what is read.
  for (const GoldenVector& vector : golden_vectors()) {
    for (size_t at = kHeaderSize; at < vector.bytes.size(); ++at) {
      for (const int value : {0x00, 0x01, 0x7f, 0x80, 0xff}) {
        Bytes bytes = vector.bytes;
        bytes[at] = static_cast<uint8_t>(value);
        (void)describe(bytes);
      }
    }
  }
}

// HEADERS with `count` entries that are all the same table, which FlatBuffers allows.
Bytes shared_entries(size_t count) {
  flatbuffers::FlatBufferBuilder builder;
  const std::vector<uint8_t> value = {1};
  const auto entry = CreateEntryDirect(builder, "k", &value);
  const std::vector<flatbuffers::Offset<Entry>> entries(count, entry);
  builder.Finish(CreateHeadersDirect(builder, &entries));
  Bytes bytes;
  append_frame(bytes, {.call_id = 3, .type = FrameType::headers}, &builder);
  return bytes;
}

TEST(FrameDecoder, AMetaHasAtMost4096Tables) {
  EXPECT_EQ(decode(shared_entries(4'095)).result, Result::frame);  // HEADERS itself is one
  expect_error(shared_entries(4'096), ErrorCode::meta_invalid, FrameType::headers,
               "does not verify");
}

TEST(FrameHeader, IsLittleEndianInTheOrderOfThePage) {
  const Header header{.body_length = 0x04030201,
                      .call_id = 0x08070605,
                      .type = FrameType::status,
                      .flags = 0x0a,
                      .meta_words = 0x0c0b,
                      .aux = 0x100f0e0d};
  const auto bytes = encode(header);
  EXPECT_EQ(to_hex(bytes), "0102030405060708130a0b0c0d0e0f10");
  const Header decoded = decode_header(bytes);
  EXPECT_EQ(decoded.body_length, header.body_length);
  EXPECT_EQ(decoded.call_id, header.call_id);
  EXPECT_EQ(decoded.type, header.type);
  EXPECT_EQ(decoded.flags, header.flags);
  EXPECT_EQ(decoded.meta_words, header.meta_words);
  EXPECT_EQ(decoded.aux, header.aux);
}

TEST(FrameHeader, HasAsksForAllBits) {
  const Header header{.flags = flag::msg_begin};
  EXPECT_TRUE(header.has(flag::msg_begin));
  EXPECT_FALSE(header.has(flag::whole_message));
}

TEST(FrameTypes, UnknownOnesAreNamedByNumber) {
  EXPECT_EQ(name(FrameType::register_methods), "REGISTER");
  EXPECT_EQ(name(FrameType{200}), "type 200");
  EXPECT_FALSE(is_known(FrameType{0}));
}

TEST(AppendFrameHead, LeavesThePayloadToTheCaller) {
  Bytes whole;
  append_frame(whole, {.call_id = 3, .type = FrameType::data}, nullptr, Bytes(5, 0x5a));
  Bytes parts;
  append_frame_head(parts, {.call_id = 3, .type = FrameType::data}, nullptr, 5);
  EXPECT_EQ(parts.size(), kHeaderSize);
  parts.resize(parts.size() + 5, 0x5a);
  EXPECT_EQ(parts, whole);
}

TEST(Views, OfAbsentFieldsAreEmpty) {
  EXPECT_EQ(view(static_cast<const flatbuffers::String*>(nullptr)), "");
  EXPECT_EQ(view(static_cast<const flatbuffers::Vector<uint8_t>*>(nullptr)), "");
}

}  // namespace
}  // namespace legate::ipc
