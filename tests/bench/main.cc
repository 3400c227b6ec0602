// legated_bench: the echo servers and load generators that ./tests/bench/run measures the daemon
// with.
#include <CLI/CLI.hpp>
#include <csignal>
#include <iostream>

#include "tests/bench/bench.h"

int main(int argc, char** argv) {
  using namespace legated::bench;
  CLI::App app{"Echo servers and load generators; ./tests/bench/run starts them.", "legated_bench"};
  app.require_subcommand(1);

  std::string address, target, socket;
  LoadOptions options;
  double warm_up = options.warm_up.count();
  double window = options.window.count();
  const auto add_load = [&](CLI::App* command) {
    command->add_option("--in-flight", options.in_flight, "Calls at once")
        ->check(CLI::PositiveNumber);
    command->add_option("--bytes", options.bytes, "Size of a message");
    command->add_option("--messages", options.messages,
                        "Messages of an answer; 0, the default, for unary calls");
    command->add_option("--warm-up", warm_up, "Seconds before the window");
    command->add_option("--seconds", window, "Length of the window");
    command->add_option("--calls", options.calls, "Calls that end the window, instead of time");
    command->add_option("--measure", options.processes, "Process to measure as well; repeatable");
  };

  CLI::App* const echo = app.add_subcommand("grpc-echo", "a gRPC server that echoes");
  echo->add_option("address", address, "host:port or unix:/path")->required();

  CLI::App* const worker = app.add_subcommand("ipc-worker", "the same as a worker of legated");
  worker->add_option("socket", socket, "legated's socket")->required();
  worker->add_option("address", address, "What legated shall listen on")->required();

  CLI::App* const grpc_load = app.add_subcommand("grpc-load", "calls a gRPC server");
  grpc_load->add_option("target", target, "gRPC target")->required();
  add_load(grpc_load);

  uint32_t streams = 1;
  CLI::App* const hold = app.add_subcommand("grpc-hold", "keeps streams open");
  hold->add_option("target", target, "gRPC target")->required();
  hold->add_option("streams", streams, "How many")->required();

  CLI::App* const grpcpp_load =
      app.add_subcommand("grpcpp-load", "the same by gRPC's C++ interface; unary calls");
  grpcpp_load->add_option("target", target, "gRPC target")->required();
  add_load(grpcpp_load);

  CLI::App* const ipc_load = app.add_subcommand("ipc-load", "calls a gRPC server through legated");
  ipc_load->add_option("socket", socket, "legated's socket")->required();
  ipc_load->add_option("target", target, "gRPC target")->required();
  add_load(ipc_load);

  CLI11_PARSE(app, argc, argv);
  options.warm_up = std::chrono::duration<double>(warm_up);
  options.window = std::chrono::duration<double>(window);
  try {
    if (echo->parsed()) run_grpc_echo(address);
    if (worker->parsed()) run_ipc_worker(socket, address);
    if (grpc_load->parsed()) run_grpc_load(target, options);
    if (hold->parsed()) run_grpc_hold(target, streams);
    if (grpcpp_load->parsed()) run_grpcpp_load(target, options);
    if (ipc_load->parsed()) run_ipc_load(socket, target, options);
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "legated_bench: " << error.what() << '\n';
    return 1;
  }
}
