#pragma once
// The gRPC channels of the daemon, shared by all processes that ask for the same target. The loop's
// thread.

#include <grpc/grpc.h>

#include <map>
#include <memory>
#include <string>

#include "daemon/config/config.h"

namespace legated {

/// One gRPC channel. Closed when its last holder lets go; calls under way hold it.
class Channel {
 public:
  Channel(std::string target, const Config& config);
  ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  grpc_channel* get() const { return channel_; }
  const std::string& target() const { return target_; }
  grpc_connectivity_state state() const {
    return grpc_channel_check_connectivity_state(channel_, 0);
  }

  // For the operator.
  uint32_t users = 0;  // open channels of processes
  uint32_t calls = 0;  // under way
  uint64_t started = 0;
  uint64_t ended = 0;
  uint64_t failed = 0;  // ended with another status than OK
  std::string last_error;

 private:
  std::string target_;
  grpc_channel* channel_;
};

class Channels {
 public:
  explicit Channels(const Config& config) : config_(config) {}

  /// The channel for this target, new or shared. Never waits for a connection.
  std::shared_ptr<Channel> get(const std::string& target);

  template <class Visit>
  void each(Visit visit) const {
    for (const auto& [target, weak] : channels_) {
      if (const auto channel = weak.lock()) visit(*channel);
    }
  }

 private:
  const Config& config_;
  std::map<std::string, std::weak_ptr<Channel>> channels_;
};

}  // namespace legated
