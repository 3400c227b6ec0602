#include "tests/integration/unary_server.h"

#include <grpcpp/generic/async_generic_service.h>
#include <gtest/gtest.h>

#include <mutex>
#include <stdexcept>

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

}  // namespace

std::string UnaryServer::Request::value(const std::string& key) const {
  std::string values;
  bool found = false;
  for (const auto& [name, value] : metadata) {
    if (name != key) continue;
    values += (found ? "," : "") + value;
    found = true;
  }
  return found ? values : "-";
}

struct UnaryServer::Service final : grpc::CallbackGenericService {
  explicit Service(Script given) : script(std::move(given)) {}

  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override;

  Request received(Request request) {
    const std::lock_guard lock(mutex);
    request.number = requests.size() + 1;
    requests.push_back(request);
    return request;
  }

  const Script script;
  mutable std::mutex mutex;
  std::vector<Request> requests;  // guarded by mutex
};

/// One call. Deletes itself at its end.
class UnaryServer::Call final : public grpc::ServerGenericBidiReactor {
 public:
  Call(grpc::GenericCallbackServerContext& context, Service& service)
      : context_(context), service_(service) {
    StartRead(&message_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) return Finish({grpc::StatusCode::INVALID_ARGUMENT, "no message"});
    Request request{.number = 0,
                    .method = context_.method(),
                    .authority = std::string(context_.ExperimentalGetAuthority().data(),
                                             context_.ExperimentalGetAuthority().size()),
                    .peer = context_.peer(),
                    .metadata = {},
                    .message = text_of(message_)};
    for (const auto& [key, value] : context_.client_metadata())
      request.metadata.emplace_back(std::string(key.data(), key.size()),
                                    std::string(value.data(), value.size()));
    answer_ = service_.script(service_.received(std::move(request)));
    if (answer_.hang) {
      const std::lock_guard lock(mutex_);
      hangs_ = true;
      if (cancelled_) Finish({grpc::StatusCode::CANCELLED, "cancelled"});
      return;
    }
    for (const auto& [key, value] : answer_.headers) context_.AddInitialMetadata(key, value);
    for (const auto& [key, value] : answer_.trailers) context_.AddTrailingMetadata(key, value);
    if (answer_.code != grpc::StatusCode::OK) return Finish({answer_.code, answer_.text});
    const grpc::Slice slice(answer_.text);
    message_ = grpc::ByteBuffer(&slice, 1);
    StartWriteAndFinish(&message_, {}, grpc::Status::OK);
  }

  void OnCancel() override {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    if (hangs_) Finish({grpc::StatusCode::CANCELLED, "cancelled"});
  }

  void OnDone() override { delete this; }

 private:
  grpc::GenericCallbackServerContext& context_;
  Service& service_;
  grpc::ByteBuffer message_;
  Answer answer_;
  std::mutex mutex_;
  bool hangs_ = false;      // guarded by mutex_
  bool cancelled_ = false;  // guarded by mutex_
};

grpc::ServerGenericBidiReactor* UnaryServer::Service::CreateReactor(
    grpc::GenericCallbackServerContext* context) {
  return new Call(*context, *this);
}

UnaryServer::UnaryServer(Script script, Options options)
    : service_(std::make_unique<Service>(std::move(script))) {
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(options.address, options.credentials, &port);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, 1 << 20);  // above what legated lets pass
  builder.SetMaxReceiveMessageSize(-1);
  builder.SetDefaultCompressionAlgorithm(options.compression);
  for (const auto& [key, value] : options.arguments) builder.AddChannelArgument(key, value);
  builder.RegisterCallbackGenericService(service_.get());
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) throw std::runtime_error("no gRPC server at " + options.address);
  const bool tcp = !options.address.starts_with("unix:");
  address_ = tcp ? options.address.substr(0, options.address.rfind(':') + 1) + std::to_string(port)
                 : options.address;
}

UnaryServer::~UnaryServer() {
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
}

std::vector<UnaryServer::Request> UnaryServer::requests() const {
  const std::lock_guard lock(service_->mutex);
  return service_->requests;
}

uint64_t UnaryServer::count() const {
  const std::lock_guard lock(service_->mutex);
  return service_->requests.size();
}

UnaryServer::Request UnaryServer::last() const {
  const std::lock_guard lock(service_->mutex);
  if (!service_->requests.empty()) return service_->requests.back();
  ADD_FAILURE() << "no request has come";
  return {};
}

}  // namespace legated::test
