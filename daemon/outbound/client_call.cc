#include "daemon/outbound/client_call.h"

#include <grpc/support/time.h>

#include <algorithm>
#include <random>

#include "daemon/outbound/credentials.h"

namespace legated {

using namespace legate::ipc;
namespace {

// Bytes; with details and trailers it must fit the meta of one frame.
constexpr size_t kMaxStatusMessage = 16'384;
constexpr uint64_t kOverhead = 2048;  // bytes a call costs besides its START's meta and messages

constexpr uint64_t kForever =
    uint64_t{10} * 365 * 24 * 3600 * 1'000'000;  // gRPC's arithmetic must not overflow

bool is_deadline(uint64_t timeout_us) { return timeout_us != 0 && timeout_us <= kForever; }

gpr_timespec deadline_after(uint64_t timeout_us) {
  if (!is_deadline(timeout_us)) return gpr_inf_future(GPR_CLOCK_MONOTONIC);
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                      gpr_time_from_micros(static_cast<int64_t>(timeout_us), GPR_TIMESPAN));
}

/// Why this can't be a method, empty when it can. gRPC puts it into a header as it is.
std::string refuse_method(std::string_view method) {
  bool fine = method.size() <= 1024 && method.starts_with('/') && method.rfind('/') > 0 &&
              !method.ends_with('/') && method.find("//") == method.npos;
  for (const char c : method) fine = fine && c > 0x20 && c < 0x7f;
  return fine ? std::string()
              : "the method must be \"/package.Service/Method\" in printable ASCII, at most 1024 "
                "bytes";
}

const char* name_of(legate::ipc::Compression compression) {
  switch (compression) {
    case legate::ipc::Compression::deflate: return "deflate";
    case legate::ipc::Compression::gzip: return "gzip";
    default: return "identity";
  }
}

}  // namespace

ClientCall::ClientCall(Loop& loop, const Config& config, Session& session, const Frame& start,
                       std::shared_ptr<Channel> channel, ClientCallOwner& owner)
    : loop_(loop),
      config_(config),
      session_(&session),
      session_id_(session.id()),
      id_(CallId{start.header.call_id}),
      method_(slice_of(view(start.as<Start>().method()))),
      since_(loop.now()),
      channel_(std::move(channel)),
      owner_(owner),
      core_(start.as<Start>().shape(), session.own_call_window(), session.peer_call_window()),
      wait_for_ready_(start.as<Start>().wait_for_ready()),
      messages_(config, "request") {
  session.add_call(id_, *this);
  begin(start.as<Start>(), kOverhead + start.meta.size());
}

void ClientCall::begin(const Start& meta, uint64_t cost) {
  if (channel_ == nullptr) {
    return refuse({StatusCode::failed_precondition,
                   "channel " + std::to_string(meta.channel()) + " is not open on this connection",
                   legated::Origin::daemon,
                   {}});
  }
  ++channel_->calls;
  ++channel_->started;
  if (std::string why = refuse_method(method()); !why.empty()) {
    return refuse({StatusCode::invalid_argument, std::move(why), legated::Origin::daemon, {}});
  }
  if (meta.shape() > Shape::MAX) {
    return refuse(
        {StatusCode::invalid_argument, "unknown call shape", legated::Origin::daemon, {}});
  }
  if (meta.compression() > legate::ipc::Compression::MAX) {
    return refuse(
        {StatusCode::invalid_argument, "unknown compression", legated::Origin::daemon, {}});
  }
  if (Status status = set_limits(meta); !status.ok()) return refuse(std::move(status));
  if (Status status = metadata_.assign(meta.metadata(), channel_->max_metadata());
      !status.ok()) {
    return refuse(std::move(status));
  }
  uint64_t timeout_us = meta.timeout_us();
  if (Status status = apply_policies(timeout_us); !status.ok()) return refuse(std::move(status));
  if (channel_->token() != nullptr && metadata_.has("authorization")) {
    return refuse({StatusCode::invalid_argument,
                   "metadata key \"authorization\" can't be set on a channel that sends a token of "
                   "its own; leave it out, or use a channel without token",
                   legated::Origin::daemon,
                   {}});
  }
  const bool hedged =
      meta.shape() == Shape::unary && channel_->hedges_call(method(), meta.idempotent());
  if (hedged) cost += (channel_->hedging().attempts - 1) * kOverhead;
  if (!session_->reserve(cost)) {
    return refuse({StatusCode::resource_exhausted,
                   "calls and messages held for this process would exceed ipc.memory_budget, " +
                       std::to_string(config_.ipc.memory_budget) + " bytes",
                   legated::Origin::daemon,
                   {}});
  }
  cost_ = cost;
  if (is_deadline(timeout_us)) deadline_ = loop_.now() + std::chrono::microseconds(timeout_us);
  if (meta.compression() != legate::ipc::Compression::inherit)
    metadata_.add(GRPC_COMPRESSION_REQUEST_ALGORITHM_MD_KEY, name_of(meta.compression()));
  if (hedged) return begin_hedged(timeout_us);
  remote_.call = grpc_channel_create_call(channel_->get(), nullptr, GRPC_PROPAGATE_DEFAULTS,
                                          loop_.completions(), method_, nullptr,
                                          deadline_after(timeout_us), nullptr);
  if (channel_->retries_calls()) tries_.emplace(remote_.call);
}

