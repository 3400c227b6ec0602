#pragma once
// The daemon as a gRPC client on behalf of its peers: OPEN_CHANNEL, CLOSE_CHANNEL, CONNECT,
// START. The loop's thread.

#include <functional>
#include <map>
#include <memory>
#include <unordered_map>

#include "daemon/config/config.h"
#include "daemon/ipc/session.h"
#include "daemon/outbound/channels.h"
#include "daemon/outbound/client_call.h"

namespace legated {

class Outbound final : private ClientCallOwner {
 public:
  /// `on_change` is called when a call has ended. Throws ConfigError when a channel of the configuration
  /// can't be made.
  Outbound(Loop& loop, const Config& config, std::function<void()> on_change)
      : loop_(loop), config_(config), on_change_(std::move(on_change)), channels_(loop, config) {}

  /// OPEN_CHANNEL, CLOSE_CHANNEL, CONNECT or START.
  void on_request(Session& session, const legate::ipc::Frame& frame);
  void on_session_lost(SessionId session);

  /// New calls are refused.
  void drain() { draining_ = true; }
  void end_calls(const Status& status);
  /// Ends the call with this id of the session. False: there is none.
  [[nodiscard]] bool end_call(SessionId session, CallId id, const Status& status);
  /// Closes what is left once all calls and sessions have ended.
  void close() { channels_.close(); }
  bool idle() const { return calls_.empty(); }

  const Channels& channels() const { return channels_; }
  const std::unordered_map<ClientCall*, std::unique_ptr<ClientCall>>& calls() const {
    return calls_;
  }
  uint64_t started() const { return started_; }

 private:
  struct Held {
    std::shared_ptr<Channel> channel;
    bool watched;
    grpc_connectivity_state told;  // to the peer, if watched
  };

  struct Holder {
    Session* session;
    std::map<uint32_t, Held> channels;  // by the id of OPEN_CHANNEL
    uint32_t calls = 0;                 // under way
    std::map<const Channel*, uint32_t> calls_on;  // those of them on each channel
  };

  void on_call_finished(ClientCall& call) override;
  void open_channel(Session& session, const legate::ipc::Frame& frame);
  void close_channel(Session& session, const legate::ipc::Frame& frame);
  void connect(Session& session, const legate::ipc::Frame& frame);
  void on_state(Channel& channel);
  Holder& holder(Session& session);
  Held* find_channel(Session& session, const legate::ipc::Frame& frame);
  void start_call(Session& session, const legate::ipc::Frame& frame);

  Loop& loop_;
  const Config& config_;
  std::function<void()> on_change_;
  bool draining_ = false;
  uint64_t started_ = 0;
  Channels channels_;
  std::map<SessionId, Holder> holders_;
  std::unordered_map<ClientCall*, std::unique_ptr<ClientCall>> calls_;
};

}  // namespace legated
