#include "tests/unit/client_fake_daemon.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cstring>
#include <future>
#include <stdexcept>

namespace legate::client {
namespace {

using ipc::FrameType;

constexpr int kPatienceMs = 10'000;

}  // namespace

Options FakeDaemon::all_roles() {
  Options options;
  options.name = "unit";
  options.roles = Role::ANY;
  options.call_window = 65'536;
  options.connection_window = 131'072;
  return options;
}

FakeDaemon::FakeDaemon(Options options, const Script& script) {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
    throw std::runtime_error("no socketpair");
  }
  socket_ = Socket(pair[0]);
  auto client = std::async(std::launch::async, [&] {
    return Connection::over(Socket(pair[1]), std::move(options), "the fake daemon");
  });
  greet(script);
  client_ = client.get();
}

FakeDaemon::~FakeDaemon() {
  close();  // so that nothing the client still waits for keeps it
}

void FakeDaemon::greet(const Script& script) {
  hello_ = expect(FrameType::hello);
  Builder builder;
  const auto limits =
      ipc::CreateLimits(builder, script.max_frame, 131'072, script.call_window,
                        script.connection_window, 4'194'304, 65'536, 10'000, 67'108'864);
  const auto epoch = builder.CreateString("epoch-1");
  const auto build = builder.CreateString("fake");
  builder.Finish(ipc::CreateHelloAck(builder, 1, 0, hello_.as<ipc::Hello>().roles(), 7, epoch,
                                     build, 30'000, limits));
  send({.type = FrameType::hello_ack}, &builder);
}

FakeDaemon::Received FakeDaemon::receive() {
  ipc::Frame frame;
  for (;;) {
    std::span<const uint8_t> input(input_);
    const auto result = decoder_.next(input, frame);
    if (result == ipc::FrameDecoder::Result::error) {
      throw std::runtime_error("the client sent nonsense: " + decoder_.error().message);
    }
    if (result == ipc::FrameDecoder::Result::frame) {
      Received received{.header = frame.header, .meta = {}, .payload = {}};
      received.meta.resize(frame.meta.size() / 8);
      if (!frame.meta.empty())
        std::memcpy(received.meta.data(), frame.meta.data(), frame.meta.size());
      received.payload.assign(frame.payload.begin(), frame.payload.end());
      input_.erase(input_.begin(), input_.end() - static_cast<std::ptrdiff_t>(input.size()));
      return received;
    }
    if (!socket_.wait_readable(kPatienceMs)) throw std::runtime_error("the client sent nothing");
    const size_t have = input_.size();
    input_.resize(have + 65'536);
    const ssize_t size = socket_.receive(std::span(input_).subspan(have));
    input_.resize(have + static_cast<size_t>(size > 0 ? size : 0));
    if (size <= 0) throw std::runtime_error("the client closed");
  }
}

FakeDaemon::Received FakeDaemon::expect(FrameType type) {
  Received received = receive();
  if (received.header.type != type) {
    ADD_FAILURE() << "wanted " << name(type) << ", got " << name(received.header.type);
    throw std::runtime_error("a frame of the wrong type");
  }
  return received;
}

bool FakeDaemon::closed() {
  try {
    for (;;) receive();
  } catch (const std::runtime_error& error) {
    return std::string_view(error.what()) == "the client closed";
  }
}

bool FakeDaemon::quiet() { return input_.empty() && !socket_.wait_readable(50); }

void FakeDaemon::send(const ipc::Header& header, const Builder* meta, std::string_view payload) {
  std::vector<uint8_t> bytes;
  ipc::append_frame(bytes, header, meta,
                    {reinterpret_cast<const uint8_t*>(payload.data()), payload.size()});
  send_raw(bytes);
}

void FakeDaemon::send_raw(const std::vector<uint8_t>& bytes) {
  std::span<const uint8_t> left(bytes);
  while (!left.empty()) {
    const ssize_t sent = socket_.send_now(left);
    if (sent < 0) throw std::runtime_error("the client closed");
    if (sent == 0 && !socket_.wait_writable(kPatienceMs)) {
      throw std::runtime_error("the client reads nothing");
    }
    left = left.subspan(static_cast<size_t>(sent));
  }
}

void FakeDaemon::send_data(uint32_t id, std::string_view message) {
  send({.call_id = id,
        .type = FrameType::data,
        .flags = ipc::flag::whole_message,
        .aux = static_cast<uint32_t>(message.size())},
       nullptr, message);
}

void FakeDaemon::send_headers(uint32_t id, const Metadata& metadata) {
  Builder builder;
  encode_headers(builder, metadata);
  send({.call_id = id, .type = FrameType::headers}, &builder);
}

void FakeDaemon::send_status(uint32_t id, const Status& status) {
  Builder builder;
  encode_status(builder, status);
  send({.call_id = id, .type = FrameType::status}, &builder);
}

void FakeDaemon::send_window(uint32_t id, uint32_t credit) {
  send({.call_id = id, .type = FrameType::window, .aux = credit});
}

void FakeDaemon::send_dispatch(uint32_t id, uint32_t lease, const std::string& method,
                               std::string_view message, uint64_t timeout_us) {
  Builder builder;
  const auto text = builder.CreateString(method);
  const auto authority = builder.CreateString("example.test");
  const auto peer = builder.CreateString("ipv4:127.0.0.1:5");
  ipc::StartBuilder start(builder);
  start.add_method(text);
  start.add_lease(lease);
  start.add_authority(authority);
  start.add_peer(peer);
  start.add_timeout_us(timeout_us);
  builder.Finish(start.Finish());
  send({.call_id = id,
        .type = FrameType::start,
        .flags = ipc::flag::whole_message | ipc::flag::end_stream,
        .aux = static_cast<uint32_t>(message.size())},
       &builder, message);
}

void FakeDaemon::serve_handlers(const std::function<void()>& register_handlers) {
  auto registering = std::async(std::launch::async, register_handlers);
  const auto listen = expect(FrameType::listen);
  Builder builder;
  builder.Finish(ipc::CreateListening(builder, 4321, builder.CreateString("127.0.0.1:4321")));
  send({.call_id = listen.header.call_id, .type = FrameType::listening}, &builder);
  const auto lease = expect(FrameType::register_methods);
  send({.call_id = lease.header.call_id, .type = FrameType::lease});
  registering.get();
}

}  // namespace legate::client
