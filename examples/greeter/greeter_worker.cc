// greeter-worker: serves the Greeter of greeter.proto in all four shapes behind legated. It links no
// gRPC: it speaks to legated through its socket, and legated speaks gRPC.
#include <google/protobuf/descriptor.pb.h>

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cpp-client/worker_main.h"
#include "examples/greeter/greeting.h"

namespace {

using namespace legate::client;
using legated::greeter::v1::hello;
using legated::greeter::v1::hello_all;
using legated::greeter::v1::hello_numbered;
using legated::greeter::v1::HelloRequest;
using legated::greeter::v1::reply;

// What reflection shows: greeter.proto, which imports nothing.
std::string descriptors() {
  google::protobuf::FileDescriptorSet set;
  HelloRequest::descriptor()->file()->CopyTo(set.add_file());
  return set.SerializeAsString();
}

Status bad_request() {
  return make_status(Code::invalid_argument, "the request is no HelloRequest; see greeter.proto");
}

// Nothing at the end of the stream; sets `bad` when a message is not what it should be.
std::optional<HelloRequest> read_request(ServerCall& call, bool& bad) {
  const auto bytes = call.read();
  HelloRequest request;
  if (!bytes) return std::nullopt;
  bad = !request.ParseFromString(*bytes);
  return bad ? std::nullopt : std::optional(request);
}

Status say_hello(ServerCall& call) {
  bool bad = false;
  const auto request = read_request(call, bad);
  if (!request) return bad_request();
  call.post(reply(hello(request->name())).SerializeAsString());
  return {};
}

Status collect_hellos(ServerCall& call) {
  bool bad = false;
  std::vector<std::string> names;
  while (const auto request = read_request(call, bad)) names.push_back(request->name());
  if (bad) return bad_request();
  call.post(reply(hello_all(names)).SerializeAsString());
  return {};
}

Status list_hellos(ServerCall& call) {
  bool bad = false;
  const auto request = read_request(call, bad);
  if (!request) return bad_request();
  for (uint32_t i = 1; i <= request->count(); ++i) {
    const auto message = reply(hello_numbered(request->name(), i, request->count()));
    if (!call.write(message.SerializeAsString())) break;  // the client has gone
  }
  return {};
}

Status chat(ServerCall& call) {
  bool bad = false;
  while (const auto request = read_request(call, bad)) {
    if (!call.write(reply(hello(request->name())).SerializeAsString())) break;
  }
  return bad ? bad_request() : Status{};
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Serves the greeter of greeter.proto behind legated.", "greeter-worker"};
  WorkerOptions options{.name = "greeter-worker", .address = "127.0.0.1:0"};
  app.add_option("--socket", options.socket, "Path of legated's socket")->required();
  app.add_option("--listen", options.address, "Address to serve at [127.0.0.1:0, any free port]");
  app.add_option("--slots", options.slots, "Calls served at once [8]")->check(CLI::PositiveNumber);
  app.add_option("--generation", options.lease.generation, "Version of the worker [none]");
  app.add_option("--share", options.lease.share,
                 "Its share of the calls against other generations [100]");
  app.add_option("--weight", options.lease.weight, "Capacity within its generation [100]")
      ->check(CLI::PositiveNumber);
  app.add_flag("--print-port", options.print_port, "Print `listening PORT` once calls are served");
  CLI11_PARSE(app, argc, argv);
  options.descriptors = descriptors();
  return run_worker(options, {{"/legated.greeter.v1.Greeter/SayHello", say_hello},
                              {"/legated.greeter.v1.Greeter/CollectHellos", collect_hellos},
                              {"/legated.greeter.v1.Greeter/ListHellos", list_hellos},
                              {"/legated.greeter.v1.Greeter/Chat", chat}});
}
