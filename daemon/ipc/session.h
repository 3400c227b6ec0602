#pragma once
// One connection of a peer: hello, frames in, frames out, credit of the connection, heartbeat
// (PROTOCOL.md, sections 2 to 8). What frames ask for is done by the host; calls are theirs who
// made them. All on the loop's thread.
//
// Reading never waits for writing. Frames of calls are made only when the socket can take them, so
// what is queued for a peer is little more than one batch; what a call holds is bounded by its own
// credit.

#include <sys/types.h>

#include <chrono>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>

#include "daemon/config/config.h"
#include "daemon/core/credit.h"
#include "daemon/core/ids.h"
#include "daemon/core/messages.h"
#include "daemon/core/status.h"
#include "daemon/ipc/output.h"
#include "daemon/system/loop.h"
#include "ipc-schema/cpp/frame.h"

namespace legated {

class Session;

/// One call, or one request with a long answer, as its session sees it.
class SessionCall {
 public:
  enum class Ready { nothing, prompt, data };

  /// What it has to write now: `data` only when call and connection have the credit.
  virtual Ready ready(uint32_t connection_credit) const = 0;
  /// Writes exactly one frame. Only when ready. May end the call.
  virtual void write_frame(Session& session) = 0;
  /// A frame for this id that its sender may send.
  [[nodiscard]] virtual std::optional<Violation> on_frame(const legate::ipc::Frame& frame) = 0;
  /// The connection is gone; the call must not use it again.
  virtual void on_session_lost() = 0;
  /// There is memory for messages again.
  virtual void on_memory() {}

 protected:
  virtual ~SessionCall() = default;

 private:
  friend class Session;
  bool in_ring_ = false;
  bool wants_memory_ = false;
};

/// Who runs the daemon, as its sessions see it.
class SessionHost {
 public:
  struct Identity {
    std::string epoch;
    std::string build;
  };
  virtual const Identity& identity() const = 0;
  /// A frame with a new id: START or a request. It has been checked for role and id.
  virtual void on_request(Session& session, const legate::ipc::Frame& frame) = 0;
  /// The peer will leave: nothing new for it.
  virtual void on_peer_leaving(Session& session) = 0;
  virtual void on_hello(Session& session) = 0;
  /// The connection is gone; its calls are told after this.
  virtual void on_session_lost(Session& session) = 0;
  /// Nothing refers to the session any more; the host destroys it.
  virtual void on_session_done(Session& session) = 0;

 protected:
  ~SessionHost() = default;
};

class Session final : private Watcher, private EndOfPass {
 public:
  struct Peer {
    pid_t pid = 0;
    uid_t uid = 0;
    gid_t gid = 0;
    uint8_t allowed_roles = 0;
    std::string name;      // from HELLO
    std::string instance;  // from HELLO
    std::string build;     // from HELLO
  };

  /// Takes the descriptor.
  Session(Loop& loop, const Config& config, SessionHost& host, SessionId id, int fd, Peer peer);
  ~Session();

  SessionId id() const { return id_; }
  const Peer& peer() const { return peer_; }
  uint8_t roles() const { return roles_; }
  bool open() const { return state_ == State::open; }
  bool closed() const { return state_ == State::closed; }
  Loop::Time since() const { return since_; }
  uint64_t memory_used() const { return memory_used_; }
  size_t calls_open() const { return calls_.size(); }
  uint64_t late_frames() const { return late_frames_; }

  // ---- For calls ------------------------------------------------------------------------------

  /// Receive windows of the peer, in bytes, from its HELLO; and ours.
  uint32_t peer_call_window() const { return peer_call_window_; }
  uint32_t own_call_window() const { return config_.ipc.call_window; }

  /// Makes `call` known under the id of the frame that began it.
  void add_call(CallId id, SessionCall& call);
  /// Makes `call` known under a new id of the daemon's own.
  CallId add_dispatch(SessionCall& call);
  /// The call has ended; frames for the id are late from now on.
  void remove_call(CallId id, SessionCall& call);

  /// The call may have something to write.
  void notify(SessionCall& call);

