#include "daemon/inbound/inbound.h"

#include <algorithm>
#include <stdexcept>

#include "daemon/core/method_pattern.h"
#include "daemon/inbound/access_policies.h"
#include "daemon/inbound/server_check.h"
#include "daemon/telemetry/log.h"

namespace legated {

using namespace legate::ipc;
using legated::Origin;
using legated::Status;
namespace {

// Of one connection: far above any use, low enough that none can fill the daemon.
constexpr size_t kMaxServers = 100;
constexpr size_t kMaxLeases = 1000;
constexpr size_t kMaxPatternBytes = 65'536;  // of one REGISTER
constexpr size_t kMaxGeneration = 100;       // bytes of a generation's label
constexpr int kMaxDescribes = 4;             // under way at once

Status no_such_lease(CallId request) {
  return {StatusCode::failed_precondition,
          "lease " + std::to_string(raw(request)) + " is not of this connection",
          Origin::daemon,
          {}};
}

constexpr std::string_view kNamed = "legated:///";

Status refused(StatusCode code, std::string why) {
  return {code, std::move(why), Origin::daemon, {}};
}

/// Its name, or any of its addresses.
bool is_called(const Server& server, std::string_view text) {
  if (text.starts_with(kNamed)) text.remove_prefix(kNamed.size());
  if (text == server.address() || (!text.empty() && text == server.name())) return true;
  const auto& addresses = server.port().addresses();
  return std::find(addresses.begin(), addresses.end(), text) != addresses.end();
}

}  // namespace

void Inbound::on_request(Session& session, const Frame& frame) {
  if (draining_) {
    return session.answer(
        CallId{frame.header.call_id},
        {StatusCode::unavailable, "legated is shutting down", Origin::daemon, {}});
  }
  peers_[session.id()] = &session;
  switch (frame.header.type) {
    case FrameType::listen: return listen(session, frame);
    case FrameType::register_methods: return register_methods(session, frame);
    case FrameType::serve: return serve(session, frame);
    case FrameType::describe: return describe(session, frame);
    case FrameType::set_health: return set_health(session, frame);
    default: return unregister(session, frame);
  }
}

Server* Inbound::find(SessionId session, uint32_t listen_id) const {
  const auto held = held_.find(session);
  if (held == held_.end()) return nullptr;
  const auto server = held->second.find(listen_id);
  return server == held->second.end() ? nullptr : server->second;
}

void Inbound::start() {
  for (const auto& [name, settings] : config_.servers) {
    Server& server = make(name, settings);
    if (const Status status = server.listen(activated_); !status.ok())
      throw std::runtime_error("servers." + name + ": " + status.message);
    for (const std::string& address : server.port().addresses())
      log::info("server_listening", {{"name", name}, {"address", address}});
  }
  // Not before all listen: one that can't keeps the daemon from starting.
  for (const auto& server : servers_) {
    if (server->settings().serve_at_start) server->serve();
  }
}

Server& Inbound::make(const std::string& name, ServerSettings settings) {
  servers_.push_back(std::make_unique<Server>(loop_, config_, name, std::move(settings),
                                              [this](Server& closed) { on_closed(closed); }));
  return *servers_.back();
}

Inbound::Found Inbound::named(const Listen& request) const {
  const std::string name(view(request.address()).substr(kNamed.size()));
  if (request.options() != nullptr) {
    return refused(StatusCode::invalid_argument,
                   "a server of the configuration takes no options; leave them out, or give an "
                   "address of another kind");
  }
  std::string names;
  for (const auto& server : servers_) {
    if (server->name().empty()) continue;
    if (server->name() != name) {
      names += (names.empty() ? "" : ", ") + server->name();
    } else if (server->draining()) {
      return refused(StatusCode::unavailable, "the server \"" + name + "\" is draining");
    } else {
      return server.get();
    }
  }
  if (config_.servers.contains(name)) {
    return refused(StatusCode::unavailable, "the server \"" + name +
                                                "\" was drained and has closed; it comes back when legated "
                                                "is started again");
  }
  return refused(StatusCode::not_found, "the daemon's configuration has no server \"" + name +
                                            "\"; it has " + (names.empty() ? "none" : names));
}

Inbound::Found Inbound::known(const Listen& request, const ServerSettings& settings) const {
  for (const auto& server : servers_) {
    const auto& addresses = server->port().addresses();
    if (server->draining() ||
        std::ranges::find(addresses, settings.addresses.front()) == addresses.end())
      continue;
    ServerSettings equal = settings;
    equal.addresses = server->settings().addresses;
    if (request.options() == nullptr || equal == server->settings()) return server.get();
    return refused(StatusCode::failed_precondition,
                   "\"" + settings.addresses.front() +
                       "\" is a server of legated's already, with other options; give the same, "
                       "or none to join it");
  }
  return nullptr;
}

Inbound::Found Inbound::find_or_make(Session& session, const Listen& request, bool& shared) {
  shared = true;
  if (view(request.address()).starts_with(kNamed)) return named(request);
  ServerSettings settings = settings_of(request);
  if (std::string problem = problem_with(settings, config_, peers_policies()); !problem.empty())
    return refused(StatusCode::invalid_argument, std::move(problem));
  if (Found found = known(request, settings);
      std::holds_alternative<Status>(found) || std::get<Server*>(found) != nullptr)
    return found;
  shared = false;
  Server& made = make("", std::move(settings));
  if (Status status = made.listen(activated_); !status.ok()) {
    made.drain();  // gRPC has to finish with it like with any other
    return status;
  }
  log::info("server_listening", {{"address", made.address()}, {"session", raw(session.id())}});
  return &made;
}

void Inbound::listen(Session& session, const Frame& frame) {
  const CallId id{frame.header.call_id};
  if (held_[session.id()].size() >= kMaxServers) {
    return session.answer(id, refused(StatusCode::resource_exhausted,
                                      "this connection holds " + std::to_string(kMaxServers) +
                                          " servers, the most it may"));
  }
  bool shared = false;
  const Found found = find_or_make(session, frame.as<Listen>(), shared);
  if (const auto* status = std::get_if<Status>(&found)) return session.answer(id, *status);
  Server* const server = std::get<Server*>(found);
  server->add_holder(session.id());
  held_[session.id()][raw(id)] = server;

  auto& fbb = session.builder();
  const auto real_address = fbb.CreateString(server->address());
  fbb.Finish(CreateListening(fbb, server->port().port(), real_address, shared));
  session.control(FrameType::listening, id, 0, &fbb);
}

void Inbound::register_methods(Session& session, const Frame& frame) {
  const CallId id{frame.header.call_id};
  const Register& meta = frame.as<Register>();
  Server* const server = find(session.id(), meta.server());
  if (server == nullptr) {
    return session.answer(
        id, {StatusCode::failed_precondition,
             "server " + std::to_string(meta.server()) + " is not listening on this connection",
             Origin::daemon,
             {}});
  }
  if (meta.slots() == 0 || meta.weight() == 0 || meta.methods()->size() == 0) {
    return session.answer(id, {StatusCode::invalid_argument,
                               "REGISTER needs at least one method, one slot and a weight of 1",
                               Origin::daemon,
                               {}});
  }
  if (view(meta.generation()).size() > kMaxGeneration) {
    return session.answer(id, {StatusCode::invalid_argument,
                               "the generation of a REGISTER is longer than " +
                                   std::to_string(kMaxGeneration) + " bytes",
                               Origin::daemon,
                               {}});
  }
  if (drained_.contains(session.id())) {
    return session.answer(id, {StatusCode::failed_precondition,
                               "the operator drains this worker: it gets no more calls",
                               Origin::daemon,
                               {}});
  }
  size_t leases = 0;
  for (const auto& each : servers_) leases += each->leases().count(session.id());
  if (leases >= kMaxLeases) {
    return session.answer(id, {StatusCode::resource_exhausted,
                               "this connection has " + std::to_string(kMaxLeases) +
                                   " leases, the most it may; register several methods at once",
                               Origin::daemon,
                               {}});
  }
  // Summed before anything is copied: the entries of a table may share one long string.
  size_t bytes = 0;
  for (const flatbuffers::String* pattern : *meta.methods()) bytes += pattern->size();
  if (bytes > kMaxPatternBytes) {
    return session.answer(id, {StatusCode::resource_exhausted,
                               "method patterns of " + std::to_string(bytes) + " bytes exceed " +
                                   std::to_string(kMaxPatternBytes) + ", the most of one REGISTER",
                               Origin::daemon,
                               {}});
  }
  std::vector<std::string> patterns;
  for (const flatbuffers::String* pattern : *meta.methods()) {
    if (auto why = refuse_pattern(view(pattern))) {
      return session.answer(id,
                            {StatusCode::invalid_argument, std::move(*why), Origin::daemon, {}});
    }
    patterns.emplace_back(view(pattern));
  }
  session.control(FrameType::lease, id);
  if (session.closed()) return;
  log::info("lease", {{"session", raw(session.id())},
                      {"peer", session.peer().name},
                      {"address", server->address()},
                      {"methods", static_cast<uint64_t>(patterns.size())},
                      {"slots", meta.slots()},
                      {"generation", view(meta.generation())},
                      {"share", static_cast<uint64_t>(meta.share())}});
  server->leases().add(LeaseId{next_lease_++}, {&session, id},
                       {.patterns = std::move(patterns),
                        .slots = meta.slots(),
                        .weight = meta.weight(),
                        .generation = std::string(view(meta.generation())),
                        .share = meta.share()});
}

void Inbound::serve(Session& session, const Frame& frame) {
  const CallId id{frame.header.call_id};
  Server* const server = find(session.id(), frame.header.aux);
  if (server == nullptr) {
    return session.answer(
        id, {StatusCode::not_found,
             "server " + std::to_string(frame.header.aux) + " is not listening on this connection",
             Origin::daemon,
             {}});
  }
  server->serve();
  session.answer(id, {});
}

void Inbound::unregister(Session& session, const Frame& frame) {
  const CallId id{frame.header.call_id};
  for (const auto& server : servers_) {
    const auto lease = server->leases().find(session.id(), CallId{frame.header.aux});
    if (!lease) continue;
    server->leases().remove(*lease);
    return session.answer(id, {});
  }
  session.answer(id, {StatusCode::not_found,
                      "lease " + std::to_string(frame.header.aux) + " is not of this connection",
                      Origin::daemon,
                      {}});
}

void Inbound::describe(Session& session, const Frame& frame) {
  const CallId id{frame.header.call_id};
  const CallId request{frame.header.aux};
  const auto take = [this, request](Session& from, std::string_view set) -> Status {
    for (const auto& server : servers_) {
      if (const auto lease = server->leases().find(from.id(), request)) {
        return server->services().describe(*lease, from, set);
      }
    }
    return no_such_lease(request);
  };
  const bool known = std::any_of(servers_.begin(), servers_.end(), [&](const auto& server) {
    return server->leases().find(session.id(), request).has_value();
  });
  if (!known) return session.answer(id, no_such_lease(request));
  const auto open = std::count_if(describes_.begin(), describes_.end(), [&](const auto& entry) {
    return entry.second->session_id() == session.id();
  });
  if (open >= kMaxDescribes) {
    return session.answer(id, {StatusCode::resource_exhausted,
                               "this connection has " + std::to_string(kMaxDescribes) +
                                   " DESCRIBE under way; finish them first",
                               Origin::daemon,
                               {}});
  }
  auto made = std::make_unique<Describe>(loop_, config_, session, id, take,
                                         [this](Describe& done) { describes_.erase(&done); });
  describes_[made.get()] = std::move(made);
}

void Inbound::set_health(Session& session, const Frame& frame) {
  const CallId id{frame.header.call_id};
  const SetHealth& meta = frame.as<SetHealth>();
  Server* const server = find(session.id(), meta.server());
  if (server == nullptr) {
    return session.answer(
        id, {StatusCode::failed_precondition,
             "server " + std::to_string(meta.server()) + " is not listening on this connection",
             Origin::daemon,
             {}});
  }
  session.answer(id, server->services().set_health(session.id(), std::string(view(meta.service())),
                                                   meta.health() == Health::serving));
}

void Inbound::on_peer_leaving(SessionId session) {
  for (const auto& server : servers_) server->leases().remove(session);
}

// ---- The operator ------------------------------------------------------------------------------

void Inbound::drain_worker(SessionId session) {
  drained_.insert(session);
  for (const auto& server : servers_) {
    server->watch(on_change_);
    server->leases().drain(session);
  }
}

size_t Inbound::calls_of(SessionId session) const {
  size_t calls = 0;
  for (const auto& server : servers_) calls += server->calls_of(session);
  return calls;
}

bool Inbound::drain_server(std::string_view called) {
  bool found = false;
  for (const auto& server : servers_) {
    if (!is_called(*server, called)) continue;
    found = true;
    log::info("drain_server", {{"address", server->address()}});
    server->watch(on_change_);
    server->drain(/*tell_workers=*/true);
  }
  return found;
}

std::optional<size_t> Inbound::calls_of_draining(std::string_view called) const {
  std::optional<size_t> calls;
  for (const auto& server : servers_) {
    if (is_called(*server, called) && server->draining())
      calls = calls.value_or(0) + server->calls();
  }
  return calls;
}

bool Inbound::end_call(SessionId session, CallId id, const Status& status) {
  return std::any_of(servers_.begin(), servers_.end(), [&](const auto& server) {
    return server->end_call(session, id, status);
  });
}

// ---- The end -----------------------------------------------------------------------------------

void Inbound::on_session_lost(SessionId session) {
  peers_.erase(session);
  drained_.erase(session);
  const auto held = held_.find(session);
  if (held == held_.end()) return;
  for (const auto& [id, server] : held->second) server->remove_holder(session);
  held_.erase(held);
}

void Inbound::drain() {
  draining_ = true;
  for (const auto& server : servers_) {
    server->watch(on_change_);
    server->drain();
  }
}

void Inbound::end_calls(const Status& status) {
  for (const auto& server : servers_) server->end_calls(status);
}

void Inbound::disconnect_clients() {
  for (const auto& server : servers_) server->disconnect_clients();
}

/// The server and its leases are no more: so say the STATUSes of their requests.
void Inbound::tell_holders(Server& server) {
  const Status status{StatusCode::unavailable,
                      "server " + server.address() + " was drained and has closed",
                      Origin::daemon,
                      {}};
  server.leases().end(status);
  std::vector<std::pair<SessionId, CallId>> holding;
  for (const auto& [session, servers] : held_) {
    for (const auto& [id, held] : servers) {
      if (held == &server) holding.emplace_back(session, CallId{id});
    }
  }
  for (const auto& [session, id] : holding) {
    if (const auto peer = peers_.find(session); peer != peers_.end())
      peer->second->answer(id, status);
  }
}

void Inbound::on_closed(Server& server) {
  if (!server.address().empty()) log::info("server_closed", {{"address", server.address()}});
  if (!draining_) tell_holders(server);
  for (auto& [session, servers] : held_) {
    std::erase_if(servers, [&](const auto& entry) { return entry.second == &server; });
  }
  std::erase_if(servers_, [&](const auto& owned) { return owned.get() == &server; });
  on_change_();
}

}  // namespace legated
