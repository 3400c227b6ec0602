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
constexpr int kMaxDescribes = 4;             // under way at once

/// What a peer has chosen of the daemon's own services.
void apply_switches(const ListenOptions* options, ServerSettings& settings) {
  if (options == nullptr) return;
  const auto apply = [](Switch chosen, bool& setting) {
    if (chosen != Switch::inherit) setting = chosen == Switch::on;
  };
  apply(options->health(), settings.health);
  apply(options->reflection(), settings.reflection);
  apply(options->channelz(), settings.channelz);
}

Status no_such_lease(CallId request) {
  return {StatusCode::failed_precondition,
          "lease " + std::to_string(raw(request)) + " is not of this connection",
          Origin::daemon,
          {}};
}

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
    apply_switches(frame.as<Listen>().options(), settings);
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
  if (meta.slots() == 0 || meta.methods()->size() == 0) {
    return session.answer(id, {StatusCode::invalid_argument,
                               "REGISTER needs at least one method and one slot",
                               Origin::daemon,
                               {}});
  }
  size_t leases = 0;
  for (const auto& each : servers_) leases += each->count_leases(session.id());
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
  server->add_lease(LeaseId{next_lease_++}, {&session, id}, patterns, meta.slots());
  log::info("lease", {{"session", raw(session.id())},
                      {"peer", session.peer().name},
                      {"address", server->address()},
                      {"methods", static_cast<uint64_t>(patterns.size())},
                      {"slots", meta.slots()}});
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
    const auto lease = server->find_lease(session.id(), CallId{frame.header.aux});
    if (!lease) continue;
    server->remove_lease(*lease);
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
      if (const auto lease = server->find_lease(from.id(), request)) {
        return server->services().describe(*lease, from, set);
      }
    }
    return no_such_lease(request);
  };
  const bool known = std::any_of(servers_.begin(), servers_.end(), [&](const auto& server) {
    return server->find_lease(session.id(), request).has_value();
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
  for (const auto& server : servers_) server->remove_leases(session);
}

void Inbound::on_session_lost(SessionId session) {
  const auto held = held_.find(session);
  if (held == held_.end()) return;
  for (const auto& [id, server] : held->second) server->remove_holder(session);
  held_.erase(held);
}

void Inbound::drain() {
  draining_ = true;
  for (const auto& server : servers_) server->drain();
}

void Inbound::end_calls(const Status& status) {
  for (const auto& server : servers_) server->end_calls(status);
}

void Inbound::disconnect_clients() {
  for (const auto& server : servers_) server->disconnect_clients();
}

void Inbound::on_closed(Server& server) {
  if (!server.address().empty()) log::info("server_closed", {{"address", server.address()}});
  for (auto& [session, servers] : held_) {
    std::erase_if(servers, [&](const auto& entry) { return entry.second == &server; });
  }
  std::erase_if(servers_, [&](const auto& owned) { return owned.get() == &server; });
  on_change_();
}

}  // namespace legated
