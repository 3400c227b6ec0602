// The daemon's answers to legatectl, as JSON. Fields are only added.

#include <unistd.h>

#include <array>

#include <nlohmann/json.hpp>

#include "daemon/daemon.h"
#include "daemon/services/health_service.h"
#include "daemon/version.h"

namespace legated {
namespace {

using json = nlohmann::ordered_json;  // tables show the fields in this order

int64_t milliseconds(Loop::Clock::duration time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time).count();
}

const char* name(grpc_connectivity_state state) {
  switch (state) {
    case GRPC_CHANNEL_IDLE: return "IDLE";
    case GRPC_CHANNEL_CONNECTING: return "CONNECTING";
    case GRPC_CHANNEL_READY: return "READY";
    case GRPC_CHANNEL_TRANSIENT_FAILURE: return "TRANSIENT_FAILURE";
    case GRPC_CHANNEL_SHUTDOWN: break;
  }
  return "SHUTDOWN";
}

/// Names come from peers and may be no UTF-8.
std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

std::string Daemon::status_json() const {
  static constexpr std::array kStates = {"running", "draining", "draining", "stopped"};
  json sessions = json::array();
  for (const auto& [id, session] : sessions_) {
    if (!session->open()) continue;
    json roles = json::array();
    for (const auto role : legate::ipc::EnumValuesRole()) {
      if ((session->roles() & static_cast<uint8_t>(role)) != 0)
        roles.push_back(legate::ipc::EnumNameRole(role));
    }
    const Session::Peer& peer = session->peer();
    sessions.push_back({{"session", raw(id)},
                        {"name", peer.name},
                        {"instance", peer.instance},
                        {"build", peer.build},
                        {"pid", peer.pid},
                        {"uid", peer.uid},
                        {"roles", roles},
                        {"age_ms", milliseconds(loop_.now() - session->since())},
                        {"calls", session->calls_open()},
                        {"memory", session->memory_used()},
                        {"late_frames", session->late_frames()}});
  }
  size_t incoming = 0;
  for (const auto& server : inbound_.servers()) incoming += server->calls();
  return dump({{"version", kVersion},
               {"epoch", identity_.epoch},
               {"pid", getpid()},
               {"uptime_s", milliseconds(loop_.now() - started_) / 1000},
               {"state", kStates[static_cast<size_t>(state_)]},
               {"socket", config_.ipc.socket},
               {"connections", sessions_.size()},
               {"calls", {{"outgoing", outbound_.calls().size()}, {"incoming", incoming}}},
               {"limits",
                {{"max_message", config_.limits.max_message},
                 {"max_metadata", config_.limits.max_metadata},
                 {"max_connections", config_.ipc.max_connections},
                 {"max_calls", config_.ipc.max_calls},
                 {"memory_budget", config_.ipc.memory_budget},
                 {"queue", config_.inbound.queue},
                 {"queue_memory", config_.inbound.queue_memory}}},
               {"sessions", sessions}});
}

std::string Daemon::channels_json() const {
  json channels = json::array();
  outbound_.channels().each([&](const Channel& channel) {
    json backends = json::array();
    for (const auto& backend : channel.backends())
      backends.push_back({{"address", backend.address}, {"state", backend.state}});
    json policies = json::array();
    for (const auto& policy : channel.policies.report(loop_.now()))
      policies.push_back({{"policy", policy.policy},
                          {"applied", policy.applied},
                          {"refused", policy.refused},
                          {"state", policy.state}});
    channels.push_back({{"name", channel.name()},
                        {"target", channel.target()},
                        {"state", name(channel.state())},
                        {"users", channel.users},
                        {"calls", channel.calls},
                        {"started", channel.started},
                        {"ended", channel.ended},
                        {"failed", channel.failed},
                        {"last_error", channel.last_error},
                        {"backends", backends},
                        {"policies", policies}});
  });
  return dump({{"channels", channels}});
}

std::string Daemon::calls_json() const {
  json calls = json::array();
  for (const auto& [key, call] : outbound_.calls()) {
    calls.push_back({{"session", raw(call->session_id())},
                     {"id", raw(call->id())},
                     {"direction", "out"},
                     {"method", call->method()},
                     {"age_ms", milliseconds(loop_.now() - call->since())},
                     {"state", call->state()},
                     {"target", call->channel() != nullptr ? call->channel()->target() : ""}});
  }
  for (const auto& server : inbound_.servers()) {
    server->each_call([&](const ServerCall& call) {
      json entry = {{"session", nullptr},
                    {"id", raw(call.call_id())},
                    {"direction", "in"},
                    {"method", call.method()},
                    {"age_ms", milliseconds(loop_.now() - call.since())},
                    {"state", call.state()},
                    {"target", server->address()}};
      if (call.worker()) entry["session"] = raw(*call.worker());
      calls.push_back(std::move(entry));
    });
    server->each_local_call([&](const LocalCall& call) {
      calls.push_back({{"session", nullptr},
                       {"id", 0},
                       {"direction", "in"},
                       {"method", call.method()},
                       {"age_ms", milliseconds(loop_.now() - call.since())},
                       {"state", "legated"},
                       {"target", server->address()}});
    });
  }
  return dump({{"calls", calls}});
}

std::string Daemon::workers_json() const {
  json servers = json::array();
  for (const auto& server : inbound_.servers()) {
    json leases = json::array();
    for (const auto& [id, state] : server->dispatcher().leases()) {
      const Session& session = *server->leases().at(id).session;
      leases.push_back({{"session", raw(session.id())},
                        {"name", session.peer().name},
                        {"methods", state.patterns},
                        {"slots", state.slots},
                        {"busy", state.busy},
                        {"descriptors", server->services().descriptors(id)},
                        {"dispatched", state.dispatched}});
    }
    json health = json::array();
    for (const auto& [service, status] : server->services().health())
      health.push_back({{"service", service}, {"status", name(status)}});
    servers.push_back({{"address", server->address()},
                       {"port", server->port()},
                       {"serving", server->serving()},
                       {"draining", server->draining()},
                       {"holders", server->holders().size()},
                       {"queued", server->dispatcher().waiting()},
                       {"in_flight", server->calls()},
                       {"services", server->services().own()},
                       {"health", health},
                       {"leases", leases}});
  }
  return dump({{"servers", servers}});
}

}  // namespace legated
