// legatectl: the operator's command. It finds the daemon's socket, reads the command line and runs
// one command.
#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "cpp-client/socket.h"
#include "daemon/ctl/commands.h"
#include "daemon/version.h"

namespace {

using namespace legated::ctl;
using legate::client::Shape;

constexpr const char* kSystemSocket = "/run/legated/legated.sock";

const std::map<std::string, Shape> kShapes = {{"unary", Shape::unary},
                                              {"client-streaming", Shape::client_streaming},
                                              {"server-streaming", Shape::server_streaming},
                                              {"bidi", Shape::bidi}};

std::string environment(const char* variable) {
  // No other thread runs yet.
  const char* value = std::getenv(variable);  // NOLINT(concurrency-mt-unsafe)
  return value == nullptr ? "" : value;
}

std::string default_socket() {
  if (auto path = environment("LEGATE_SOCKET"); !path.empty()) return path;
  const std::string runtime = environment("XDG_RUNTIME_DIR");
  if (runtime.empty()) return kSystemSocket;
  const std::string path = runtime + "/legated.sock";
  std::error_code ignored;
  const bool only_system =
      !std::filesystem::exists(path, ignored) && std::filesystem::exists(kSystemSocket, ignored);
  return only_system ? kSystemSocket : path;
}

/// The options of one run, as CLI11 fills them in.
struct CommandLine {
  CLI::App app{"legatectl shows what a running legated does, and makes calls through it.",
               "legatectl"};
  Target target{.socket = default_socket()};
  int ping_count = 1;
  CallRequest request;
  std::vector<std::string> texts;
  std::vector<std::string> hexes;
  std::string output = "text";
  std::string shape;
  std::vector<std::string> attached;

  CLI::App* ping = nullptr;
  CLI::App* call = nullptr;
  CLI::App* drain = nullptr;
  CLI::App* cancel = nullptr;
  CommandRequest command;
  bool drain_all = false;
  CLI::App* attach = nullptr;
  CLI::Option* data_option = nullptr;
  CLI::Option* hex_option = nullptr;

  CommandLine() {
    app.require_subcommand(1);
    app.fallthrough();
    app.set_version_flag("--version", std::string("legatectl ") + legated::kVersion);
    app.add_option("--socket", target.socket,
                   "Path of legated's socket [$LEGATE_SOCKET, $XDG_RUNTIME_DIR/legated.sock or " +
                       std::string(kSystemSocket) + "]");
    app.add_option("-o,--output", output, "text or json [text]")
        ->check(CLI::IsMember({"text", "json"}));
    app.footer(
        "Exit code: 0 when all went well, 64 + the gRPC status code when a call ended with "
        "another\n"
        "status than OK, 1 for everything else. attach: that of COMMAND, 127 if there is no such\n"
        "command, 126 if it can't be run.");

    app.add_subcommand("status", "Version, uptime, limits and totals of the daemon");
    app.add_subcommand("channels", "Channels to remote servers");
    app.add_subcommand("calls", "Calls that are open, in both directions");
    app.add_subcommand("workers", "Servers, and the workers that serve them");
    ping = app.add_subcommand("ping", "Measure the way to the daemon and back");
    ping->add_option("-c,--count", ping_count, "How many times [1]")
        ->check(CLI::Range(1, 1'000'000));
    add_call();
    attach = app.add_subcommand("attach",
                                "Run a program whose standard input and output are a connection");
    attach->add_option("command", attached, "The program and its arguments, after a --")->required();
    add_commands();
  }

