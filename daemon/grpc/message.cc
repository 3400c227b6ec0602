#include "daemon/grpc/message.h"

#include <grpc/slice_buffer.h>

#include <algorithm>

#include "daemon/grpc/inflate.h"

namespace legated {

std::shared_ptr<ReceivedMessage> ReceivedMessage::take(grpc_byte_buffer* buffer) {
  ByteBuffer owner(buffer);
  grpc_byte_buffer_reader reader;
  if (grpc_byte_buffer_reader_init(&reader, buffer) == 0) return nullptr;
  grpc_byte_buffer_reader_destroy(&reader);
  return std::make_shared<ReceivedMessage>(std::move(owner));
}

std::variant<std::shared_ptr<ReceivedMessage>, ReceivedMessage::Fault> ReceivedMessage::receive(
    grpc_byte_buffer* buffer, uint32_t most) {
  ByteBuffer message(buffer);
  if (is_compressed(*message)) {
    ByteBuffer plain;
    switch (inflate(*message, most, plain)) {
      case Inflated::whole: break;
      case Inflated::corrupt: return Fault::corrupt;
      case Inflated::too_long: return Fault::too_long;
    }
    message = std::move(plain);
  }
  if (grpc_byte_buffer_length(message.get()) > most) return Fault::too_long;
  return std::make_shared<ReceivedMessage>(std::move(message));
}

ReceivedMessage::ReceivedMessage(ByteBuffer buffer)
    : buffer_(std::move(buffer)),
      length_(static_cast<uint32_t>(grpc_byte_buffer_length(buffer_.get()))) {}

std::string ReceivedMessage::text() const {
  std::string text;
  text.reserve(length_);
  const grpc_slice_buffer& slices = buffer_->data.raw.slice_buffer;
  for (size_t i = 0; i < slices.count; ++i)
    text.append(reinterpret_cast<const char*>(GRPC_SLICE_START_PTR(slices.slices[i])),
                GRPC_SLICE_LENGTH(slices.slices[i]));
  return text;
}

void ReceivedMessage::write_to(Output& output, uint32_t offset, uint32_t length) const {
  size_t skip = offset;
  size_t left = length;
  grpc_byte_buffer_reader reader;
  grpc_byte_buffer_reader_init(&reader, buffer_.get());
  for (grpc_slice* slice; left > 0 && grpc_byte_buffer_reader_peek(&reader, &slice) != 0;) {
    const size_t size = GRPC_SLICE_LENGTH(*slice);
    if (skip >= size) {
      skip -= size;
      continue;
    }
    const size_t take = std::min(size - skip, left);
    output.payload({GRPC_SLICE_START_PTR(*slice) + skip, take}, shared_from_this());
    skip = 0;
    left -= take;
  }
  grpc_byte_buffer_reader_destroy(&reader);
}

void MessageBuilder::append(std::span<const uint8_t> part) {
  if (part.empty()) return;
  grpc_slice slice =
      grpc_slice_from_copied_buffer(reinterpret_cast<const char*>(part.data()), part.size());
  if (buffer_ == nullptr) {
    buffer_.reset(grpc_raw_byte_buffer_create(&slice, 1));
    grpc_slice_unref(slice);  // the buffer has a reference of its own
  } else {
    grpc_slice_buffer_add(&buffer_->data.raw.slice_buffer, slice);
  }
}

ByteBuffer MessageBuilder::finish() {
  if (buffer_ == nullptr) buffer_.reset(grpc_raw_byte_buffer_create(nullptr, 0));
  return std::move(buffer_);
}

}  // namespace legated
