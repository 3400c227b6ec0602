#include "daemon/outbound/outbound.h"

#include <algorithm>

#include "daemon/outbound/channel_check.h"

namespace legated {

using namespace legate::ipc;
using legated::Origin;
using legated::Status;

namespace {

constexpr std::string_view kNamed = "legated:///";

}  // namespace

void Outbound::on_request(Session& session, const Frame& frame) {
  switch (frame.header.type) {
    case FrameType::open_channel: return open_channel(session, frame);
    case FrameType::close_channel: return close_channel(session, frame);
    case FrameType::connect: return connect(session, frame);
    default: return start_call(session, frame);
  }
}

Outbound::Holder& Outbound::holder(Session& session) {
  return holders_.try_emplace(session.id(), Holder{.session = &session, .channels = {}, .calls_on = {}}).first->second;
}

void Outbound::open_channel(Session& session, const Frame& frame) {
  const CallId id{frame.header.call_id};
  const auto& request = frame.as<OpenChannel>();
  const std::string_view target = view(request.target());
  const auto refuse = [&](StatusCode code, std::string why) {
    session.answer(id, {code, std::move(why), Origin::daemon, {}});
  };
  Holder& holder = this->holder(session);
  if (holder.channels.size() >= config_.ipc.max_channels) {
    return refuse(StatusCode::resource_exhausted,
                  "this connection holds " + std::to_string(holder.channels.size()) +
                      " channels, the most ipc.max_channels allows; close some with CLOSE_CHANNEL");
  }
  const bool named = target.starts_with(kNamed);
  if (named && request.options() != nullptr) {
    return refuse(StatusCode::invalid_argument,
                  "a channel of the configuration takes no options; leave them out, or give a "
                  "target of another kind");
  }
  Channels::Opened opened = named ? channels_.named(std::string(target.substr(kNamed.size())))
                                  : channels_.open(settings_of(request));
  if (const auto* status = std::get_if<Status>(&opened)) return session.answer(id, *status);
  const auto& channel = std::get<std::shared_ptr<Channel>>(opened);
  // Watched before it is read: no change falls between the two.
  if (request.watch()) channel->watch(loop_, [this](Channel& changed) { on_state(changed); });
  const auto state = channel->state();
  const bool shared = channel->users++ > 0;
  holder.channels[raw(id)] = {.channel = channel, .watched = request.watch(), .told = state};
  auto& fbb = session.builder();
  fbb.Finish(CreateChannelOpened(fbb, shared, static_cast<ConnectivityState>(state)));
  session.control(FrameType::channel_opened, id, 0, &fbb);
}

void Outbound::on_state(Channel& channel) {
  const auto state = channel.state();
  for (auto& [session, holder] : holders_) {
    for (auto& [id, held] : holder.channels) {
      if (held.channel.get() != &channel || !held.watched || held.told == state) continue;
      held.told = state;
      holder.session->control(FrameType::channel_state, CallId{id}, static_cast<uint32_t>(state));
    }
  }
}

Outbound::Held* Outbound::find_channel(Session& session, const Frame& frame) {
  auto& channels = holder(session).channels;
  if (const auto found = channels.find(frame.header.aux); found != channels.end())
    return &found->second;
  session.answer(
      CallId{frame.header.call_id},
      {StatusCode::not_found,
       "channel " + std::to_string(frame.header.aux) + " is not open on this connection",
       Origin::daemon,
       {}});
  return nullptr;
}

void Outbound::close_channel(Session& session, const Frame& frame) {
  const Held* held = find_channel(session, frame);
  if (held == nullptr) return;
  --held->channel->users;
  holder(session).channels.erase(frame.header.aux);
  session.answer(CallId{frame.header.call_id}, {});
}

void Outbound::connect(Session& session, const Frame& frame) {
  const Held* held = find_channel(session, frame);
  if (held == nullptr) return;
  held->channel->connect();
  session.answer(CallId{frame.header.call_id}, {});
}

void Outbound::start_call(Session& session, const Frame& frame) {
  const CallId id{frame.header.call_id};
  if (draining_) {
    return session.answer(
        id, {StatusCode::unavailable, "legated is shutting down", Origin::daemon, {}});
  }
  Holder& holder = this->holder(session);
  if (holder.calls >= config_.ipc.max_calls) {
    return session.answer(id, {StatusCode::resource_exhausted,
                               "this connection has " + std::to_string(holder.calls) +
                                   " calls open, the most ipc.max_calls allows",
                               Origin::daemon,
                               {}});
  }
  const auto channel = holder.channels.find(frame.as<Start>().channel());
  if (channel != holder.channels.end()) {
    const Channel& wanted = *channel->second.channel;
    const uint32_t most = wanted.settings().max_calls;
    uint32_t& open = holder.calls_on[&wanted];
    if (most > 0 && open >= most) {
      return session.answer(id, {StatusCode::resource_exhausted,
                                 "this connection has " + std::to_string(open) +
                                     " calls open on the channel, the most channels." +
                                     wanted.name() + ".max_calls allows",
                                 Origin::daemon,
                                 {}});
    }
    ++open;
  }
  auto made = std::make_unique<ClientCall>(
      loop_, config_, session, frame, channel == holder.channels.end() ? nullptr : channel->second.channel,
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
  if (const auto holder = holders_.find(call.session_id()); holder != holders_.end()) {
    --holder->second.calls;
    auto& calls_on = holder->second.calls_on;
    const auto open = calls_on.find(call.channel());
    if (open != calls_on.end() && --open->second == 0) calls_on.erase(open);
  }
  calls_.erase(&call);
  on_change_();
}

void Outbound::on_session_lost(SessionId session) {
  const auto holder = holders_.find(session);
  if (holder == holders_.end()) return;
  for (const auto& [id, held] : holder->second.channels) --held.channel->users;
  holders_.erase(holder);
}

bool Outbound::end_call(SessionId session, CallId id, const Status& status) {
  for (const auto& [key, call] : calls_) {
    if (call->session_id() != session || call->id() != id) continue;
    call->refuse(status);
    return true;
  }
  return false;
}

void Outbound::end_calls(const Status& status) {
  for (const auto& [key, call] : calls_) call->refuse(status);
}

}  // namespace legated
