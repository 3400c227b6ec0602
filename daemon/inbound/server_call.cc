#include "daemon/inbound/server_call.h"

#include <grpc/support/alloc.h>
#include <grpc/support/time.h>

#include <random>

#include "daemon/telemetry/log.h"

namespace legated {

using namespace legate::ipc;
using legated::Origin;
using legated::Status;
namespace {

Loop::Time to_loop_time(gpr_timespec deadline, Loop::Time now) {
  const gpr_timespec monotonic = gpr_convert_clock_type(deadline, GPR_CLOCK_MONOTONIC);
  if (gpr_time_cmp(monotonic, gpr_inf_future(GPR_CLOCK_MONOTONIC)) == 0) return Loop::Time::max();
  const gpr_timespec left = gpr_time_sub(monotonic, gpr_now(GPR_CLOCK_MONOTONIC));
  if (left.tv_sec > int64_t{10} * 365 * 24 * 3600) return Loop::Time::max();
  return now + std::chrono::seconds(left.tv_sec) + std::chrono::nanoseconds(left.tv_nsec);
}

/// At least 1, since 0 has a meaning of its own.
uint64_t microseconds(Loop::Clock::duration time) {
  return static_cast<uint64_t>(
      std::max<int64_t>(std::chrono::duration_cast<std::chrono::microseconds>(time).count(), 1));
}

/// What the client is told of metadata that the worker may not send.
Status workers_fault(const Status& fault, std::string_view what) {
  return {fault.code == StatusCode::resource_exhausted ? fault.code : StatusCode::internal,
          std::string(what) + fault.message,
          Origin::app,
          {}};
}

Status clients_fault(ReceivedMessage::Fault fault, const MessageLimit& limit) {
  if (fault == ReceivedMessage::Fault::corrupt)
    return {StatusCode::internal, "the client's message can't be decompressed", Origin::remote, {}};
  return {StatusCode::resource_exhausted,
          std::string("the client's message exceeds ") + limit.name + ", " +
              std::to_string(limit.bytes) + " bytes",
          Origin::daemon,
          {}};
}

/// gRPC chooses by level, among what the client accepts: the lowest is gzip, the highest deflate, where
/// it accepts both. It would send an algorithm that is named to any client.
grpc_compression_level level(Compression compression) {
  switch (compression) {
    case Compression::gzip: return GRPC_COMPRESS_LEVEL_LOW;
    case Compression::deflate: return GRPC_COMPRESS_LEVEL_HIGH;
    default: return GRPC_COMPRESS_LEVEL_NONE;
  }
}

}  // namespace

ServerCall::ServerCall(Loop& loop, const Config& config, const ServerSettings& settings,
                       CallOwner& owner, DispatchId id)
    : loop_(loop),
      config_(config),
      settings_(settings),
      owner_(owner),
      id_(id),
      compression_(settings.compression),
      messages_(config, "answer") {
  grpc_call_details_init(&details_);
  if (settings.max_send_message > 0)
    messages_.set_limit({settings.max_send_message, "the server's max_send_message"});
}

MessageLimit ServerCall::max_receive_message() const {
  if (settings_.max_receive_message > 0)
    return {settings_.max_receive_message, "the server's max_receive_message"};
  return {config_.limits.max_message, "limits.max_message"};
}

MetadataLimit ServerCall::max_metadata() const {
  if (settings_.max_metadata > 0) return {settings_.max_metadata, "the server's max_metadata"};
  return config_.limits.max_metadata;
}

ServerCall::~ServerCall() {
  if (policies_ != nullptr) policies_->on_end(admission_, end_status(), loop_.now());
  if (debtor_ && *debtor_ != nullptr) messages_.release_all(**debtor_);
  if (queued_bytes_ > 0) owner_.unqueue(queued_bytes_);
  if (incoming_ != nullptr) grpc_byte_buffer_destroy(incoming_);
  grpc_call_details_destroy(&details_);
  if (call_ != nullptr) grpc_call_unref(call_);
}

const char* ServerCall::state() const {
  switch (core_.phase()) {
    case IncomingCall::Phase::queued: return "queued";
    case IncomingCall::Phase::offered: return "offered";
    case IncomingCall::Phase::accepted: return "accepted";
    case IncomingCall::Phase::cancelled: return "cancelled";
    case IncomingCall::Phase::ended: break;
  }
  return "ending";
}

// ---- The client's side -------------------------------------------------------------------------

void ServerCall::request(grpc_server* server) {
  grpc_completion_queue* const queue = loop_.completions();
  const auto error = grpc_server_request_call(server, &call_, &details_, metadata_.array(), queue,
                                              queue, &request_done_);
  if (error != GRPC_CALL_OK) on_request(false);
}

void ServerCall::on_request(bool ok) {
  if (ok) {
    since_ = loop_.now();
    method_ = text_of(details_.method);
    deadline_ = to_loop_time(details_.deadline, since_);
    if (settings_.tls_client_auth != ClientAuth::none) identity_ = identity_of(call_);
  }
  owner_.on_call_accepted(*this, ok);  // may destroy this
}

void ServerCall::begin() {
  Batch batch;
  batch.add(GRPC_OP_RECV_CLOSE_ON_SERVER).data.recv_close_on_server.cancelled = &cancelled_;
  batch.start(call_, closed_);
  // Not at the end of the pass: what has already come shall travel with START.
  pump();
}

Status ServerCall::check_request() {
  // In bytes. What a START has room for beside the metadata.
  constexpr size_t kMaxNames = 4096;
  constexpr size_t kMaxIdentity = 16'384;
  const auto too_long = [](const char* what, size_t most) {
    return Status{StatusCode::resource_exhausted, what + std::to_string(most) + " bytes",
                  Origin::daemon, {}};
  };
  if (method_.size() + GRPC_SLICE_LENGTH(details_.host) > kMaxNames)
    return too_long("method and authority exceed ", kMaxNames);
  if (identity_.size() > kMaxIdentity)
    return too_long("the client's certificate and the names in it exceed ", kMaxIdentity);
  return metadata_.limit(max_metadata(), "request metadata");
}

Status ServerCall::apply(Policies& policies) {
  if (policies.empty()) return {};
  const auto random = [] {
    static std::mt19937_64 engine{std::random_device()()};  // ids need no more than to differ
    return engine();
  };
  auto list = metadata_.list();
  const uint64_t given = deadline_ == Loop::Time::max() ? 0 : microseconds(deadline_ - since_);
  uint64_t timeout_us = given;
  std::vector<std::string> names = identity_.names;
  if (!identity_.empty()) names.push_back("subject:" + identity_.subject);
  if (auto refused = policies.admit({list, timeout_us, method_, names}, since_, random, admission_))
    return std::move(*refused);
  policies_ = &policies;
  changed_metadata_ = std::move(list);
  if (timeout_us == given) return {};
  deadline_ = since_ + std::chrono::microseconds(timeout_us);
  time_limit_.emplace(loop_, [this] {
    refuse({StatusCode::deadline_exceeded, "the server's deadline for the call has passed",
            Origin::daemon, {}});
  });
  time_limit_->set(deadline_);
  return {};
}

std::optional<std::string_view> ServerCall::metadata_value(std::string_view key) const {
  if (!changed_metadata_) return metadata_.find(key);
  for (const auto& [name, value] : *changed_metadata_) {
    if (name == key) return value;
  }
  return std::nullopt;
}

Status ServerCall::end_status() const {
  if (core_.status_known()) return core_.status();
  return {StatusCode::cancelled, "the client cancelled, or is gone", Origin::remote, {}};
}

void ServerCall::log_access(const std::string& server) const {
  const Status status = end_status();
  char* const peer = grpc_call_get_peer(call_);
  log::info("access", {{"server", server},
                       {"peer", peer},
                       {"method", method_},
                       {"status", name(status.code)},
                       {"origin", legate::ipc::EnumNameOrigin(
                                      static_cast<legate::ipc::Origin>(status.origin))},
                       {"duration_us", microseconds(loop_.now() - since_)},
                       {"worker", worker_ ? raw(*worker_) : 0}});
  gpr_free(peer);
}

void ServerCall::on_received(bool ok) {
  if (incoming_ == nullptr && (!ok || grpc_call_failed_before_recv_message(call_) != 0)) {
    // The client did not close its half, it is gone: on_closed() is about to say so. Never the other
    // way round, or the worker would take what it has for the whole stream.
    if (!gone_) {
      receive_failed_ = true;
      return;
    }
  }
  std::shared_ptr<ReceivedMessage> message;
  if (incoming_ != nullptr) {
    const MessageLimit limit = max_receive_message();
    auto received = ReceivedMessage::receive(std::exchange(incoming_, nullptr), limit.bytes);
    if (const auto* fault = std::get_if<ReceivedMessage::Fault>(&received)) {
      core_.on_message(std::nullopt);
      return refuse(clients_fault(*fault, limit));
    }
    message = std::get<std::shared_ptr<ReceivedMessage>>(std::move(received));
  }
  core_.on_message(message ? std::optional(message->length()) : std::nullopt);
  if (message != nullptr && core_.phase() != IncomingCall::Phase::ended &&
      core_.phase() != IncomingCall::Phase::cancelled) {
    if (core_.phase() == IncomingCall::Phase::accepted) {
      session_->hold(message->length());
      held_bytes_ += message->length();
    } else if (owner_.may_queue(message->length())) {
      queued_bytes_ += message->length();
    } else {
      refuse({StatusCode::resource_exhausted,
              "the messages of waiting calls use up inbound.queue_memory",
              Origin::daemon,
              {}});
      return;
    }
    received_.push_back(std::move(message));
  }
  if (core_.phase() == IncomingCall::Phase::queued) {
    pump();  // likewise
  } else {
    loop_.queue_pump(*this);
  }
}

void ServerCall::on_closed(bool) {
  // gRPC's timer and this clock may differ by a little.
  const bool deadline_passed = deadline_ <= Loop::Clock::now() + std::chrono::milliseconds(5);
  gone_ = true;
  core_.on_closed(cancelled_ != 0, deadline_passed);
  if (std::exchange(receive_failed_, false)) core_.on_message(std::nullopt);
  leave_queue();
  loop_.queue_pump(*this);
}

void ServerCall::on_sent(bool ok) {
  core_.on_sent(ok);
  if (debtor_ && *debtor_ != nullptr) messages_.on_batch_done(**debtor_);
  if (session_ != nullptr) return_credit();
  loop_.queue_pump(*this);
}

void ServerCall::refuse(Status status) {
  core_.refuse(std::move(status));
  leave_queue();
  loop_.queue_pump(*this);
}

// At once when the call is over: the server's turn may come before pump()'s.
void ServerCall::leave_queue() {
  const auto phase = core_.phase();
  if (over_ || (phase != IncomingCall::Phase::ended && phase != IncomingCall::Phase::cancelled)) {
    return;
  }
  over_ = true;
  owner_.on_call_over(*this);
}

void ServerCall::pump() {
  const IncomingWork work = core_.take_work(session_ == nullptr || session_->may_receive(*this));
  if (work.sends()) start_sends(work);
  if (work.receive_message) {
    Batch batch;
    batch.add(GRPC_OP_RECV_MESSAGE).data.recv_message.recv_message = &incoming_;
    batch.start(call_, received_done_);
  }
  const auto phase = core_.phase();
  if (phase == IncomingCall::Phase::ended && session_ != nullptr) leave_worker();
  leave_queue();
  if (core_.finished()) return owner_.on_call_finished(*this);  // destroys this
  if (session_ != nullptr && ready(UINT32_MAX) != Ready::nothing) session_->notify(*this);
}

void ServerCall::start_sends(const IncomingWork& work) {
  Batch batch;
  if (work.send_headers) {
    grpc_op& op = batch.add(GRPC_OP_SEND_INITIAL_METADATA);
    op.data.send_initial_metadata.metadata = headers_.data();
    op.data.send_initial_metadata.count = headers_.size();
    op.data.send_initial_metadata.maybe_compression_level = {.is_set = 1,
                                                             .level = level(compression_)};
  }
  if (work.send_message) {
    grpc_op& op = batch.add(GRPC_OP_SEND_MESSAGE);
    op.data.send_message.send_message = messages_.oldest();
    op.flags = messages_.oldest_flags();
  }
  grpc_slice message = grpc_empty_slice();
  if (work.send_status) {
    const Status& status = core_.status();
    if (status.details) trailers_.add("grpc-status-details-bin", *status.details);
    message = slice_of(status.message);
    grpc_op& op = batch.add(GRPC_OP_SEND_STATUS_FROM_SERVER);
    op.data.send_status_from_server.trailing_metadata = trailers_.data();
    op.data.send_status_from_server.trailing_metadata_count = trailers_.size();
    op.data.send_status_from_server.status = static_cast<grpc_status_code>(status.code);
    op.data.send_status_from_server.status_details = &message;
  }
  batch.start(call_, sent_);
  grpc_slice_unref(message);
  if (work.send_message) messages_.sent();
}

// ---- The worker's side -------------------------------------------------------------------------

void ServerCall::offer(Session& session, LeaseId lease, CallId lease_request) {
  session_ = &session;
  debtor_ = session.handle();
  worker_ = session.id();
  lease_ = lease;
  lease_request_ = lease_request;
  call_id_ = session.add_dispatch(*this);
  std::vector<uint32_t> lengths;
  for (const auto& message : received_) lengths.push_back(message->length());
  received_sent_ = 0;
  core_.offer(session.own_call_window(), session.peer_call_window(), lengths);
  session.notify(*this);
}

void ServerCall::leave_worker() {
  Session* const session = std::exchange(session_, nullptr);
  session->release(std::exchange(held_bytes_, 0));
  // The answer may wait for a slow client long after its worker is done: its memory stays reserved.
  session->remove_call(call_id_, *this);
  owner_.on_slot_free(*this, lease_);
}

void ServerCall::return_credit() {
  if (core_.phase() != IncomingCall::Phase::accepted) return;
  if (const uint32_t grant = core_.from_worker().take_grant(); grant > 0) {
    session_->control(FrameType::window, call_id_, grant);
  }
}

void ServerCall::after_accept() {
  if (core_.phase() != IncomingCall::Phase::accepted) return;
  if (queued_bytes_ == 0 && received_sent_ == 0) return;
  // What was kept for another offer is the worker's now.
  owner_.unqueue(std::exchange(queued_bytes_, 0));
  received_.erase(received_.begin(),
                  received_.begin() + static_cast<std::ptrdiff_t>(received_sent_));
  received_sent_ = 0;
  for (const auto& message : received_) held_bytes_ += message->length();
  session_->hold(held_bytes_);
}

std::optional<Violation> ServerCall::on_frame(const Frame& frame) {
  loop_.queue_pump(*this);
  std::optional<Violation> violation;
  switch (frame.header.type) {
    case FrameType::accept: core_.on_accept(); break;
    case FrameType::reject: return on_reject();
    case FrameType::headers:
      violation = core_.on_headers();
      if (!violation) on_worker_headers(frame.as<Headers>());
      break;
    case FrameType::data: violation = on_worker_part(frame); break;
    case FrameType::window:
      if (!core_.on_window(frame.header.aux)) {
        violation = Violation{ErrorCode::flow_control,
                              "the call's window must stay between 1 and 2147483647"};
      }
      break;
    default:  // STATUS; the session lets nothing else through
      core_.on_accept();
      after_accept();
      on_worker_status(frame.as<legate::ipc::Status>());
      return std::nullopt;
  }
  after_accept();
  return violation;
}

std::optional<Violation> ServerCall::on_reject() {
  switch (core_.phase()) {
    case IncomingCall::Phase::offered:
      rejected_.push_back(lease_);
      core_.withdraw();
      leave_worker();
      owner_.on_call_returned(*this);
      return std::nullopt;
    case IncomingCall::Phase::cancelled:
      core_.on_status({StatusCode::cancelled, "rejected after cancellation", Origin::daemon, {}});
      return std::nullopt;
    default: return Violation{ErrorCode::unexpected_frame, "REJECT of a call that was accepted"};
  }
}

void ServerCall::on_worker_headers(const Headers& headers) {
  if (core_.phase() != IncomingCall::Phase::accepted) return;
  if (headers.compression() > legate::ipc::Compression::MAX) {
    return refuse({StatusCode::internal, "the worker's headers: unknown compression", Origin::app, {}});
  }
  if (const Status status = headers_.assign(headers.metadata(), max_metadata()); !status.ok())
    return refuse(workers_fault(status, "the worker's headers: "));
  if (headers.compression() != legate::ipc::Compression::inherit)
    compression_ = static_cast<Compression>(headers.compression());
}

void ServerCall::on_worker_status(const legate::ipc::Status& status) {
  if (core_.status_known()) return core_.on_status({});  // the client has been answered
  if (const Status fault = trailers_.assign(status.trailers(), max_metadata());
      !fault.ok()) {
    return core_.on_status(workers_fault(fault, "the worker's trailers: "));
  }
  if (view(status.message()).size() + view(status.details()).size() > config_.limits.max_metadata) {
    return core_.on_status({StatusCode::resource_exhausted,
                            "the worker's status message and details exceed limits.max_metadata, " +
                                std::to_string(config_.limits.max_metadata) + " bytes",
                            Origin::app,
                            {}});
  }
  Status end = status_from_wire(status.code(), std::string(view(status.message())), Origin::app);
  if (status.details() != nullptr) end.details = std::string(view(status.details()));
  core_.on_status(std::move(end));
}

std::optional<Violation> ServerCall::on_worker_part(const Frame& frame) {
  const Header& header = frame.header;
  const auto length = static_cast<uint32_t>(frame.payload.size());
  if (auto violation = core_.on_part(header.flags, header.aux, length)) return violation;
  if (core_.phase() != IncomingCall::Phase::accepted) return std::nullopt;  // dropped
  if (auto fault = messages_.add(*session_, frame)) {
    refuse(std::move(*fault));
    return std::nullopt;
  }
  return_credit();
  return std::nullopt;
}

void ServerCall::on_session_lost() {
  session_->release(std::exchange(held_bytes_, 0));
  messages_.release_all(*session_);
  session_ = nullptr;
  loop_.queue_pump(*this);
  if (core_.phase() == IncomingCall::Phase::offered) {
    core_.withdraw();
    owner_.on_call_returned(*this);
  } else {
    core_.on_worker_lost({StatusCode::unavailable,
                          "the worker's connection was lost while it served the call",
                          Origin::daemon,
                          {}});
  }
}

SessionCall::Ready ServerCall::ready(uint32_t connection_credit) const {
  switch (core_.next_frame(connection_credit)) {
    case IncomingCall::Frame::none: return Ready::nothing;
    case IncomingCall::Frame::data: return Ready::data;
    default: return Ready::prompt;
  }
}

void ServerCall::write_start(Session& session) {
  const Loop::Time now = Loop::Clock::now();
  const uint64_t timeout = deadline_ == Loop::Time::max() ? 0 : microseconds(deadline_ - now);
  auto& fbb = session.builder();
  const auto method = fbb.CreateString(method_);
  const auto metadata =
      changed_metadata_ ? build_entries(fbb, *changed_metadata_) : metadata_.build(fbb);
  const auto authority =
      fbb.CreateString(reinterpret_cast<const char*>(GRPC_SLICE_START_PTR(details_.host)),
                       GRPC_SLICE_LENGTH(details_.host));
  char* const peer_name = grpc_call_get_peer(call_);
  const auto peer = fbb.CreateString(peer_name);
  gpr_free(peer_name);
  flatbuffers::Offset<Identity> identity;
  if (!identity_.empty()) {
    const auto subject = fbb.CreateString(identity_.subject);
    const auto names = fbb.CreateVectorOfStrings(identity_.names);
    const auto certificate = fbb.CreateString(identity_.certificate);
    identity = CreateIdentity(fbb, subject, names, certificate);
  }
  StartBuilder start(fbb);
  start.add_method(method);
  start.add_metadata(metadata);
  start.add_timeout_us(timeout);
  start.add_lease(raw(lease_request_));
  start.add_authority(authority);
  start.add_peer(peer);
  start.add_queued_us(microseconds(now - since_));
  start.add_identity(identity);
  fbb.Finish(start.Finish());
  session.output().frame({.call_id = raw(call_id_), .type = FrameType::start}, &fbb);
  core_.on_start_written();
}

void ServerCall::write_frame(Session& session) {
  switch (core_.next_frame(session.connection_credit())) {
    case IncomingCall::Frame::start: return write_start(session);
    case IncomingCall::Frame::cancel:
      session.output().frame({.call_id = raw(call_id_),
                              .type = FrameType::cancel,
                              .aux = static_cast<uint32_t>(core_.take_cancel())});
      return;
    case IncomingCall::Frame::data: {
      const auto part = core_.next_part(session.max_frame(), session.connection_credit());
      session.output().frame({.call_id = raw(call_id_),
                              .type = FrameType::data,
                              .flags = part->flags,
                              .aux = part->aux},
                             nullptr, part->length);
      if ((part->flags & (flag::msg_begin | flag::msg_end)) != 0 || part->length > 0) {
        received_[received_sent_]->write_to(session.output(), part->offset, part->length);
      }
      session.spend(part->length);
      if ((part->flags & flag::msg_end) == 0) return;
      if (core_.phase() == IncomingCall::Phase::offered) {
        ++received_sent_;  // kept in case the worker gives the call back
      } else {
        const uint32_t length = received_.front()->length();
        received_.erase(received_.begin());
        held_bytes_ -= length;
        session.release(length);
        loop_.queue_pump(*this);  // the next message may be read
      }
      return;
    }
    case IncomingCall::Frame::none: return;
  }
}

}  // namespace legated
