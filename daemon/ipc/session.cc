#include "daemon/ipc/session.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "daemon/telemetry/log.h"

namespace legated {

using namespace legate::ipc;
namespace {

constexpr size_t kMaxName = 200;              // bytes kept of what a peer calls itself
constexpr size_t kFirstInput = 16 * 1024;
constexpr int kReadsPerPass = 4;               // so that one busy peer does not starve the others
constexpr size_t kBatch = 256 * 1024;          // bytes made ready for one send
constexpr size_t kControlLimit = 1024 * 1024;  // bytes a peer may let pile up without reading

uint8_t role_of(FrameType type) {
  switch (type) {
    case FrameType::start:
    case FrameType::open_channel:
    case FrameType::close_channel:
    case FrameType::connect: return static_cast<uint8_t>(Role::client);
    case FrameType::listen:
    case FrameType::register_methods:
    case FrameType::serve:
    case FrameType::unregister:
    case FrameType::describe:
    case FrameType::set_health: return static_cast<uint8_t>(Role::worker);
    case FrameType::query:
    case FrameType::command: return static_cast<uint8_t>(Role::admin);
    default: return 0;
  }
}

bool for_a_call(FrameType type) {
  return type == FrameType::headers || type == FrameType::data || type == FrameType::status ||
         type == FrameType::cancel || type == FrameType::accept || type == FrameType::reject;
}

/// Whether the peer may send this type for a call of this parity.
bool fits_parity(FrameType type, bool peer_opened) {
  if (type == FrameType::data || type == FrameType::window) return true;
  return (type == FrameType::cancel) == peer_opened;
}

std::string role_name(uint8_t role) { return EnumNameRole(static_cast<Role>(role)); }

}  // namespace

void build_status(flatbuffers::FlatBufferBuilder& builder, const Status& status,
                  flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<Entry>>> trailers,
                  uint64_t elapsed_us, uint32_t attempts) {
  flatbuffers::Offset<flatbuffers::String> message;
  if (!status.message.empty()) message = builder.CreateString(status.message);
  flatbuffers::Offset<flatbuffers::Vector<uint8_t>> details;
  if (status.details) {
    details = builder.CreateVector(reinterpret_cast<const uint8_t*>(status.details->data()),
                                   status.details->size());
  }
  builder.Finish(CreateStatus(builder, static_cast<uint16_t>(status.code), message, details,
                              trailers, static_cast<legate::ipc::Origin>(status.origin),
                              elapsed_us, attempts));
}

Session::Session(Loop& loop, const Config& config, SessionHost& host, SessionId id, int fd,
                 Peer peer)
    : loop_(loop),
      config_(config),
      host_(host),
      id_(id),
      fd_(fd),
      peer_(std::move(peer)),
      since_(loop.now()),
      input_(kFirstInput),
      decoder_(config.ipc.max_frame, kDefaultMaxMeta),
      receive_credit_(config.ipc.connection_window),
      tick_(loop, [this] { on_tick(); }),
      last_read_(loop.now()),
      last_progress_(loop.now()) {
  loop_.watch(fd_, EPOLLIN, *this);
  tick_.set(loop_.now() + config_.ipc.hello_timeout);
}

Session::~Session() {
  *handle_ = nullptr;
  if (fd_ < 0) return;
  loop_.unwatch(fd_);
  ::close(fd_);
}

// ---- Reading -----------------------------------------------------------------------------------

void Session::on_ready(uint32_t events) {
  if (state_ == State::closed) return;
  if ((events & EPOLLOUT) != 0) {
    blocked_ = false;
    loop_.rewatch(fd_, EPOLLIN);
    loop_.queue_flush(*this);
  }
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) read();
}

void Session::read() {
  for (int i = 0; i < kReadsPerPass && state_ != State::closed; ++i) {
    if (input_begin_ == input_end_) input_begin_ = input_end_ = 0;
    const size_t room = input_.size() - input_end_;
    const ssize_t got = recv(fd_, input_.data() + input_end_, room, MSG_DONTWAIT);
    if (got < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) return;
      return shut(std::string("read: ") + std::strerror(errno));
    }
    if (got == 0) return shut("the peer closed the connection");
    last_read_ = loop_.now();
    pings_ = 0;
    input_end_ += static_cast<size_t>(got);
    take_frames();
    if (static_cast<size_t>(got) < room) return;
  }
}