void ClientCall::begin_hedged(uint64_t timeout_us) {
  core_.begin_whole();
  hedged_ = std::make_unique<HedgedCall>(
      loop_, *channel_,
      HedgedCall::Request{.method = method_,
                          .metadata = metadata_,
                          .deadline = deadline_after(timeout_us),
                          .deadline_time = deadline_,
                          .wait_for_ready = wait_for_ready_},
      static_cast<EndOfPass&>(*this));
}

Status ClientCall::apply_policies(uint64_t& timeout_us) {
  Policies& policies = channel_->policies;
  if (policies.empty()) return {};
  auto list = metadata_.list();
  const auto random = [] {
    static std::mt19937_64 engine{std::random_device()()};  // ids need no more than to differ
    return engine();
  };
  auto refused = policies.admit({list, timeout_us, method()}, loop_.now(), random, admission_);
  return refused ? std::move(*refused) : metadata_.assign(list, channel_->max_metadata());
}

void ClientCall::end_admission(const Status& status) {
  if (const auto admission = std::exchange(admission_, {}); admission != AdmissionId{})
    channel_->policies.on_end(admission, status, loop_.now());
}

Status ClientCall::set_limits(const Start& meta) {
  MessageLimit send = channel_->send_limit();
  receive_limit_ = channel_->receive_limit();
  const auto narrow = [](MessageLimit& limit, uint32_t wanted, const char* name) {
    if (wanted == 0) return Status{};
    if (wanted > limit.bytes) {
      return Status{StatusCode::invalid_argument,
                    std::string(name) + " of " + std::to_string(wanted) + " bytes is above " +
                        limit.name + ", " + std::to_string(limit.bytes) + " bytes",
                    legated::Origin::daemon,
                    {}};
    }
    limit = {wanted, name};
    return Status{};
  };
  if (Status status = narrow(send, meta.max_send_message(), "the call's max_send_message");
      !status.ok())
    return status;
  messages_.set_limit(send);
  return narrow(receive_limit_, meta.max_receive_message(), "the call's max_receive_message");
}

ClientCall::~ClientCall() {
  // The peer is gone: nothing is known of the server.
  end_admission({StatusCode::cancelled, "", legated::Origin::app, {}});
  grpc_slice_unref(method_);
  if (channel_ != nullptr) --channel_->calls;
}

const char* ClientCall::state() const {
  if (core_.status_known()) return "ending";
  if (core_.started()) return "open";
  return turn_ ? "waiting" : "starting";
}

uint32_t ClientCall::attempts() const {
  if (!core_.started()) return 0;
  if (hedged_ != nullptr) return hedged_->attempts();
  return tries_ ? std::max(tries_->count(), 1U) : 1;
}

void ClientCall::refuse(Status status) {
  core_.refuse(std::move(status));
  loop_.queue_pump(*this);
}

// ---- Frames from the peer ----------------------------------------------------------------------

