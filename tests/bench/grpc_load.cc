#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/time.h>

#include <algorithm>
#include <cstring>
#include <iostream>
#include <utility>
#include <vector>

#include "tests/bench/bench.h"
#include "tests/bench/grpc_batch.h"
#include "tests/bench/measurement.h"

namespace legated::bench {
namespace {

/// One channel, one completion queue, one thread: the cheapest client gRPC offers. Waits for a
/// completion, then takes all there are; a unary call is one batch.
class GrpcLoad {
 public:
  GrpcLoad(const std::string& target, const LoadOptions& options)
      : options_(options),
        measurement_(options),
        queue_(grpc_completion_queue_create_for_next(nullptr)),
        method_(grpc_slice_from_static_string(options.messages == 0 ? kUnary : kStream)),
        request_(options.bytes, 'x'),
        received_(options.bytes),
        calls_(options.in_flight) {
    grpc_channel_credentials* const credentials = grpc_insecure_credentials_create();
    channel_ = grpc_channel_create(target.c_str(), credentials, nullptr);
    grpc_channel_credentials_release(credentials);
    if (options.messages > 0) {
      const StreamRequest request{options.messages, options.bytes};
      request_.resize(sizeof request);
      std::memcpy(request_.data(), &request, sizeof request);
    }
  }

  void run() {
    for (Call& call : calls_) begin(call);
    while (under_way_ > 0) {
      take_completion(gpr_inf_future(GPR_CLOCK_MONOTONIC));
      while (take_completion(gpr_inf_past(GPR_CLOCK_MONOTONIC))) {
      }
    }
    measurement_.print(std::cout);
    grpc_channel_destroy(channel_);
    grpc_completion_queue_shutdown(queue_);
    grpc_completion_queue_next(queue_, gpr_inf_future(GPR_CLOCK_MONOTONIC), nullptr);
    grpc_completion_queue_destroy(queue_);
  }

 private:
  struct Call;
  struct Step {
    Call* call;
    void (GrpcLoad::*done)(Call& call);
  };

  /// Used for one call after the other.
  struct Call {
    grpc_call* call;
    grpc_metadata_array headers;
    grpc_metadata_array trailers;
    grpc_byte_buffer* message = nullptr;
    grpc_status_code status;
    grpc_slice details;
    uint32_t answers;
    uint64_t bytes;
    bool receiving;  // a message of a stream
    bool ended;
    Measurement::Time begun;

    Step status_known{this, &GrpcLoad::on_status};
    Step message_received{this, &GrpcLoad::on_message};
  };

  bool take_completion(gpr_timespec deadline) {
    const grpc_event event = grpc_completion_queue_next(queue_, deadline, nullptr);
    if (event.type != GRPC_OP_COMPLETE) return false;
    const Step& step = *static_cast<Step*>(event.tag);
    (this->*step.done)(*step.call);
    return true;
  }

  void begin(Call& call) {
    call.answers = 0;
    call.bytes = 0;
    call.receiving = call.ended = false;
    call.begun = Measurement::Clock::now();
    ++under_way_;
    grpc_metadata_array_init(&call.headers);
    grpc_metadata_array_init(&call.trailers);
    call.call =
        grpc_channel_create_call(channel_, nullptr, GRPC_PROPAGATE_DEFAULTS, queue_, method_,
                                 nullptr, gpr_inf_future(GPR_CLOCK_MONOTONIC), nullptr);
    Batch batch;
    batch.add(GRPC_OP_SEND_INITIAL_METADATA).flags = GRPC_INITIAL_METADATA_WAIT_FOR_READY;
    grpc_byte_buffer* const request = make_message(request_.data(), request_.size());
    batch.add(GRPC_OP_SEND_MESSAGE).data.send_message.send_message = request;
    batch.add(GRPC_OP_SEND_CLOSE_FROM_CLIENT);
    batch.add(GRPC_OP_RECV_INITIAL_METADATA).data.recv_initial_metadata.recv_initial_metadata =
        &call.headers;
    if (options_.messages == 0)
      batch.add(GRPC_OP_RECV_MESSAGE).data.recv_message.recv_message = &call.message;
    grpc_op& status = batch.add(GRPC_OP_RECV_STATUS_ON_CLIENT);
    status.data.recv_status_on_client.trailing_metadata = &call.trailers;
    status.data.recv_status_on_client.status = &call.status;
    status.data.recv_status_on_client.status_details = &call.details;
    batch.start(call.call, &call.status_known);
    grpc_byte_buffer_destroy(request);
    if (options_.messages > 0) receive(call);
  }

  void receive(Call& call) {
    call.receiving = true;
    Batch batch;
    batch.add(GRPC_OP_RECV_MESSAGE).data.recv_message.recv_message = &call.message;
    batch.start(call.call, &call.message_received);
  }

  void on_message(Call& call) {
    call.receiving = false;
    if (call.message == nullptr) {
      if (call.ended) end(call);
      return;
    }
    count_answer(call);
    receive(call);
  }

  void on_status(Call& call) {
    call.ended = true;
    if (call.status != GRPC_STATUS_OK) {
      throw Failure("a call ended with status " + std::to_string(call.status));
    }
    if (options_.messages == 0) {
      if (call.message == nullptr || !copy_out(call.message, received_.data(), received_.size()) ||
          received_ != request_)
        throw Failure("another answer than sent");
      count_answer(call);
    }
    if (!call.receiving) end(call);
  }

  void count_answer(Call& call) {
    ++call.answers;
    call.bytes += grpc_byte_buffer_length(call.message);
    grpc_byte_buffer_destroy(std::exchange(call.message, nullptr));
  }

  void end(Call& call) {
    const uint32_t answers = std::max(options_.messages, 1u);
    if (call.answers != answers || call.bytes != uint64_t{answers} * options_.bytes)
      throw Failure("a call was answered in part");
    measurement_.on_call(call.begun, Measurement::Clock::now(), call.bytes);
    grpc_metadata_array_destroy(&call.headers);
    grpc_metadata_array_destroy(&call.trailers);
    grpc_slice_unref(call.details);
    grpc_call_unref(call.call);
    --under_way_;
    if (!measurement_.over()) begin(call);
  }

  const LoadOptions& options_;
  Measurement measurement_;
  grpc_completion_queue* queue_;
  grpc_channel* channel_;
  grpc_slice method_;
  std::vector<char> request_;
  std::vector<char> received_;
  std::vector<Call> calls_;
  uint32_t under_way_ = 0;
};

}  // namespace

void run_grpc_load(const std::string& target, const LoadOptions& options) {
  grpc_init();
  GrpcLoad(target, options).run();
  grpc_shutdown();
}

}  // namespace legated::bench
