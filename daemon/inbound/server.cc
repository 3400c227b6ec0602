#include "daemon/inbound/server.h"

#include <algorithm>
#include <utility>

#include "daemon/grpc/arguments.h"
#include "daemon/inbound/access_policies.h"
#include "daemon/inbound/server_check.h"
#include "daemon/telemetry/log.h"

namespace legated {
namespace {

// Enough that a burst of calls is accepted without a turn of the loop each.
constexpr int kRequestsAhead = 64;
// Of the daemon's own services: far above one watch of each client's, low enough that they cost
// little.
constexpr size_t kMaxLocalCalls = 10'000;
// From a connection to the first frames of HTTP/2: gRPC's own two minutes let strangers hold every place.
constexpr std::chrono::seconds kHandshakeTimeout{20};

}  // namespace

Server::Server(Loop& loop, const Config& config, std::string name, ServerSettings settings,
               std::function<void(Server&)> on_closed)
    : loop_(loop),
      config_(config),
      name_(std::move(name)),
      settings_(std::move(settings)),
      limits_(effective(settings_, config)),
      on_closed_(std::move(on_closed)),
      credentials_(loop, settings_),
      port_(loop, limits_.max_connections,
            [this](int listener, int fd) { acceptor_.hand_over(listener, fd); }),
      policies_(std::get<Policies>(Policies::parse(settings_.policies, incoming_policies()))),
      dispatcher_({.queue = config.inbound.queue, .overload = config.inbound.overload}),
      services_(loop, settings_, config.inbound.hold),
      leases_(loop, config, dispatcher_, services_,
              [this] {
                set_hold_timer();
                loop_.queue_pump(*this);
              }),
      hold_(loop, [this] { on_hold_over(); }) {
  create();
}

void Server::create() {
  Arguments args;
  args.set_fixed_windows(config_.limits.stream_window);
  // Messages are decompressed and measured by the call, which can name the limit. gRPC 1.51 measures
  // no earlier: it takes a message in whole first, bounded by the quota below.
  args.set(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, -1);
  args.set(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
  args.set(GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, -1);
  // gRPC counts 32 more per element; the daemon's own, exact limit is applied then.
  args.set(GRPC_ARG_MAX_METADATA_SIZE, int64_t{2} * config_.limits.max_metadata);
  args.set(GRPC_ARG_MAX_CONCURRENT_STREAMS, limits_.max_concurrent_streams);
  args.set(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, std::chrono::milliseconds(kHandshakeTimeout).count());
  args.set_unless_zero(GRPC_ARG_KEEPALIVE_TIME_MS, settings_.keepalive_time);
  args.set_unless_zero(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, settings_.keepalive_timeout);
  args.set_unless_zero(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                       settings_.min_ping_interval);
  args.set(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, settings_.ping_without_calls ? 1 : 0);
  args.set_unless_zero(GRPC_ARG_MAX_CONNECTION_IDLE_MS, settings_.max_connection_idle);
  args.set_unless_zero(GRPC_ARG_MAX_CONNECTION_AGE_MS, settings_.max_connection_age);
  args.set_unless_zero(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, settings_.max_connection_age_grace);
  grpc_resource_quota* const quota = grpc_resource_quota_create("server");
  grpc_resource_quota_resize(quota, limits_.memory);
  grpc_arg memory{};
  memory.type = GRPC_ARG_POINTER;
  memory.key = const_cast<char*>(GRPC_ARG_RESOURCE_QUOTA);
  memory.value.pointer = {quota, grpc_resource_quota_arg_vtable()};
  args.add(memory);
  args.add(acceptor_.argument());
  const grpc_channel_args server_args = args.get();
  server_ = grpc_server_create(&server_args, nullptr);
  grpc_resource_quota_unref(quota);
  grpc_server_register_completion_queue(server_, loop_.completions(), nullptr);
}

Server::~Server() {
  if (!shut_down_) shut_down_unserved();
  grpc_server_destroy(server_);
}

void Server::shut_down_unserved() {
  grpc_completion_queue* const queue = grpc_completion_queue_create_for_pluck(nullptr);
  grpc_server_shutdown_and_notify(server_, queue, this);
  grpc_completion_queue_pluck(queue, this, gpr_inf_future(GPR_CLOCK_MONOTONIC), nullptr);
  grpc_completion_queue_shutdown(queue);
  grpc_completion_queue_destroy(queue);
}

Status Server::listen(const ActivatedSockets& activated) {
  grpc_server_credentials* const credentials = credentials_.make();
  Status attached = acceptor_.attach(server_, credentials, settings_.tls);
  grpc_server_credentials_release(credentials);
  if (!attached.ok()) return attached;
  for (const std::string& address : settings_.addresses) {
    if (Status status = port_.listen(address, limits_.unix_mode, activated); !status.ok())
      return status;
  }
  return {};
}

void Server::add_holder(SessionId session) {
  holders_.insert(session);
  unheld_since_.reset();
}

void Server::remove_holder(SessionId session) {
  leases_.remove(session);
  services_.remove_session(session);
  holders_.erase(session);
  if (!holders_.empty() || unheld_since_ || !name_.empty()) return;
  unheld_since_ = loop_.now();
  set_hold_timer();
}

void Server::serve() {
  if (serving_ || draining_) return;
  serving_ = true;
  services_.set_serving(true);
  grpc_server_start(server_);
  port_.accept();
  for (int i = 0; i < kRequestsAhead; ++i) request_call();
}

void Server::request_call() {
  const DispatchId id{next_call_++};
  auto& call = calls_[id] =
      std::make_unique<ServerCall>(loop_, config_, settings_, static_cast<CallOwner&>(*this), id);
  call->request(server_);
}

// ---- Calls -------------------------------------------------------------------------------------

void Server::on_call_accepted(ServerCall& call, bool ok) {
  if (!ok) {
    calls_.erase(call.id());
    close_if_done();
    return;
  }
  ++active_;
  if (!draining_) request_call();
  if (services_.serve(call.method())) {
    // Health is for whoever watches over the server; the others tell more.
    const bool health = call.method().starts_with("/grpc.health.v1.");
    Status refused = health ? Status{} : call.apply(policies_);
    if (refused.ok()) return answer_locally(call);
    call.begin();
    return call.refuse(std::move(refused));
  }
  call.begin();
  if (Status fault = call.check_request(); !fault.ok()) return call.refuse(std::move(fault));
  if (Status refused = call.apply(policies_); !refused.ok())
    return call.refuse(std::move(refused));
  auto result = dispatcher_.enqueue(described(call), loop_.now());
  if (result == Dispatcher::Enqueued::queue_full) {
    run();  // those that wait for the end of the pass only make room
    result = dispatcher_.enqueue(described(call), loop_.now());
  }
  place(call, result);
}

Dispatcher::Call Server::described(const ServerCall& call) const {
  Dispatcher::Call described{call.id(), call.method(), call.deadline()};
  if (settings_.sticky.empty()) return described;
  const auto value = call.metadata_value(settings_.sticky);
  if (value) described.sticky = Dispatcher::sticky_hash(*value);
  return described;
}

/// As messages name it.
std::string Server::pool_of(const std::string& method) const {
  const std::string_view pattern = dispatcher_.pool_of(method);
  return pattern.empty() ? "methods without a worker" : "the pool " + std::string(pattern);
}

void Server::answer_locally(ServerCall& accepted) {
  const DispatchId id = accepted.id();
  const bool too_many = local_calls_.size() >= kMaxLocalCalls;
  auto handler = too_many ? nullptr : services_.make_handler(accepted.method());
  const bool known = handler != nullptr;
  LocalCall& call = *(local_calls_[id] = std::make_unique<LocalCall>(
                          loop_, static_cast<LocalCallOwner&>(*this), id, accepted.hand_over(),
                          accepted.method(), std::move(handler)));
  calls_.erase(id);  // and with it `accepted`
  if (too_many) {
    call.end({StatusCode::resource_exhausted,
              std::to_string(kMaxLocalCalls) +
                  " calls to services of legated itself are open on this server, the most there "
                  "may be",
              Origin::daemon,
              {}});
  } else if (!known) {
    call.end({StatusCode::unimplemented, "Method not implemented", Origin::daemon, {}});
  } else if (draining_) {
    call.drain();
  }
}

void Server::place(ServerCall& call, Dispatcher::Enqueued result) {
  switch (result) {
    case Dispatcher::Enqueued::queued:
      loop_.queue_pump(*this);
      set_hold_timer();
      return;
    case Dispatcher::Enqueued::unimplemented:
      return call.refuse({StatusCode::unimplemented, "Method not implemented", Origin::daemon, {}});
    case Dispatcher::Enqueued::queue_full:
      return call.refuse({StatusCode::resource_exhausted,
                          "inbound.queue, " + std::to_string(config_.inbound.queue) +
                              " calls, is full for " + pool_of(call.method()) +
                              ": its workers are too slow or too few",
                          Origin::daemon,
                          {}});
    case Dispatcher::Enqueued::rejected_by_all:
      return call.refuse({StatusCode::unavailable,
                          "every worker that serves " + call.method() + " rejected the call",
                          Origin::daemon,
                          {}});
  }
}

void Server::on_call_returned(ServerCall& call) {
  place(call, dispatcher_.requeue(described(call), call.rejected(), loop_.now()));
}

void Server::on_slot_free(ServerCall& call, LeaseId lease) {
  dispatcher_.release(lease, loop_.now());
  leases_.on_answered(call.id(), lease);
  loop_.queue_pump(*this);
}

void Server::on_call_over(ServerCall& call) {
  if (const auto lease = call.unanswered()) {
    leases_.on_cancelled(call.id(), *lease);
  } else {
    dispatcher_.remove(call.id());
  }
}

bool Server::may_queue(uint64_t bytes) {
  if (queued_bytes_ + bytes > config_.inbound.queue_memory) return false;
  queued_bytes_ += bytes;
  return true;
}

void Server::on_call_finished(ServerCall& call) {
  if (settings_.access_log) call.log_access(address());
  calls_.erase(call.id());
  on_call_gone();
}

void Server::on_local_call_finished(LocalCall& call) {
  local_calls_.erase(call.id());
  on_call_gone();
}

void Server::on_call_gone() {
  --active_;
  if (on_call_end_) on_call_end_();
  if (draining_ && active_ == 0) disconnect_clients();
  close_if_done();
}

void Server::run() {
  while (const auto offer = dispatcher_.next(Loop::Clock::now())) {
    const Leases::Lease& lease = leases_.at(offer->lease);
    calls_.at(offer->call)->offer(*lease.session, offer->lease, lease.request);
    leases_.on_offered(offer->lease, offer->dispatched);
  }
  if (tell_workers_ && dispatcher_.waiting() == 0) {
    tell_workers_ = false;
    leases_.tell_drained();
  }
}

size_t Server::calls_of(SessionId session) const {
  size_t count = 0;
  each_call([&](const ServerCall& call) { count += call.with() == session ? 1U : 0U; });
  return count;
}

bool Server::end_call(SessionId session, CallId id, const Status& status) {
  for (const auto& [dispatch, call] : calls_) {
    if (call->with() != session || call->call_id() != id || call->answered()) continue;
    call->refuse(status);
    return true;
  }
  return false;
}

// ---- Hold and end ------------------------------------------------------------------------------

void Server::set_hold_timer() {
  std::optional<Loop::Time> since = dispatcher_.held_since();
  if (unheld_since_ && (!since || *unheld_since_ < *since)) since = unheld_since_;
  if (since) {
    hold_.set(*since + config_.inbound.hold);
  } else {
    hold_.cancel();
  }
}

void Server::on_hold_over() {
  const Loop::Time since = loop_.now() - config_.inbound.hold;
  for (const DispatchId id : dispatcher_.take_held_since(since)) {
    calls_.at(id)->refuse({StatusCode::unavailable,
                           "no worker for " + calls_.at(id)->method() +
                               " came within inbound.hold, " +
                               std::to_string(config_.inbound.hold.count()) + " ms",
                           Origin::daemon,
                           {}});
  }
  if (unheld_since_ && *unheld_since_ <= since) {
    unheld_since_.reset();
    log::info("server_unheld", {{"address", address()}});
    drain();
  }
  set_hold_timer();
}

void Server::drain(bool tell_workers) {
  if (tell_workers && !std::exchange(workers_told_, true)) {
    tell_workers_ = true;
    loop_.queue_pump(*this);
  }
  if (draining_) return;
  draining_ = true;
  port_.close();  // from now on clients are refused by the system
  services_.set_serving(false);
  for (const auto& [id, call] : local_calls_) call->drain();
  // Also before serve(): a server that was never started is shut down all the same.
  grpc_server_shutdown_and_notify(server_, loop_.completions(), &shutdown_done_);
  if (active_ == 0) disconnect_clients();
}

void Server::disconnect_clients() {
  // Left alone, gRPC waits for clients that keep an idle connection, or never said a word on it.
  grpc_server_cancel_all_calls(server_);
}

void Server::end_calls(const Status& status) {
  for (const auto& [id, call] : calls_) {
    if (call->since() != Loop::Time{}) call->refuse(status);
  }
  for (const auto& [id, call] : local_calls_) call->end(status);
}

void Server::on_shutdown(bool) {
  shut_down_ = true;
  close_if_done();
}

void Server::close_if_done() {
  if (!shut_down_ || !calls_.empty() || !local_calls_.empty()) return;
  const auto on_closed = std::move(on_closed_);
  on_closed(*this);  // destroys this
}

}  // namespace legated
