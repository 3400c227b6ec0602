#include "daemon/core/messages.h"

#include <algorithm>
#include <cassert>

namespace legated {

namespace flag = legate::ipc::flag;
using legate::ipc::ErrorCode;

std::optional<Violation> FromPeer::on_part(uint8_t flags, uint32_t aux, uint32_t length) {
  const bool begin = (flags & flag::msg_begin) != 0;
  const bool end = (flags & flag::msg_end) != 0;
  const auto framing = [](std::string_view message) {
    return Violation{ErrorCode::message_framing, message};
  };

  if (closed_) return framing("data after END_STREAM");
  if (!credit_.receive(length)) {
    return Violation{ErrorCode::flow_control, "more bytes than the call's credit; wait for WINDOW"};
  }
  held_ += length;
  const bool part = begin || end || length > 0;
  if (part) {
    if (begin == total_.has_value()) {
      return framing(begin ? "MSG_BEGIN inside a message"
                           : "a part of a message that has not begun");
    }
    if (begin) {
      total_ = aux;
      received_ = 0;
      returned_ = 0;
    }
    if (length > *total_ - received_) return framing("parts exceed the message's length");
    if (length == 0 && !(begin && end)) return framing("an empty part");
    received_ += length;
    if (end != (received_ == *total_)) {
      return framing(end ? "MSG_END before the message's length is reached"
                         : "the message's length is reached without MSG_END");
    }
    return_early();
    if (end) {
      whole_.push_back({*total_, returned_});
      total_.reset();
    }
  } else if ((flags & flag::end_stream) == 0) {
    return framing("DATA without message bytes and without END_STREAM");
  }
  if ((flags & flag::end_stream) != 0) {
    if (total_) return framing("END_STREAM inside a message");
    closed_ = true;
  }
  return std::nullopt;
}

void FromPeer::return_early() {
  // Only the oldest message, and only if it can never fit: so one window plus one message bound
  // what is held.
  if (!whole_.empty() || !total_ || *total_ <= credit_.window()) return;
  credit_.give_back(received_ - returned_);
  returned_ = received_;
}

void FromPeer::on_taken() {
  assert(!whole_.empty());
  const Whole taken = whole_.front();
  whole_.pop_front();
  held_ -= taken.length;
  credit_.give_back(taken.length - taken.returned);
  return_early();
}

bool ToPeer::can_send(uint32_t connection_credit) const {
  if (messages_.empty()) return end_;
  return messages_.front() == 0 || std::min(credit_.available(), connection_credit) > 0;
}

std::optional<ToPeer::Part> ToPeer::next_part(uint32_t max_frame, uint32_t connection_credit) {
  if (!can_send(connection_credit)) return std::nullopt;
  Part part{};
  if (!messages_.empty()) {
    const uint32_t total = messages_.front();
    part.offset = sent_;
    part.length = std::min({total - sent_, max_frame, credit_.available(), connection_credit});
    if (sent_ == 0) {
      part.flags |= flag::msg_begin;
      part.aux = total;
    }
    sent_ += part.length;
    credit_.spend(part.length);
    if (sent_ == total) {
      part.flags |= flag::msg_end;
      messages_.pop_front();
      sent_ = 0;
    }
  }
  if (messages_.empty() && end_) {
    part.flags |= flag::end_stream;
    end_ = false;
  }
  return part;
}

void ToPeer::drop() {
  messages_.clear();
  sent_ = 0;
  end_ = false;
  dropped_ = true;
}

}  // namespace legated
