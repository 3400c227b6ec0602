#pragma once
// Clients of the daemon's own services for the tests: health, reflection and channelz as gRPC's C++
// stubs make them of the daemon's definitions.

#include <google/protobuf/descriptor.pb.h>
#include <gtest/gtest.h>

#include "grpc/channelz/v1/channelz.grpc.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpc/reflection/v1/reflection.grpc.pb.h"
#include "grpc/reflection/v1alpha/reflection.grpc.pb.h"
#include "tests/integration/calls.h"
#include "tests/integration/raw_peer.h"

namespace legated::test {

inline constexpr char kPeerService[] = "legate.test.v1.Peer";

/// A context whose call ends with the patience of the tests.
inline void be_patient(grpc::ClientContext& context) {
  context.set_deadline(std::chrono::system_clock::now() + kPatience);
}

/// The name of the state, or of the error.
std::string check(const std::string& address, const std::string& service);

/// A call of Health.Watch.
class HealthWatch {
 public:
  HealthWatch(const std::string& address, const std::string& service);
  ~HealthWatch();
  /// The name of the next state; "end" when the stream has ended.
  std::string next();
  /// After "end".
  grpc::Status status() { return reader_->Finish(); }

 private:
  std::unique_ptr<grpc::health::v1::Health::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<grpc::health::v1::HealthCheckResponse>> reader_;
};

/// A stream of ServerReflectionInfo, of either version.
template <class Service, class Request, class Response>
class ReflectionStream {
 public:
  explicit ReflectionStream(const std::string& address) : stub_(Service::NewStub(connect(address))) {
    be_patient(context_);
    stream_ = stub_->ServerReflectionInfo(&context_);
  }
  ~ReflectionStream() {
    context_.TryCancel();
    if (!finished_) stream_->Finish();
  }

  Response ask(const Request& request) {
    Response response;
    EXPECT_TRUE(stream_->Write(request) && stream_->Read(&response));
    return response;
  }
  std::vector<std::string> services() {
    Request request;
    request.set_list_services("*");
    std::vector<std::string> names;
    const Response response = ask(request);
    for (const auto& service : response.list_services_response().service())
      names.push_back(service.name());
    return names;
  }
  /// The names of the files; "error N" when it is one.
  std::vector<std::string> files_of(const std::string& symbol) {
    Request request;
    request.set_file_containing_symbol(symbol);
    const Response response = ask(request);
    if (response.has_error_response())
      return {"error " + std::to_string(response.error_response().error_code())};
    std::vector<std::string> names;
    for (const auto& bytes : response.file_descriptor_response().file_descriptor_proto()) {
      google::protobuf::FileDescriptorProto file;
      EXPECT_TRUE(file.ParseFromString(bytes));
      names.push_back(file.name());
    }
    return names;
  }
  /// Half-closes; the stream must end with nothing more.
  grpc::Status finish() {
    Response response;
    stream_->WritesDone();
    EXPECT_FALSE(stream_->Read(&response));
    finished_ = true;
    return stream_->Finish();
  }
  grpc::ClientReaderWriter<Request, Response>& stream() { return *stream_; }

 private:
  std::unique_ptr<typename Service::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<Request, Response>> stream_;
  bool finished_ = false;
};
using Reflection = ReflectionStream<grpc::reflection::v1::ServerReflection,
                                    grpc::reflection::v1::ServerReflectionRequest,
                                    grpc::reflection::v1::ServerReflectionResponse>;
using ReflectionAlpha = ReflectionStream<grpc::reflection::v1alpha::ServerReflection,
                                         grpc::reflection::v1alpha::ServerReflectionRequest,
                                         grpc::reflection::v1alpha::ServerReflectionResponse>;

/// The descriptors of Peer, as a worker sends them.
std::string peer_descriptors();

/// A server that answers, without a lease, as long as this is there.
struct ServerHolder {
  using Switch = legate::ipc::Switch;
  struct Switches {
    Switch health = Switch::inherit;
    Switch reflection = Switch::inherit;
    Switch channelz = Switch::inherit;
  };
  ServerHolder(const DaemonProcess& daemon, const Switches& switches);
  explicit ServerHolder(const DaemonProcess& daemon) : ServerHolder(daemon, Switches{}) {}
  RawPeer peer;
  std::string address;
};

}  // namespace legated::test
