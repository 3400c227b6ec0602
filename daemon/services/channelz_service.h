#pragma once
// grpc.channelz.v1.Channelz: what gRPC knows of the whole process, its own JSON turned into
// messages. The loop's thread.

#include <memory>
#include <string_view>

#include "daemon/inbound/local_call.h"

namespace legated {

inline constexpr std::string_view kChannelzService = "grpc.channelz.v1.Channelz";

/// For "GetServers" and the other methods; null for one that is not there.
std::unique_ptr<LocalHandler> make_channelz_handler(std::string_view method);

}  // namespace legated
