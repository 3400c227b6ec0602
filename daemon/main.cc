// legated: command line and wiring.

#include <absl/synchronization/mutex.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <iostream>

#include "daemon/config/keys.h"
#include "daemon/config/load.h"
#include "daemon/daemon.h"
#include "daemon/inbound/server_check.h"
#include "daemon/outbound/channel_check.h"
#include "daemon/outbound/channels.h"
#include "daemon/system/limits.h"
#include "daemon/system/signals.h"
#include "daemon/telemetry/log.h"
#include "daemon/version.h"

namespace {

constexpr int kUsageError = 2;
constexpr int kStartError = 1;

int run(const legated::Config& config) {
  legated::block_signals();
  legated::raise_descriptor_limit();
  // gRPC may fork and poll in ways of its own when told so by the environment; the daemon is built
  // on one way.
  setenv("GRPC_POLL_STRATEGY", "epoll1", 1);
  // Debian builds abseil, whose locks gRPC uses, with a debugging aid: every lock taken is entered
  // in one graph of the process, under a lock of its own.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  legated::log::setup(config.log);
  legated::log::install_grpc_log();
  legated::Daemon(config).run();
  return 0;
}

/// Prints the configuration. Throws ConfigError when gRPC refuses one of its channels.
void check(const legated::Config& config) {
  legated::Loop loop({});
  legated::Channels(loop, config).close();
  std::cout << legated::to_toml(config);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "legated: owns gRPC channels and ports for processes that speak to it over a Unix socket"};
  app.set_version_flag("--version", legated::kVersion);
  app.require_subcommand(1);

  legated::ConfigSources sources;
  std::string socket;
  const auto add_sources = [&](CLI::App* command) {
    command->add_option("-c,--config", sources.file,
                        "TOML file; docs/configuration.md lists the keys");
    command->add_option("--set", sources.overrides,
                        "section.key=value, above file and environment; may be repeated");
    command->add_option("--socket", socket, "short for --set ipc.socket=PATH");
  };
  CLI::App* const run_command = app.add_subcommand("run", "serve, until SIGTERM");
  CLI::App* const check_command =
      app.add_subcommand("check", "read the configuration, print it in full, and leave");
  CLI::App* const keys_command =
      app.add_subcommand("keys", "print what can be configured, as Markdown");
  add_sources(run_command);
  add_sources(check_command);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsageError;
  }

  if (keys_command->parsed()) {
    legated::print_reference(std::cout);
    return 0;
  }
  try {
    sources.environment = legated::process_environment();
    if (!socket.empty()) sources.overrides.push_back("ipc.socket=" + socket);
    const legated::Config config = legated::load(sources);
    for (const std::string& problems :
         {legated::problems_with_channels(config), legated::problems_with_servers(config)}) {
      if (!problems.empty()) throw legated::ConfigError(problems);
    }
    if (check_command->parsed()) {
      check(config);
      return 0;
    }
    return run(config);
  } catch (const legated::ConfigError& error) {
    std::cerr << "legated: configuration: " << error.what() << '\n';
    return kUsageError;
  } catch (const std::exception& error) {
    std::cerr << "legated: " << error.what() << '\n';
    return kStartError;
  }
}
