#include "tests/bench/ipc_peer.h"

#include <thread>
#include <utility>

#include "tests/bench/bench.h"

namespace legated::bench {

using namespace legate::ipc;
namespace {

constexpr size_t kInput = 1024 * 1024;
constexpr auto kPatience = std::chrono::seconds(10);

legate::client::Socket dial(const std::string& path) {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  for (;;) {
    try {
      return legate::client::Socket::dial(path);
    } catch (const legate::client::DialError&) {
      if (std::chrono::steady_clock::now() > until) throw;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

}  // namespace

IpcPeer::IpcPeer(const std::string& socket, Role role)
    : socket_(dial(socket)), input_(kInput), decoder_(kDefaultMaxFrame, kDefaultMaxMeta) {
  append_with_meta(output_, {.type = FrameType::hello}, [&](auto& builder) {
    const auto name = builder.CreateString("legated_bench");
    HelloBuilder hello(builder);
    hello.add_roles(static_cast<uint8_t>(role));
    hello.add_name(name);
    return hello.Finish();
  });
  Frame frame;
  while (!next(frame)) exchange();
  if (frame.header.type != FrameType::hello_ack)
    throw Failure("the daemon answered HELLO with " + name(frame.header.type));
  credit_ = frame.as<HelloAck>().limits()->connection_window();
}

uint32_t IpcPeer::new_id() {
  last_id_ += last_id_ == 0 ? 1 : 2;
  return last_id_;
}

bool IpcPeer::spend(size_t payload_bytes) {
  if (payload_bytes > credit_) return false;
  credit_ -= static_cast<uint32_t>(payload_bytes);
  return true;
}

void IpcPeer::exchange() {
  if (owed_ >= kDefaultConnectionWindow / 2)
    append_frame(output_, {.type = FrameType::window, .aux = std::exchange(owed_, 0)});
  for (std::span<const uint8_t> rest = output_; !rest.empty();) {
    const ssize_t sent = socket_.send_now(rest);
    if (sent < 0) throw Failure("can't write to legated");
    rest = rest.subspan(static_cast<size_t>(sent));
    if (!rest.empty()) socket_.wait_writable(-1);
  }
  output_.clear();

  if (begin_ > 0) {
    std::memmove(input_.data(), input_.data() + begin_, end_ - begin_);
    end_ -= std::exchange(begin_, 0);
  }
  const ssize_t got = socket_.receive(std::span(input_).subspan(end_));
  if (got <= 0) throw Failure("legated closed the connection");
  end_ += static_cast<size_t>(got);
}

bool IpcPeer::next(Frame& frame) {
  for (;;) {
    std::span<const uint8_t> rest(input_.data() + begin_, end_ - begin_);
    const auto result = decoder_.next(rest, frame);
    if (result == FrameDecoder::Result::error) throw Failure(decoder_.error().message);
    if (result == FrameDecoder::Result::need_more) return false;
    begin_ = end_ - rest.size();
    owed_ += static_cast<uint32_t>(frame.payload.size());
    if (!on_connection(frame)) return true;
  }
}

bool IpcPeer::on_connection(const Frame& frame) {
  const Header& header = frame.header;
  switch (header.type) {
    case FrameType::window:
      if (header.call_id != 0) return false;
      credit_ += header.aux;
      return true;
    case FrameType::ping:
      append_frame(output_, {.type = FrameType::pong, .aux = header.aux});
      return true;
    case FrameType::error:
      throw Failure("legated: " + std::string(view(frame.as<Error>().message())));
    case FrameType::goaway: throw Failure("legated is leaving");
    default: return false;
  }
}

Frame IpcPeer::answer_to(uint32_t id) {
  Frame frame;
  do {
    while (!next(frame)) exchange();
  } while (frame.header.call_id != id);
  if (frame.header.type == FrameType::status && frame.as<Status>().code() != 0)
    throw Failure("legated: " + std::string(view(frame.as<Status>().message())));
  return frame;
}

}  // namespace legated::bench
