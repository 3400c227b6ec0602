// The handshake: HELLO out, HELLO_ACK in, before the session begins.
#include <cerrno>
#include <system_error>

#include "cpp-client/session.h"

namespace legate::client {
namespace {

using ipc::FrameType;
using std::chrono::steady_clock;

[[noreturn]] void refuse(const std::string& where, const std::string& why) {
  throw DialError("no connection to " + where + ": " + why);
}

void send_all(const Socket& socket, std::span<const uint8_t> bytes, const std::string& where) {
  while (!bytes.empty()) {
    const ssize_t sent = socket.send_now(bytes);
    if (sent < 0) {
      // The daemon may have said why before it closed: that is still to be read.
      if (errno == EPIPE || errno == ECONNRESET) return;
      refuse(where, std::system_category().message(errno));
    }
    if (sent == 0) socket.wait_writable(-1);
    bytes = bytes.subspan(static_cast<size_t>(sent));
  }
}

// Reads exactly `buffer`, so that nothing of what follows HELLO_ACK is lost.
void read_all(const Socket& socket, std::span<uint8_t> buffer, steady_clock::time_point end,
              const std::string& where) {
  while (!buffer.empty()) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(end - steady_clock::now());
    if (left.count() <= 0 || !socket.wait_readable(static_cast<int>(left.count()))) {
      refuse(where, "it accepted the connection but did not answer HELLO in time; is it legated?");
    }
    const ssize_t received = socket.receive(buffer);
    if (received < 0) refuse(where, std::system_category().message(errno));
    if (received == 0) refuse(where, "it closed the connection without an answer to HELLO");
    buffer = buffer.subspan(static_cast<size_t>(received));
  }
}

}  // namespace

Welcome greet(const Socket& socket, const Options& options, const std::string& where) {
  Builder builder;
  std::vector<uint8_t> bytes;
  encode_hello(builder, options);
  ipc::append_frame(bytes, {.type = FrameType::hello}, &builder);
  send_all(socket, bytes, where);

  const auto end = steady_clock::now() + options.hello_timeout;
  ipc::FrameDecoder decoder(ipc::kMaxMaxFrame, ipc::kDefaultMaxMeta);
  ipc::Frame frame;
  bytes.clear();
  for (;;) {
    std::span<const uint8_t> input(bytes);
    const auto result = decoder.next(input, frame);
    if (result == ipc::FrameDecoder::Result::error) refuse(where, decoder.error().message);
    if (result == ipc::FrameDecoder::Result::frame) break;
    const size_t have = bytes.size();
    bytes.resize(decoder.wanted());
    read_all(socket, std::span(bytes).subspan(have), end, where);
  }
  if (frame.header.type == FrameType::error) {
    const auto& error = frame.as<ipc::Error>();
    refuse(where, std::string(EnumNameErrorCode(error.code())) + ": " +
                      std::string(ipc::view(error.message())));
  }
  if (frame.header.type != FrameType::hello_ack) {
    refuse(where, "it answered HELLO with " + name(frame.header.type));
  }
  Welcome welcome = decode_welcome(frame.as<ipc::HelloAck>());
  if (welcome.version != ipc::kProtocolVersion) {
    refuse(where, "it chose protocol version " + std::to_string(welcome.version) +
                      ", this library speaks " + std::to_string(ipc::kProtocolVersion));
  }
  return welcome;
}

}  // namespace legate::client
