#include "daemon/services/describe.h"

namespace legated {

using legate::ipc::FrameType;
namespace flag = legate::ipc::flag;

Describe::Describe(Loop& loop, const Config& config, Session& session, CallId id, Take take,
                   std::function<void(Describe&)> finished)
    : loop_(loop),
      config_(config),
      session_(session),
      session_id_(session.id()),
      id_(id),
      take_(std::move(take)),
      finished_(std::move(finished)),
      from_peer_(session.own_call_window()) {
  session.add_call(id, *this);
}

std::optional<Violation> Describe::on_frame(const legate::ipc::Frame& frame) {
  const auto& header = frame.header;
  if (header.type == FrameType::window) return std::nullopt;  // nothing but a STATUS goes back
  if (header.type == FrameType::cancel) {
    end({StatusCode::cancelled, "cancelled by the peer", Origin::app, {}});
    return std::nullopt;
  }
  const auto length = static_cast<uint32_t>(frame.payload.size());
  if (auto violation = from_peer_.on_part(header.flags, header.aux, length)) return violation;
  if (header.has(flag::msg_begin)) {
    if (const Status fault = begin(header.aux); !fault.ok()) {
      end(fault);
      return std::nullopt;
    }
  }
  set_.append(reinterpret_cast<const char*>(frame.payload.data()), length);
  if (header.has(flag::msg_end)) from_peer_.on_taken();
  if (header.has(flag::end_stream)) {
    end(begun_ ? take_(session_, set_)
               : Status{StatusCode::invalid_argument,
                        "DESCRIBE without a message; it takes a FileDescriptorSet",
                        Origin::daemon,
                        {}});
  } else if (const uint32_t grant = from_peer_.take_grant(); grant > 0) {
    session_.control(FrameType::window, id_, grant);
  }
  return std::nullopt;
}

Status Describe::begin(uint32_t length) {
  if (std::exchange(begun_, true)) {
    return {StatusCode::invalid_argument,
            "DESCRIBE with a second message; it takes one FileDescriptorSet",
            Origin::daemon,
            {}};
  }
  if (length > config_.limits.max_message) {
    return {StatusCode::resource_exhausted,
            "a FileDescriptorSet of " + std::to_string(length) +
                " bytes exceeds limits.max_message, " + std::to_string(config_.limits.max_message) +
                " bytes; leave out source info, or what the services do not need",
            Origin::daemon,
            {}};
  }
  if (!session_.reserve(length)) {
    return {StatusCode::resource_exhausted,
            "a FileDescriptorSet of " + std::to_string(length) +
                " bytes would exceed ipc.memory_budget, " +
                std::to_string(config_.ipc.memory_budget) + " bytes, of this process",
            Origin::daemon,
            {}};
  }
  reserved_ = length;
  set_.reserve(length);
  return {};
}

void Describe::end(const Status& status) {
  session_.release(std::exchange(reserved_, 0));
  session_.remove_call(id_, *this);
  session_.answer(id_, status);
  loop_.queue_pump(*this);
}

void Describe::run() {
  const auto finished = std::move(finished_);
  finished(*this);  // destroys this
}

}  // namespace legated
