#include "daemon/inbound/local_call.h"

#include "daemon/grpc/metadata.h"

namespace legated {
namespace {

// Requests of these services hold a name or two.
constexpr uint32_t kMaxRequest = 4096;  // bytes

}  // namespace

void LocalHandler::on_drain(LocalCall& call) {
  call.finish({StatusCode::unavailable, "the server is shutting down", Origin::daemon, {}});
}

LocalCall::LocalCall(Loop& loop, LocalCallOwner& owner, DispatchId id, grpc_call* call,
                     std::string method, std::unique_ptr<LocalHandler> handler)
    : loop_(loop),
      owner_(owner),
      id_(id),
      call_(call),
      method_(std::move(method)),
      since_(loop.now()),
      handler_(std::move(handler)) {
  Batch batch;
  batch.add(GRPC_OP_RECV_CLOSE_ON_SERVER).data.recv_close_on_server.cancelled = &cancelled_;
  batch.start(call_, closed_done_);
  loop_.queue_pump(*this);
}

LocalCall::~LocalCall() {
  drop_message();
  if (incoming_ != nullptr) grpc_byte_buffer_destroy(incoming_);
  grpc_call_unref(call_);
}

// ---- For the handler ---------------------------------------------------------------------------

void LocalCall::send(std::string_view message) {
  if (!owner_.may_queue(message.size())) {
    return finish({StatusCode::resource_exhausted,
                   "answers to slow clients use up inbound.queue_memory",
                   Origin::daemon,
                   {}});
  }
  queued_bytes_ = message.size();
  MessageBuilder builder;
  builder.append({reinterpret_cast<const uint8_t*>(message.data()), message.size()});
  message_ = builder.finish();
  loop_.queue_pump(*this);
}

void LocalCall::finish(Status status) {
  if (!status_) status_ = std::move(status);
  loop_.queue_pump(*this);
}

void LocalCall::drop_message() {
  message_.reset();
  if (queued_bytes_ > 0) owner_.unqueue(std::exchange(queued_bytes_, 0));
}

void LocalCall::drain() {
  if (!status_ && handler_ != nullptr) handler_->on_drain(*this);
}

void LocalCall::end(const Status& status) {
  if (!sending_) drop_message();
  finish(status);
}

// ---- gRPC --------------------------------------------------------------------------------------

void LocalCall::pump() {
  if (!closed_ && !sending_ && !status_sent_ && (message_ || status_)) start_sends();
  if (!closed_ && !receiving_ && !no_more_ && ready()) {
    receiving_ = true;
    ++operations_;
    Batch batch;
    batch.add(GRPC_OP_RECV_MESSAGE).data.recv_message.recv_message = &incoming_;
    batch.start(call_, received_done_);
  }
  if (closed_ || status_sent_) handler_.reset();
  if (closed_ && operations_ == 0) owner_.on_local_call_finished(*this);  // destroys this
}

void LocalCall::start_sends() {
  Batch batch;
  if (!std::exchange(headers_sent_, true)) batch.add(GRPC_OP_SEND_INITIAL_METADATA);
  if (message_) batch.add(GRPC_OP_SEND_MESSAGE).data.send_message.send_message = message_.get();
  grpc_slice text = grpc_empty_slice();
  if (status_) {
    status_sent_ = true;
    text = slice_of(status_->message);
    grpc_op& op = batch.add(GRPC_OP_SEND_STATUS_FROM_SERVER);
    op.data.send_status_from_server.status = static_cast<grpc_status_code>(status_->code);
    op.data.send_status_from_server.status_details = &text;
  }
  sending_ = true;
  ++operations_;
  batch.start(call_, sent_done_);
  grpc_slice_unref(text);
  message_.reset();  // gRPC has references of its own
}

void LocalCall::on_sent(bool ok) {
  --operations_;
  sending_ = false;
  drop_message();
  loop_.queue_pump(*this);
  if (ok && !status_ && handler_ != nullptr) handler_->on_sent(*this);
}

void LocalCall::on_closed(bool) {
  --operations_;
  closed_ = true;
  loop_.queue_pump(*this);
}

void LocalCall::on_received(bool ok) {
  --operations_;
  receiving_ = false;
  loop_.queue_pump(*this);
  if (incoming_ == nullptr) {
    no_more_ = true;
    // A client that is gone has closed nothing: on_closed() is about to say so.
    const bool half_closed = ok && grpc_call_failed_before_recv_message(call_) == 0;
    if (half_closed && !status_ && handler_ != nullptr) handler_->on_half_close(*this);
    return;
  }
  const auto received = ReceivedMessage::receive(std::exchange(incoming_, nullptr), kMaxRequest);
  if (status_ || handler_ == nullptr) return;
  if (const auto* fault = std::get_if<ReceivedMessage::Fault>(&received)) {
    if (*fault == ReceivedMessage::Fault::corrupt) {
      return finish({StatusCode::internal, "the client's message can't be decompressed",
                     Origin::remote, {}});
    }
    return finish({StatusCode::resource_exhausted,
                   "a request exceeds " + std::to_string(kMaxRequest) +
                       " bytes, the most for services of legated itself",
                   Origin::daemon,
                   {}});
  }
  handler_->on_message(*this, std::get<std::shared_ptr<ReceivedMessage>>(received)->text());
}

}  // namespace legated
