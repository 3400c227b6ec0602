#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/time.h>
#include <unistd.h>

#include <iostream>
#include <vector>

#include "tests/bench/bench.h"
#include "tests/bench/grpc_batch.h"

namespace legated::bench {
namespace {

/// A stream on which one message has gone each way. Never closed: the process is killed.
struct HeldStream {
  grpc_metadata_array headers;
  grpc_byte_buffer* answer = nullptr;
};

}  // namespace

void run_grpc_hold(const std::string& target, uint32_t streams) {
  grpc_init();
  grpc_completion_queue* const queue = grpc_completion_queue_create_for_next(nullptr);
  grpc_channel_credentials* const credentials = grpc_insecure_credentials_create();
  grpc_channel* const channel = grpc_channel_create(target.c_str(), credentials, nullptr);
  std::vector<HeldStream> held(streams);
  grpc_byte_buffer* const message = make_message("hold", 4);
  for (HeldStream& stream : held) {
    grpc_metadata_array_init(&stream.headers);
    grpc_call* const call = grpc_channel_create_call(
        channel, nullptr, GRPC_PROPAGATE_DEFAULTS, queue, grpc_slice_from_static_string(kHold),
        nullptr, gpr_inf_future(GPR_CLOCK_MONOTONIC), nullptr);
    Batch batch;
    batch.add(GRPC_OP_SEND_INITIAL_METADATA).flags = GRPC_INITIAL_METADATA_WAIT_FOR_READY;
    batch.add(GRPC_OP_SEND_MESSAGE).data.send_message.send_message = message;
    batch.add(GRPC_OP_RECV_INITIAL_METADATA).data.recv_initial_metadata.recv_initial_metadata =
        &stream.headers;
    batch.add(GRPC_OP_RECV_MESSAGE).data.recv_message.recv_message = &stream.answer;
    batch.start(call, &stream);
  }
  for (uint32_t open = 0; open < streams; ++open) {
    const grpc_event event =
        grpc_completion_queue_next(queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), nullptr);
    if (event.success == 0 || static_cast<HeldStream*>(event.tag)->answer == nullptr)
      throw Failure("a stream was not answered");
  }
  std::cout << "ready" << std::endl;
  for (;;) ::pause();
}

}  // namespace legated::bench
