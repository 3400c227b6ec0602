// peer-worker: serves the scriptable Peer service behind legated. Prints "listening PORT" once calls
// are served; ends in order on SIGTERM.
#include <CLI/CLI.hpp>

#include "cpp-client/worker_main.h"
#include "tests/support/peer_service.h"

int main(int argc, char** argv) {
  CLI::App app{"Serves the Peer of tests/peers/peer.proto behind legated.", "peer-worker"};
  legate::client::WorkerOptions options{
      .name = "peer-worker", .address = "127.0.0.1:0", .slots = 64, .print_port = true};
  app.add_option("--socket", options.socket, "Path of legated's socket")->required();
  app.add_option("--listen", options.address, "Address to serve at [127.0.0.1:0, any free port]");
  app.add_option("--slots", options.slots, "Calls served at once [64]")->check(CLI::PositiveNumber);
  app.add_option("--generation", options.lease.generation, "Version of the worker [none]");
  app.add_option("--share", options.lease.share, "Its share of the calls against others [100]");
  app.add_option("--weight", options.lease.weight, "Capacity within its generation [100]")
      ->check(CLI::PositiveNumber);
  app.add_option("--name", options.name, "Name of the worker in legatectl [peer-worker]");
  CLI11_PARSE(app, argc, argv);
  return legate::client::run_worker(options, legated::test::peer_handlers());
}
