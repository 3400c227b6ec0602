#pragma once
// Session: one open connection to the daemon, underneath Connection, Call and ServerCall, who share
// it. It reads frames on one thread, keeps the calls and requests that are open, and settles credit.
//
// `mutex` guards everything in here and in every Stream and Request; it is never held during I/O or
// while callbacks run. Functions that do not take a lock want it held. Threads wait on the `changed`
// of the Stream or Request they are about.
//
// When the connection is lost every open call and request ends at once: UNAVAILABLE, origin ipc.

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "cpp-client/encode.h"
#include "cpp-client/options.h"
#include "cpp-client/outbox.h"
#include "cpp-client/socket.h"
#include "cpp-client/stream.h"

namespace legate::client {

using Lock = std::unique_lock<std::mutex>;

/// A control exchange; that of a channel, server or lease stays for as long as the object does.
struct Request {
  explicit Request(ipc::FrameType request_type) : type(request_type) {}

  const ipc::FrameType type;
  std::condition_variable changed;
  std::optional<Status> status;  // the answer, once there is one; later, how the object ended
  bool shared = false;
  ipc::ConnectivityState state = ipc::ConnectivityState::idle;
  uint32_t port = 0;
  std::string address;
};

/// Sends HELLO over a socket just connected and waits for HELLO_ACK. Throws DialError; `where` names
/// the other side in its message.
Welcome greet(const Socket& socket, const Options& options, const std::string& where);

class Session {
 public:
  using Dispatched = std::function<void(std::shared_ptr<Stream>)>;

  Session(Socket socket, Options options, Welcome welcome, std::string where);

  /// The reader thread's whole life: until the connection is lost.
  void read_frames();

  /// Loses the connection, once what is queued has been written or `grace` is over. Idempotent.
  void close(std::chrono::milliseconds grace);

  Lock lock() { return Lock(mutex); }
  const Welcome& welcome() const { return welcome_; }
  const Options& options() const { return options_; }

  // With the lock held:

  /// Why nothing new can be sent, if so.
  std::optional<Status> closed() const;

  /// A request of its own id. The caller adds the frame with that id before it lets the lock go.
  std::pair<uint32_t, std::shared_ptr<Request>> new_request(ipc::FrameType type);
  std::shared_ptr<Request> find_request(uint32_t id) const;
  void forget_request(uint32_t id) { requests_.erase(id); }

  /// A call of its own id, as above.
  std::shared_ptr<Stream> new_stream(Stream::Kind kind);

  Builder& builder() { return builder_; }
  bool builder_fits(size_t entries) const { return fits(builder_, entries, welcome_.limits); }
  void add(const ipc::Header& header, bool with_meta = false) {
    outbox_.add(header, with_meta ? &builder_ : nullptr);
  }

  /// Opens `stream` with the START in builder(). Takes the first of its messages along when that
  /// fits, whole, and END_STREAM when nothing else is to follow.
  void add_start(Stream& stream);
  /// Queues what credit allows of what the stream has to send.
  void pump(Stream& stream);
  /// Sends a message and waits until all of it is queued. False when the call ended before.
  bool write(Stream& stream, std::string_view message, Lock& guard, bool compress = true);
  /// Sends a message as credit comes, without waiting. `quietly`: it leaves with the next flush.
  bool post(Stream& stream, std::string message, Lock& guard);
  bool post_quietly(Stream& stream, std::string message);
  /// The oldest whole message, if any; its credit goes back.
  std::optional<std::string> take(Stream& stream, Lock& guard);
  /// Returns the credit that the stream's inbox has earned.
  void return_credit(Stream& stream);
  /// The call is over: wakes who waits and lets it go.
  void end(Stream& stream, Status status);
  /// Inside a callback: queues another to run after it, so that callbacks never nest. False elsewhere.
  bool defer(std::function<void()> callback);
  /// Writes what is queued. Frames of the reader thread leave when it has read all there was.
  void flush(Lock& guard);

  /// Dispatches of `lease` go to `dispatched`, on the reader thread, without the lock.
  void set_lease(LeaseId lease, Dispatched dispatched) {
    leases_[lease.value] = std::move(dispatched);
  }
  void drop_lease(LeaseId lease) { leases_.erase(lease.value); }
  /// Waits until no dispatch is open. False when the time is over first.
  bool wait_idle(Lock& guard, std::chrono::milliseconds timeout);

  /// The time from PING to PONG; nothing when the time is over or the connection lost.
  std::optional<Microseconds> ping(Lock& guard, std::chrono::milliseconds timeout);

  std::mutex mutex;

 private:
  struct Ping {
    std::optional<std::chrono::steady_clock::time_point> answered;
    std::condition_variable changed;
  };

  using Found = std::shared_ptr<Stream>;

  bool read_batch();
  bool decode_batch(std::span<const uint8_t>& input, Lock& guard);
  void lose(const std::string& cause);
  void breach(const Violation& violation, ipc::FrameType type, Lock& guard);
  void tell(Event event);
  void run_deferred(Lock& guard);

  // session_frames.cc. Each returns the violation it found, if any.
  std::optional<Violation> handle(const ipc::Frame& frame);
  std::optional<Violation> handle_connection(const ipc::Frame& frame);
  std::optional<Violation> handle_start(const ipc::Frame& frame);
  std::optional<Violation> handle_headers(const ipc::Frame& frame);
  std::optional<Violation> handle_data(const ipc::Frame& frame);
  std::optional<Violation> handle_status(const ipc::Frame& frame);
  std::optional<Violation> handle_cancel(const ipc::Frame& frame);
  std::optional<Violation> handle_window(const ipc::Frame& frame);
  std::optional<Violation> handle_success(const ipc::Frame& frame);
  std::optional<Violation> handle_channel_state(const ipc::Frame& frame);
  std::optional<Violation> handle_retire(const ipc::Frame& frame);
  void handle_goaway(const ipc::Goaway& goaway);
  std::optional<Violation> find(const ipc::Header& header, Found& found) const;
  std::optional<Violation> receive_payload(const ipc::Frame& frame);

  bool send_one(Stream& stream);
  void pump_waiting();

  const Socket socket_;
  const Options options_;
  const Welcome welcome_;
  const std::string where_;  // for messages: "legated at PATH"
  std::thread::id reader_;

  Outbox outbox_;
  Builder builder_;
  uint32_t next_id_ = 1;        // ours, odd
  uint32_t last_dispatch_ = 0;  // the daemon's, even
  std::unordered_map<uint32_t, std::shared_ptr<Stream>> streams_;
  std::unordered_map<uint32_t, std::shared_ptr<Request>> requests_;
  std::unordered_map<uint32_t, Dispatched> leases_;
  size_t dispatches_ = 0;  // of streams_
  std::condition_variable idle_;

  int64_t send_credit_;      // the daemon's connection window
  uint32_t receive_credit_;  // what the daemon may still send
  uint32_t receive_due_ = 0;
  std::deque<std::weak_ptr<Stream>> waiting_;  // have DATA and call credit, but no send_credit_

  std::map<uint32_t, Ping*> pings_;
  uint32_t next_ping_ = 1;
  std::optional<Status> lost_;
  bool leaving_ = false;      // the final GOAWAY has come
  std::string daemon_error_;  // what ERROR said

  // The reader thread's own.
  ipc::FrameDecoder decoder_;
  std::vector<uint8_t> buffer_;
  size_t filled_ = 0;

  std::vector<std::function<void()>> deferred_;  // callbacks, run without the lock
};

}  // namespace legate::client
