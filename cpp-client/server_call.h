#pragma once
// ServerCall: a gRPC call that this process serves, a "dispatch".
//
// Every function may be called from any thread; those that say "wait" must not be called on the
// connection's reader thread. The call is over when finish() was called, which a handler's return
// does; until then its slot is taken, also when the client has gone.

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "cpp-client/stream.h"
#include "cpp-client/values.h"

namespace legate::client {

class Session;

class ServerCall {
 public:
  /// Made by the connection.
  ServerCall(std::shared_ptr<Session> session, std::shared_ptr<Stream> stream);
  /// Ends the call INTERNAL if nobody has ended it.
  ~ServerCall();
  ServerCall(const ServerCall&) = delete;
  ServerCall& operator=(const ServerCall&) = delete;

  const std::string& method() const { return dispatch().method; }  // "/package.Service/Method"
  const Metadata& metadata() const { return dispatch().metadata; }
  const std::string& peer() const { return dispatch().peer; }
  const std::string& authority() const { return dispatch().authority; }
  /// Nothing when the client showed no certificate that was verified.
  const std::optional<Identity>& identity() const { return dispatch().identity; }
  /// Time the call waited in the daemon for a worker.
  Microseconds queued() const { return dispatch().queued; }
  /// Until the deadline, not below 0; nothing when there is none.
  std::optional<Microseconds> time_left() const;

  /// Waits for the next message; nothing once the client has half-closed and all were read, or the
  /// call was cancelled.
  std::optional<std::string> read();
  /// Sends the initial metadata; before the first message, once. False when that is not so, when the
  /// list is too long, or the call is over. `compression` is that of the messages, else the server's.
  bool send_headers(const Metadata& headers, ipc::Compression compression = ipc::Compression::inherit);
  /// Sends one message; waits for credit. False when the call was cancelled or is over. Without
  /// `compress` the message goes as it is on a call that compresses.
  bool write(std::string_view message, bool compress = true);
  /// As write(), without waiting; leaves with what follows: the last message before finish().
  bool post(std::string message);

  /// The client has cancelled or gone, the deadline has passed, or the connection is lost.
  bool cancelled() const;
  /// CANCELLED, DEADLINE_EXCEEDED or, when the connection is lost, UNAVAILABLE.
  Code cancel_code() const;
  /// Waits until then; false when the time is over first.
  bool wait_cancelled(std::chrono::milliseconds timeout);

  /// Takes the dispatch up: it goes to no other worker. Handlers have it done for them.
  void accept();
  /// Gives the dispatch back. False when it was accepted or is over.
  bool reject();
  /// Ends the call, after the messages written. The first call counts. Does not wait.
  void finish(const Status& status);

 private:
  const Dispatch& dispatch() const;

  const std::shared_ptr<Session> session_;
  const std::shared_ptr<Stream> stream_;
};

}  // namespace legate::client
