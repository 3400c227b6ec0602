#include "daemon/inbound/server.h"

#include <grpc/grpc_security.h>

#include <algorithm>
#include <array>

#include "daemon/telemetry/log.h"

namespace legated {
namespace {

// Enough that a burst of calls is accepted without a turn of the loop each.
constexpr int kRequestsAhead = 64;
// Of the daemon's own services: far above one watch of each client's, low enough that they cost
// little.
constexpr size_t kMaxLocalCalls = 10'000;

}  // namespace

Server::Server(Loop& loop, const Config& config, ServerSettings settings,
               std::function<void(Server&)> on_closed)
    : loop_(loop),
      config_(config),
      settings_(std::move(settings)),
      on_closed_(std::move(on_closed)),
      dispatcher_(config.inbound.queue),
      services_(loop, settings_, config.inbound.hold),
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
  remove_leases(session);
  services_.remove_session(session);
  holders_.erase(session);
  if (!holders_.empty() || unheld_since_) return;
  unheld_since_ = loop_.now();
  set_hold_timer();
}

void Server::serve() {
  if (serving_ || draining_) return;
  serving_ = true;
  services_.set_serving(true);
  grpc_server_start(server_);
  for (int i = 0; i < kRequestsAhead; ++i) request_call();
}

void Server::request_call() {
  const DispatchId id{next_call_++};
  auto& call = calls_[id] =
      std::make_unique<ServerCall>(loop_, config_, static_cast<CallOwner&>(*this), id);
  call->request(server_);
}

// ---- Leases ------------------------------------------------------------------------------------

void Server::add_lease(LeaseId id, Lease lease, const std::vector<std::string>& patterns,
                       uint32_t slots) {
  leases_[id] = lease;
  dispatcher_.add_lease(id, patterns, slots);
  services_.add_lease(id, lease.session->id(), patterns);
  loop_.queue_pump(*this);
}

void Server::remove_lease(LeaseId id) {
  leases_.erase(id);
  dispatcher_.remove_lease(id, loop_.now());
  services_.remove_lease(id);
  set_hold_timer();
}

std::optional<LeaseId> Server::find_lease(SessionId session, CallId request) const {
  for (const auto& [id, lease] : leases_) {
    if (lease.session->id() == session && lease.request == request) return id;
  }
  return std::nullopt;
}

size_t Server::count_leases(SessionId session) const {
  return static_cast<size_t>(std::count_if(leases_.begin(), leases_.end(), [&](const auto& entry) {
    return entry.second.session->id() == session;
  }));
}

void Server::remove_leases(SessionId session) {
  std::vector<LeaseId> leaving;
  for (const auto& [id, lease] : leases_) {
    if (lease.session->id() == session) leaving.push_back(id);
  }
  for (const LeaseId id : leaving) remove_lease(id);
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
  if (services_.serve(call.method())) return answer_locally(call);
  call.begin();
  if (Status fault = call.check_request(); !fault.ok()) return call.refuse(std::move(fault));
  place(call, dispatcher_.enqueue(call.id(), call.method(), call.deadline(), loop_.now()));
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
                              " calls, is full: the workers are too slow or too few",
                          Origin::daemon,
                          {}});
    case Dispatcher::Enqueued::rejected_by_all:
      return call.refuse({StatusCode::unavailable,
                          "every worker that serves the method rejected the call",
                          Origin::daemon,
                          {}});
  }
}

void Server::on_call_returned(ServerCall& call) {
  place(call, dispatcher_.requeue(call.id(), call.method(), call.deadline(), call.rejected(),
                                  loop_.now()));
}

void Server::on_slot_free(LeaseId lease) {
  dispatcher_.release(lease, loop_.now());
  loop_.queue_pump(*this);
}

void Server::on_call_over(ServerCall& call) { dispatcher_.remove(call.id()); }

bool Server::may_queue(uint64_t bytes) {
  if (queued_bytes_ + bytes > config_.inbound.queue_memory) return false;
  queued_bytes_ += bytes;
  return true;
}

void Server::on_call_finished(ServerCall& call) {
  calls_.erase(call.id());
  on_call_gone();
}

void Server::on_local_call_finished(LocalCall& call) {
  local_calls_.erase(call.id());
  on_call_gone();
}

void Server::on_call_gone() {
  --active_;
  if (draining_ && active_ == 0) disconnect_clients();
  close_if_done();
}

void Server::run() {
  while (const auto offer = dispatcher_.next(Loop::Clock::now())) {
    const Lease& lease = leases_.at(offer->lease);
    calls_.at(offer->call)->offer(*lease.session, offer->lease, lease.request);
  }
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
                           "no worker for the method came within inbound.hold, " +
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

void Server::drain() {
  if (draining_) return;
  draining_ = true;
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
