#pragma once
// One incoming call: the gRPC leg and the IPC leg of an IncomingCall, which decides everything;
// here are the bytes and the operations. Made to wait for a call, lives until gRPC and the worker
// are done with it. The loop's thread.

#include <grpc/grpc.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "daemon/config/config.h"
#include "daemon/core/incoming_call.h"
#include "daemon/core/policies.h"
#include "daemon/grpc/message.h"
#include "daemon/grpc/metadata.h"
#include "daemon/grpc/operation.h"
#include "daemon/grpc/peer_messages.h"
#include "daemon/inbound/server_credentials.h"
#include "daemon/ipc/session.h"

namespace legated {

class ServerCall;

/// The server a call belongs to.
class CallOwner {
 public:
  /// gRPC accepted the call; false: the server is shutting down, and the object is of no more use.
  virtual void on_call_accepted(ServerCall& call, bool ok) = 0;
  /// A worker gave the call back or died before it accepted: offer it again.
  virtual void on_call_returned(ServerCall& call) = 0;
  /// The slot of the lease, which has served the call or given it back, is free.
  virtual void on_slot_free(ServerCall& call, LeaseId lease) = 0;
  /// The client is gone, or answered: the call must not be offered any more. Its worker may have
  /// still to answer it.
  virtual void on_call_over(ServerCall& call) = 0;
  /// Message bytes of calls no worker has accepted. False: the queue's memory is used up.
  virtual bool may_queue(uint64_t bytes) = 0;
  virtual void unqueue(uint64_t bytes) = 0;
  /// Destroys the call.
  virtual void on_call_finished(ServerCall& call) = 0;

 protected:
  ~CallOwner() = default;
};

class ServerCall final : public SessionCall, private EndOfPass {
 public:
  ServerCall(Loop& loop, const Config& config, const ServerSettings& settings, CallOwner& owner,
             DispatchId id);
  ~ServerCall();

  /// Waits for the next call of this server.
  void request(grpc_server* server);

  /// Takes the call up: watches for its end and reads the first message. After on_call_accepted.
  void begin();

  /// Gives up the gRPC call, instead of begin(): the daemon answers it itself.
  grpc_call* hand_over() { return std::exchange(call_, nullptr); }

  /// Whether what the client sent fits a START. Not OK: the call must end with it.
  [[nodiscard]] Status check_request();

  /// Runs the server's policies. Not OK: the call must end with it. They hear of the end.
  [[nodiscard]] Status apply(Policies& policies);
  /// An event in the log that tells how the call went. At its end.
  void log_access(const std::string& server) const;

  /// Hands the call to a worker.
  void offer(Session& session, LeaseId lease, CallId lease_request);
  void refuse(Status status);

  DispatchId id() const { return id_; }
  const std::string& method() const { return method_; }
  /// The first value of the key, as the worker will see it.
  std::optional<std::string_view> metadata_value(std::string_view key) const;
  Loop::Time since() const { return since_; }
  Loop::Time deadline() const { return deadline_; }
  std::optional<SessionId> worker() const { return worker_; }
  CallId call_id() const { return call_id_; }
  /// The connection that has been given it, and has not given it back.
  std::optional<SessionId> with() const {
    return core_.phase() == IncomingCall::Phase::queued ? std::nullopt : worker_;
  }
  /// The lease that was told CANCEL and has still to send STATUS.
  std::optional<LeaseId> unanswered() const {
    return core_.phase() == IncomingCall::Phase::cancelled ? std::optional(lease_) : std::nullopt;
  }
  /// Its one status is known.
  bool answered() const { return core_.status_known(); }
  const char* state() const;
  const std::vector<LeaseId>& rejected() const { return rejected_; }

 private:
  Ready ready(uint32_t connection_credit) const override;
  void write_frame(Session& session) override;
  std::optional<Violation> on_frame(const legate::ipc::Frame& frame) override;
  void on_session_lost() override;
  void on_memory() override { loop_.queue_pump(*this); }
  void run() override { pump(); }

  MessageLimit max_receive_message() const;
  MetadataLimit max_metadata() const;
  Status end_status() const;
  void on_request(bool ok);
  void on_closed(bool ok);
  void on_received(bool ok);
  void on_sent(bool ok);
  void pump();
  void start_sends(const IncomingWork& work);
  void write_start(Session& session);
  void on_worker_headers(const legate::ipc::Headers& headers);
  void on_worker_status(const legate::ipc::Status& status);
  std::optional<Violation> on_worker_part(const legate::ipc::Frame& frame);
  std::optional<Violation> on_reject();
  void after_accept();
  void leave_worker();
  void leave_queue();
  void return_credit();

  Loop& loop_;
  const Config& config_;
  const ServerSettings& settings_;
  CallOwner& owner_;
  const DispatchId id_;
  grpc_call* call_ = nullptr;
  grpc_call_details details_;
  ReceivedMetadata metadata_;
  std::string method_;
  Loop::Time since_{};
  Loop::Time deadline_ = Loop::Time::max();
  IncomingCall core_;
  ClientIdentity identity_;
  bool over_ = false;  // the owner knows that the client is gone
  Policies* policies_ = nullptr;  // that admitted the call, if they did
  AdmissionId admission_{};
  std::optional<MetadataList> changed_metadata_;  // by the policies
  std::optional<Timer> time_limit_;               // likewise, where gRPC knows no such deadline

  // The worker that has it
  Session* session_ = nullptr;
  LeaseId lease_{};
  CallId lease_request_{};
  CallId call_id_{};
  std::optional<SessionId> worker_;  // stays for the operator when the worker is gone
  std::vector<LeaseId> rejected_;

  // From the client. Until a worker has accepted, what was sent to it is kept.
  std::vector<std::shared_ptr<ReceivedMessage>> received_;
  size_t received_sent_ = 0;   // messages at the front that the worker has been sent
  uint64_t queued_bytes_ = 0;  // charged to the owner's queue
  uint64_t held_bytes_ = 0;    // charged to the worker's session
  grpc_byte_buffer* incoming_ = nullptr;
  bool receive_failed_ = false;  // core_ hears of it after on_closed()
  bool gone_ = false;            // on_closed() was called

  // From the worker
  Compression compression_;
  SendMetadata headers_;
  SendMetadata trailers_;
  PeerMessages messages_;
  std::shared_ptr<Session* const> debtor_;  // whose budget pays for messages_
  int cancelled_ = 0;                       // filled in by gRPC

  Operation<ServerCall, &ServerCall::on_request> request_done_{*this};
  Operation<ServerCall, &ServerCall::on_closed> closed_{*this};
  Operation<ServerCall, &ServerCall::on_received> received_done_{*this};
  Operation<ServerCall, &ServerCall::on_sent> sent_{*this};
};

}  // namespace legated
