#include "daemon/inbound/inbound.h"

#include <algorithm>

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

/// Why this can't be an address to listen on, empty when it can. gRPC reports nothing but failure.
std::string refuse_address(std::string_view address) {
  for (const char c : address) {
    if (c <= 0x20 || c >= 0x7f) return "the address must be printable ASCII without spaces";
  }
  if (address.size() > 512) return "the address is longer than 512 bytes";
  if (address.starts_with("unix:") || address.starts_with("unix-abstract:")) return {};
  const size_t colon = address.rfind(':');
  const std::string_view port =
      colon == address.npos ? std::string_view{} : address.substr(colon + 1);
  const bool digits =
      !port.empty() && port.size() <= 5 &&
      std::all_of(port.begin(), port.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!digits || colon == 0 || std::stoi(std::string(port)) > 65535) {
    return "\"" + std::string(address) +
           "\" is not an address; give \"host:port\", \"[v6-address]:port\" or \"unix:/path\", "
           "port 0 for any";
  }
  return {};
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
    default: return unregister(session, frame);
  }
}

Server* Inbound::find(SessionId session, uint32_t listen_id) const {
  const auto held = held_.find(session);
  if (held == held_.end()) return nullptr;
  const auto server = held->second.find(listen_id);
  return server == held->second.end() ? nullptr : server->second;
}

void Inbound::listen(Session& session, const Frame& frame) {
  const CallId id{frame.header.call_id};
  const std::string address(view(frame.as<Listen>().address()));
  if (std::string why = refuse_address(address); !why.empty()) {
    return session.answer(id, {StatusCode::invalid_argument, std::move(why), Origin::daemon, {}});
  }
  if (held_[session.id()].size() >= kMaxServers) {
    return session.answer(id, {StatusCode::resource_exhausted,
                               "this connection holds " + std::to_string(kMaxServers) +
                                   " servers, the most it may",
                               Origin::daemon,
                               {}});
  }
  const auto known = std::find_if(servers_.begin(), servers_.end(), [&](const auto& server) {
    return server->address() == address && !server->draining();
  });
  Server* server = known == servers_.end() ? nullptr : known->get();
  const bool shared = server != nullptr;
  if (!shared) {
    ServerSettings settings;
    settings.addresses = {address};
    if (const auto* options = frame.as<Listen>().options()) settings.sticky = view(options->sticky());
    auto made = std::make_unique<Server>(loop_, config_, std::move(settings),
                                         [this](Server& closed) { on_closed(closed); });
    if (const Status status = made->listen(address); !status.ok()) {
      // gRPC has to finish with it like with any other.
      Server& failed = *made;
      servers_.push_back(std::move(made));
      failed.drain();
      return session.answer(id, status);
    }
    server = made.get();
    servers_.push_back(std::move(made));
    log::info("server_listening", {{"address", server->address()}, {"session", raw(session.id())}});
  }
  server->add_holder(session.id());
  held_[session.id()][raw(id)] = server;

  auto& fbb = session.builder();
  const auto real_address = fbb.CreateString(server->address());
  fbb.Finish(CreateListening(fbb, server->port(), real_address, shared));
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
    if (auto why = Dispatcher::refuse_pattern(view(pattern))) {
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

bool Inbound::drain_server(std::string_view address) {
  bool found = false;
  for (const auto& server : servers_) {
    if (server->address() != address) continue;
    found = true;
    log::info("drain_server", {{"address", address}});
    server->watch(on_change_);
    server->drain(/*tell_workers=*/true);
  }
  return found;
}

std::optional<size_t> Inbound::calls_of_draining(std::string_view address) const {
  std::optional<size_t> calls;
  for (const auto& server : servers_) {
    if (server->address() == address && server->draining())
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
