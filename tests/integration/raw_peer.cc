#include "tests/integration/raw_peer.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "tests/integration/harness.h"

namespace legated::test {

using namespace legate::ipc;

namespace {

std::string_view text(const std::vector<uint8_t>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

RawPeer::RawPeer(const std::string& socket_path)
    : socket_(legate::client::Socket::dial(socket_path)), decoder_(kMaxMaxFrame, kDefaultMaxMeta) {}

bool RawPeer::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket_.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      constexpr auto kTime = std::chrono::milliseconds(kPatience).count();
      if (!socket_.wait_writable(static_cast<int>(kTime))) return false;
      continue;
    }
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

bool RawPeer::send(std::string_view bytes) {
  if (!holding_) return write(bytes);
  held_ += bytes;
  return true;
}

bool RawPeer::send(const std::vector<uint8_t>& bytes) { return send(text(bytes)); }

bool RawPeer::send(const Header& header, std::string_view payload, bool with_meta) {
  std::vector<uint8_t> bytes;
  append_frame(bytes, header, with_meta ? &builder_ : nullptr,
               {reinterpret_cast<const uint8_t*>(payload.data()), payload.size()});
  builder_.Clear();
  return send(bytes);
}

bool RawPeer::flush() {
  holding_ = false;
  return write(std::exchange(held_, {}));
}

bool RawPeer::hello(const HelloOptions& options) {
  const auto name = builder_.CreateString("raw_peer");
  builder_.Finish(CreateHello(builder_, options.version_min, options.version_max, 0,
                              static_cast<uint8_t>(options.roles), name, 0, 0, options.max_frame,
                              options.call_window, options.connection_window));
  return send({.type = FrameType::hello}, {}, true);
}

void RawPeer::greet(const HelloOptions& options) {
  hello(options);
  const auto frame = receive();
  ASSERT_TRUE(frame) << "the daemon did not answer HELLO: " << problem_;
  ASSERT_EQ(name(FrameType::hello_ack), name(frame->header.type));
}

bool RawPeer::open_channel(uint32_t id, const std::string& target) {
  const auto text = builder_.CreateString(target);
  builder_.Finish(CreateOpenChannel(builder_, text));
  return send({.call_id = id, .type = FrameType::open_channel}, {}, true);
}

bool RawPeer::start(uint32_t id, uint32_t channel, const std::string& method, uint8_t flags,
                    std::string_view message, std::optional<uint32_t> length) {
  const auto path = builder_.CreateString(method);
  builder_.Finish(CreateStart(builder_, path, 0, 0, channel, Shape::bidi));
  const auto whole = static_cast<uint32_t>(message.size());
  return send({.call_id = id,
               .type = FrameType::start,
               .flags = flags,
               .aux = (flags & flag::msg_begin) != 0 ? length.value_or(whole) : 0},
              message, true);
}

bool RawPeer::query(uint32_t id, const std::string& what) {
  const auto text = builder_.CreateString(what);
  builder_.Finish(CreateQuery(builder_, text));
  return send({.call_id = id, .type = FrameType::query}, {}, true);
}

bool RawPeer::data(uint32_t id, uint8_t flags, std::string_view part, uint32_t length) {
  return send({.call_id = id, .type = FrameType::data, .flags = flags, .aux = length}, part);
}

bool RawPeer::window(uint32_t id, uint32_t bytes) {
  return send({.call_id = id, .type = FrameType::window, .aux = bytes});
}

std::optional<OwnFrame> RawPeer::receive() {
  for (;;) {
    std::span<const uint8_t> rest(input_);
    Frame frame;
    const auto result = decoder_.next(rest, frame);
    if (result == FrameDecoder::Result::error) {
      problem_ = "the daemon sent nonsense: " + decoder_.error().message;
      ADD_FAILURE() << problem_;
      return std::nullopt;
    }
    if (result == FrameDecoder::Result::frame) {
      OwnFrame own{.header = frame.header, .meta = {}, .payload = {}};
      own.meta.resize(frame.meta.size() / 8);
      if (!own.meta.empty()) std::memcpy(own.meta.data(), frame.meta.data(), frame.meta.size());
      own.payload.assign(reinterpret_cast<const char*>(frame.payload.data()), frame.payload.size());
      input_.erase(input_.begin(), input_.end() - static_cast<ptrdiff_t>(rest.size()));
      return own;
    }
    constexpr auto kTime = std::chrono::milliseconds(kPatience).count();
    if (!socket_.wait_readable(static_cast<int>(kTime))) {
      problem_ = "the daemon neither answers nor closes";
      return std::nullopt;
    }
    std::array<uint8_t, 65'536> bytes{};
    const ssize_t got = ::recv(socket_.fd(), bytes.data(), bytes.size(), 0);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got <= 0) {
      problem_ = got == 0 ? "closed" : std::strerror(errno);
      return std::nullopt;
    }
    input_.insert(input_.end(), bytes.begin(), bytes.begin() + got);
  }
}

std::optional<OwnFrame> RawPeer::receive(FrameType type, uint32_t id) {
  while (auto frame = receive()) {
    if (frame->header.type == type && frame->header.call_id == id) return frame;
  }
  return std::nullopt;
}

std::optional<ErrorCode> RawPeer::error() {
  const auto frame = receive(FrameType::error, 0);
  if (!frame) return std::nullopt;
  const ErrorCode code = frame->as<Error>().code();
  EXPECT_NE("", view(frame->as<Error>().message()));
  EXPECT_FALSE(receive()) << "a frame after ERROR";
  return code;
}

bool RawPeer::closed() {
  while (receive()) {
  }
  return problem_ != "the daemon neither answers nor closes";
}

int status_code(RawPeer& peer, uint32_t id) {
  const auto frame = peer.receive(FrameType::status, id);
  return frame ? frame->as<legate::ipc::Status>().code() : -1;
}

}  // namespace legated::test