std::optional<Violation> ClientCall::on_frame(const Frame& frame) {
  switch (frame.header.type) {
    case FrameType::data: return on_part(frame);
    case FrameType::window:
      if (!core_.on_window(frame.header.aux)) {
        return Violation{ErrorCode::flow_control,
                         "the call's window must stay between 1 and 2147483647"};
      }
      break;
    default:  // CANCEL; the session lets nothing else through
      core_.on_cancel();
      break;
  }
  loop_.queue_pump(*this);
  return std::nullopt;
}

std::optional<Violation> ClientCall::on_start_part(const Frame& frame) {
  if (auto violation = take_part(frame)) return violation;
  // A whole request goes out while it is in the cache. Of others more may come in this pass.
  if (frame.header.has(flag::end_stream)) {
    run();
  } else {
    loop_.queue_pump(*this);
  }
  return std::nullopt;
}

std::optional<Violation> ClientCall::on_part(const Frame& frame) {
  loop_.queue_pump(*this);
  return take_part(frame);
}

std::optional<Violation> ClientCall::take_part(const Frame& frame) {
  const Header& header = frame.header;
  if (core_.over()) return std::nullopt;  // dropped
  if (header.type == FrameType::start && frame.payload.empty() && header.flags == 0)
    return std::nullopt;
  if (auto violation =
          core_.on_part(header.flags, header.aux, static_cast<uint32_t>(frame.payload.size()))) {
    return violation;
  }
  if (auto fault = messages_.add(*session_, frame)) {
    refuse(std::move(*fault));
    return std::nullopt;
  }
  return_credit();
  return std::nullopt;
}

void ClientCall::return_credit() {
  if (core_.status_known()) return;
  if (const uint32_t grant = core_.from_peer().take_grant(); grant > 0) {
    session_->control(FrameType::window, id_, grant);
  }
}

void ClientCall::on_session_lost() {
  messages_.release_all(*session_);
  session_ = nullptr;
  core_.on_peer_lost();
  loop_.queue_pump(*this);
}

// ---- gRPC --------------------------------------------------------------------------------------

void ClientCall::run() {
  if (hedged_ != nullptr) follow_hedges();
  OutgoingWork work;
  if (has_turn()) work = core_.take_work(session_ != nullptr && session_->may_receive(*this));
  if (work.cancel) hedged_ != nullptr ? hedged_->cancel() : remote_.cancel();
  if (work.unary) start_unary();
  if (work.sends()) start_sends(work);
  if (work.receive_message) remote_.start_receive(received_done_);
  const bool idle = hedged_ == nullptr || hedged_->idle();
  if (core_.finished() && idle) return owner_.on_call_finished(*this);  // destroys this
  if (session_ != nullptr && ready(UINT32_MAX) != Ready::nothing) session_->notify(*this);
}

/// Whether the call may begin, if it is about to.
bool ClientCall::has_turn() {
  if (core_.over() && !core_.started()) turn_.reset();
  if (!core_.ready_to_start() || channel_->turns.most() == 0) return true;
  if (!turn_) {
    turn_.emplace(channel_->turns, session_id_, [this] { loop_.queue_pump(*this); });
    if (!turn_->came() && deadline_ != Loop::Time::max()) {
      turn_limit_.emplace(loop_, [this] {
        refuse({StatusCode::deadline_exceeded,
                "the deadline passed while the call waited for its turn: channels." + channel_->name() +
                    ".max_in_flight lets " + std::to_string(channel_->turns.most()) + " be with the server",
                legated::Origin::daemon,
                {}});
      });
      turn_limit_->set(deadline_);
    }
  }
  if (turn_->came()) turn_limit_.reset();
  return turn_->came();
}

void ClientCall::add_initial_metadata(Batch& batch) {
  grpc_op& op = batch.add(GRPC_OP_SEND_INITIAL_METADATA);
  op.data.send_initial_metadata.metadata = metadata_.data();
  op.data.send_initial_metadata.count = metadata_.size();
  op.flags = initial_flags(wait_for_ready_);
}

void ClientCall::add_message(Batch& batch) {
  grpc_op& op = batch.add(GRPC_OP_SEND_MESSAGE);
  op.data.send_message.send_message = messages_.oldest();
  op.flags = messages_.oldest_flags();
}

