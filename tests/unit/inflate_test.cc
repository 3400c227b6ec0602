// Compressed messages: what they decompress to, and how much that may be.
#include "daemon/grpc/inflate.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <string>
#include <vector>

namespace legated {
namespace {

using Fault = ReceivedMessage::Fault;

std::string compressed(const std::string& text, grpc_compression_algorithm algorithm) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, algorithm == GRPC_COMPRESS_GZIP ? 31 : 15,
                         8, Z_DEFAULT_STRATEGY),
            Z_OK);
  std::string out(deflateBound(&stream, text.size()), '\0');
  std::string in = text;
  stream.next_in = reinterpret_cast<Bytef*>(in.data());
  stream.avail_in = static_cast<uInt>(in.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

/// In slices of `piece` bytes, as gRPC receives messages in pieces.
grpc_byte_buffer* buffer_of(const std::string& bytes, grpc_compression_algorithm algorithm,
                            size_t piece = 1000) {
  std::vector<grpc_slice> slices;
  for (size_t at = 0; at < bytes.size(); at += piece)
    slices.push_back(
        grpc_slice_from_copied_buffer(bytes.data() + at, std::min(piece, bytes.size() - at)));
  grpc_byte_buffer* const buffer =
      grpc_raw_compressed_byte_buffer_create(slices.data(), slices.size(), algorithm);
  for (const grpc_slice& slice : slices) grpc_slice_unref(slice);
  return buffer;
}

std::string text_in(const grpc_byte_buffer& message) {
  std::string text;
  const grpc_slice_buffer& slices = message.data.raw.slice_buffer;
  for (size_t i = 0; i < slices.count; ++i)
    text.append(reinterpret_cast<const char*>(GRPC_SLICE_START_PTR(slices.slices[i])),
                GRPC_SLICE_LENGTH(slices.slices[i]));
  return text;
}

class InflateTest : public testing::TestWithParam<grpc_compression_algorithm> {
 protected:
  static Inflated run(const std::string& bytes, uint32_t most, std::string* text = nullptr,
                      size_t piece = 1000) {
    const ByteBuffer message(buffer_of(bytes, GetParam(), piece));
    EXPECT_TRUE(is_compressed(*message));
    ByteBuffer plain;
    const Inflated result = inflate(*message, most, plain);
    EXPECT_EQ(result == Inflated::whole, plain != nullptr);
    if (plain != nullptr && text != nullptr) *text = text_in(*plain);
    return result;
  }
};

TEST_P(InflateTest, GivesBackWhatWasCompressed) {
  std::string noise;
  for (uint32_t i = 0; i < 100'000; ++i) noise += static_cast<char>((i * 2'654'435'761U) >> 24U);
  for (const std::string& text : {std::string(), std::string("a"), std::string(50'000, 'z'), noise}) {
    for (const size_t piece : {size_t{1}, size_t{1000}, size_t{1'000'000}}) {
      std::string got;
      EXPECT_EQ(run(compressed(text, GetParam()), 100'000, &got, piece), Inflated::whole);
      EXPECT_EQ(got, text);
    }
  }
}

TEST_P(InflateTest, TheBoundIsExact) {
  const std::string bytes = compressed(std::string(70'000, 'x'), GetParam());
  EXPECT_EQ(run(bytes, 70'000), Inflated::whole);
  EXPECT_EQ(run(bytes, 69'999), Inflated::too_long);
  EXPECT_EQ(run(bytes, 0), Inflated::too_long);
}

TEST_P(InflateTest, WhatIsNoWholeStreamIsCorrupt) {
  const std::string bytes = compressed(std::string(5000, 'x') + "end", GetParam());
  EXPECT_EQ(run("", 1000), Inflated::corrupt);
  EXPECT_EQ(run("garbage", 1000), Inflated::corrupt);
  EXPECT_EQ(run(bytes + "more", 10'000), Inflated::corrupt);
  for (size_t length = 0; length < bytes.size(); ++length)
    EXPECT_EQ(run(bytes.substr(0, length), 10'000), Inflated::corrupt) << length;
}

INSTANTIATE_TEST_SUITE_P(Formats, InflateTest,
                         testing::Values(GRPC_COMPRESS_DEFLATE, GRPC_COMPRESS_GZIP));

TEST(ReceivedMessages, AreMeasuredCompressedOrNot) {
  const std::string text(3000, 't');
  for (const auto algorithm : {GRPC_COMPRESS_NONE, GRPC_COMPRESS_DEFLATE, GRPC_COMPRESS_GZIP}) {
    const std::string bytes = algorithm == GRPC_COMPRESS_NONE ? text : compressed(text, algorithm);
    const auto whole = ReceivedMessage::receive(buffer_of(bytes, algorithm), 3000);
    ASSERT_TRUE(std::holds_alternative<std::shared_ptr<ReceivedMessage>>(whole));
    EXPECT_EQ(std::get<std::shared_ptr<ReceivedMessage>>(whole)->length(), 3000u);
    const auto over = ReceivedMessage::receive(buffer_of(bytes, algorithm), 2999);
    ASSERT_TRUE(std::holds_alternative<Fault>(over));
    EXPECT_EQ(std::get<Fault>(over), Fault::too_long);
  }
  const auto corrupt = ReceivedMessage::receive(buffer_of("x", GRPC_COMPRESS_GZIP), 3000);
  EXPECT_EQ(std::get<Fault>(corrupt), Fault::corrupt);
}

}  // namespace
}  // namespace legated
