#include "cpp-client/worker_main.h"

#include <unistd.h>

#include <csignal>
#include <iostream>

#include "cpp-client/connection.h"

namespace legate::client {
namespace {

// True when the step was fine; says so otherwise.
bool done(const WorkerOptions& options, const char* what, const Status& status) {
  if (status.ok()) return true;
  std::cerr << options.name << ": can't " << what << ": " << describe(status) << '\n';
  return false;
}

}  // namespace

int run_worker(const WorkerOptions& options, Handlers handlers) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  Options connection_options{.name = options.name, .roles = Role::worker};
  connection_options.on_event = [&name = options.name](const Event& event) {
    if (event.kind == Event::Kind::retire) std::cerr << name << ": " << event.message << '\n';
    const bool leave =
        event.kind == Event::Kind::lost ||
        (event.kind == Event::Kind::retire && event.reason != ipc::RetireReason::suspect);
    if (leave) ::kill(::getpid(), SIGTERM);  // wakes sigwait() below
  };
  std::unique_ptr<Connection> connection;
  try {
    connection = Connection::dial(options.socket, std::move(connection_options));
  } catch (const DialError& error) {
    std::cerr << options.name << ": " << error.what() << '\n';
    return 1;
  }

  const Listening listening = connection->listen(options.address);
  if (!done(options, "listen", listening.status)) return 1;
  const Lease lease =
      connection->register_methods(listening.server, std::move(handlers), options.slots,
                                   options.lease);
  if (!done(options, "register methods", lease.status)) return 1;
  if (!options.descriptors.empty()) {
    const Status described = connection->describe(lease.id, options.descriptors);
    if (!done(options, "register descriptors", described)) return 1;
  }
  if (!done(options, "serve", connection->serve(listening.server))) return 1;
  if (options.print_port) std::cout << "listening " << listening.port << std::endl;

  int signal = 0;
  sigwait(&signals, &signal);
  if (const auto closed = connection->closed()) return done(options, "go on", *closed) ? 0 : 1;
  const Status left = connection->unregister(lease.id);
  // The daemon may have ended the lease itself, when it drained the server.
  if (left.code != Code::not_found && !done(options, "unregister", left)) return 1;
  if (!connection->wait_idle(options.grace)) {
    std::cerr << options.name << ": leaves calls unfinished after "
              << std::chrono::duration_cast<std::chrono::seconds>(options.grace).count() << " s\n";
  }
  connection->close();
  return 0;
}

}  // namespace legate::client
