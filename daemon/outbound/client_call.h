#pragma once
// One outgoing call: the gRPC leg and the IPC leg of an OutgoingCall, which decides everything;
// here are the bytes and the operations. Lives until gRPC has nothing under way for it, which may
// be later than its STATUS. The loop's thread.

#include <grpc/grpc.h>

#include <memory>

#include "daemon/config/config.h"
#include "daemon/core/outgoing_call.h"
#include "daemon/grpc/message.h"
#include "daemon/grpc/metadata.h"
#include "daemon/grpc/operation.h"
#include "daemon/grpc/peer_messages.h"
#include "daemon/ipc/session.h"
#include "daemon/outbound/attempts.h"
#include "daemon/outbound/channels.h"
#include "daemon/outbound/hedged_call.h"
#include "daemon/outbound/remote_leg.h"

namespace legated {

class ClientCall;

class ClientCallOwner {
 public:
  /// Destroys the call.
  virtual void on_call_finished(ClientCall& call) = 0;

 protected:
  ~ClientCallOwner() = default;
};

class ClientCall final : public SessionCall, private EndOfPass {
 public:
  /// `start` is the START frame, of which everything is copied. `channel` may be null: the call
  /// ends FAILED_PRECONDITION.
  ClientCall(Loop& loop, const Config& config, Session& session, const legate::ipc::Frame& start,
             std::shared_ptr<Channel> channel, ClientCallOwner& owner);
  ~ClientCall();

  /// The START frame's message part. Separate from the constructor as it may end the connection.
  [[nodiscard]] std::optional<Violation> on_start_part(const legate::ipc::Frame& frame);

  void refuse(Status status);

  CallId id() const { return id_; }
  SessionId session_id() const { return session_id_; }
  std::string_view method() const { return text_of(method_); }
  const Channel* channel() const { return channel_.get(); }
  Loop::Time since() const { return since_; }
  const char* state() const;
  /// Times the call was sent off: 0 as long as gRPC has not got it, 1 from then on, and more when
  /// it was tried again.
  uint32_t attempts() const;

 private:
  Ready ready(uint32_t connection_credit) const override;
  void write_frame(Session& session) override;
  std::optional<Violation> on_frame(const legate::ipc::Frame& frame) override;
  void on_session_lost() override;
  void on_memory() override { loop_.queue_pump(*this); }
  void run() override;  // pump
  bool has_turn();

  void begin(const legate::ipc::Start& meta, uint64_t cost);
  void begin_hedged(uint64_t timeout_us);
  [[nodiscard]] Status apply_policies(uint64_t& timeout_us);
  void end_admission(const Status& status);
  [[nodiscard]] Status set_limits(const legate::ipc::Start& meta);
  std::optional<Violation> on_part(const legate::ipc::Frame& frame);
  std::optional<Violation> take_part(const legate::ipc::Frame& frame);
  void return_credit();
  void start_sends(const OutgoingWork& work);
  void start_unary();
  void follow_hedges();
  void add_initial_metadata(Batch& batch);
  void add_message(Batch& batch);
  void write_status(Session& session);
  void on_sent(bool ok);
  void on_headers(bool ok);
  void on_received(bool ok);
  void on_status(bool ok);
  void on_unary(bool ok);
  template <class Tell>
  void take_answer(Tell tell);
  Status remote_status();
  bool from_server() const;
  std::string explained(std::string message) const;

  Loop& loop_;
  const Config& config_;
  Session* session_;  // null when the connection is lost, or STATUS is written
  const SessionId session_id_;
  const CallId id_;
  const grpc_slice method_;
  const Loop::Time since_;
  std::shared_ptr<Channel> channel_;
  ClientCallOwner& owner_;
  OutgoingCall core_;
  bool wait_for_ready_;
  MessageLimit receive_limit_{};
  AdmissionId admission_{};  // 0: no policy has to be told of the end
  uint64_t cost_ = 0;  // of the session's memory budget, besides messages
  std::optional<Attempts> tries_;       // when gRPC may make more than one
  std::unique_ptr<HedgedCall> hedged_;  // when legated may; `remote_` is then that of its answer
  Loop::Time deadline_ = Loop::Time::max();
  std::optional<Turn> turn_;         // where the channel has turns: from when it could begin to gRPC's status
  std::optional<Timer> turn_limit_;  // while it waits; gRPC does not know of the call then

  // To gRPC
  SendMetadata metadata_;
  PeerMessages messages_;
  // From gRPC
  RemoteLeg remote_;
  std::shared_ptr<ReceivedMessage> message_;  // on its way to the peer

  Operation<ClientCall, &ClientCall::on_sent> sent_{*this};
  Operation<ClientCall, &ClientCall::on_headers> headers_done_{*this};
  Operation<ClientCall, &ClientCall::on_received> received_done_{*this};
  Operation<ClientCall, &ClientCall::on_status> status_done_{*this};
  Operation<ClientCall, &ClientCall::on_unary> unary_done_{*this};
};

}  // namespace legated
