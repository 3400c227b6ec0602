#pragma once
// The gRPC channels of the daemon, shared by all processes that ask for the same. The loop's thread.

#include <grpc/grpc.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "daemon/config/config.h"
#include "daemon/core/hedging.h"
#include "daemon/core/policies.h"
#include "daemon/core/status.h"
#include "daemon/core/turns.h"
#include "daemon/grpc/metadata.h"
#include "daemon/grpc/peer_messages.h"
#include "daemon/outbound/token_source.h"
#include "daemon/system/loop.h"

namespace legated {

/// gRPC channels that nobody holds any more. gRPC 1.51 leaks the socket of a connection that comes about after
/// its channel was destroyed, so each is kept until none of its connections is in the making.
class ClosedChannels {
 public:
  explicit ClosedChannels(Loop& loop) : timer_(loop, [this] { sweep(); }), loop_(loop) {}
  ~ClosedChannels() { destroy(); }
  ClosedChannels(const ClosedChannels&) = delete;
  ClosedChannels& operator=(const ClosedChannels&) = delete;

  void add(grpc_channel* channel, int64_t channelz_id);
  /// All of them, at once.
  void destroy();

 private:
  struct Closed {
    grpc_channel* channel;
    int64_t channelz_id;
  };

  void sweep();

  std::vector<Closed> channels_;
  Timer timer_;
  Loop& loop_;
};

/// One gRPC channel. Closed when its last holder lets go; calls under way hold it.
class Channel : public std::enable_shared_from_this<Channel> {
 public:
  /// Takes the gRPC channel. `token`: null when its calls have none.
  Channel(std::string name, ChannelSettings settings, const Config& config, grpc_channel* channel,
          std::unique_ptr<TokenSource> token, ClosedChannels& closed);
  ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  grpc_channel* get() const { return channel_; }
  /// In the configuration; empty: a peer asked for it.
  const std::string& name() const { return name_; }
  const ChannelSettings& settings() const { return settings_; }
  const std::string& target() const { return settings_.target; }

  grpc_connectivity_state state() const {
    return grpc_channel_check_connectivity_state(channel_, 0);
  }
  /// Leaves IDLE.
  void connect() { grpc_channel_check_connectivity_state(channel_, 1); }
  /// Calls `on_change` after each change of the state, from now on.
  void watch(Loop& loop, const std::function<void(Channel&)>& on_change);

  MessageLimit send_limit() const;
  MessageLimit receive_limit() const;
  MetadataLimit max_metadata() const;
  /// gRPC may make a call more than once.
  bool retries_calls() const { return retries_calls_; }
  /// Whether the daemon may make this unary call more than once. `idempotent`: as the caller says.
  bool hedges_call(std::string_view method, bool idempotent) const;
  const HedgingRules& hedging() const { return hedging_; }

  /// The addresses that the target stands for, with the state of the connection to each.
  struct Backend {
    std::string address;
    std::string state;
  };
  std::vector<Backend> backends() const;

  /// Null: calls have none.
  const TokenSource* token() const { return token_.get(); }

  Policies policies;
  HedgingThrottle throttle;
  Turns turns;  // bounded by max_in_flight

  // For the operator.
  uint32_t users = 0;  // open channels of processes
  uint32_t calls = 0;  // under way
  uint64_t started = 0;
  uint64_t ended = 0;
  uint64_t failed = 0;   // ended with another status than OK
  uint64_t retries = 0;  // made by gRPC
  uint64_t hedges = 0;   // attempts of hedged calls but the first
  uint64_t hedges_won = 0;
  std::string last_error;

 private:
  const std::string name_;
  const ChannelSettings settings_;
  const Config& config_;
  const std::unique_ptr<TokenSource> token_;
  grpc_channel* const channel_;
  ClosedChannels& closed_;
  const int64_t channelz_id_;
  const bool retries_calls_;
  const HedgingRules hedging_;
  bool watched_ = false;
};

class Channels {
 public:
  /// Makes the configuration's channels; they connect when they are used. Throws ConfigError when
  /// one can't be.
  Channels(Loop& loop, const Config& config);

  using Opened = std::variant<std::shared_ptr<Channel>, Status>;

  /// The channel of these settings, new or shared. Never waits for a connection.
  Opened open(const ChannelSettings& settings);
  /// The channel of that name in the configuration.
  Opened named(const std::string& name) const;

  /// Lets go of the configuration's channels.
  void close() {
    named_.clear();
    closed_.destroy();
  }

  template <class Visit>
  void each(Visit visit) const {
    for (const auto& [name, channel] : named_) visit(*channel);
    for (const auto& [settings, weak] : shared_) {
      if (const auto channel = weak.lock()) visit(*channel);
    }
  }

 private:
  Opened make(const std::string& name, const ChannelSettings& settings);

  Loop& loop_;
  const Config& config_;
  ClosedChannels closed_;
  std::map<std::string, std::shared_ptr<Channel>> named_;
  std::map<ChannelSettings, std::weak_ptr<Channel>> shared_;
};

}  // namespace legated
