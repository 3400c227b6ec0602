#include "daemon/grpc/peer_messages.h"

namespace legated {

std::optional<Status> PeerMessages::add(Session& session, const legate::ipc::Frame& part) {
  const auto& header = part.header;
  if (header.has(legate::ipc::flag::msg_begin)) {
    if (header.aux > limit_.bytes) {
      return Status{StatusCode::resource_exhausted,
                    std::string(what_) + " message of " + std::to_string(header.aux) +
                        " bytes exceeds " + limit_.name + ", " + std::to_string(limit_.bytes) + " bytes",
                    Origin::daemon,
                    {}};
    }
    if (!session.reserve(header.aux)) {
      return Status{StatusCode::resource_exhausted,
                    std::string(what_) +
                        " messages held for this process would exceed ipc.memory_budget, " +
                        std::to_string(config_.ipc.memory_budget) +
                        " bytes: the other side takes them too slowly",
                    Origin::daemon,
                    {}};
    }
    reserved_.push_back(header.aux);
    compress_ = !header.has(legate::ipc::flag::no_compress);
  }
  assembling_.append(part.payload);
  if (header.has(legate::ipc::flag::msg_end)) {
    whole_.push_back({.bytes = assembling_.finish(),
                      .flags = compress_ ? 0U : uint32_t{GRPC_WRITE_NO_COMPRESS}});
  }
  return std::nullopt;
}

void PeerMessages::sent() {
  whole_.pop_front();  // gRPC has references of its own
  in_flight_ = true;
}

void PeerMessages::on_batch_done(Session& session) {
  if (!std::exchange(in_flight_, false) || reserved_.empty()) return;
  session.release(reserved_.front());
  reserved_.pop_front();
}

void PeerMessages::release_all(Session& session) {
  for (; !reserved_.empty(); reserved_.pop_front()) session.release(reserved_.front());
}

}  // namespace legated