void ClientCall::start_unary() {
  if (hedged_ != nullptr) {
    hedged_->start(messages_.oldest(), messages_.oldest_flags());
  } else {
    remote_.start_unary({.metadata = metadata_.data(),
                         .metadata_count = metadata_.size(),
                         .message = messages_.oldest(),
                         .message_flags = messages_.oldest_flags(),
                         .wait_for_ready = wait_for_ready_},
                        unary_done_, status_done_);
  }
  messages_.sent();
}

void ClientCall::follow_hedges() {
  if (!core_.started() && loop_.now() >= deadline_) {
    core_.refuse({StatusCode::deadline_exceeded,
                  "the deadline passed before the whole request had come",
                  legated::Origin::daemon,
                  {}});
  }
  const auto hedge = hedged_->take_answer(remote_);
  if (!hedge) return;
  turn_.reset();
  if (*hedge) ++channel_->hedges_won;
  on_unary(true);
  core_.on_status(remote_status());
}

void ClientCall::start_sends(const OutgoingWork& work) {
  if (work.start) {
    Batch headers;
    headers.add(GRPC_OP_RECV_INITIAL_METADATA).data.recv_initial_metadata.recv_initial_metadata =
        remote_.headers.array();
    headers.start(remote_.call, headers_done_);
    remote_.start_status(status_done_);
  }
  Batch sends;
  if (work.start) add_initial_metadata(sends);
  if (work.send_message) add_message(sends);
  if (work.half_close) sends.add(GRPC_OP_SEND_CLOSE_FROM_CLIENT);
  sends.start(remote_.call, sent_);
  if (work.send_message) messages_.sent();
}

void ClientCall::on_sent(bool ok) {
  core_.on_sent(ok);
  if (session_ != nullptr) {
    messages_.on_batch_done(*session_);
    return_credit();
  }
  loop_.queue_pump(*this);
}

void ClientCall::on_headers(bool) {
  const Status fit = remote_.headers.limit(channel_->max_metadata(), "the server's headers");
  core_.on_headers(remote_.headers.empty());
  if (!fit.ok()) core_.refuse_answer(fit);
  loop_.queue_pump(*this);
}

template <class Tell>
void ClientCall::take_answer(Tell tell) {
  std::shared_ptr<ReceivedMessage> message;
  const bool came = remote_.received != nullptr;
  if (came) message = ReceivedMessage::take(std::exchange(remote_.received, nullptr));
  const size_t waiting = core_.messages_waiting();
  tell(message ? std::optional(message->length()) : std::nullopt);
  if (came && message == nullptr) {
    core_.refuse_answer({StatusCode::internal,
                         "the server's message can't be decompressed",
                         legated::Origin::remote,
                         {}});
  }
  if (message != nullptr && message->length() > receive_limit_.bytes) {
    core_.refuse_answer(
        {StatusCode::resource_exhausted,
         "the server's message of " + std::to_string(message->length()) + " bytes exceeds " +
             receive_limit_.name + ", " + std::to_string(receive_limit_.bytes) + " bytes",
         legated::Origin::daemon,
         {}});
  }
  if (core_.messages_waiting() > waiting) {
    message_ = std::move(message);
    if (session_ != nullptr) session_->hold(message_->length());
  }
  loop_.queue_pump(*this);
}

void ClientCall::on_received(bool) {
  take_answer([this](std::optional<uint32_t> length) { core_.on_message(length); });
}

bool ClientCall::from_server() const {
  return remote_.error != nullptr &&
         std::string_view(remote_.error).find("Error received from peer") != std::string_view::npos;
}

std::string ClientCall::explained(std::string message) const {
  // The server may say the same of a request, as it has a bound of its own.
  const MessageLimit limit = channel_->receive_limit();
  if (message.starts_with("Received message larger than max") &&
      message.ends_with(" vs. " + std::to_string(limit.bytes) + ")"))
    return message + "; the bound is " + limit.name;
  if (from_server()) return message;  // it may be a proxy that could not connect
  if (const std::string why = explain_failure(channel_->settings(), message); !why.empty())
    message += "; legated: " + why;
  return message;
}

