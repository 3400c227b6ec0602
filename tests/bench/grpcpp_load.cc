#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>

#include <algorithm>
#include <iostream>
#include <memory>
#include <optional>
#include <vector>

#include "tests/bench/bench.h"
#include "tests/bench/measurement.h"

namespace legated::bench {
namespace {

/// What a C++ program has without legated: the generic stub on one completion queue, one thread.
class GrpcppLoad {
 public:
  GrpcppLoad(const std::string& target, const LoadOptions& options)
      : measurement_(options),
        stub_(grpc::CreateChannel(target, grpc::InsecureChannelCredentials())),
        request_(options.bytes, 'x'),
        calls_(options.in_flight) {}

  void run() {
    for (Call& call : calls_) begin(call);
    void* tag;
    bool ok;
    while (under_way_ > 0 && queue_.Next(&tag, &ok)) end(*static_cast<Call*>(tag));
    measurement_.print(std::cout);
    queue_.Shutdown();
    while (queue_.Next(&tag, &ok)) {
    }
  }

 private:
  /// Used for one call after the other.
  struct Call {
    std::optional<grpc::ClientContext> context;
    std::unique_ptr<grpc::GenericClientAsyncResponseReader> reader;
    grpc::ByteBuffer reply;
    grpc::Status status;
    Measurement::Time begun;
  };

  void begin(Call& call) {
    ++under_way_;
    call.begun = Measurement::Clock::now();
    call.context.emplace().set_wait_for_ready(true);
    const grpc::Slice slice(request_);
    call.reader =
        stub_.PrepareUnaryCall(&*call.context, kUnary, grpc::ByteBuffer(&slice, 1), &queue_);
    call.reader->StartCall();
    call.reader->Finish(&call.reply, &call.status, &call);
  }

  void end(Call& call) {
    if (!call.status.ok()) throw Failure("a call failed: " + call.status.error_message());
    grpc::Slice reply;
    if (!call.reply.DumpToSingleSlice(&reply).ok() ||
        !std::equal(reply.begin(), reply.end(), request_.begin(), request_.end()))
      throw Failure("another answer than sent");
    measurement_.on_call(call.begun, Measurement::Clock::now(), reply.size());
    call.reply.Clear();
    call.reader.reset();
    --under_way_;
    if (!measurement_.over()) begin(call);
  }

  Measurement measurement_;
  grpc::GenericStub stub_;
  grpc::CompletionQueue queue_;
  std::string request_;
  std::vector<Call> calls_;
  uint32_t under_way_ = 0;
};

}  // namespace

void run_grpcpp_load(const std::string& target, const LoadOptions& options) {
  GrpcppLoad(target, options).run();
}

}  // namespace legated::bench
