#include "daemon/admin/commands.h"

#include <algorithm>

#include "daemon/telemetry/log.h"

namespace legated {

using legate::ipc::Command;
using legate::ipc::view;
namespace {

constexpr int kMaxCommands = 4;  // that a connection may have open

std::string number(SessionId session) { return std::to_string(raw(session)); }

Status not_found(std::string what) {
  return {StatusCode::not_found, std::move(what), Origin::daemon, {}};
}

}  // namespace

void Commands::on_command(Session& session, const legate::ipc::Frame& frame) {
  const CallId id{frame.header.call_id};
  const auto& command = frame.as<Command>();
  const std::string_view what = view(command.what());
  const SessionId about{command.session()};
  if (what == "cancel") return session.answer(id, cancel(about, CallId{command.call()}));
  const auto open = std::count_if(drains_.begin(), drains_.end(), [&](const Drain& drain) {
    return drain.answer->session_id() == session.id();
  });
  if (open >= kMaxCommands) {
    return session.answer(id, {StatusCode::resource_exhausted,
                               "this connection has " + std::to_string(kMaxCommands) +
                                   " commands open; cancel one, or wait",
                               Origin::daemon,
                               {}});
  }
  if (what == "drain-worker") return drain_worker(session, id, about);
  if (what == "drain-server") return drain_server(session, id, std::string(view(command.server())));
  if (what == "drain") return drain_all(session, id);
  session.answer(id, {StatusCode::invalid_argument,
                      "unknown command; there are \"cancel\", \"drain-worker\", \"drain-server\" "
                      "and \"drain\"",
                      Origin::daemon,
                      {}});
}

Status Commands::cancel(SessionId session, CallId call) {
  const Status status{StatusCode::cancelled, "cancelled by the operator", Origin::daemon, {}};
  const bool outgoing = raw(call) % 2 == 1;
  const bool found = outgoing ? outbound_.end_call(session, call, status)
                              : inbound_.end_call(session, call, status);
  if (!found) {
    return not_found("connection " + number(session) + " has no call " +
                     std::to_string(raw(call)) + "; \"legatectl calls\" lists what is open");
  }
  log::info("call_cancelled", {{"session", raw(session)}, {"call", raw(call)}});
  return {};
}

void Commands::drain_worker(Session& session, CallId id, SessionId worker) {
  if (!connected_(worker)) {
    return session.answer(id, not_found("there is no connection " + number(worker) +
                                        "; \"legatectl workers\" lists what is there"));
  }
  log::info("drain_worker", {{"session", raw(worker)}});
  inbound_.drain_worker(worker);
  wait(session, id, [this, worker]() -> std::optional<size_t> {
    const size_t left = inbound_.calls_of(worker);
    return left == 0 ? std::nullopt : std::optional(left);
  });
}

void Commands::drain_server(Session& session, CallId id, const std::string& server) {
  if (!inbound_.drain_server(server)) {
    return session.answer(id, not_found("there is no server \"" + server.substr(0, 200) +
                                        "\"; \"legatectl workers\" lists what is there"));
  }
  wait(session, id, [this, server] { return inbound_.calls_of_draining(server); });
}

void Commands::drain_all(Session& session, CallId id) {
  // Ended by finish(); registered first, since there may be nothing to wait for.
  wait(session, id, [this]() -> std::optional<size_t> {
    size_t left = outbound_.calls().size();
    for (const auto& server : inbound_.servers()) left += server->calls();
    return left;
  });
  shut_down_();
}

void Commands::wait(Session& session, CallId id, Left left) {
  auto answer = std::make_unique<JsonAnswer>(loop_, session, id, [this](JsonAnswer& done) {
    drains_.remove_if([&](const Drain& drain) { return drain.answer.get() == &done; });
  });
  drains_.push_back({std::move(answer), std::move(left), std::nullopt});
  update();
}

void Commands::run() {
  for (Drain& drain : drains_) {
    const auto left = drain.left();
    if (!left) {
      drain.answer->cut({});
    } else if (drain.told != left) {
      drain.told = left;
      drain.answer->say("{\"left\":" + std::to_string(*left) + "}");
    }
  }
}

void Commands::finish(const Status& status) {
  for (Drain& drain : drains_) drain.answer->cut(status);
}

}  // namespace legated
