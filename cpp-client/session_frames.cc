// What the session does with each frame it receives. The lock is held throughout.
#include "cpp-client/session.h"

namespace legate::client {
namespace {

using ipc::ErrorCode;
using ipc::FrameType;

bool ours(uint32_t id) { return id % 2 == 1; }

Violation unexpected(const ipc::Header& header, const std::string& why) {
  return {ErrorCode::unexpected_frame,
          name(header.type) + " for id " + std::to_string(header.call_id) + ": " + why};
}

}  // namespace

std::optional<Violation> Session::handle(const ipc::Frame& frame) {
  const ipc::Header& header = frame.header;
  switch (header.type) {
    case FrameType::error:
    case FrameType::ping:
    case FrameType::pong:
    case FrameType::goaway:
      if (header.call_id != 0) return unexpected(header, "it is about the connection, id 0");
      return handle_connection(frame);
    case FrameType::window: return handle_window(frame);
    case FrameType::unsupported:
      tell({.kind = Event::Kind::unsupported,
            .message = where_ + " does not know frame type " + std::to_string(header.aux),
            .id = header.call_id});
      return std::nullopt;
    case FrameType::start: return handle_start(frame);
    case FrameType::headers: return handle_headers(frame);
    case FrameType::data: return handle_data(frame);
    case FrameType::status: return handle_status(frame);
    case FrameType::cancel: return handle_cancel(frame);
    case FrameType::channel_opened:
    case FrameType::listening:
    case FrameType::lease: return handle_success(frame);
    case FrameType::channel_state: return handle_channel_state(frame);
    case FrameType::retire: return handle_retire(frame);
    default:
      if (is_known(header.type)) return unexpected(header, "the daemon may not send it now");
      outbox_.add({.call_id = header.call_id,
                   .type = FrameType::unsupported,
                   .aux = static_cast<uint32_t>(header.type)});
      return std::nullopt;
  }
}

std::optional<Violation> Session::handle_connection(const ipc::Frame& frame) {
  switch (frame.header.type) {
    case FrameType::error:
      daemon_error_ = std::string("legated says: ") +
                      EnumNameErrorCode(frame.as<ipc::Error>().code()) + ": " +
                      std::string(ipc::view(frame.as<ipc::Error>().message()));
      tell({.kind = Event::Kind::error, .message = daemon_error_});
      lose(daemon_error_);
      break;
    case FrameType::ping:
      outbox_.add_urgent({.type = FrameType::pong, .aux = frame.header.aux});
      break;
    case FrameType::pong:
      if (const auto found = pings_.find(frame.header.aux); found != pings_.end()) {
        found->second->answered = std::chrono::steady_clock::now();
        found->second->changed.notify_all();
      }
      break;
    default: handle_goaway(frame.as<ipc::Goaway>()); break;
  }
  return std::nullopt;
}

void Session::handle_goaway(const ipc::Goaway& goaway) {
  const std::string reason(ipc::view(goaway.reason()));
  tell({.kind = goaway.final() ? Event::Kind::gone_away : Event::Kind::going_away,
        .message = where_ + " is leaving: " + reason,
        .grace = std::chrono::milliseconds(goaway.grace_ms())});
  if (!goaway.final()) return;
  leaving_ = true;
  const Status status = make_status(
      Code::unavailable, where_ + " is leaving and did not take this: " + reason, Origin::ipc);
  const auto unserved = [&](uint32_t id) { return ours(id) && id > goaway.last_id(); };
  std::vector<std::shared_ptr<Stream>> ending;
  for (const auto& [id, stream] : streams_) {
    if (unserved(id)) ending.push_back(stream);
  }
  for (const auto& stream : ending) end(*stream, status);
  for (const auto& [id, request] : requests_) {
    if (!unserved(id) || request->status) continue;
    request->status = status;
    request->changed.notify_all();
  }
}

// Leaves `found` empty for a late frame.
std::optional<Violation> Session::find(const ipc::Header& header, Found& found) const {
  const uint32_t id = header.call_id;
  if (id == 0) return unexpected(header, "it needs the id of a call");
  if (const auto entry = streams_.find(id); entry != streams_.end()) {
    found = entry->second;
    return std::nullopt;
  }
  const bool was_open = ours(id) ? id < next_id_ : id <= last_dispatch_;
  if (was_open) return std::nullopt;
  return Violation{ErrorCode::call_id,
                   name(header.type) + ": id " + std::to_string(id) + " was never opened"};
}

// Counts payload against the connection's credit and returns that: it is filed at once, or dropped.
std::optional<Violation> Session::receive_payload(const ipc::Frame& frame) {
  const auto size = static_cast<uint32_t>(frame.payload.size());
  if (size > receive_credit_) {
    return Violation{ErrorCode::flow_control, name(frame.header.type) + ": " +
                                                  std::to_string(size) +
                                                  " bytes exceed the connection's credit of " +
                                                  std::to_string(receive_credit_)};
  }
  receive_credit_ -= size;
  receive_due_ += size;
  if (receive_due_ >= options_.connection_window / 2) {
    outbox_.add_urgent({.type = FrameType::window, .aux = receive_due_});
    receive_credit_ += receive_due_;
    receive_due_ = 0;
  }
  return std::nullopt;
}

std::optional<Violation> Session::handle_start(const ipc::Frame& frame) {
  const uint32_t id = frame.header.call_id;
  if (id == 0 || ours(id) || id <= last_dispatch_) {
    return Violation{ErrorCode::call_id, "START: id " + std::to_string(id) +
                                             " is odd or not above " +
                                             std::to_string(last_dispatch_)};
  }
  last_dispatch_ = id;
  if (auto violation = receive_payload(frame)) return violation;

  const auto& table = frame.as<ipc::Start>();
  const auto lease = leases_.find(table.lease());
  if (lease == leases_.end()) {  // unregistered meanwhile
    outbox_.add({.call_id = id, .type = FrameType::reject});
    return std::nullopt;
  }
  auto stream = std::make_shared<Stream>(Stream::Kind::dispatch, id, options_.call_window,
                                         welcome_.limits.call_window);
  stream->dispatch = decode_dispatch(table);
  if (auto violation = stream->inbox.add(frame.header, frame.payload)) return violation;
  streams_[id] = stream;
  ++dispatches_;
  deferred_.emplace_back([dispatched = lease->second, stream] { dispatched(stream); });
  return std::nullopt;
}

std::optional<Violation> Session::handle_headers(const ipc::Frame& frame) {
  Found stream;
  if (auto violation = find(frame.header, stream)) return violation;
  if (!ours(frame.header.call_id)) return unexpected(frame.header, "only a responder sends it");
  if (stream == nullptr) return std::nullopt;
  if (stream->headers) return unexpected(frame.header, "the headers are already there");
  stream->headers = decode_metadata(frame.as<ipc::Headers>().metadata());
  stream->changed.notify_all();
  return std::nullopt;
}

std::optional<Violation> Session::handle_data(const ipc::Frame& frame) {
  Found stream;
  if (auto violation = find(frame.header, stream)) return violation;
  if (auto violation = receive_payload(frame)) return violation;
  if (ours(frame.header.call_id) && frame.header.has(ipc::flag::end_stream)) {
    return Violation{ErrorCode::message_framing, "DATA: only an initiator sends END_STREAM"};
  }
  if (stream == nullptr) return std::nullopt;
  if (auto violation = stream->inbox.add(frame.header, frame.payload)) return violation;
  return_credit(*stream);
  if (stream->inbox.has_message() || stream->inbox.ended()) stream->changed.notify_all();
  return std::nullopt;
}

std::optional<Violation> Session::handle_status(const ipc::Frame& frame) {
  const uint32_t id = frame.header.call_id;
  Found stream;
  if (auto violation = find(frame.header, stream)) return violation;
  if (!ours(id)) return unexpected(frame.header, "only a responder sends it");
  if (stream != nullptr) {
    end(*stream, decode_status(frame.as<ipc::Status>()));
    return std::nullopt;
  }
  const auto request = find_request(id);
  if (request == nullptr) return std::nullopt;
  if (request->status) {  // it was answered before: the object it had made has ended
    tell({.kind = Event::Kind::object_ended,
          .message = std::string(ipc::view(frame.as<ipc::Status>().message())),
          .id = id});
    leases_.erase(id);
  }
  request->status = decode_status(frame.as<ipc::Status>());
  request->changed.notify_all();
  return std::nullopt;
}

std::optional<Violation> Session::handle_success(const ipc::Frame& frame) {
  const uint32_t id = frame.header.call_id;
  const auto request = find_request(id);
  if (request == nullptr && ours(id) && id < next_id_) return std::nullopt;  // closed meanwhile
  constexpr auto kAnswer = [](FrameType type) {
    return type == FrameType::open_channel ? FrameType::channel_opened
           : type == FrameType::listen     ? FrameType::listening
                                           : FrameType::lease;
  };
  if (request == nullptr || request->status || kAnswer(request->type) != frame.header.type) {
    return unexpected(frame.header, "no request waits for it");
  }
  if (frame.header.type == FrameType::channel_opened) {
    request->shared = frame.as<ipc::ChannelOpened>().shared();
    request->state = frame.as<ipc::ChannelOpened>().state();
  } else if (frame.header.type == FrameType::listening) {
    const auto& listening = frame.as<ipc::Listening>();
    request->shared = listening.shared();
    request->port = listening.port();
    request->address = ipc::view(listening.address());
  }
  request->status.emplace();
  request->changed.notify_all();
  return std::nullopt;
}

std::optional<Violation> Session::handle_channel_state(const ipc::Frame& frame) {
  const uint32_t id = frame.header.call_id;
  const auto request = find_request(id);
  if (request == nullptr && ours(id) && id < next_id_) return std::nullopt;  // closed meanwhile
  if (request == nullptr || request->type != FrameType::open_channel || !request->status)
    return unexpected(frame.header, "no open channel has that id");
  request->state = static_cast<ipc::ConnectivityState>(frame.header.aux);
  tell({.kind = Event::Kind::channel_state, .id = id, .state = request->state});
  return std::nullopt;
}

std::optional<Violation> Session::handle_retire(const ipc::Frame& frame) {
  const uint32_t id = frame.header.call_id;
  const auto request = find_request(id);
  if (request == nullptr && ours(id) && id < next_id_) return std::nullopt;  // unregistered meanwhile
  if (request == nullptr || request->type != FrameType::register_methods || !request->status)
    return unexpected(frame.header, "no lease has that id");
  const auto& retire = frame.as<ipc::Retire>();
  tell({.kind = Event::Kind::retire,
        .message = std::string(ipc::view(retire.message())),
        .id = id,
        .reason = retire.reason()});
  return std::nullopt;
}

std::optional<Violation> Session::handle_cancel(const ipc::Frame& frame) {
  Found stream;
  if (auto violation = find(frame.header, stream)) return violation;
  if (ours(frame.header.call_id)) return unexpected(frame.header, "only an initiator sends it");
  if (stream == nullptr || stream->cancelled) return std::nullopt;
  stream->cancelled = true;
  if (frame.header.aux != 0) stream->cancel_code = Code{static_cast<uint16_t>(frame.header.aux)};
  stream->messages.clear();
  stream->changed.notify_all();
  pump(*stream);  // a STATUS that waited for its DATA goes now
  return std::nullopt;
}

std::optional<Violation> Session::handle_window(const ipc::Frame& frame) {
  const uint32_t credit = frame.header.aux;
  Found stream;
  if (frame.header.call_id != 0) {
    if (auto violation = find(frame.header, stream)) return violation;
    if (stream == nullptr) return std::nullopt;
  }
  int64_t& window = stream == nullptr ? send_credit_ : stream->credit;
  window += credit;
  if (credit == 0 || window > ipc::kMaxWindow) {
    return Violation{
        ErrorCode::flow_control,
        "WINDOW: " + std::to_string(credit) + " bytes give a window of " + std::to_string(window)};
  }
  if (stream == nullptr) {
    pump_waiting();
  } else {
    pump(*stream);
  }
  return std::nullopt;
}

}  // namespace legate::client
