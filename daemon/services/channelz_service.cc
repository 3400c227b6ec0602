#include "daemon/services/channelz_service.h"

#include <google/protobuf/util/json_util.h>
#include <grpc/grpc.h>
#include <grpc/support/alloc.h>

#include <algorithm>

#include "daemon/services/one_request.h"
#include "grpc/channelz/v1/channelz.pb.h"

namespace legated {
namespace {

namespace channelz = grpc::channelz::v1;

/// gRPC's pages hold 100; a client may want fewer.
template <class List>
bool cut(List& list, int64_t most) {
  if (most <= 0 || list.size() <= most) return false;
  list.DeleteSubrange(static_cast<int>(most), list.size() - static_cast<int>(most));
  return true;
}

/// Turns what `ask` gets from gRPC into a `Response`. Null text: there is no such thing.
template <class Request, class Response>
std::unique_ptr<LocalHandler> method(char* (*ask)(const Request&),
                                     void (*shorten)(const Request&, Response&) = nullptr) {
  return std::make_unique<UnaryMethod>([=](std::string_view bytes, std::string& answer) -> Status {
    Request request;
    if (Status bad = parse_request(bytes, request); !bad.ok()) return bad;
    const std::unique_ptr<char, decltype(&gpr_free)> json(ask(request), &gpr_free);
    if (json == nullptr) {
      return {StatusCode::not_found, "gRPC has nothing with that id", Origin::daemon, {}};
    }
    Response response;
    google::protobuf::util::JsonParseOptions options;
    options.ignore_unknown_fields = true;  // of a newer gRPC
    const auto parsed = google::protobuf::util::JsonStringToMessage(json.get(), &response, options);
    if (!parsed.ok()) {
      return {StatusCode::internal, "gRPC's JSON: " + parsed.ToString(), Origin::daemon, {}};
    }
    if (shorten != nullptr) shorten(request, response);
    answer = response.SerializeAsString();
    return {};
  });
}

}  // namespace

std::unique_ptr<LocalHandler> make_channelz_handler(std::string_view name) {
  using namespace channelz;
  if (name == "GetTopChannels") {
    return method<GetTopChannelsRequest, GetTopChannelsResponse>(
        [](const GetTopChannelsRequest& request) {
          return grpc_channelz_get_top_channels(request.start_channel_id());
        },
        [](const GetTopChannelsRequest& request, GetTopChannelsResponse& response) {
          if (cut(*response.mutable_channel(), request.max_results())) response.set_end(false);
        });
  }
  if (name == "GetServers") {
    return method<GetServersRequest, GetServersResponse>(
        [](const GetServersRequest& request) {
          return grpc_channelz_get_servers(request.start_server_id());
        },
        [](const GetServersRequest& request, GetServersResponse& response) {
          if (cut(*response.mutable_server(), request.max_results())) response.set_end(false);
        });
  }
  if (name == "GetServer") {
    return method<GetServerRequest, GetServerResponse>([](const GetServerRequest& request) {
      return grpc_channelz_get_server(request.server_id());
    });
  }
  if (name == "GetServerSockets") {
    return method<GetServerSocketsRequest, GetServerSocketsResponse>(
        [](const GetServerSocketsRequest& request) {
          return grpc_channelz_get_server_sockets(request.server_id(), request.start_socket_id(),
                                                  std::max<int64_t>(request.max_results(), 0));
        });
  }
  if (name == "GetChannel") {
    return method<GetChannelRequest, GetChannelResponse>([](const GetChannelRequest& request) {
      return grpc_channelz_get_channel(request.channel_id());
    });
  }
  if (name == "GetSubchannel") {
    return method<GetSubchannelRequest, GetSubchannelResponse>(
        [](const GetSubchannelRequest& request) {
          return grpc_channelz_get_subchannel(request.subchannel_id());
        });
  }
  if (name == "GetSocket") {
    return method<GetSocketRequest, GetSocketResponse>([](const GetSocketRequest& request) {
      return grpc_channelz_get_socket(request.socket_id());
    });
  }
  return nullptr;
}

}  // namespace legated
