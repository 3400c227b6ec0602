// interop-compression-server: grpc.testing.TestService as far as gRPC's compressed interop cases need it,
// on gRPC's C++ server, which sees whether a message came compressed. Prints "listening PORT".
#include <grpcpp/grpcpp.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <string>

#include "interop.grpc.pb.h"

// Of libgrpc, for tests such as this; its header is not installed.
uint32_t grpc_call_test_only_get_message_flags(grpc_call* call);

namespace legated::interop {
namespace {

using namespace grpc::testing;
using grpc::ServerContext;
using grpc::Status;

constexpr int32_t kMaxSize = 3 << 20;  // of an answer

bool came_compressed(ServerContext& context) {
  constexpr uint32_t kWasCompressed = 0x40000000;  // GRPC_WRITE_INTERNAL_TEST_ONLY_WAS_COMPRESSED
  return (grpc_call_test_only_get_message_flags(context.c_call()) & kWasCompressed) != 0;
}

template <class Request>
Status check(ServerContext& context, const Request& request) {
  if (!request.has_expect_compressed()) return Status::OK;
  const bool expected = request.expect_compressed().value();
  if (came_compressed(context) == expected) return Status::OK;
  return {grpc::StatusCode::INVALID_ARGUMENT,
          expected ? "the message is not compressed" : "the message is compressed"};
}

Status check_size(int32_t size) {
  if (size >= 0 && size <= kMaxSize) return Status::OK;
  return {grpc::StatusCode::INVALID_ARGUMENT,
          "a response size of " + std::to_string(size) + " bytes"};
}

Payload payload(int32_t size) {
  Payload payload;
  payload.mutable_body()->resize(static_cast<size_t>(size));
  return payload;
}

class Service final : public TestService::Service {
 public:
  Status UnaryCall(ServerContext* context, const SimpleRequest* request,
                   SimpleResponse* response) override {
    if (const Status status = check(*context, *request); !status.ok()) return status;
    if (const Status status = check_size(request->response_size()); !status.ok()) return status;
    if (request->response_compressed().value()) context->set_compression_algorithm(GRPC_COMPRESS_GZIP);
    *response->mutable_payload() = payload(request->response_size());
    return Status::OK;
  }

  Status StreamingInputCall(ServerContext* context,
                            grpc::ServerReader<StreamingInputCallRequest>* reader,
                            StreamingInputCallResponse* response) override {
    StreamingInputCallRequest request;
    size_t size = 0;
    while (reader->Read(&request)) {
      if (const Status status = check(*context, request); !status.ok()) return status;
      size += request.payload().body().size();
    }
    response->set_aggregated_payload_size(static_cast<int32_t>(size));
    return Status::OK;
  }

  Status StreamingOutputCall(ServerContext* context, const StreamingOutputCallRequest* request,
                             grpc::ServerWriter<StreamingOutputCallResponse>* writer) override {
    context->set_compression_algorithm(GRPC_COMPRESS_GZIP);
    for (const ResponseParameters& wanted : request->response_parameters()) {
      if (const Status status = check_size(wanted.size()); !status.ok()) return status;
      StreamingOutputCallResponse response;
      *response.mutable_payload() = payload(wanted.size());
      grpc::WriteOptions options;
      if (!wanted.compressed().value()) options.set_no_compression();
      if (!writer->Write(response, options)) break;  // the client has gone
    }
    return Status::OK;
  }
};

}  // namespace
}  // namespace legated::interop

int main(int argc, char** argv) {
  CLI::App app{"Serves gRPC's compressed interop cases.", "interop-compression-server"};
  CLI11_PARSE(app, argc, argv);
  legated::interop::Service service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const auto server = builder.BuildAndStart();
  if (server == nullptr) return 1;
  std::cout << "listening " << port << std::endl;
  server->Wait();
}
