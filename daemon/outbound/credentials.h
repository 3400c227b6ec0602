#pragma once
// TLS toward remote servers. The certificate and the name in it are verified always, within the
// handshake and by gRPC. Pure functions but for the files that the configuration names.

#include <grpc/grpc_security.h>

#include <string>

#include "daemon/config/channel_settings.h"

namespace legated {

/// Why the settings' certificates and keys can't be used, naming the field or file; empty: they can.
/// Neither key nor certificate is quoted.
std::string problem_with_tls(const ChannelSettings& settings);

/// What a channel of these settings authenticates with; the caller releases it. Only when there is
/// no problem with them.
grpc_channel_credentials* credentials_for(const ChannelSettings& settings);

/// What a failure to connect that gRPC words like this most likely means; empty: gRPC said it all.
std::string explain_failure(const ChannelSettings& settings, std::string_view message);

}  // namespace legated
