#include "daemon/inbound/server.h"

#include <grpc/grpc_security.h>

#include <algorithm>
#include <array>
#include <utility>

#include "daemon/telemetry/log.h"

namespace legated {
namespace {

// Enough that a burst of calls is accepted without a turn of the loop each.
constexpr int kRequestsAhead = 64;

}  // namespace

Server::Server(Loop& loop, const Config& config, ServerSettings settings,
               std::function<void(Server&)> on_closed)
    : loop_(loop),
      config_(config),
      settings_(std::move(settings)),
      on_closed_(std::move(on_closed)),
      dispatcher_({.queue = config.inbound.queue, .overload = config.inbound.overload}),
      leases_(loop, config, dispatcher_,
              [this] {
                set_hold_timer();
                loop_.queue_pump(*this);
              }),
      hold_(loop, [this] { on_hold_over(); }) {
  std::array<grpc_arg, 5> args{};
  const auto set = [&](size_t index, const char* key, int value) {
    args[index].type = GRPC_ARG_INTEGER;
    args[index].key = const_cast<char*>(key);
    args[index].value.integer = value;
  };
  set(0, GRPC_ARG_ALLOW_REUSEPORT, 0);  // with it, a port in use would be shared silently
  set(1, GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, static_cast<int>(config.limits.max_message));
  set(2, GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, -1);
  set(3, GRPC_ARG_MAX_METADATA_SIZE,
      static_cast<int>(config.limits.max_metadata) * 2);  // gRPC counts 32 more per element
  set(4, GRPC_ARG_MAX_CONCURRENT_STREAMS, static_cast<int>(config.inbound.max_concurrent_streams));
  const grpc_channel_args server_args{args.size(), args.data()};
  server_ = grpc_server_create(&server_args, nullptr);
  grpc_server_register_completion_queue(server_, loop_.completions(), nullptr);
}

Server::~Server() { grpc_server_destroy(server_); }

Status Server::listen(const std::string& address) {
  grpc_server_credentials* const credentials = grpc_insecure_server_credentials_create();
  const int port = grpc_server_add_http2_port(server_, address.c_str(), credentials);
  grpc_server_credentials_release(credentials);
  if (port == 0) {
    return {StatusCode::failed_precondition,
            "can't listen on \"" + address +
                "\": it is in use, not an address of this machine, or not allowed; the log has the "
                "system's error",
            Origin::daemon,
            {}};
  }
  address_ = address;
  // gRPC reports 1 for a Unix socket.
  if (address.starts_with("unix")) return {};
  port_ = static_cast<uint32_t>(port);
  address_ = address.substr(0, address.rfind(':') + 1) + std::to_string(port);
  return {};
}

void Server::add_holder(SessionId session) {
  holders_.insert(session);
  unheld_since_.reset();
}

void Server::remove_holder(SessionId session) {
  leases_.remove(session);
  holders_.erase(session);
  if (!holders_.empty() || unheld_since_) return;
  unheld_since_ = loop_.now();
  set_hold_timer();
}

void Server::serve() {
  if (serving_ || draining_) return;
  serving_ = true;
  grpc_server_start(server_);
  for (int i = 0; i < kRequestsAhead; ++i) request_call();
}

void Server::request_call() {
  const DispatchId id{next_call_++};
  auto& call = calls_[id] =
      std::make_unique<ServerCall>(loop_, config_, static_cast<CallOwner&>(*this), id);
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
  call.begin();
  if (Status fault = call.check_request(); !fault.ok()) return call.refuse(std::move(fault));
  place(call, dispatcher_.enqueue(described(call), loop_.now()));
}

Dispatcher::Call Server::described(const ServerCall& call) const {
  Dispatcher::Call described{call.id(), call.method(), call.deadline()};
  if (settings_.sticky.empty()) return described;
  const auto value = call.metadata().find(settings_.sticky);
  if (value) described.sticky = Dispatcher::sticky_hash(*value);
  return described;
}

/// As messages name it.
std::string Server::pool_of(const std::string& method) const {
  const std::string_view pattern = dispatcher_.pool_of(method);
  return pattern.empty() ? "methods without a worker" : "the pool " + std::string(pattern);
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
  calls_.erase(call.id());
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
    log::info("server_unheld", {{"address", address_}});
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
}

void Server::on_shutdown(bool) {
  shut_down_ = true;
  close_if_done();
}

void Server::close_if_done() {
  if (!shut_down_ || !calls_.empty()) return;
  const auto on_closed = std::move(on_closed_);
  on_closed(*this);  // destroys this
}

}  // namespace legated
