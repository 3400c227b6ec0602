#include <algorithm>
#include <iostream>
#include <utility>

#include "tests/bench/bench.h"
#include "tests/bench/ipc_peer.h"
#include "tests/bench/measurement.h"

namespace legated::bench {

using namespace legate::ipc;
namespace {

class IpcLoad {
 public:
  IpcLoad(const std::string& socket, const std::string& target, const LoadOptions& options)
      : options_(options), peer_(socket, Role::client), measurement_(options), calls_(kSlots) {
    open_channel(target);
    make_start();
  }

  void run() {
    for (uint32_t i = 0; i < options_.in_flight; ++i) begin_call();
    for (Frame frame; under_way_ > 0;) {
      peer_.exchange();
      now_ = Measurement::Clock::now();
      while (peer_.next(frame)) on_frame(frame);
      for (; waiting_ > 0 && !measurement_.over(); --waiting_) {
        if (!try_begin_call()) break;
      }
    }
    measurement_.print(std::cout);
  }

 private:
  struct Call {
    uint32_t id = 0;  // 0: free
    uint32_t answers = 0;
    uint32_t owed = 0;  // credit of the call, in bytes
    uint64_t bytes = 0;
    Measurement::Time begun;
  };
  // Ids rise by 2, so calls that are under way at the same time have slots of their own unless one
  // takes as long as this many others.
  static constexpr size_t kSlots = 1 << 16;

  Call& slot(uint32_t id) { return calls_[(id >> 1) % kSlots]; }

  void open_channel(const std::string& target) {
    channel_ = peer_.new_id();
    append_with_meta(
        peer_.output(), {.call_id = channel_, .type = FrameType::open_channel},
        [&](auto& builder) { return CreateOpenChannel(builder, builder.CreateString(target)); });
    peer_.answer_to(channel_);
  }

  /// The START frame of every call; only the id changes.
  void make_start() {
    if (options_.messages == 0) {
      request_.assign(options_.bytes, 'x');
    } else {
      const StreamRequest request{options_.messages, options_.bytes};
      request_.resize(sizeof request);
      std::memcpy(request_.data(), &request, sizeof request);
    }
    if (request_.size() > kDefaultMaxFrame) throw Failure("--bytes is too large for one frame");
    flatbuffers::FlatBufferBuilder builder;
    const auto method = builder.CreateString(options_.messages == 0 ? kUnary : kStream);
    StartBuilder start(builder);
    start.add_method(method);
    start.add_channel(channel_);
    start.add_shape(options_.messages == 0 ? Shape::unary : Shape::server_streaming);
    builder.Finish(start.Finish());
    append_frame(start_,
                 {.type = FrameType::start,
                  .flags = flag::whole_message | flag::end_stream,
                  .aux = static_cast<uint32_t>(request_.size())},
                 &builder, request_);
  }

  bool try_begin_call() {
    if (!peer_.spend(request_.size())) return false;
    const uint32_t id = peer_.new_id();
    if (slot(id).id != 0) throw Failure("a call was not answered");
    slot(id) = {.id = id, .begun = Measurement::Clock::now()};
    ++under_way_;
    std::vector<uint8_t>& out = peer_.output();
    const size_t at = out.size();
    out.insert(out.end(), start_.begin(), start_.end());
    for (size_t i = 0; i < 4; ++i) out[at + 4 + i] = static_cast<uint8_t>(id >> (8 * i));
    return true;
  }

  void begin_call() {
    if (!try_begin_call()) ++waiting_;
  }

  void on_frame(const Frame& frame) {
    Call& call = slot(frame.header.call_id);
    if (call.id != frame.header.call_id) throw Failure("a frame for no call under way");
    switch (frame.header.type) {
      case FrameType::data: return on_data(call, frame);
      case FrameType::status: return on_status(call, frame.as<Status>());
      default: return;
    }
  }

  void on_data(Call& call, const Frame& frame) {
    call.bytes += frame.payload.size();
    if (frame.header.has(flag::msg_end)) ++call.answers;
    if (options_.messages == 0) {
      if (!std::ranges::equal(frame.payload, request_)) throw Failure("another answer than sent");
      return;
    }
    call.owed += static_cast<uint32_t>(frame.payload.size());
    if (call.owed < kDefaultCallWindow / 2) return;
    append_frame(
        peer_.output(),
        {.call_id = call.id, .type = FrameType::window, .aux = std::exchange(call.owed, 0)});
  }

  void on_status(Call& call, const Status& status) {
    const uint32_t answers = std::max(options_.messages, 1u);
    if (status.code() != 0) {
      throw Failure("a call ended with status " + std::to_string(status.code()) + ": " +
                    std::string(view(status.message())));
    }
    if (call.answers != answers || call.bytes != uint64_t{answers} * options_.bytes)
      throw Failure("a call was answered in part");
    measurement_.on_call(call.begun, now_, call.bytes);
    call.id = 0;
    --under_way_;
    if (!measurement_.over()) begin_call();
  }

  const LoadOptions& options_;
  IpcPeer peer_;
  Measurement measurement_;
  std::vector<Call> calls_;
  uint32_t channel_ = 0;
  uint32_t under_way_ = 0;
  uint32_t waiting_ = 0;  // calls that wait for credit
  std::vector<uint8_t> request_;
  std::vector<uint8_t> start_;
  Measurement::Time now_;
};

}  // namespace

void run_ipc_load(const std::string& socket, const std::string& target,
                  const LoadOptions& options) {
  IpcLoad(socket, target, options).run();
}

}  // namespace legated::bench
