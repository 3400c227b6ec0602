#include "daemon/daemon.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <random>

#include "daemon/ipc/access.h"
#include "daemon/system/notify.h"
#include "daemon/telemetry/log.h"
#include "daemon/version.h"

namespace legated {

using namespace legate::ipc;
using legated::Origin;
using legated::Status;
namespace {

constexpr std::chrono::seconds kLastWords{1};  // for statuses to be taken when the grace is over
constexpr int kMaxQueries = 4;  // answers a connection may have open; each holds its text

std::string new_epoch() {
  std::random_device random;
  std::array<char, 17> text{};
  std::snprintf(text.data(), text.size(), "%08x%08x", random(), random());
  return text.data();
}

}  // namespace

Daemon::Daemon(const Config& config)
    : config_(config),
      identity_{new_epoch(), std::string("legated ") + kVersion},
      loop_({config.io.spin, config.io.yield}),
      signals_(loop_, [this](int signal) { on_signal(signal); }),
      listener_(loop_, [this](int fd) { on_accept(fd); }),
      inbound_(loop_, config, [this] { go_on_with_shutdown(); }),
      outbound_(loop_, config, [this] { go_on_with_shutdown(); }),
      commands_(
          loop_, inbound_, outbound_, [this](SessionId id) { return sessions_.contains(id); },
          [this] {
            if (state_ == State::running) begin_shutdown("COMMAND drain");
          }),
      started_(loop_.now()),
      grace_(loop_, [this] { on_grace_over(); }) {
  inbound_.start();
  listener_.listen(config.ipc.socket, config.ipc.mode);
}

Daemon::~Daemon() = default;

void Daemon::run() {
  log::info("started", {{"version", kVersion},
                        {"pid", static_cast<int64_t>(getpid())},
                        {"socket", config_.ipc.socket},
                        {"epoch", identity_.epoch}});
  notify_service_manager("READY=1\nSTATUS=serving " + config_.ipc.socket);
  loop_.run();
  loop_.exclusively([this] { outbound_.close(); });
  loop_.finish_completions();
  log::info(
      "stopped",
      {{"uptime_s",
        std::chrono::duration_cast<std::chrono::seconds>(Loop::Clock::now() - started_).count()}});
}

// ---- Sessions ----------------------------------------------------------------------------------

void Daemon::on_accept(int fd) {
  Session::Peer peer;
  const Status identified = identify(fd, config_.access, peer);
  const SessionId id{next_session_++};
  auto session = std::make_unique<Session>(loop_, config_, static_cast<SessionHost&>(*this), id, fd,
                                           std::move(peer));
  Session& made = *session;
  sessions_[id] = std::move(session);
  ++pending_hello_;
  if (!identified.ok()) {
    made.fail(ErrorCode::access_denied, identified.message);
  } else if (made.peer().allowed_roles == 0) {
    made.fail(ErrorCode::access_denied,
              "user " + std::to_string(made.peer().uid) +
                  " has no role here; see [access] in the daemon's configuration");
  } else if (sessions_.size() > config_.ipc.max_connections) {
    made.fail(ErrorCode::too_many, "ipc.max_connections, " +
                                       std::to_string(config_.ipc.max_connections) +
                                       ", is reached; close some, or raise it");
  } else if (pending_hello_ > config_.ipc.max_pending_hello) {
    made.fail(ErrorCode::too_many, "ipc.max_pending_hello, " +
                                       std::to_string(config_.ipc.max_pending_hello) +
                                       ", connections have not said HELLO yet; try again");
  }
}

void Daemon::on_hello(Session& session) {
  --pending_hello_;
  if (state_ != State::running)
    session.goaway(false, config_.shutdown.grace, "legated is shutting down");
}

void Daemon::on_session_lost(Session& session) {
  inbound_.on_session_lost(session.id());
  outbound_.on_session_lost(session.id());
}

void Daemon::on_session_done(Session& session) {
  if (session.roles() == 0) --pending_hello_;
  sessions_.erase(session.id());
  go_on_with_shutdown();
}

void Daemon::on_peer_leaving(Session& session) { inbound_.on_peer_leaving(session.id()); }

void Daemon::on_request(Session& session, const Frame& frame) {
  switch (frame.header.type) {
    case FrameType::query: return on_query(session, frame);
    case FrameType::command: return commands_.on_command(session, frame);
    case FrameType::start:
    case FrameType::open_channel:
    case FrameType::close_channel:
    case FrameType::connect: return outbound_.on_request(session, frame);
    default: return inbound_.on_request(session, frame);
  }
}

void Daemon::on_query(Session& session, const Frame& frame) {
  const CallId id{frame.header.call_id};
  const std::string_view what = view(frame.as<Query>().what());
  std::string answer;
  if (what == "status") {
    answer = status_json();
  } else if (what == "channels") {
    answer = channels_json();
  } else if (what == "calls") {
    answer = calls_json();
  } else if (what == "workers") {
    answer = workers_json();
  } else {
    return session.answer(
        id, {StatusCode::invalid_argument,
             "unknown query; there are \"status\", \"channels\", \"calls\" and \"workers\"",
             Origin::daemon,
             {}});
  }
  const auto open = std::count_if(queries_.begin(), queries_.end(), [&](const auto& query) {
    return query.second->session_id() == session.id();
  });
  if (open >= kMaxQueries) {
    return session.answer(id, {StatusCode::resource_exhausted,
                               "this connection has " + std::to_string(kMaxQueries) +
                                   " answers to queries open; read them first",
                               Origin::daemon,
                               {}});
  }
  auto made = std::make_unique<JsonAnswer>(loop_, session, id,
                                           [this](JsonAnswer& done) { queries_.erase(&done); });
  made->say(std::move(answer));
  made->finish({});
  queries_[made.get()] = std::move(made);
}

// ---- The end -----------------------------------------------------------------------------------

void Daemon::on_signal(int signal) {
  if (signal == SIGHUP) {
    if (log::reopen())
      log::info("reloaded", {{"what", "the log file; changes of the configuration need a restart"}});
    return;
  }
  if (state_ == State::running) {
    begin_shutdown(signal == SIGTERM ? "SIGTERM" : "SIGINT");
  } else {
    on_grace_over();
  }
}

void Daemon::begin_shutdown(const std::string& reason) {
  log::info("shutdown_begins", {{"reason", reason}, {"grace_ms", config_.shutdown.grace.count()}});
  notify_service_manager("STOPPING=1\nSTATUS=draining");
  state_ = State::draining_inbound;
  grace_.set(loop_.now() + config_.shutdown.grace);
  listener_.close();
  for (const auto& [id, session] : sessions_) {
    if (session->open()) session->goaway(false, config_.shutdown.grace, "legated is shutting down");
  }
  inbound_.drain();
  go_on_with_shutdown();
}

void Daemon::on_grace_over() {
  if (state_ == State::running || state_ == State::stopped) return;
  if (!grace_is_over_) {
    grace_is_over_ = true;
    const Status status{StatusCode::unavailable,
                        "legated is shutting down and shutdown.grace is over",
                        Origin::daemon,
                        {}};
    inbound_.end_calls(status);
    outbound_.drain();
    outbound_.end_calls(status);
    grace_.set(loop_.now() + kLastWords);
    return;
  }
  // What is left waits for a peer that takes nothing.
  grace_.cancel();
  inbound_.disconnect_clients();
  end_commands();
  for (const auto& [id, session] : sessions_) session->close("legated is shutting down");
}

void Daemon::end_commands() {
  if (!grace_is_over_) return commands_.finish({});
  commands_.finish({StatusCode::deadline_exceeded,
                    "shutdown.grace, " + std::to_string(config_.shutdown.grace.count()) +
                        " ms, was over before the last call; what was left ended UNAVAILABLE",
                    Origin::daemon,
                    {}});
}

void Daemon::go_on_with_shutdown() {
  commands_.update();
  if (state_ == State::draining_inbound && inbound_.idle()) {
    state_ = State::draining_outbound;
    outbound_.drain();
    for (const auto& [id, session] : sessions_) {
      if (session->open())
        session->goaway(true, config_.shutdown.grace, "legated is shutting down");
    }
  }
  if (state_ == State::draining_outbound && outbound_.idle()) {
    state_ = State::stopped;
    end_commands();
    for (const auto& [id, session] : sessions_) session->close("legated is shutting down");
  }
  if (state_ == State::stopped && sessions_.empty()) loop_.stop();
}

}  // namespace legated
