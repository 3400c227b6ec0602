#include "daemon/grpc/message.h"

#include <algorithm>

namespace legated {

std::shared_ptr<ReceivedMessage> ReceivedMessage::take(grpc_byte_buffer* buffer) {
  const ByteBuffer owner(buffer);
  grpc_byte_buffer_reader reader;
  if (grpc_byte_buffer_reader_init(&reader, buffer) == 0) return nullptr;
  std::shared_ptr<ReceivedMessage> message(new ReceivedMessage);
  grpc_slice slice;
  while (grpc_byte_buffer_reader_next(&reader, &slice) != 0) {
    message->length_ += static_cast<uint32_t>(GRPC_SLICE_LENGTH(slice));
    message->slices_.push_back(slice);
  }
  grpc_byte_buffer_reader_destroy(&reader);
  return message;
}

ReceivedMessage::~ReceivedMessage() {
  for (const grpc_slice& slice : slices_) grpc_slice_unref(slice);
}

void ReceivedMessage::write_to(Output& output, uint32_t offset, uint32_t length) const {
  size_t skip = offset;
  size_t left = length;
  for (const grpc_slice& slice : slices_) {
    if (left == 0) return;
    const size_t size = GRPC_SLICE_LENGTH(slice);
    if (skip >= size) {
      skip -= size;
      continue;
    }
    const size_t take = std::min(size - skip, left);
    output.payload({GRPC_SLICE_START_PTR(slice) + skip, take}, shared_from_this());
    skip = 0;
    left -= take;
  }
}

void MessageBuilder::append(std::span<const uint8_t> part) {
  if (part.empty()) return;
  slices_.push_back(
      grpc_slice_from_copied_buffer(reinterpret_cast<const char*>(part.data()), part.size()));
}

void MessageBuilder::clear() {
  for (const grpc_slice& slice : slices_) grpc_slice_unref(slice);
  slices_.clear();
}

grpc_byte_buffer* MessageBuilder::finish() {
  grpc_byte_buffer* const buffer = grpc_raw_byte_buffer_create(slices_.data(), slices_.size());
  clear();  // the buffer has references of its own
  return buffer;
}

}  // namespace legated
