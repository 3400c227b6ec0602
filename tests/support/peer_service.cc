#include "tests/support/peer_service.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "peer.pb.h"

namespace legated::test {
namespace {

using legate::client::Code;
using legate::client::Metadata;
using legate::client::ServerCall;
using legate::client::Status;
using legate::test::v1::Command;
using legate::test::v1::Header;
using legate::test::v1::Reply;

using Count = std::atomic<uint64_t>;

// The payload that every peer sends when only a size is asked for.
std::string pattern(size_t size) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i % 251);
  return bytes;
}

void append(Metadata& metadata, const google::protobuf::RepeatedPtrField<Header>& headers) {
  for (const Header& header : headers) metadata.emplace_back(header.key(), header.value());
}

/// One call's script and how far it got.
class Script {
 public:
  Script(ServerCall& call, Count& cancelled) : call_(call), cancelled_(cancelled) {}

  /// The next message; the first becomes the script. Nothing at half-close and when cancelled.
  std::optional<Command> read() {
    const auto bytes = call_.read();
    if (!bytes) return std::nullopt;
    Command command;
    if (!command.ParseFromString(*bytes)) {
      failure_ = legate::client::make_status(Code::invalid_argument, "the message is no Command");
      return std::nullopt;
    }
    if (++received_ == 1) begin(command);
    return command;
  }

  const Command& first() const { return first_; }
  bool hangs() const { return first_.hang(); }
  bool replied_enough() const {
    return first_.status_code() != 0 && replied_ >= first_.response_count();
  }

  /// Waits as the script says. False when the call was cancelled meanwhile, which is counted.
  bool delay() {
    if (!call_.wait_cancelled(std::chrono::milliseconds(first_.delay_ms()))) return true;
    if (first_.delay_ms() > 0) ++cancelled_;
    return false;
  }

  bool reply(const std::string& echo) {
    if (!delay() || !send_headers()) return false;
    Reply reply;
    reply.set_payload(first_.response_size() > 0 ? pattern(first_.response_size()) : echo);
    reply.set_index(replied_++);
    reply.set_cancelled_seen(cancelled_);
    reply.set_messages_received(received_);
    return call_.write(reply.SerializeAsString());
  }

  /// Hangs or waits as the script says; what it returns ends the call.
  Status end() {
    if (failure_) return *failure_;
    if (hangs() && received_ > 0) {
      while (!call_.wait_cancelled(std::chrono::hours(1))) {
      }
      ++cancelled_;
    } else if (replied_ == 0 && !call_.cancelled()) {
      delay();
    }
    if (call_.cancelled()) return legate::client::make_status(call_.cancel_code(), "seen by Peer");
    if (!headers_.empty()) send_headers();
    Status status = legate::client::make_status(Code{static_cast<uint16_t>(first_.status_code())},
                                                first_.status_message());
    append(status.trailers, first_.trailers());
    if (!first_.status_details().empty()) status.details = first_.status_details();
    return status;
  }

  /// As the shapes that answer once end: with a reply unless the script wants another status.
  Status answer(const std::string& echo) {
    if (!failure_ && !call_.cancelled() && !hangs() && first_.status_code() == 0) reply(echo);
    return end();
  }

 private:
  void begin(const Command& command) {
    first_ = command;
    if (first_.echo_metadata()) {
      for (const auto& [key, value] : call_.metadata())
        headers_.emplace_back("x-echo-" + key, value);
      headers_.emplace_back("x-echo-authority", call_.authority());
      if (const auto left = call_.time_left()) {
        headers_.emplace_back("x-deadline-ms", std::to_string(left->count() / 1000));
      }
    }
    append(headers_, first_.headers());
    if (first_.headers_first()) send_headers();
  }

  bool send_headers() {
    if (headers_sent_) return true;
    headers_sent_ = true;
    return call_.send_headers(headers_) || call_.cancelled();
  }

  ServerCall& call_;
  Count& cancelled_;
  Command first_;
  Metadata headers_;
  bool headers_sent_ = false;
  uint32_t received_ = 0;
  uint32_t replied_ = 0;
  std::optional<Status> failure_;
};

Status unary(Script& script) {
  const auto command = script.read();
  return script.answer(command ? command->payload() : "");
}

Status client_stream(Script& script) {
  std::string payload;
  while (const auto command = script.read()) {
    payload += command->payload();
    if (script.hangs()) return script.end();
  }
  return script.answer(payload);
}

Status server_stream(Script& script) {
  const auto command = script.read();
  for (uint32_t i = 0; i < script.first().response_count(); ++i) {
    if (!script.reply(command->payload())) break;
  }
  return script.end();
}

Status bidi(Script& script) {
  while (const auto command = script.read()) {
    if (script.hangs() || script.replied_enough()) break;
    if (!script.reply(command->payload()) || script.replied_enough()) break;
  }
  return script.end();
}

}  // namespace

legate::client::Handlers peer_handlers() {
  const auto cancelled = std::make_shared<Count>(0);
  const auto scripted = [&](Status (*serve)(Script&)) {
    return [cancelled, serve](ServerCall& call) {
      Script script(call, *cancelled);
      return serve(script);
    };
  };
  return {{"/legate.test.v1.Peer/Unary", scripted(unary)},
          {"/legate.test.v1.Peer/ClientStream", scripted(client_stream)},
          {"/legate.test.v1.Peer/ServerStream", scripted(server_stream)},
          {"/legate.test.v1.Peer/Bidi", scripted(bidi)}};
}

}  // namespace legated::test
