// interop-worker: serves grpc.testing.TestService behind legated, for interop clients of other
// projects.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <optional>
#include <string>

#include "cpp-client/worker_main.h"
#include "interop.pb.h"
#include "tests/interop/interop.h"

namespace legated::interop {
namespace {

using namespace grpc::testing;
using legate::client::Code;
using legate::client::make_status;
using legate::client::Metadata;
using legate::client::ServerCall;
using legate::client::Status;

constexpr int32_t kMaxSize = 3 << 20;  // of an answer

template <class Message>
std::optional<Message> read(ServerCall& call) {
  const auto bytes = call.read();
  Message message;
  if (!bytes || !message.ParseFromString(*bytes)) return std::nullopt;
  return message;
}

Metadata echoed(const ServerCall& call, const std::string& key) {
  Metadata found;
  std::ranges::copy_if(call.metadata(), std::back_inserter(found),
                       [&](const auto& entry) { return entry.first == key; });
  return found;
}

void send_echoed_headers(ServerCall& call) {
  if (const Metadata headers = echoed(call, kEchoInitial); !headers.empty())
    call.send_headers(headers);
}

Status ended(const ServerCall& call, Status status = {}) {
  status.trailers = echoed(call, kEchoTrailing);
  return status;
}

Status requested(const ServerCall& call, const EchoStatus& status) {
  return ended(call, make_status(static_cast<Code>(status.code()), status.message()));
}

Status bad_request() { return make_status(Code::invalid_argument, "not the message that is due"); }

Status refuse_size(int32_t size) {
  return make_status(Code::invalid_argument,
                     "a response size of " + std::to_string(size) + " bytes");
}

bool fine(int32_t size) { return size >= 0 && size <= kMaxSize; }

Status empty_call(ServerCall& call) {
  if (!read<Empty>(call)) return bad_request();
  send_echoed_headers(call);
  call.post({});
  return ended(call);
}

Status unary_call(ServerCall& call) {
  const auto request = read<SimpleRequest>(call);
  if (!request) return bad_request();
  send_echoed_headers(call);
  if (request->response_status().code() != 0) return requested(call, request->response_status());
  if (!fine(request->response_size())) return refuse_size(request->response_size());
  SimpleResponse response;
  response.mutable_payload()->mutable_body()->resize(
      static_cast<size_t>(request->response_size()));
  call.post(response.SerializeAsString());
  return ended(call);
}

Status streaming_input_call(ServerCall& call) {
  size_t size = 0;
  while (const auto request = read<StreamingInputCallRequest>(call))
    size += request->payload().body().size();
  StreamingInputCallResponse response;
  response.set_aggregated_payload_size(static_cast<int32_t>(size));
  call.post(response.SerializeAsString());
  return ended(call);
}

/// Sends what one request asks for. A status that is not OK ends the call.
Status respond(ServerCall& call, const StreamingOutputCallRequest& request) {
  if (request.response_status().code() != 0) return requested(call, request.response_status());
  for (const ResponseParameters& wanted : request.response_parameters()) {
    if (!fine(wanted.size())) return refuse_size(wanted.size());
    if (wanted.interval_us() > 0) {
      call.wait_cancelled(std::chrono::milliseconds((wanted.interval_us() + 999) / 1000));
    }
    StreamingOutputCallResponse response;
    response.mutable_payload()->mutable_body()->resize(static_cast<size_t>(wanted.size()));
    if (!call.write(response.SerializeAsString())) break;  // the client has gone
  }
  return {};
}

Status streaming_output_call(ServerCall& call) {
  const auto request = read<StreamingOutputCallRequest>(call);
  if (!request) return bad_request();
  send_echoed_headers(call);
  const Status status = respond(call, *request);
  return status.ok() ? ended(call) : status;
}

Status full_duplex_call(ServerCall& call) {
  send_echoed_headers(call);
  while (const auto request = read<StreamingOutputCallRequest>(call)) {
    if (Status status = respond(call, *request); !status.ok()) return status;
  }
  return ended(call);
}

}  // namespace
}  // namespace legated::interop

int main(int argc, char** argv) {
  using namespace legated::interop;
  CLI::App app{"Serves grpc.testing.TestService behind legated.", "interop-worker"};
  legate::client::WorkerOptions options{
      .name = "interop-worker", .address = "127.0.0.1:0", .print_port = true};
  app.add_option("socket", options.socket, "Path of legated's socket")->required();
  app.add_option("address", options.address, "Address to listen on");
  CLI11_PARSE(app, argc, argv);
  return run_worker(options, {{kService + "EmptyCall", empty_call},
                              {kService + "UnaryCall", unary_call},
                              {kService + "StreamingInputCall", streaming_input_call},
                              {kService + "StreamingOutputCall", streaming_output_call},
                              {kService + "FullDuplexCall", full_duplex_call}});
}
