// grpc.channelz.v1 on the daemon's ports: gRPC's own figures of the daemon.
#include <gmock/gmock.h>

#include "tests/integration/services.h"

namespace legated::test {
namespace {

namespace channelz = grpc::channelz::v1;
using testing::HasSubstr;

class ChannelzService : public testing::Test {
 protected:
  ChannelzService()
      : holder(daemon, {.channelz = ServerHolder::Switch::on}),
        worker(daemon, 16, holder.address),
        stub(channelz::Channelz::NewStub(connect(holder.address))) {}

  /// Calls a method of the stub.
  template <class Method, class Request, class Response>
  grpc::Status call(Method method, const Request& request, Response& response) {
    grpc::ClientContext context;
    be_patient(context);
    return (*stub.*method)(&context, request, &response);
  }

  using Stub = channelz::Channelz::Stub;
  const DaemonProcess daemon;
  const ServerHolder holder;
  const Worker worker;
  const std::unique_ptr<Stub> stub;
};

TEST_F(ChannelzService, ServersAndSocketsAreShown) {
  ASSERT_TRUE(call_once(connect(holder.address), kUnary).ok());
  const ServerHolder second(daemon);
  channelz::GetServersResponse servers;
  grpc::Status status = call(&Stub::GetServers, channelz::GetServersRequest(), servers);
  ASSERT_TRUE(status.ok()) << describe(status);
  ASSERT_EQ(servers.server_size(), 2) << servers.DebugString();
  EXPECT_TRUE(servers.end());
  const int64_t id = servers.server(0).ref().server_id();
  EXPECT_GE(servers.server(0).data().calls_started(), 2);
  EXPECT_EQ(servers.server(0).listen_socket_size(), 0) << "the daemon listens itself";

  channelz::GetServersRequest one;
  one.set_max_results(1);
  status = call(&Stub::GetServers, one, servers);
  EXPECT_EQ(servers.server_size(), 1);
  EXPECT_FALSE(servers.end());
  one.set_start_server_id(id + 1);
  status = call(&Stub::GetServers, one, servers);
  ASSERT_EQ(servers.server_size(), 1);
  EXPECT_NE(servers.server(0).ref().server_id(), id);

  channelz::GetServerRequest server_request;
  server_request.set_server_id(id);
  channelz::GetServerResponse server;
  ASSERT_TRUE(call(&Stub::GetServer, server_request, server).ok());
  EXPECT_EQ(server.server().ref().server_id(), id);
  server_request.set_server_id(1'000'000);
  status = call(&Stub::GetServer, server_request, server);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND) << describe(status);

  channelz::GetServerSocketsRequest sockets_request;
  sockets_request.set_server_id(id);
  channelz::GetServerSocketsResponse sockets;
  ASSERT_TRUE(call(&Stub::GetServerSockets, sockets_request, sockets).ok());
  ASSERT_GE(sockets.socket_ref_size(), 1);
  channelz::GetSocketRequest socket_request;
  socket_request.set_socket_id(sockets.socket_ref(0).socket_id());
  channelz::GetSocketResponse socket;
  ASSERT_TRUE(call(&Stub::GetSocket, socket_request, socket).ok());
  EXPECT_EQ(socket.socket().local().tcpip_address().ip_address(), std::string("\x7f\0\0\x01", 4));
}

TEST_F(ChannelzService, ChannelsOutAreShown) {
  const PeerServer server;
  const auto client = daemon.dial();
  const auto channel = client->open_channel(server.address());
  const auto result = client->unary(channel, kUnary, command().SerializeAsString());
  ASSERT_TRUE(result.status.ok()) << describe(result.status);
  channelz::GetTopChannelsResponse channels;
  const grpc::Status status =
      call(&Stub::GetTopChannels, channelz::GetTopChannelsRequest(), channels);
  ASSERT_TRUE(status.ok()) << describe(status);
  ASSERT_EQ(channels.channel_size(), 1) << channels.DebugString();
  const channelz::Channel& shown = channels.channel(0);
  EXPECT_THAT(shown.data().target(), HasSubstr(server.address()));
  EXPECT_EQ(shown.data().calls_succeeded(), 1);

  channelz::GetChannelRequest channel_request;
  channel_request.set_channel_id(shown.ref().channel_id());
  channelz::GetChannelResponse again;
  ASSERT_TRUE(call(&Stub::GetChannel, channel_request, again).ok());
  ASSERT_GE(again.channel().subchannel_ref_size(), 1) << again.DebugString();
  channelz::GetSubchannelRequest subchannel_request;
  subchannel_request.set_subchannel_id(again.channel().subchannel_ref(0).subchannel_id());
  channelz::GetSubchannelResponse subchannel;
  EXPECT_TRUE(call(&Stub::GetSubchannel, subchannel_request, subchannel).ok());
}

TEST_F(ChannelzService, ItIsReflected) {
  Reflection stream(holder.address);
  EXPECT_THAT(stream.services(), testing::Contains("grpc.channelz.v1.Channelz"));
  EXPECT_THAT(stream.files_of("grpc.channelz.v1.Channelz.GetServer"),
              testing::Contains("google/protobuf/wrappers.proto"));
}

TEST(ChannelzServiceOff, ItIsOffUnlessAskedFor) {
  const DaemonProcess daemon;
  const Worker worker(daemon);
  const auto status = call_once(connect(worker.address), "/grpc.channelz.v1.Channelz/GetServers");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED) << describe(status);
}

}  // namespace
}  // namespace legated::test
