#include "tests/integration/echo_server.h"

#include <grpcpp/generic/async_generic_service.h>

#include <atomic>
#include <stdexcept>
#include <vector>

namespace legated::test {
namespace {

std::string text_of(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string text;
  if (!buffer.Dump(&slices).ok()) return text;
  for (const grpc::Slice& slice : slices)
    text.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return text;
}

grpc::ByteBuffer zeros(size_t count) {
  const grpc::Slice slice(std::string(count, '\0'));
  return {&slice, 1};
}

/// One call. Deletes itself at its end.
class EchoCall final : public grpc::ServerGenericBidiReactor {
 public:
  EchoCall(std::string method, std::atomic<uint64_t>& messages)
      : method_(std::move(method)), messages_(messages) {
    StartRead(&message_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::OK);  // half-closed
    ++messages_;
    if (method_ == EchoServer::kNothing) return StartRead(&message_);
    if (method_ == EchoServer::kZeros) message_ = zeros(std::stoull(text_of(message_)));
    replies_left_ = method_ == EchoServer::kTwice ? 2 : 1;
    StartWrite(&message_);
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return Finish({grpc::StatusCode::CANCELLED, "the client has gone"});
    if (--replies_left_ > 0) return StartWrite(&message_);
    if (method_ == EchoServer::kEcho) return StartRead(&message_);
    Finish(grpc::Status::OK);
  }

  void OnDone() override { delete this; }

 private:
  const std::string method_;
  std::atomic<uint64_t>& messages_;
  grpc::ByteBuffer message_;
  int replies_left_ = 0;
};

}  // namespace

struct EchoServer::Service final : grpc::CallbackGenericService {
  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override {
    return new EchoCall(context->method(), messages);
  }

  std::atomic<uint64_t> messages{0};
};

EchoServer::EchoServer() : service_(std::make_unique<Service>()) {
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.SetMaxReceiveMessageSize(-1);
  builder.SetMaxSendMessageSize(-1);
  builder.RegisterCallbackGenericService(service_.get());
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) throw std::runtime_error("no gRPC server on 127.0.0.1");
  address_ = "127.0.0.1:" + std::to_string(port);
}

EchoServer::~EchoServer() {
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
}

uint64_t EchoServer::messages_seen() const { return service_->messages; }

}  // namespace legated::test