void Session::take_frames() {
  std::span<const uint8_t> rest(input_.data() + input_begin_, input_end_ - input_begin_);
  Frame frame;
  for (;;) {
    switch (decoder_.next(rest, frame)) {
      case FrameDecoder::Result::frame:
        on_frame(frame);
        if (state_ == State::closed) return;
        continue;
      case FrameDecoder::Result::error:
        return fail(decoder_.error().code, decoder_.error().message, decoder_.error().type);
      case FrameDecoder::Result::need_more: break;
    }
    break;
  }
  input_begin_ = input_end_ - rest.size();
  // Room for the whole of the frame that has begun, and for large frames several at a time.
  const size_t wanted = decoder_.wanted();
  if (input_begin_ > 0 && input_begin_ + wanted > input_.size()) {
    std::memmove(input_.data(), input_.data() + input_begin_, rest.size());
    input_begin_ = 0;
    input_end_ = rest.size();
  }
  if (wanted > input_.size()) input_.resize(std::max(2 * input_.size(), 2 * wanted));
}

void Session::on_frame(const Frame& frame) {
  const Header& header = frame.header;
  const FrameType type = header.type;
  if (state_ == State::hello) {
    if (type != FrameType::hello) {
      return fail(ErrorCode::unexpected_frame,
                  name(type) + " before HELLO; HELLO must be the first frame", type);
    }
    return on_hello(frame.as<Hello>());
  }
  if (!is_known(type)) return control(FrameType::unsupported, CallId{header.call_id}, raw(type));

  const bool connection_frame =
      raw(type) <= raw(FrameType::goaway) || type == FrameType::unsupported;
  if (type != FrameType::window && type != FrameType::unsupported &&
      (header.call_id == 0) != connection_frame) {
    return fail(
        ErrorCode::unexpected_frame,
        name(type) + (connection_frame ? " with a call_id; it must be 0" : " without a call_id"),
        type);
  }
  switch (type) {
    case FrameType::error: {
      const Error& error = frame.as<Error>();
      return shut("the peer reported an error: " + std::string(view(error.message())));
    }
    case FrameType::ping: return control(FrameType::pong, CallId{0}, header.aux);
    case FrameType::pong: return;
    case FrameType::unsupported: return;
    case FrameType::goaway: return host_.on_peer_leaving(*this);
    case FrameType::window: return on_window(frame);
    case FrameType::start:
    case FrameType::open_channel:
    case FrameType::close_channel:
    case FrameType::connect:
    case FrameType::listen:
    case FrameType::register_methods:
    case FrameType::serve:
    case FrameType::unregister:
    case FrameType::describe:
    case FrameType::set_health:
    case FrameType::query:
    case FrameType::command: return on_new_id(frame);
    default: break;
  }
  if (for_a_call(type)) return on_call_frame(frame);
  fail(ErrorCode::unexpected_frame,
       type == FrameType::hello ? "a second HELLO" : name(type) + " is sent by the daemon only",
       type);
}

