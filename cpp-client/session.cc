#include "cpp-client/session.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace legate::client {
namespace {

constexpr size_t kReadBuffer = 256 * 1024;

thread_local bool calling_back = false;  // this thread is inside run_deferred()

Status unavailable(std::string message) {
  return make_status(Code::unavailable, std::move(message), Origin::ipc);
}

}  // namespace

Session::Session(Socket socket, Options options, Welcome welcome, std::string where)
    : socket_(std::move(socket)),
      options_(std::move(options)),
      welcome_(std::move(welcome)),
      where_(std::move(where)),
      send_credit_(welcome_.limits.connection_window),
      receive_credit_(options_.connection_window),
      decoder_(options_.max_frame, welcome_.limits.max_meta),
      buffer_(kReadBuffer) {}

void Session::read_frames() {
  {
    const Lock guard = lock();
    reader_ = std::this_thread::get_id();
  }
  while (read_batch()) {
  }
  Lock guard = lock();
  run_deferred(guard);
}

// Reads once, handles every whole frame, then calls callbacks and writes what all that led to.
bool Session::read_batch() {
  Lock guard = lock();
  const bool stuck = outbox_.stuck();
  guard.unlock();
  if (stuck) {
    socket_.wait_writable(-1, /*or_read=*/true);
    guard.lock();
    outbox_.flush(socket_, guard, Outbox::Wait::no);
    guard.unlock();
    if (!socket_.wait_readable(0)) return true;
  }

  if (filled_ + 4096 > buffer_.size()) buffer_.resize(filled_ + kReadBuffer);
  const ssize_t received = socket_.receive(std::span(buffer_).subspan(filled_));
  const int error = errno;
  guard.lock();
  if (received <= 0) {
    lose(!daemon_error_.empty() ? daemon_error_
         : received == 0        ? "it closed the connection"
                                : std::system_category().message(error));
    return false;
  }
  filled_ += static_cast<size_t>(received);

  std::span<const uint8_t> input(buffer_.data(), filled_);
  const bool going_on = decode_batch(input, guard);
  std::memmove(buffer_.data(), input.data(), input.size());
  filled_ = input.size();
  return going_on;
}

bool Session::decode_batch(std::span<const uint8_t>& input, Lock& guard) {
  ipc::Frame frame;
  ipc::FrameDecoder::Result result = decoder_.next(input, frame);
  for (; result == ipc::FrameDecoder::Result::frame; result = decoder_.next(input, frame)) {
    const auto violation = handle(frame);
    if (violation) breach(*violation, frame.header.type, guard);
    if (lost_) return false;
  }
  if (result == ipc::FrameDecoder::Result::error) {
    breach({decoder_.error().code, decoder_.error().message}, decoder_.error().type, guard);
    return false;
  }
  run_deferred(guard);
  outbox_.flush(socket_, guard, Outbox::Wait::no);
  return !lost_;
}

// The daemon broke the protocol: says so, if it still listens, and ends the connection.
void Session::breach(const Violation& violation, ipc::FrameType type, Lock& guard) {
  encode_error(builder_, violation, type);
  outbox_.add_urgent({.type = ipc::FrameType::error}, &builder_);
  outbox_.drain(socket_, guard, std::chrono::milliseconds(100));
  lose("it broke the protocol: " + violation.message);
}

void Session::lose(const std::string& cause) {
  if (lost_) return;
  lost_ = unavailable("connection to " + where_ + " lost: " + cause);
  tell({.kind = Event::Kind::lost, .message = lost_->message});
  while (!streams_.empty()) {
    Stream& stream = *streams_.begin()->second;
    stream.cancelled = true;
    stream.cancel_code = Code::unavailable;
    end(stream, *lost_);
  }
  for (const auto& [id, request] : requests_) {
    request->status = *lost_;
    request->changed.notify_all();
  }
  for (const auto& [number, ping] : pings_) ping->changed.notify_all();
  idle_.notify_all();
  socket_.shut_down();
}

void Session::close(std::chrono::milliseconds grace) {
  Lock guard = lock();
  if (!lost_) outbox_.drain(socket_, guard, grace);
  lose("closed by this program");
  leases_.clear();
  run_deferred(guard);
}

void Session::tell(Event event) {
  if (!options_.on_event) return;
  deferred_.emplace_back([this, event = std::move(event)] { options_.on_event(event); });
}

void Session::run_deferred(Lock& guard) {
  std::vector<std::function<void()>> callbacks;
  while (!deferred_.empty()) {
    callbacks.clear();
    callbacks.swap(deferred_);
    guard.unlock();
    calling_back = true;
    for (const auto& callback : callbacks) callback();
    calling_back = false;
    guard.lock();
  }
}

bool Session::defer(std::function<void()> callback) {
  if (!calling_back) return false;
  deferred_.push_back(std::move(callback));
  return true;
}

std::optional<Status> Session::closed() const {
  if (lost_) return lost_;
  if (leaving_) return unavailable(where_ + " is leaving and takes nothing new");
  if (next_id_ > UINT32_MAX - 2) return unavailable("the ids of this connection are used up");
  return std::nullopt;
}

std::pair<uint32_t, std::shared_ptr<Request>> Session::new_request(ipc::FrameType type) {
  auto request = std::make_shared<Request>(type);
  request->status = closed();
  if (request->status) return {0, request};
  const uint32_t id = next_id_;
  next_id_ += 2;
  requests_[id] = request;
  return {id, request};
}

std::shared_ptr<Request> Session::find_request(uint32_t id) const {
  const auto found = requests_.find(id);
  return found == requests_.end() ? nullptr : found->second;
}

std::shared_ptr<Stream> Session::new_stream(Stream::Kind kind) {
  auto status = closed();
  const uint32_t id = status ? 0 : next_id_;
  auto stream =
      std::make_shared<Stream>(kind, id, options_.call_window, welcome_.limits.call_window);
  if (status) {
    stream->status = std::move(status);
    return stream;
  }
  next_id_ += 2;
  streams_[id] = stream;
  return stream;
}

void Session::end(Stream& stream, Status status) {
  if (stream.status) return;
  stream.status = std::move(status);
  stream.messages.clear();
  if (stream.kind == Stream::Kind::dispatch && --dispatches_ == 0) idle_.notify_all();
  stream.changed.notify_all();
  const auto entry = streams_.find(stream.id);
  if (entry == streams_.end()) return;
  if (stream.on_end) {
    deferred_.emplace_back([self = entry->second] { self->on_end(*self); });
  }
  streams_.erase(entry);  // and perhaps the stream with it
}

void Session::flush(Lock& guard) {
  if (std::this_thread::get_id() == reader_) return;
  outbox_.flush(socket_, guard, Outbox::Wait::until_sent);
}

bool Session::wait_idle(Lock& guard, std::chrono::milliseconds timeout) {
  return idle_.wait_for(guard, timeout, [this] { return dispatches_ == 0; });
}

std::optional<Microseconds> Session::ping(Lock& guard, std::chrono::milliseconds timeout) {
  if (lost_) return std::nullopt;
  Ping ping;
  const uint32_t number = next_ping_++;
  pings_[number] = &ping;
  const auto start = std::chrono::steady_clock::now();
  outbox_.add_urgent({.type = ipc::FrameType::ping, .aux = number});
  flush(guard);
  ping.changed.wait_until(guard, start + timeout, [&] { return ping.answered || lost_; });
  pings_.erase(number);
  if (!ping.answered) return std::nullopt;
  return std::chrono::duration_cast<Microseconds>(*ping.answered - start);
}

}  // namespace legate::client