  void add_commands() {
    drain = app.add_subcommand("drain",
                               "Let calls run out: no new ones for a worker, a server or all");
    auto* const which = drain->add_option_group("what");
    which->add_option("--worker", command.session, "Number of a worker's connection")
        ->check(CLI::PositiveNumber);
    which->add_option("--server", command.server, "Address of a server, as \"workers\" shows it");
    which->add_flag("--all", drain_all, "The whole daemon, which stops then");
    which->require_option(1);
    drain->add_option("--timeout", command.timeout,
                      "Wait no longer than that, such as 30s; the drain goes on [no limit]");
    cancel = app.add_subcommand("cancel", "End one call, CANCELLED");
    cancel->add_option("session", command.session, "Number of the connection that has it")
        ->required();
    cancel->add_option("id", command.call, "Its id, as \"calls\" shows it")->required();
  }

  void add_call() {
    call = app.add_subcommand("call", "Call a method of a remote server through legated");
    call->add_option("target", request.target, "gRPC target, such as localhost:50051 or unix:/path; legated:///NAME for a "
                     "channel of the daemon's configuration")
        ->required();
    call->add_option("method", request.method, "/package.Service/Method")->required();
    data_option = call->add_option("-d,--data", texts,
                                   "A message's bytes: text, @file, or @- for the standard input")
                      ->allow_extra_args(false);
    hex_option = call->add_option("--hex", hexes, "The same in hexadecimal digits; @file, @- too")
                     ->allow_extra_args(false);
    call->add_option("-H,--header", request.headers,
                     "Request metadata key:value; base64 for keys ending in -bin")
        ->allow_extra_args(false);
    call->add_flag("--tls", request.tls, "TLS, trusting the daemon's system roots");
    call->add_option("--ca", request.ca, "TLS, trusting the authorities in this PEM file instead");
    call->add_option("--cert", request.certificate, "PEM file: certificate chain to show");
    call->add_option("--key", request.key, "PEM file: its private key");
    call->add_option("--server-name", request.server_name,
                     "TLS, expecting this name in the server's certificate");
    call->add_option("--authority", request.authority, "Sent instead of the target's host");
    call->add_option("--token-file", request.token_file,
                     "Send the token in this file as \"authorization: Bearer ...\"; needs TLS");
    call->add_option("--timeout", request.timeout, "Deadline, such as 2s or 500ms [none]");
    call->add_flag("--wait-for-ready", request.wait_for_ready,
                   "Wait for the server instead of failing when it can't be reached");
    call->add_flag("--idempotent", request.idempotent,
                   "The call may be made more than once: hedging, where the channel has it");
    call->add_option("--shape", shape, "[unary; client-streaming with several messages]")
        ->check(CLI::IsMember(kShapes));
    call->add_option("--out", request.out,
                     "What to do with replies: raw, hex (a line each) or @file")
        ->capture_default_str();
    call->add_flag("-v,--verbose", request.verbose, "Print headers, trailers and status to stderr");
  }

  int run() {
    target.json = output == "json";
    if (ping->parsed()) return run_ping(target, ping_count);
    if (drain->parsed() || cancel->parsed()) {
      command.what = cancel->parsed()          ? "cancel"
                     : drain_all               ? "drain"
                     : command.server.empty()  ? "drain-worker"
                                               : "drain-server";
      return run_command(target, command);
    }
    if (attach->parsed()) return run_attach(target, attached);
    if (!call->parsed()) return run_query(target, app.get_subcommands().front()->get_name());
    if (!shape.empty()) request.shape = kShapes.at(shape);
    // Messages go out in the order in which they were given, whichever option gave them.
    size_t text = 0;
    size_t hex = 0;
    for (const CLI::Option* option : call->parse_order()) {
      if (option == data_option) request.messages.push_back({.text = texts[text++]});
      if (option == hex_option) request.messages.push_back({.hex = true, .text = hexes[hex++]});
    }
    return run_call(target, request);
  }
};

}  // namespace

int main(int argc, char** argv) {
  CommandLine line;
  try {
    line.app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return line.app.exit(error) == 0 ? 0 : kFailed;
  }
  try {
    return line.run();
  } catch (const std::exception& error) {
    complain(error.what());
    return kFailed;
  }
}
