#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/time.h>

#include <cstring>
#include <iostream>

#include "tests/bench/bench.h"
#include "tests/bench/grpc_batch.h"

namespace legated::bench {
namespace {

constexpr int kRequestsAhead = 128;

/// One completion queue, one thread. A call costs what it costs in every server on completion
/// queues: accept, watch for the close, receive, answer.
class Echo {
 public:
  explicit Echo(const std::string& address)
      : queue_(grpc_completion_queue_create_for_next(nullptr)),
        server_(grpc_server_create(nullptr, nullptr)) {
    grpc_server_register_completion_queue(server_, queue_, nullptr);
    grpc_server_credentials* const credentials = grpc_insecure_server_credentials_create();
    if (grpc_server_add_http2_port(server_, address.c_str(), credentials) == 0)
      throw Failure("can't listen on " + address);
    grpc_server_credentials_release(credentials);
    grpc_server_start(server_);
    for (int i = 0; i < kRequestsAhead; ++i) accept();
    std::cout << "ready" << std::endl;
  }

  [[noreturn]] void run() {
    for (;;) {
      const grpc_event event =
          grpc_completion_queue_next(queue_, gpr_inf_future(GPR_CLOCK_MONOTONIC), nullptr);
      Step& step = *static_cast<Step*>(event.tag);
      (this->*step.done)(*step.call);
    }
  }

 private:
  struct Call;
  struct Step {
    Call* call;
    void (Echo::*done)(Call& call);
  };

  struct Call {
    Call() {
      grpc_call_details_init(&details);
      grpc_metadata_array_init(&metadata);
    }
    ~Call() {
      grpc_call_unref(call);
      grpc_call_details_destroy(&details);
      grpc_metadata_array_destroy(&metadata);
      grpc_byte_buffer_destroy(message);
      grpc_slice_unref(repeated);
    }

    grpc_call* call = nullptr;
    grpc_call_details details;
    grpc_metadata_array metadata;
    grpc_byte_buffer* message = nullptr;
    int cancelled = 0;
    uint32_t messages_left = 0;                // of a stream
    grpc_slice repeated = grpc_empty_slice();  // likewise: each of them
    int under_way = 2;                         // closing and answering

    Step accepted{this, &Echo::on_accepted};
    Step received{this, &Echo::on_received};
    Step written{this, &Echo::on_written};
    Step done{this, &Echo::on_done};
  };

  void accept() {
    auto* const call = new Call;
    grpc_server_request_call(server_, &call->call, &call->details, &call->metadata, queue_, queue_,
                             &call->accepted);
  }

  void on_accepted(Call& call) {
    accept();
    Batch close;
    close.add(GRPC_OP_RECV_CLOSE_ON_SERVER).data.recv_close_on_server.cancelled = &call.cancelled;
    close.start(call.call, &call.done);
    Batch receive;
    receive.add(GRPC_OP_RECV_MESSAGE).data.recv_message.recv_message = &call.message;
    receive.start(call.call, &call.received);
  }

  void on_received(Call& call) {
    if (call.message == nullptr) return on_done(call);  // the client is gone
    const bool stream = grpc_slice_eq(call.details.method, stream_) != 0;
    if (stream && !begin_stream(call)) return on_done(call);
    answer(call, true);
  }

  static bool begin_stream(Call& call) {
    StreamRequest request{};
    if (!copy_out(call.message, &request, sizeof request) || request.messages == 0) return false;
    call.repeated = grpc_slice_malloc(request.bytes);
    std::memset(GRPC_SLICE_START_PTR(call.repeated), 'x', request.bytes);
    call.messages_left = request.messages;
    return true;
  }

  void on_written(Call& call) { answer(call, false); }

  /// Writes the next message, and the status behind the last.
  void answer(Call& call, bool headers) {
    if (call.messages_left > 0) {
      --call.messages_left;
      grpc_byte_buffer_destroy(call.message);
      call.message = grpc_raw_byte_buffer_create(&call.repeated, 1);
    }
    Batch batch;
    if (headers) batch.add(GRPC_OP_SEND_INITIAL_METADATA);
    batch.add(GRPC_OP_SEND_MESSAGE).data.send_message.send_message = call.message;
    if (call.messages_left > 0) return batch.start(call.call, &call.written);
    batch.add(GRPC_OP_SEND_STATUS_FROM_SERVER).data.send_status_from_server.status = GRPC_STATUS_OK;
    batch.start(call.call, &call.done);
  }

  void on_done(Call& call) {
    if (--call.under_way == 0) delete &call;
  }

  grpc_completion_queue* queue_;
  grpc_server* server_;
  grpc_slice stream_ = grpc_slice_from_static_string(kStream);
};

}  // namespace

void run_grpc_echo(const std::string& address) {
  grpc_init();
  Echo(address).run();
}

}  // namespace legated::bench
