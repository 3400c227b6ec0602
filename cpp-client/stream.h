#pragma once
// Stream: one call, dispatch or query as the session keeps it. A struct without rules of its own;
// every field is guarded by the mutex of the session, `changed` is notified when one changes.

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cpp-client/inbox.h"
#include "cpp-client/values.h"

namespace legate::client {

/// Who the remote client is, by a certificate that the daemon has verified.
struct Identity {
  std::string subject;             // as RFC 2253 writes it, may be empty
  std::vector<std::string> names;  // alternative names: "dns:…", "uri:…", "ip:…", "email:…"
  std::string certificate;         // PEM
};

/// What START said of a dispatch. Never changes.
struct Dispatch {
  LeaseId lease;
  std::string method;
  Metadata metadata;
  std::string authority;
  std::string peer;
  std::optional<Identity> identity;  // none: the client has not shown who it is
  Microseconds queued{0};
  std::optional<std::chrono::steady_clock::time_point> deadline;
};

struct Stream {
  enum class Kind : uint8_t { call, dispatch, query };

  Stream(Kind kind_of, uint32_t call_id, uint32_t receive_window, uint32_t send_window)
      : kind(kind_of), id(call_id), inbox(receive_window), credit(send_window) {}

  const Kind kind;
  const uint32_t id;
  std::condition_variable changed;

  // What comes in.
  Inbox inbox;
  std::optional<Metadata> headers;  // of the responder
  std::optional<Status> status;     // once set the call has ended, and the session has let it go
  /// Called once, without the lock, after status was set; the session and all others are done with
  /// the stream by then.
  std::function<void(Stream&)> on_end;

  // What goes out.
  struct Message {
    std::string owned{};       // empty when the writer waits, and `bytes` lies with it
    std::string_view bytes{};  // what is left to send
    size_t length = 0;
    bool compress = true;
  };
  std::deque<Message> messages;
  uint64_t posted = 0;                // messages ever put into `messages`
  uint64_t sent = 0;                  // messages handed over whole
  int64_t credit = 0;                 // bytes the other side takes for this call
  bool half_close = false;            // END_STREAM is to follow the messages
  bool half_closed = false;           // END_STREAM was sent
  bool cancelled = false;             // CANCEL was sent (call) or has come (dispatch)
  bool waits_for_connection = false;  // in the session's queue for connection credit

  // A dispatch only.
  Dispatch dispatch;
  bool accepted = false;
  bool headers_sent = false;
  Code cancel_code = Code::cancelled;
  std::optional<Status> answer;  // STATUS to follow the messages
};

}  // namespace legate::client
