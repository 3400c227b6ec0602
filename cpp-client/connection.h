#pragma once
// Connection: a program's connection to legated. It makes calls (role client), serves calls (role
// worker) and asks for the daemon's state (role admin).
//
// Any function may be called from any thread. They wait for what they return, unless their comment
// says that they don't; those that wait must not be called from callbacks, which run on the
// connection's reader thread. A lost connection ends every call and request at once with UNAVAILABLE,
// origin ipc, and does not come back: dial again.

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "cpp-client/call.h"
#include "cpp-client/handler_pool.h"
#include "cpp-client/options.h"
#include "cpp-client/server_call.h"
#include "cpp-client/socket.h"
#include "cpp-client/values.h"

namespace legate::client {

class Session;
struct Request;

struct UnaryResult {
  Status status;
  Metadata headers{};
  std::string response{};
};

/// The answer to OPEN_CHANNEL.
struct ChannelOpened {
  Status status;
  bool shared = false;  // another user already held an equal channel
  ipc::ConnectivityState state = ipc::ConnectivityState::idle;
};

/// The answer to LISTEN.
struct Listening {
  Status status;
  ServerId server{};
  uint32_t port = 0;      // the one really bound; 0 for a Unix socket
  std::string address{};  // with that port in it
  bool shared = false;    // another process already held this server
};

/// The answer to REGISTER.
struct Lease {
  Status status;
  LeaseId id{};
};

/// The answer to QUERY.
struct Answer {
  Status status;
  std::string json{};
};

class Connection {
 public:
  /// Connects to the daemon's socket at `path` and greets it. Throws DialError.
  static std::unique_ptr<Connection> dial(const std::string& path, Options options = {});
  /// The same over a socket that is connected already; `where` names it in messages.
  static std::unique_ptr<Connection> over(Socket socket, Options options, const std::string& where);

  /// Closes.
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// Epoch, session, granted roles and limits. Does not wait.
  const Welcome& welcome() const;
  /// Why the connection takes nothing new any more, if so. Does not wait.
  std::optional<Status> closed() const;
  /// The time from PING to PONG; nothing when the time is over or the connection lost.
  std::optional<Microseconds> ping(std::chrono::milliseconds timeout = std::chrono::seconds(5));
  /// Writes what is queued, for at most `grace`, ends what is open and waits for running handlers.
  /// Idempotent.
  void close(std::chrono::milliseconds grace = std::chrono::seconds(1));

  // ---- Client

  /// Does not wait: the channel can be used at once. If it can't be opened, its calls end
  /// FAILED_PRECONDITION, and wait() says why.
  ChannelId open_channel(const std::string& target, const ChannelOptions& options = {});
  /// The answer to open_channel().
  ChannelOpened wait(ChannelId channel);
  /// Has an idle channel begin to connect.
  Status connect(ChannelId channel);
  /// Calls on the channel go on to their end.
  Status close_channel(ChannelId channel);

  /// Starts a call, with its first message and the half-close if wanted. Waits for nothing but credit
  /// for that message. Never null: a call that can't be started has ended.
  std::shared_ptr<Call> start_call(ChannelId channel, const std::string& method,
                                   const CallOptions& options = {},
                                   std::optional<std::string_view> message = std::nullopt,
                                   bool end_stream = false);
  /// A whole unary call; `options.shape` is ignored.
  UnaryResult unary(ChannelId channel, const std::string& method, std::string_view message,
                    const CallOptions& options = {});
  /// The same without waiting. `done` runs once, on the reader thread, and must not block; it may
  /// start the next call.
  void unary_async(ChannelId channel, const std::string& method, std::string message,
                   const CallOptions& options, std::function<void(UnaryResult)> done);

  // ---- Worker

  Listening listen(const std::string& address, const ListenOptions& options = {});
  /// Calls whose method matches a pattern of `handlers` are served by it, `slots` at once, on threads
  /// of the connection.
  Lease register_methods(ServerId server, Handlers handlers, uint32_t slots,
                         const LeaseOptions& options = {});
  /// Dispatches go to `dispatched`, on the reader thread. It or whoever it hands the call to decides
  /// whether to accept, reject, answer or hold it.
  Lease register_methods(ServerId server, const std::vector<std::string>& patterns, uint32_t slots,
                         std::function<void(std::shared_ptr<ServerCall>)> dispatched,
                         const LeaseOptions& options = {});
  Status serve(ServerId server);
  /// Registers the descriptors of what the lease serves, a serialized FileDescriptorSet, which
  /// reflection shows while the lease is there.
  Status describe(LeaseId lease, std::string_view descriptor_set);
  /// What the daemon tells of the health of a service, "package.Service", as far as this process
  /// serves it; empty: of all that it serves.
  Status set_health(ServerId server, const std::string& service, Health health);
  /// No more dispatches; those running go on.
  Status unregister(LeaseId lease);
  /// Waits until no dispatch is open. False when the time is over first.
  bool wait_idle(std::chrono::milliseconds timeout);

  // ---- Admin

  /// "status", "channels", "calls" or "workers".
  Answer query(const std::string& what);
  /// COMMAND, a call whose messages tell of its progress in JSON and whose status comes when it is
  /// done. Cancelling it ends the waiting alone. Does not wait.
  std::shared_ptr<Call> command(const Command& command);

 private:
  explicit Connection(std::shared_ptr<Session> session);

  std::shared_ptr<Request> request_about(ipc::FrameType type, uint32_t object);

  const std::shared_ptr<Session> session_;
  std::thread reader_;
  std::mutex pools_mutex_;
  std::vector<std::unique_ptr<HandlerPool>> pools_;  // guarded by pools_mutex_
  std::once_flag closed_;
};

}  // namespace legate::client