void Session::on_hello(const Hello& hello) {
  const auto in_range = [](uint32_t value, uint32_t low, uint32_t high) {
    return value >= low && value <= high;
  };
  if (hello.version_min() > kProtocolVersion || hello.version_max() < kProtocolVersion) {
    return fail(ErrorCode::version,
                "the peer speaks protocol versions " + std::to_string(hello.version_min()) +
                    " to " + std::to_string(hello.version_max()) + ", this daemon version " +
                    std::to_string(kProtocolVersion) + "; update the older of the two",
                FrameType::hello);
  }
  if (!in_range(hello.max_frame(), kMinMaxFrame, kMaxMaxFrame) ||
      !in_range(hello.call_window(), kMinWindow, kMaxWindow) ||
      !in_range(hello.connection_window(), kMinWindow, kMaxWindow)) {
    return fail(
        ErrorCode::malformed_frame,
        "HELLO: max_frame must be 4096 to 1048576, windows 65536 to 2147483647; got max_frame " +
            std::to_string(hello.max_frame()) + ", call_window " +
            std::to_string(hello.call_window()) + ", connection_window " +
            std::to_string(hello.connection_window()),
        FrameType::hello);
  }
  roles_ = hello.roles() & peer_.allowed_roles;
  if (roles_ == 0) {
    return fail(
        ErrorCode::access_denied,
        "user " + std::to_string(peer_.uid) +
            " may have none of the roles it asked for; see [access] in the daemon's configuration",
        FrameType::hello);
  }
  peer_.name = view(hello.name()).substr(0, kMaxName);
  peer_.instance = view(hello.instance()).substr(0, kMaxName);
  peer_.build = view(hello.build()).substr(0, kMaxName);
  send_credit_ = SendCredit(hello.connection_window());
  peer_call_window_ = hello.call_window();
  peer_max_frame_ = hello.max_frame();
  state_ = State::open;
  set_tick();

  auto& fbb = builder();
  const auto epoch = fbb.CreateString(host_.identity().epoch);
  const auto build = fbb.CreateString(host_.identity().build);
  const auto limits =
      CreateLimits(fbb, config_.ipc.max_frame, kDefaultMaxMeta, config_.ipc.call_window,
                   config_.ipc.connection_window, config_.limits.max_message,
                   config_.limits.max_metadata, config_.ipc.max_calls, config_.ipc.memory_budget);
  fbb.Finish(CreateHelloAck(fbb, kProtocolVersion, 0, roles_, raw(id_), epoch, build,
                            static_cast<uint32_t>(config_.ipc.heartbeat.count()), limits));
  control(FrameType::hello_ack, CallId{0}, 0, &fbb);
  log::info("session_open", {{"session", raw(id_)},
                             {"peer", peer_.name},
                             {"instance", peer_.instance},
                             {"build", peer_.build},
                             {"pid", static_cast<int64_t>(peer_.pid)},
                             {"uid", peer_.uid}});
  host_.on_hello(*this);
}

bool Session::take_payload_credit(const Frame& frame) {
  if (frame.payload.empty()) return true;
  const auto bytes = static_cast<uint32_t>(frame.payload.size());
  if (!receive_credit_.receive(bytes)) {
    fail(ErrorCode::flow_control, "more bytes than the connection's credit; wait for WINDOW",
         frame.header.type);
    return false;
  }
  receive_credit_.give_back(bytes);
  if (const uint32_t grant = receive_credit_.take_grant(); grant > 0)
    control(FrameType::window, CallId{0}, grant);
  return state_ != State::closed;
}

void Session::on_new_id(const Frame& frame) {
  const Header& header = frame.header;
  if (header.call_id % 2 == 0 || header.call_id <= last_peer_id_) {
    return fail(ErrorCode::call_id,
                name(header.type) + ": id " + std::to_string(header.call_id) +
                    " must be odd and higher than the last one, " + std::to_string(last_peer_id_),
                header.type);
  }
  last_peer_id_ = header.call_id;
  if (!take_payload_credit(frame)) return;
  if (refuse_role(frame)) return;
  host_.on_request(*this, frame);
}

bool Session::refuse_role(const Frame& frame) {
  const uint8_t role = role_of(frame.header.type);
  if ((roles_ & role) != 0) return false;
  answer(CallId{frame.header.call_id},
         {StatusCode::permission_denied,
          name(frame.header.type) + " needs the role \"" + role_name(role) +
              "\", which this connection does not have; ask for it in HELLO and see [access] in "
              "the daemon's configuration",
          legated::Origin::daemon,
          {}});
  return true;
}

void Session::on_call_frame(const Frame& frame) {
  const Header& header = frame.header;
  const bool peer_opened = header.call_id % 2 == 1;
  if (!fits_parity(header.type, peer_opened)) {
    return fail(
        ErrorCode::unexpected_frame,
        name(header.type) + (peer_opened ? " is sent by the answering side only"
                                         : " is sent by the side that opened the call only"),
        header.type);
  }
  if (!take_payload_credit(frame)) return;
  const auto found = calls_.find(header.call_id);
  if (found == calls_.end()) {
    if (header.call_id > (peer_opened ? last_peer_id_ : last_own_id_)) {
      return fail(
          ErrorCode::call_id,
          name(header.type) + ": id " + std::to_string(header.call_id) + " was never opened",
          header.type);
    }
    ++late_frames_;
    return;
  }
  if (const auto violation = found->second->on_frame(frame)) {
    fail(violation->code,
         name(header.type) + " of call " + std::to_string(header.call_id) + ": " +
             std::string(violation->message),
         header.type);
  }
}

