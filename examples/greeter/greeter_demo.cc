// greeter-demo: shows legated in both directions, against plain gRPC C++ at the far end of each.
//
//   out   this program calls, as legated's client over its socket, a gRPC server of its own
//   in    a gRPC stub calls legated's port, behind which greeter-worker serves
//
// One line for each direction and shape, and the count at the end. Exits 1 when one of them failed.
#include <CLI/CLI.hpp>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "cpp-client/connection.h"
#include "examples/greeter/greeting.h"
#include "examples/greeter/grpc_greeter.h"

namespace {

using namespace legated::greeter::v1;
using legate::client::CallOptions;
using legate::client::ChannelId;
using legate::client::Connection;
using legate::client::Shape;

using Strings = std::vector<std::string>;

const Strings kNames = {"Ada", "Grace", "Lovis"};
constexpr uint32_t kCount = 3;

/// Calls of the Greeter through legated's client role.
class LegatedGreeter {
 public:
  LegatedGreeter(Connection& connection, int port)
      : connection_(connection),
        channel_(connection.open_channel("127.0.0.1:" + std::to_string(port))) {}

  Outcome say_hello(const std::string& name) {
    return exchange("SayHello", Shape::unary, {request_of(name)});
  }
  Outcome collect_hellos(const Strings& names) {
    return exchange("CollectHellos", Shape::client_streaming, requests_of(names));
  }
  Outcome list_hellos(const std::string& name, uint32_t count) {
    return exchange("ListHellos", Shape::server_streaming, {request_of(name, count)});
  }
  Outcome chat(const Strings& names) {
    return exchange("Chat", Shape::bidi, requests_of(names), /*in_turn=*/true);
  }

 private:
  static std::string request_of(const std::string& name, uint32_t count = 0) {
    HelloRequest request;
    request.set_name(name);
    request.set_count(count);
    return request.SerializeAsString();
  }

  static Strings requests_of(const Strings& names) {
    Strings requests;
    for (const std::string& name : names) requests.push_back(request_of(name));
    return requests;
  }

  Outcome exchange(const std::string& method, Shape shape, const Strings& requests,
                   bool in_turn = false) {
    const CallOptions options{.shape = shape, .timeout = std::chrono::seconds(5)};
    const auto call =
        connection_.start_call(channel_, "/legated.greeter.v1.Greeter/" + method, options);
    Outcome outcome;
    const auto read = [&] {
      const auto bytes = call->read();
      HelloReply answer;
      if (!bytes) return false;
      outcome.messages.push_back(answer.ParseFromString(*bytes) ? answer.message()
                                                                : "no HelloReply");
      return true;
    };
    for (const std::string& request : requests) {
      if (!call->write(request) || (in_turn && !read())) break;
    }
    call->writes_done();
    while (read()) {
    }
    const auto status = call->finish();
    if (!status.ok()) outcome.error = describe(status);
    return outcome;
  }

  Connection& connection_;
  const ChannelId channel_;
};

class Report {
 public:
  void add(const std::string& direction, const std::string& shape, const std::string& method,
           const Strings& expected, const Outcome& outcome) {
    std::string got;
    for (const std::string& message : outcome.messages) got += " \"" + message + '"';
    if (outcome.error.empty() && outcome.messages == expected) {
      ++passed_;
      std::cout << "ok " << direction << ' ' << shape << ' ' << method << got << std::endl;
      return;
    }
    ++failed_;
    const std::string why = outcome.error.empty() ? "wrong answer:" + got : outcome.error;
    std::cout << "FAILED " << direction << ' ' << shape << ": " << why << std::endl;
  }

  int end() const {
    std::cout << "demo: " << passed_ << " passed, " << failed_ << " failed" << std::endl;
    return failed_ == 0 ? 0 : 1;
  }

 private:
  int passed_ = 0;
  int failed_ = 0;
};

int run(const std::string& socket, int port) {
  const Strings one = {hello("Ada")};
  const Strings all = {hello_all(kNames)};
  Strings numbered;
  for (uint32_t i = 1; i <= kCount; ++i) numbered.push_back(hello_numbered("Ada", i, kCount));
  Strings each;
  for (const std::string& name : kNames) each.push_back(hello(name));
  Report report;

  const GrpcGreeter server;
  const auto connection = Connection::dial(socket, {.name = "greeter-demo"});
  LegatedGreeter out(*connection, server.port());
  report.add("out", "unary", "SayHello", one, out.say_hello("Ada"));
  report.add("out", "client-streaming", "CollectHellos", all, out.collect_hellos(kNames));
  report.add("out", "server-streaming", "ListHellos", numbered, out.list_hellos("Ada", kCount));
  report.add("out", "bidi", "Chat", each, out.chat(kNames));

  const auto stub = Greeter::NewStub(
      grpc::CreateChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials()));
  report.add("in", "unary", "SayHello", one, grpc_say_hello(*stub, "Ada"));
  report.add("in", "client-streaming", "CollectHellos", all, grpc_collect_hellos(*stub, kNames));
  report.add("in", "server-streaming", "ListHellos", numbered,
             grpc_list_hellos(*stub, "Ada", kCount));
  report.add("in", "bidi", "Chat", each, grpc_chat(*stub, kNames));
  return report.end();
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Calls of all four shapes through legated, in both directions.", "greeter-demo"};
  std::string socket;
  int port = 0;
  app.add_option("--socket", socket, "Path of legated's socket")->required();
  app.add_option("--port", port, "legated's port that greeter-worker serves")->required();
  CLI11_PARSE(app, argc, argv);
  try {
    return run(socket, port);
  } catch (const std::exception& error) {
    std::cerr << "greeter-demo: " << error.what() << '\n';
    return 1;
  }
}