Status ClientCall::remote_status() {
  if (Status fit = remote_.trailers.limit(channel_->max_metadata(), "the server's trailers"); !fit.ok())
    return fit;
  if (GRPC_SLICE_LENGTH(remote_.details) > kMaxStatusMessage) {
    return {StatusCode::resource_exhausted,
            "the server's status message exceeds " + std::to_string(kMaxStatusMessage) + " bytes",
            legated::Origin::remote,
            {}};
  }
  const uint32_t code = remote_.code();
  std::string message(text_of(remote_.details));
  if (channel_->token() != nullptr && is_token_failure(message))
    return {StatusCode::unavailable, token_failure(message), legated::Origin::daemon, {}};
  if (code != 0) message = explained(std::move(message));
  Status status = status_from_wire(code, std::move(message), legated::Origin::remote);
  if (!status.ok()) {
    if (const grpc_slice* const details = remote_.trailer("grpc-status-details-bin"))
      status.details = std::string(text_of(*details));
  }
  return status;
}

void ClientCall::on_status(bool) {
  core_.on_status(remote_status());
  turn_.reset();
  run();  // may destroy this
}

void ClientCall::on_unary(bool) {
  if (session_ != nullptr) messages_.on_batch_done(*session_);
  const Status fit = remote_.headers.limit(channel_->max_metadata(), "the server's headers");
  take_answer([this](std::optional<uint32_t> length) { core_.on_unary(remote_.headers.empty(), length); });
  if (!fit.ok()) core_.refuse_answer(fit);
}

// ---- Frames to the peer ------------------------------------------------------------------------

SessionCall::Ready ClientCall::ready(uint32_t connection_credit) const {
  switch (core_.next_frame(connection_credit)) {
    case OutgoingCall::Frame::none: return Ready::nothing;
    case OutgoingCall::Frame::data: return Ready::data;
    default: return Ready::prompt;
  }
}

void ClientCall::write_frame(Session& session) {
  switch (core_.next_frame(session.connection_credit())) {
    case OutgoingCall::Frame::headers: {
      auto& fbb = session.builder();
      const auto metadata = remote_.headers.build(fbb);
      fbb.Finish(CreateHeaders(fbb, metadata));
      session.output().frame({.call_id = raw(id_), .type = FrameType::headers}, &fbb);
      core_.on_headers_written();
      return;
    }
    case OutgoingCall::Frame::data: {
      const auto part = core_.next_part(session.max_frame(), session.connection_credit());
      session.output().frame(
          {.call_id = raw(id_), .type = FrameType::data, .flags = part->flags, .aux = part->aux},
          nullptr, part->length);
      message_->write_to(session.output(), part->offset, part->length);
      session.spend(part->length);
      if ((part->flags & flag::msg_end) != 0) {
        const uint32_t length = message_->length();
        message_.reset();
        session.release(length);
        loop_.queue_pump(*this);  // the next message may be read
      }
      return;
    }
    case OutgoingCall::Frame::status: return write_status(session);
    case OutgoingCall::Frame::none: return;
  }
}

void ClientCall::write_status(Session& session) {
  const Status& status = core_.status();
  auto& fbb = session.builder();
  const auto trailers = status.origin == legated::Origin::remote ? remote_.trailers.build(fbb) : 0;
  const auto elapsed = std::chrono::duration_cast<std::chrono::microseconds>(loop_.now() - since_);
  build_status(fbb, status, trailers, static_cast<uint64_t>(elapsed.count()), attempts());
  session.output().frame({.call_id = raw(id_), .type = FrameType::status}, &fbb);
  core_.on_status_written();
  end_admission(status);
  if (channel_ != nullptr) {
    ++channel_->ended;
    if (tries_) channel_->retries += std::max(attempts(), 1U) - 1;
    if (!status.ok()) {
      ++channel_->failed;
      channel_->last_error = std::string(name(status.code)) + ": " + status.message.substr(0, 500);
    }
  }
  if (message_ != nullptr) session.release(message_->length());  // dropped
  session.release(cost_);
  message_.reset();
  messages_.release_all(session);
  session.remove_call(id_, *this);
  session_ = nullptr;
  loop_.queue_pump(*this);
}

}  // namespace legated