void Session::on_window(const Frame& frame) {
  if (frame.header.call_id != 0) return on_call_frame(frame);
  if (!send_credit_.add(frame.header.aux)) {
    return fail(ErrorCode::flow_control,
                "WINDOW: the connection's window must stay between 1 and 2147483647",
                FrameType::window);
  }
  loop_.queue_flush(*this);
}

// ---- Calls -------------------------------------------------------------------------------------

void Session::add_call(CallId id, SessionCall& call) { calls_[raw(id)] = &call; }

CallId Session::add_dispatch(SessionCall& call) {
  last_own_id_ += 2;
  calls_[last_own_id_] = &call;
  return CallId{last_own_id_};
}

void Session::remove_call(CallId id, SessionCall& call) {
  calls_.erase(raw(id));
  if (&call == writing_) {
    writing_ = nullptr;
  } else if (call.in_ring_) {
    std::erase(prompt_, &call);
    std::erase(data_, &call);
  }
  call.in_ring_ = false;
  if (call.wants_memory_) {
    std::erase(want_memory_, &call);
    call.wants_memory_ = false;
  }
}

void Session::notify(SessionCall& call) {
  if (call.in_ring_ || state_ == State::closed) return;
  call.in_ring_ = true;
  prompt_.push_back(&call);
  loop_.queue_flush(*this);
}

bool Session::reserve(uint64_t bytes) {
  if (memory_used_ + bytes > config_.ipc.memory_budget) return false;
  memory_used_ += bytes;
  return true;
}

void Session::release(uint64_t bytes) {
  memory_used_ -= bytes;
  while (!want_memory_.empty() && memory_used_ < config_.ipc.memory_budget) {
    SessionCall* const call = want_memory_.front();
    want_memory_.pop_front();
    call->wants_memory_ = false;
    call->on_memory();
  }
}

bool Session::may_receive(SessionCall& call) {
  if (memory_used_ < config_.ipc.memory_budget) return true;
  if (!call.wants_memory_) {
    call.wants_memory_ = true;
    want_memory_.push_back(&call);
  }
  return false;
}

// ---- Writing -----------------------------------------------------------------------------------

flatbuffers::FlatBufferBuilder& Session::builder() {
  builder_.Clear();
  return builder_;
}

void Session::control(FrameType type, CallId id, uint32_t aux,
                      const flatbuffers::FlatBufferBuilder* meta) {
  if (state_ == State::closed) return;
  output_.frame({.call_id = raw(id), .type = type, .aux = aux}, meta);
  if (output_.pending() > kBatch + kControlLimit) {
    return fail(ErrorCode::stalled, "the peer sends requests but does not read the answers", type);
  }
  loop_.queue_flush(*this);
}

void Session::answer(CallId id, const Status& status) {
  auto& fbb = builder();
  build_status(fbb, status, 0, 0);
  control(FrameType::status, id, 0, &fbb);
}

void Session::goaway(bool final, std::chrono::milliseconds grace, const std::string& reason) {
  auto& fbb = builder();
  const auto epoch = fbb.CreateString(host_.identity().epoch);
  const auto text = fbb.CreateString(reason);
  fbb.Finish(CreateGoaway(fbb, final, final ? last_peer_id_ : UINT32_MAX,
                          static_cast<uint32_t>(grace.count()), epoch, text));
  control(FrameType::goaway, CallId{0}, 0, &fbb);
}

bool Session::build_next() {
  if (!prompt_.empty()) {
    build_frame(prompt_);
    return true;
  }
  if (!data_.empty() && send_credit_.available() > 0) {
    build_frame(data_);
    return true;
  }
  return false;
}

void Session::build_frame(std::deque<SessionCall*>& ring) {
  SessionCall* const call = ring.front();
  ring.pop_front();
  const bool data_turn = &ring == &data_;
  // Data without credit of the connection is data all the same: it waits in its ring for WINDOW.
  switch (call->ready(data_turn ? send_credit_.available() : UINT32_MAX)) {
    case SessionCall::Ready::nothing: call->in_ring_ = false; return;
    case SessionCall::Ready::data:
      if (data_turn) break;
      data_.push_back(call);  // data waits until nothing prompt is left
      return;
    case SessionCall::Ready::prompt: break;
  }
  writing_ = call;
  call->write_frame(*this);
  // What became prompt, such as STATUS behind the last DATA, goes before the DATA of others.
  while (data_turn && writing_ != nullptr && call->ready(0) == SessionCall::Ready::prompt)
    call->write_frame(*this);
  if (std::exchange(writing_, nullptr) != nullptr) ring.push_back(call);
}