  /// Inside SessionCall::write_frame, and for control frames at any time.
  Output& output() { return output_; }
  flatbuffers::FlatBufferBuilder& builder();
  uint32_t connection_credit() const { return send_credit_.available(); }
  void spend(uint32_t bytes) { send_credit_.spend(bytes); }
  /// The largest payload of a frame to the peer, in bytes.
  uint32_t max_frame() const { return peer_max_frame_; }

  /// Message bytes held for this peer. `reserve` fails when the budget has no room; `hold` always
  /// succeeds.
  [[nodiscard]] bool reserve(uint64_t bytes);
  void hold(uint64_t bytes) { memory_used_ += bytes; }
  void release(uint64_t bytes);
  /// For those who may owe it memory when the session has gone: null from its end on.
  std::shared_ptr<Session* const> handle() const { return handle_; }
  /// Whether another message may be read for this peer; when not, the call hears on_memory() once.
  bool may_receive(SessionCall& call);

  // ---- For the host ---------------------------------------------------------------------------

  /// A control frame.
  void control(legate::ipc::FrameType type, CallId id, uint32_t aux = 0,
               const flatbuffers::FlatBufferBuilder* meta = nullptr);
  /// Ends a request, or an object, with a STATUS.
  void answer(CallId id, const Status& status);
  void goaway(bool final, std::chrono::milliseconds grace, const std::string& reason);
  /// Ends the connection with an ERROR frame.
  void fail(legate::ipc::ErrorCode code, std::string message, legate::ipc::FrameType type = {});
  /// Ends the connection without one, once what is queued is written, or at once when it can't be.
  void close(const std::string& reason);

 private:
  enum class State { hello, open, closed };

  void on_ready(uint32_t events) override;
  void run() override;  // flush

  void read();
  void take_frames();
  void on_frame(const legate::ipc::Frame& frame);
  void on_hello(const legate::ipc::Hello& hello);
  void on_new_id(const legate::ipc::Frame& frame);
  void on_call_frame(const legate::ipc::Frame& frame);
  void on_window(const legate::ipc::Frame& frame);
  bool take_payload_credit(const legate::ipc::Frame& frame);
  bool refuse_role(const legate::ipc::Frame& frame);
  bool build_next();
  void build_frame(std::deque<SessionCall*>& ring);
  void flush();
  void set_tick();
  void on_tick();
  void shut(const std::string& reason);

  Loop& loop_;
  const Config& config_;
  SessionHost& host_;
  const SessionId id_;
  const std::shared_ptr<Session*> handle_ = std::make_shared<Session*>(this);
  int fd_;
  Peer peer_;
  State state_ = State::hello;
  uint8_t roles_ = 0;
  const Loop::Time since_;

  // Reading
  std::vector<uint8_t> input_;
  size_t input_begin_ = 0;
  size_t input_end_ = 0;
  legate::ipc::FrameDecoder decoder_;
  ReceiveCredit receive_credit_;
  uint32_t last_peer_id_ = 0;
  uint64_t late_frames_ = 0;

  // Writing
  Output output_;
  flatbuffers::FlatBufferBuilder builder_{512};
  std::deque<SessionCall*> prompt_;
  std::deque<SessionCall*> data_;
  SessionCall* writing_ = nullptr;  // in neither, while it writes; null once it has ended
  SendCredit send_credit_{0};
  uint32_t peer_call_window_ = 0;
  uint32_t peer_max_frame_ = 0;
  bool blocked_ = false;  // the socket takes nothing; waiting for EPOLLOUT
  uint32_t last_own_id_ = 0;

  std::unordered_map<uint32_t, SessionCall*> calls_;
  uint64_t memory_used_ = 0;
  std::deque<SessionCall*> want_memory_;

  Timer tick_;  // hello time-out, heartbeat, stall
  Loop::Time last_read_;
  Loop::Time last_progress_;
  uint32_t pings_ = 0;  // since the last byte came
};

/// Status table of a STATUS frame, finished in `builder`. `trailers` may be 0; `attempts` are the
/// times the call was sent off.
void build_status(
    flatbuffers::FlatBufferBuilder& builder, const Status& status,
    flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<legate::ipc::Entry>>> trailers,
    uint64_t elapsed_us, uint32_t attempts = 0);

}  // namespace legated
