#include "daemon/outbound/outbound.h"

#include <algorithm>

namespace legated {

using namespace legate::ipc;
using legated::Origin;
using legated::Status;

void Outbound::on_request(Session& session, const Frame& frame) {
  switch (frame.header.type) {
    case FrameType::open_channel: return open_channel(session, frame);
    case FrameType::close_channel: return close_channel(session, frame);
    default: return start_call(session, frame);
  }
}

void Outbound::open_channel(Session& session, const Frame& frame) {
  const CallId id{frame.header.call_id};
  const std::string target(view(frame.as<OpenChannel>().target()));
  const bool printable =
      std::all_of(target.begin(), target.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  if (target.empty() || target.size() > 2048 || !printable) {
    return session.answer(id, {StatusCode::invalid_argument,
                               "the channel's target must be 1 to 2048 printable ASCII characters "
                               "without spaces, such as \"host:port\"",
                               Origin::daemon,
                               {}});
  }
  Holder& holder = holders_[session.id()];
  if (holder.channels.size() >= kMaxChannels) {
    return session.answer(id, {StatusCode::resource_exhausted,
                               "this connection holds " + std::to_string(kMaxChannels) +
                                   " channels, the most it may; close some with CLOSE_CHANNEL",
                               Origin::daemon,
                               {}});
  }
  const auto channel = channels_.get(target);
  const bool shared = channel->users++ > 0;
  holder.channels[raw(id)] = channel;
  auto& fbb = session.builder();
  fbb.Finish(CreateChannelOpened(fbb, shared, static_cast<ConnectivityState>(channel->state())));
  session.control(FrameType::channel_opened, id, 0, &fbb);
}

void Outbound::close_channel(Session& session, const Frame& frame) {
  const CallId id{frame.header.call_id};
  auto& channels = holders_[session.id()].channels;
  const auto found = channels.find(frame.header.aux);
  if (found == channels.end()) {
    return session.answer(
        id, {StatusCode::not_found,
             "channel " + std::to_string(frame.header.aux) + " is not open on this connection",
             Origin::daemon,
             {}});
  }
  --found->second->users;
  channels.erase(found);
  session.answer(id, {});
}

void Outbound::start_call(Session& session, const Frame& frame) {
  const CallId id{frame.header.call_id};
  if (draining_) {
    return session.answer(
        id, {StatusCode::unavailable, "legated is shutting down", Origin::daemon, {}});
  }
  Holder& holder = holders_[session.id()];
  if (holder.calls >= config_.ipc.max_calls) {
    return session.answer(id, {StatusCode::resource_exhausted,
                               "this connection has " + std::to_string(holder.calls) +
                                   " calls open, the most ipc.max_calls allows",
                               Origin::daemon,
                               {}});
  }
  const auto channel = holder.channels.find(frame.as<Start>().channel());
  auto made = std::make_unique<ClientCall>(
      loop_, config_, session, frame, channel == holder.channels.end() ? nullptr : channel->second,
      static_cast<ClientCallOwner&>(*this));
  ClientCall& call = *made;
  calls_[&call] = std::move(made);
  ++holder.calls;
  ++started_;
  if (const auto violation = call.on_start_part(frame)) {
    session.fail(
        violation->code,
        "START of call " + std::to_string(raw(id)) + ": " + std::string(violation->message),
        FrameType::start);
  }
}

void Outbound::on_call_finished(ClientCall& call) {
  if (const auto holder = holders_.find(call.session_id()); holder != holders_.end())
    --holder->second.calls;
  calls_.erase(&call);
  on_change_();
}

void Outbound::on_session_lost(SessionId session) {
  const auto holder = holders_.find(session);
  if (holder == holders_.end()) return;
  for (const auto& [id, channel] : holder->second.channels) --channel->users;
  holders_.erase(holder);
}

void Outbound::end_calls(const Status& status) {
  for (const auto& [key, call] : calls_) call->refuse(status);
}

}  // namespace legated
