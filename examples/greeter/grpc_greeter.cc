#include "examples/greeter/grpc_greeter.h"

#include <chrono>
#include <stdexcept>

#include "examples/greeter/greeting.h"

namespace legated::greeter::v1 {
namespace {

class Service final : public Greeter::Service {
 public:
  grpc::Status SayHello(grpc::ServerContext*, const HelloRequest* request,
                        HelloReply* answer) override {
    *answer = reply(hello(request->name()));
    return grpc::Status::OK;
  }

  grpc::Status CollectHellos(grpc::ServerContext*, grpc::ServerReader<HelloRequest>* reader,
                             HelloReply* answer) override {
    std::vector<std::string> names;
    HelloRequest request;
    while (reader->Read(&request)) names.push_back(request.name());
    *answer = reply(hello_all(names));
    return grpc::Status::OK;
  }

  grpc::Status ListHellos(grpc::ServerContext*, const HelloRequest* request,
                          grpc::ServerWriter<HelloReply>* writer) override {
    for (uint32_t i = 1; i <= request->count(); ++i) {
      if (!writer->Write(reply(hello_numbered(request->name(), i, request->count())))) break;
    }
    return grpc::Status::OK;
  }

  grpc::Status Chat(grpc::ServerContext*,
                    grpc::ServerReaderWriter<HelloReply, HelloRequest>* stream) override {
    HelloRequest request;
    while (stream->Read(&request)) {
      if (!stream->Write(reply(hello(request.name())))) break;
    }
    return grpc::Status::OK;
  }
};

HelloRequest request_of(const std::string& name, uint32_t count = 0) {
  HelloRequest request;
  request.set_name(name);
  request.set_count(count);
  return request;
}

void limit(grpc::ClientContext& context) {
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
}

void end(Outcome& outcome, const grpc::Status& status) {
  if (status.ok()) return;
  outcome.error = "status " + std::to_string(status.error_code()) + ", " + status.error_message();
}

}  // namespace

GrpcGreeter::GrpcGreeter() : service_(std::make_unique<Service>()) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(service_.get());
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || port_ == 0) throw std::runtime_error("no port for a gRPC server");
}

GrpcGreeter::~GrpcGreeter() { server_->Shutdown(std::chrono::system_clock::now()); }

Outcome grpc_say_hello(Greeter::Stub& stub, const std::string& name) {
  grpc::ClientContext context;
  limit(context);
  HelloReply answer;
  Outcome outcome;
  end(outcome, stub.SayHello(&context, request_of(name), &answer));
  outcome.messages = {answer.message()};
  return outcome;
}

Outcome grpc_collect_hellos(Greeter::Stub& stub, const std::vector<std::string>& names) {
  grpc::ClientContext context;
  limit(context);
  HelloReply answer;
  Outcome outcome;
  const auto writer = stub.CollectHellos(&context, &answer);
  for (const std::string& name : names) {
    if (!writer->Write(request_of(name))) break;
  }
  writer->WritesDone();
  end(outcome, writer->Finish());
  outcome.messages = {answer.message()};
  return outcome;
}

Outcome grpc_list_hellos(Greeter::Stub& stub, const std::string& name, uint32_t count) {
  grpc::ClientContext context;
  limit(context);
  Outcome outcome;
  const auto reader = stub.ListHellos(&context, request_of(name, count));
  HelloReply answer;
  while (reader->Read(&answer)) outcome.messages.push_back(answer.message());
  end(outcome, reader->Finish());
  return outcome;
}

Outcome grpc_chat(Greeter::Stub& stub, const std::vector<std::string>& names) {
  grpc::ClientContext context;
  limit(context);
  Outcome outcome;
  const auto stream = stub.Chat(&context);
  HelloReply answer;
  for (const std::string& name : names) {  // an answer before the next request: truly both ways
    if (!stream->Write(request_of(name)) || !stream->Read(&answer)) break;
    outcome.messages.push_back(answer.message());
  }
  stream->WritesDone();
  while (stream->Read(&answer)) outcome.messages.push_back(answer.message());
  end(outcome, stream->Finish());
  return outcome;
}

}  // namespace legated::greeter::v1
