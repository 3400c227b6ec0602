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

json limits_of(const ServerSettings& settings) {
  return {{"max_connections", settings.max_connections},
          {"max_concurrent_streams", settings.max_concurrent_streams},
          {"max_receive_message", settings.max_receive_message},
          {"max_send_message", settings.max_send_message},
          {"max_metadata", settings.max_metadata},
          {"memory", settings.memory}};
}

json report(const Policies& policies, Loop::Time now) {
  json list = json::array();
  for (const auto& policy : policies.report(now))
    list.push_back({{"policy", policy.policy},
                    {"applied", policy.applied},
                    {"refused", policy.refused},
                    {"state", policy.state}});
  return list;
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
                 {"overload_ms", config_.inbound.overload.count()},
                 {"queue_memory", config_.inbound.queue_memory}}},
               {"sessions", sessions}});
}

std::string Daemon::channels_json() const {
  json channels = json::array();
  outbound_.channels().each([&](const Channel& channel) {
    json backends = json::array();
    for (const auto& backend : channel.backends())
      backends.push_back({{"address", backend.address}, {"state", backend.state}});
    json tokens = json::array();
    if (const TokenSource* token = channel.token()) {
      const auto report = token->report();
      tokens.push_back({{"source", token->kind()},
                        {"state", report.state},
                        {"expires_in_ms", nullptr},
                        {"fetched", report.fetched},
                        {"failed", report.failed},
                        {"last_error", report.last_error}});
      if (report.expires_in) tokens[0]["expires_in_ms"] = report.expires_in->count();
    }
    channels.push_back({{"name", channel.name()},
                        {"target", channel.target()},
                        {"state", name(channel.state())},
                        {"users", channel.users},
                        {"calls", channel.calls},
                        {"waiting", channel.turns.waiting()},
                        {"started", channel.started},
                        {"ended", channel.ended},
                        {"failed", channel.failed},
                        {"retries", channel.retries},
                        {"hedges", channel.hedges},
                        {"hedges_won", channel.hedges_won},
                        {"last_error", channel.last_error},
                        {"backends", backends},
                        {"tokens", tokens},
                        {"policies", report(channel.policies, loop_.now())}});
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
                     {"attempts", call->attempts()},
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
                    {"attempts", nullptr},
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

namespace {

json leases_json(const Server& server, Loop::Time now) {
  json leases = json::array();
  for (const auto& [id, state] : server.dispatcher().leases()) {
    const Leases::Lease& lease = server.leases().at(id);
    const Registration& registered = state.registered;
    leases.push_back({{"session", raw(lease.session->id())},
                      {"name", lease.session->peer().name},
                      {"methods", registered.patterns},
                      {"generation", registered.generation},
                      {"weight", registered.weight},
                      {"slots", registered.slots},
                      {"busy", state.busy},
                      {"dispatched", state.dispatched},
                      {"descriptors", server.services().descriptors(id)},
                      {"age_ms", milliseconds(now - lease.since)},
                      {"state", state.draining  ? "draining"
                                : state.suspect ? "suspect"
                                : lease.advised ? "recycle"
                                                : "serving"}});
  }
  return leases;
}

/// A row for each generation of each pool; what waits, waits for the whole pool.
json pools_json(const Dispatcher& dispatcher, Loop::Time now) {
  json rows = json::array();
  for (const auto& [pool, oldest] : dispatcher.pools(now)) {
    const auto add = [&, &pool = pool, &oldest = oldest](json row) {
      row["queued"] = pool->waiting;
      row["oldest_ms"] = milliseconds(oldest);
      rows.push_back(std::move(row));
    };
    for (const Pool::Generation& generation : pool->generations()) {
      uint64_t slots = 0;
      uint64_t busy = 0;
      for (const Pool::Member& member : pool->members()) {
        if (member.generation != &generation) continue;
        slots += member.lease->registered.slots;
        busy += member.lease->busy;
      }
      add({{"pool", pool->pattern()},
           {"generation", generation.label},
           {"share", generation.share},
           {"leases", generation.leases},
           {"slots", slots},
           {"busy", busy},
           {"dispatched", generation.dispatched}});
    }
    if (pool->generations().empty()) add({{"pool", pool->pattern()}, {"leases", 0}});
  }
  return rows;
}

}  // namespace

std::string Daemon::workers_json() const {
  json servers = json::array();
  for (const auto& server : inbound_.servers()) {
    json health = json::array();
    for (const auto& [service, status] : server->services().health())
      health.push_back({{"service", service}, {"status", name(status)}});
    servers.push_back({{"address", server->address()},
                       {"name", server->name()},
                       {"addresses", server->port().addresses()},
                       {"port", server->port().port()},
                       {"tls", server->settings().tls},
                       {"connections", server->port().connections()},
                       {"connections_refused", server->port().refused()},
                       {"limits", json::array({limits_of(server->limits())})},
                       {"serving", server->serving()},
                       {"draining", server->draining()},
                       {"holders", server->holders().size()},
                       {"queued", server->dispatcher().waiting()},
                       {"in_flight", server->calls()},
                       {"services", server->services().own()},
                       {"health", health},
                       {"leases", leases_json(*server, loop_.now())},
                       {"pools", pools_json(server->dispatcher(), loop_.now())},
                       {"policies", report(server->policies(), loop_.now())}});
  }
  return dump({{"servers", servers}});
}

}  // namespace legated
