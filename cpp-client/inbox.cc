#include "cpp-client/inbox.h"

#include <algorithm>
#include <utility>

namespace legate::client {
namespace {

// A message's length is the sender's claim: no more than this is reserved before bytes come.
constexpr size_t kReserve = 1U << 20;

Violation framing(std::string message) {
  return {ipc::ErrorCode::message_framing, "DATA: " + std::move(message)};
}

}  // namespace

std::optional<Violation> Inbox::add(const ipc::Header& header, std::span<const uint8_t> payload) {
  if (payload.size() > credit_) {
    return Violation{ipc::ErrorCode::flow_control,
                     "DATA: " + std::to_string(payload.size()) + " bytes for call " +
                         std::to_string(header.call_id) + " exceed its credit of " +
                         std::to_string(credit_)};
  }
  credit_ -= static_cast<uint32_t>(payload.size());
  if (auto violation = file(header, payload)) return violation;
  if (header.has(ipc::flag::end_stream)) ended_ = true;
  settle();
  return std::nullopt;
}

std::optional<Violation> Inbox::file(const ipc::Header& header, std::span<const uint8_t> payload) {
  const bool begin = header.has(ipc::flag::msg_begin);
  const bool end = header.has(ipc::flag::msg_end);
  const bool open = !messages_.empty() && !messages_.back().complete();
  const auto size = static_cast<uint32_t>(payload.size());

  if (ended_) return framing("a frame after END_STREAM");
  if (!begin && !end && size == 0) {  // a bare half-close, or a START without a message
    const bool may_be_empty =
        header.has(ipc::flag::end_stream) || header.type == ipc::FrameType::start;
    if (may_be_empty && !open) return std::nullopt;
    return framing(open ? "an empty part" : "neither a message nor END_STREAM");
  }
  if (begin && open) return framing("a message begins inside another");
  if (!begin && !open) return framing("a part of a message that did not begin");
  if (header.has(ipc::flag::end_stream) && !end) return framing("END_STREAM inside a message");
  if (size == 0 && !(begin && end)) return framing("an empty part");

  if (begin) {
    if (size > header.aux || (size == header.aux && !end)) return framing("more bytes than aux");
    Message& message = messages_.emplace_back();
    message.length = header.aux;
    if (!discarding_) message.bytes.reserve(std::min<size_t>(header.aux, kReserve));
  }
  Message& message = messages_.back();
  if (size > message.length - message.received) return framing("more bytes than aux");
  message.received += size;
  if (message.complete() != end) {
    return framing(end ? "the message ends short of aux" : "the last part lacks MSG_END");
  }
  if (!discarding_) message.bytes.append(payload.begin(), payload.end());
  return std::nullopt;
}

std::optional<std::string> Inbox::take() {
  if (!has_message()) return std::nullopt;
  Message message = std::move(messages_.front());
  messages_.pop_front();
  due_ += message.length - message.returned;
  settle();
  return std::move(message.bytes);
}

void Inbox::discard() {
  discarding_ = true;
  for (Message& message : messages_) message.bytes = {};
  settle();
}

// Counts as due what the rules let go: everything when discarding, otherwise the bytes of an oldest
// message that is still incomplete and could never fit the window.
void Inbox::settle() {
  while (discarding_ && has_message()) {
    due_ += messages_.front().length - messages_.front().returned;
    messages_.pop_front();
  }
  if (messages_.empty()) return;
  Message& oldest = messages_.front();
  if (!oldest.complete() && (discarding_ || oldest.length > window_)) {
    due_ += oldest.received - oldest.returned;
    oldest.returned = oldest.received;
  }
}

uint32_t Inbox::take_credit() {
  // Half a window at a time, but never so late that a message which fits the window can't finish.
  bool starving = false;
  if (!messages_.empty() && !messages_.front().complete()) {
    const Message& oldest = messages_.front();
    starving = oldest.length <= window_ && credit_ < oldest.length - oldest.received;
  }
  if (due_ == 0 || (due_ < window_ / 2 && !starving)) return 0;
  credit_ += due_;
  return std::exchange(due_, 0);
}

}  // namespace legate::client
