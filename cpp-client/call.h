#pragma once
// Call: a gRPC call that this process makes through the daemon.
//
// Every function may be called from any thread; reading and writing at the same time is fine. Those
// that say "waits" must not be called on the connection's reader thread, that is from callbacks.
// A call may outlive its Connection: it has ended UNAVAILABLE then.

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "cpp-client/values.h"

namespace legate::client {

class Session;
struct Stream;

class Call {
 public:
  /// Made by Connection::start_call.
  Call(std::shared_ptr<Session> session, std::shared_ptr<Stream> stream);
  /// Cancels the call if it has not ended.
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  /// Sends one message; waits for credit. False when the call has ended, was cancelled or half-closed:
  /// then the message is lost, and finish() says why. Without `compress` the message goes as it is on
  /// a call that compresses.
  bool write(std::string_view message, bool compress = true);
  /// As write(), without waiting: what credit does not allow now follows later.
  bool post(std::string message);
  /// Half-closes: no message follows those written. Idempotent; does not wait.
  void writes_done();

  /// Waits for the next message; nothing once the call has ended and all were read.
  std::optional<std::string> read();
  /// Waits for the remote side's headers; empty when the call ended without any.
  Metadata headers();
  /// Half-closes, drops unread messages and waits for the status. Idempotent.
  Status finish();
  /// Waits until the call has ended, reading nothing. False when the time is over first.
  bool wait_ended(std::chrono::milliseconds timeout);

  /// Asks for the end; finish() tells how it came. Idempotent; does not wait.
  void cancel();

  /// The id on the connection; 0 when the call could not even be sent.
  uint32_t id() const;

 private:
  const std::shared_ptr<Session> session_;
  const std::shared_ptr<Stream> stream_;
};

}  // namespace legate::client
