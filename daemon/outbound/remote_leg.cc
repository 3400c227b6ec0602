#include "daemon/outbound/remote_leg.h"

#include <grpc/support/alloc.h>

#include <cstring>
#include <utility>

namespace legated {

RemoteLeg::~RemoteLeg() {
  if (call != nullptr) grpc_call_unref(call);
  if (received != nullptr) grpc_byte_buffer_destroy(received);
  grpc_slice_unref(details);
  gpr_free(const_cast<char*>(error));
}

void RemoteLeg::swap(RemoteLeg& other) {
  std::swap(call, other.call);
  headers.swap(other.headers);
  trailers.swap(other.trailers);
  std::swap(received, other.received);
  std::swap(details, other.details);
  std::swap(error, other.error);
  // The enum can't be read when it holds a number it does not have.
  std::byte kept[sizeof code_];
  std::memcpy(kept, &code_, sizeof code_);
  std::memcpy(&code_, &other.code_, sizeof code_);
  std::memcpy(&other.code_, kept, sizeof code_);
}

void RemoteLeg::start_unary(const Request& request, Completion& done, Completion& status_done) {
  Batch batch;
  grpc_op& initial = batch.add(GRPC_OP_SEND_INITIAL_METADATA);
  initial.data.send_initial_metadata.metadata = request.metadata;
  initial.data.send_initial_metadata.count = request.metadata_count;
  initial.flags = initial_flags(request.wait_for_ready);
  grpc_op& message = batch.add(GRPC_OP_SEND_MESSAGE);
  message.data.send_message.send_message = request.message;
  message.flags = request.message_flags;
  batch.add(GRPC_OP_SEND_CLOSE_FROM_CLIENT);
  batch.add(GRPC_OP_RECV_INITIAL_METADATA).data.recv_initial_metadata.recv_initial_metadata =
      headers.array();
  batch.add(GRPC_OP_RECV_MESSAGE).data.recv_message.recv_message = &received;
  batch.start(call, done);
  start_status(status_done);
}

void RemoteLeg::start_status(Completion& done) {
  Batch batch;
  grpc_op& status = batch.add(GRPC_OP_RECV_STATUS_ON_CLIENT);
  status.data.recv_status_on_client.trailing_metadata = trailers.array();
  status.data.recv_status_on_client.status = &code_;
  status.data.recv_status_on_client.status_details = &details;
  status.data.recv_status_on_client.error_string = &error;
  batch.start(call, done);
}

void RemoteLeg::start_receive(Completion& done) {
  Batch batch;
  batch.add(GRPC_OP_RECV_MESSAGE).data.recv_message.recv_message = &received;
  batch.start(call, done);
}

void RemoteLeg::set_status(grpc_status_code code, const char* message) {
  code_ = code;
  grpc_slice_unref(std::exchange(details, grpc_slice_from_static_string(message)));
}

uint32_t RemoteLeg::code() const {
  uint32_t code;
  static_assert(sizeof code == sizeof code_);
  std::memcpy(&code, &code_, sizeof code);
  return code;
}

const grpc_slice* RemoteLeg::trailer(std::string_view key) const {
  const grpc_metadata_array& list = *trailers.array();
  for (size_t i = list.count; i > 0; --i) {
    if (text_of(list.metadata[i - 1].key) == key) return &list.metadata[i - 1].value;
  }
  return nullptr;
}

}  // namespace legated
