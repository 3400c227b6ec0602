#include "daemon/outbound/channels.h"

#include <grpc/grpc_security.h>

#include <array>

namespace legated {

Channel::Channel(std::string target, const Config& config) : target_(std::move(target)) {
  // What may pass is checked by the daemon on the way in, so gRPC's own send limit would only be a
  // second, worse message.
  std::array<grpc_arg, 3> args{};
  const auto set = [&](size_t index, const char* key, int value) {
    args[index].type = GRPC_ARG_INTEGER;
    args[index].key = const_cast<char*>(key);
    args[index].value.integer = value;
  };
  set(0, GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, static_cast<int>(config.limits.max_message));
  set(1, GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, -1);
  set(2, GRPC_ARG_MAX_METADATA_SIZE,
      static_cast<int>(config.limits.max_metadata) * 2);  // gRPC counts 32 more per element
  const grpc_channel_args channel_args{args.size(), args.data()};
  grpc_channel_credentials* const credentials = grpc_insecure_credentials_create();
  channel_ = grpc_channel_create(target_.c_str(), credentials, &channel_args);
  grpc_channel_credentials_release(credentials);
}

Channel::~Channel() { grpc_channel_destroy(channel_); }

std::shared_ptr<Channel> Channels::get(const std::string& target) {
  std::weak_ptr<Channel>& known = channels_[target];
  if (auto channel = known.lock()) return channel;
  std::erase_if(channels_,
                [&](const auto& entry) { return entry.second.expired() && entry.first != target; });
  auto channel = std::make_shared<Channel>(target, config_);
  channels_[target] = channel;
  return channel;
}

}  // namespace legated
