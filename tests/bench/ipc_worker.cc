#include <deque>
#include <iostream>
#include <unordered_set>
#include <utility>

#include "tests/bench/bench.h"
#include "tests/bench/ipc_peer.h"

namespace legated::bench {

using namespace legate::ipc;
namespace {

constexpr uint32_t kCallsAtOnce = 2000;

/// Echoes whole messages of one frame; nothing that needs credit of a call.
class IpcWorker {
 public:
  IpcWorker(const std::string& socket, const std::string& address) : peer_(socket, Role::worker) {
    const uint32_t server = peer_.new_id();
    append_with_meta(
        peer_.output(), {.call_id = server, .type = FrameType::listen},
        [&](auto& builder) { return CreateListen(builder, builder.CreateString(address)); });
    const std::string real(view(peer_.answer_to(server).as<Listening>().address()));
    const uint32_t lease = peer_.new_id();
    append_with_meta(peer_.output(), {.call_id = lease, .type = FrameType::register_methods},
                     [&](auto& builder) {
                       const auto methods = builder.CreateVectorOfStrings({kUnary, kHold});
                       return CreateRegister(builder, server, methods, kCallsAtOnce);
                     });
    peer_.answer_to(lease);
    const uint32_t serve = peer_.new_id();
    append_frame(peer_.output(), {.call_id = serve, .type = FrameType::serve, .aux = server});
    peer_.answer_to(serve);
    append_with_meta(status_, {.type = FrameType::status},
                     [](auto& builder) { return CreateStatus(builder); });
    std::cout << "ready " << real << std::endl;
  }

  [[noreturn]] void run() {
    for (Frame frame;;) {
      peer_.exchange();
      while (peer_.next(frame)) on_frame(frame);
      while (!waiting_.empty() && try_answer(waiting_.front().first, waiting_.front().second))
        waiting_.pop_front();
    }
  }

 private:
  using Message = std::vector<uint8_t>;

  void on_frame(const Frame& frame) {
    const uint32_t id = frame.header.call_id;
    switch (frame.header.type) {
      case FrameType::start:
        if (view(frame.as<Start>().method()) == kHold) held_.insert(id);
        append_frame(peer_.output(), {.call_id = id, .type = FrameType::accept});
        return;
      case FrameType::data:
        if (!frame.header.has(flag::whole_message)) return;  // the half-close by itself
        if (!waiting_.empty() || !try_answer(id, frame.payload))
          waiting_.emplace_back(id, Message(frame.payload.begin(), frame.payload.end()));
        return;
      case FrameType::cancel:
        if (held_.erase(id) == 0) throw Failure("a call was cancelled");
        return append_status(id);
      default: return;
    }
  }

  bool try_answer(uint32_t id, std::span<const uint8_t> message) {
    if (!peer_.spend(message.size())) return false;
    std::vector<uint8_t>& out = peer_.output();
    append_frame(out,
                 {.call_id = id,
                  .type = FrameType::data,
                  .flags = flag::whole_message,
                  .aux = static_cast<uint32_t>(message.size())},
                 nullptr, message);
    if (held_.empty() || !held_.contains(id)) append_status(id);
    return true;
  }

  void append_status(uint32_t id) {
    std::vector<uint8_t>& out = peer_.output();
    const size_t at = out.size();
    out.insert(out.end(), status_.begin(), status_.end());
    for (size_t i = 0; i < 4; ++i) out[at + 4 + i] = static_cast<uint8_t>(id >> (8 * i));
  }

  IpcPeer peer_;
  std::vector<uint8_t> status_;                       // every call's STATUS; only the id changes
  std::deque<std::pair<uint32_t, Message>> waiting_;  // for credit
  std::unordered_set<uint32_t> held_;                 // calls of kHold
};

}  // namespace

void run_ipc_worker(const std::string& socket, const std::string& address) {
  IpcWorker(socket, address).run();
}

}  // namespace legated::bench
