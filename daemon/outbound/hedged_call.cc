#include "daemon/outbound/hedged_call.h"

#include <utility>

namespace legated {

/// One of the attempts. Reads a second answer message, if there is one: before that, gRPC does not
/// tell the status.
class HedgedCall::Attempt {
 public:
  Attempt(HedgedCall& owner, uint32_t index) : owner_(owner), index_(index) {
    const Request& request = owner.request_;
    leg_.call = grpc_channel_create_call(owner.channel_.get(), nullptr, GRPC_PROPAGATE_DEFAULTS,
                                         owner.loop_.completions(), request.method, nullptr,
                                         request.deadline, nullptr);
    const ByteBuffer message(grpc_byte_buffer_copy(owner.message_.get()));  // of references
    leg_.start_unary({.metadata = request.metadata.data(),
                      .metadata_count = request.metadata.size(),
                      .message = message.get(),
                      .message_flags = owner.message_flags_,
                      .wait_for_ready = request.wait_for_ready},
                     unary_done_, status_done_);
  }
  ~Attempt() = default;
  Attempt(const Attempt&) = delete;
  Attempt& operator=(const Attempt&) = delete;

  uint32_t index() const { return index_; }
  bool ended() const { return operations_ == 0; }
  RemoteLeg& leg() { return leg_; }
  StatusCode code() const { return status_from_wire(leg_.code(), "", {}).code; }

 private:
  void on_unary(bool) {
    --operations_;
    if (leg_.received != nullptr && operations_ > 0) {
      answer_.reset(std::exchange(leg_.received, nullptr));
      ++operations_;
      leg_.start_receive(more_done_);
    }
    end();
  }

  void on_more(bool) {
    --operations_;
    if (leg_.received != nullptr) {  // neither counts
      second_ = true;
      grpc_byte_buffer_destroy(std::exchange(leg_.received, nullptr));
      leg_.cancel();
    } else {
      leg_.received = answer_.release();
    }
    end();
  }

  void on_status(bool) {
    --operations_;
    end();
  }

  void end() {
    if (!ended()) return;
    if (second_) {
      leg_.set_status(GRPC_STATUS_INTERNAL,
                      "the server sent more than one answer message to a method that gives one");
    }
    owner_.on_end(*this);
  }

  HedgedCall& owner_;
  const uint32_t index_;
  RemoteLeg leg_;
  uint32_t operations_ = 2;
  ByteBuffer answer_;  // while another is looked for
  bool second_ = false;

  Operation<Attempt, &Attempt::on_unary> unary_done_{*this};
  Operation<Attempt, &Attempt::on_more> more_done_{*this};
  Operation<Attempt, &Attempt::on_status> status_done_{*this};
};

HedgedCall::HedgedCall(Loop& loop, Channel& channel, const Request& request, EndOfPass& pump)
    : loop_(loop),
      channel_(channel),
      request_(request),
      pump_(pump),
      hedging_(channel.hedging(), request.deadline_time),
      timer_(loop, [this] { on_timer(); }) {
  if (request.deadline_time != Loop::Time::max()) timer_.set(request.deadline_time);
}

HedgedCall::~HedgedCall() = default;

void HedgedCall::start(const grpc_byte_buffer* message, uint32_t flags) {
  message_.reset(grpc_byte_buffer_copy(const_cast<grpc_byte_buffer*>(message)));
  message_flags_ = flags;
  step();
}

void HedgedCall::cancel() {
  hedging_.stop();
  for (const auto& attempt : attempts_) {
    if (!attempt->ended()) attempt->leg().cancel();
  }
  step();
}

void HedgedCall::on_timer() {
  if (attempts() == 0) return loop_.queue_pump(pump_);  // the deadline of a request that never came
  step();
}

void HedgedCall::step() {
  const Hedging::Step step = hedging_.step(loop_.now(), channel_.throttle.allows());
  for (uint32_t i = 0; i < step.start; ++i) start_attempt();
  if (step.decided) {
    answer_ = step.decided;
    message_.reset();
    for (const auto& attempt : attempts_) {
      if (!attempt->ended()) attempt->leg().cancel();
    }
    loop_.queue_pump(pump_);
  }
  const auto next = hedging_.next_step();
  next == Hedging::Time::max() ? timer_.cancel() : timer_.set(next);
}

void HedgedCall::start_attempt() {
  if (!attempts_.empty()) ++channel_.hedges;
  ++running_;
  attempts_.push_back(
      std::make_unique<Attempt>(*this, static_cast<uint32_t>(attempts_.size())));
}

void HedgedCall::on_end(Attempt& attempt) {
  --running_;
  std::optional<Pushback> pushback;
  if (const grpc_slice* value = attempt.leg().trailer("grpc-retry-pushback-ms"))
    pushback = Pushback::parse(text_of(*value));
  const StatusCode code = attempt.code();
  const bool failed = channel_.hedging().goes_on_after(code);
  if (!answer_ && (failed || code == StatusCode::ok)) channel_.throttle.on_end(!failed);
  hedging_.on_end(attempt.index(), code, pushback, loop_.now());
  step();
  loop_.queue_pump(pump_);
}

std::optional<bool> HedgedCall::take_answer(RemoteLeg& leg) {
  if (!answer_ || std::exchange(taken_, true)) return std::nullopt;
  leg.swap(attempts_[*answer_]->leg());
  return *answer_ > 0;
}

}  // namespace legated
