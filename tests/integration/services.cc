#include "tests/integration/services.h"

namespace legated::test {

namespace health = grpc::health::v1;

std::string check(const std::string& address, const std::string& service) {
  const auto stub = health::Health::NewStub(connect(address));
  grpc::ClientContext context;
  be_patient(context);
  health::HealthCheckRequest request;
  request.set_service(service);
  health::HealthCheckResponse response;
  const grpc::Status status = stub->Check(&context, request, &response);
  return status.ok() ? health::HealthCheckResponse::ServingStatus_Name(response.status())
                     : describe(status);
}

HealthWatch::HealthWatch(const std::string& address, const std::string& service)
    : stub_(health::Health::NewStub(connect(address))) {
  be_patient(context_);
  health::HealthCheckRequest request;
  request.set_service(service);
  reader_ = stub_->Watch(&context_, request);
}

HealthWatch::~HealthWatch() { context_.TryCancel(); }

std::string HealthWatch::next() {
  health::HealthCheckResponse response;
  if (!reader_->Read(&response)) return "end";
  return health::HealthCheckResponse::ServingStatus_Name(response.status());
}

std::string peer_descriptors() {
  google::protobuf::FileDescriptorSet set;
  Command::descriptor()->file()->CopyTo(set.add_file());
  return set.SerializeAsString();
}

ServerHolder::ServerHolder(const DaemonProcess& daemon, const Switches& switches)
    : peer(daemon.socket()) {
  peer.greet();
  auto& builder = peer.builder();
  builder.Clear();
  const auto at = builder.CreateString("127.0.0.1:0");
  legate::ipc::ListenOptionsBuilder options(builder);
  options.add_health(switches.health);
  options.add_reflection(switches.reflection);
  options.add_channelz(switches.channelz);
  const auto options_offset = options.Finish();
  builder.Finish(legate::ipc::CreateListen(builder, at, options_offset));
  peer.send({.call_id = 1, .type = FrameType::listen}, {}, /*with_meta=*/true);
  const auto listening = peer.receive(FrameType::listening, 1);
  if (!listening) throw std::runtime_error("no LISTENING");
  address = legate::ipc::view(listening->as<legate::ipc::Listening>().address());
  peer.send({.call_id = 3, .type = FrameType::serve, .aux = 1});
  EXPECT_EQ(status_code(peer, 3), 0);
}

}  // namespace legated::test