void Session::run() {
  if (state_ == State::closed) {
    host_.on_session_done(*this);  // destroys this
    return;
  }
  flush();
}

void Session::flush() {
  if (blocked_) return;
  const bool idle = output_.pending() == 0;
  for (bool more = true; more;) {
    while (output_.pending() < kBatch && (more = build_next())) {
    }
    bool progress = false;
    const auto sent = output_.send(fd_, progress);
    if (progress || idle) last_progress_ = loop_.now();
    if (sent == Output::Sent::broken) return shut(std::string("write: ") + std::strerror(errno));
    if (sent == Output::Sent::blocked) {
      blocked_ = true;
      loop_.rewatch(fd_, EPOLLIN | EPOLLOUT);
      return;
    }
  }
}

// ---- Time --------------------------------------------------------------------------------------

void Session::set_tick() {
  const auto often_enough = std::max(config_.ipc.stall_timeout / 2, std::chrono::milliseconds(1));
  tick_.set(loop_.now() + std::min(config_.ipc.heartbeat, often_enough));
}

void Session::on_tick() {
  const Loop::Time now = loop_.now();
  if (state_ == State::hello) {
    return fail(ErrorCode::hello_timeout, "no HELLO within " +
                                              std::to_string(config_.ipc.hello_timeout.count()) +
                                              " ms of connecting");
  }
  if (blocked_ && now - last_progress_ >= config_.ipc.stall_timeout) {
    return fail(ErrorCode::stalled, "the peer has read nothing for " +
                                        std::to_string(config_.ipc.stall_timeout.count()) +
                                        " ms while " + std::to_string(output_.pending()) +
                                        " bytes waited for it");
  }
  const auto silence = now - last_read_;
  if (silence >= 3 * config_.ipc.heartbeat) {
    return fail(ErrorCode::heartbeat, "not a byte for three heartbeats of " +
                                          std::to_string(config_.ipc.heartbeat.count()) + " ms");
  }
  if (silence >= (pings_ + 1) * config_.ipc.heartbeat && !blocked_) {
    control(FrameType::ping, CallId{0}, ++pings_);
  }
  if (state_ != State::closed) set_tick();
}

// ---- The end -----------------------------------------------------------------------------------

void Session::fail(ErrorCode code, std::string message, FrameType type) {
  if (state_ == State::closed) return;
  static log::Limited limited(10);
  log::warn(limited, "session_error",
            {{"session", raw(id_)},
             {"peer", peer_.name},
             {"code", EnumNameErrorCode(code)},
             {"frame", name(type)},
             {"reason", message}});
  auto& fbb = builder();
  const auto text = fbb.CreateString(message);
  fbb.Finish(CreateError(fbb, code, text, raw(type)));
  output_.frame({.call_id = 0, .type = FrameType::error}, &fbb);
  shut(message);
}

void Session::close(const std::string& reason) { shut(reason); }

void Session::shut(const std::string& reason) {
  if (state_ == State::closed) return;
  const bool was_open = state_ == State::open;
  state_ = State::closed;
  bool progress;
  output_.send(fd_, progress);
  loop_.unwatch(fd_);
  ::close(fd_);
  fd_ = -1;
  tick_.cancel();
  if (was_open) {
    log::info("session_closed", {{"session", raw(id_)},
                                 {"peer", peer_.name},
                                 {"calls", static_cast<uint64_t>(calls_.size())},
                                 {"late_frames", late_frames_},
                                 {"reason", reason}});
  }
  if (was_open) host_.on_session_lost(*this);
  prompt_.clear();
  data_.clear();
  writing_ = nullptr;
  want_memory_.clear();
  const auto calls = std::move(calls_);
  calls_.clear();
  for (const auto& [id, call] : calls) {
    call->in_ring_ = call->wants_memory_ = false;
    call->on_session_lost();
  }
  *handle_ = nullptr;
  loop_.queue_flush(*this);
}

}  // namespace legated
