// interop-client: gRPC's official interop cases, called through legated.
//
// Prints "ok" and exits 0 when the case passed; else says on the standard error what differed, and
// exits 1. Whether an answer came compressed is not to be seen behind legated; the server checks the
// requests, tests/integration/outgoing_compression_test.cc both on the wire.
#include <CLI/CLI.hpp>
#include <array>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>

#include "cpp-client/connection.h"
#include "interop.pb.h"
#include "tests/interop/interop.h"

namespace legated::interop {
namespace {

using namespace grpc::testing;
using namespace std::chrono_literals;
using legate::client::Call;
using legate::client::CallOptions;
using legate::client::ChannelId;
using legate::client::ChannelOptions;
using legate::client::Code;
using legate::client::Compression;
using legate::client::Connection;
using legate::client::Metadata;
using legate::client::Shape;
using legate::client::Status;
using legate::client::UnaryResult;

// The sizes that the cases prescribe, in bytes.
constexpr std::array<int32_t, 4> kRequestSizes = {27182, 8, 1828, 45904};
constexpr std::array<int32_t, 4> kResponseSizes = {31415, 9, 2653, 58979};
constexpr int32_t kLargeRequest = 271828;
constexpr int32_t kLargeResponse = 314159;

class Failure : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <class Seen, class Wanted>
void expect(const char* what, const Seen& seen, const Wanted& wanted) {
  if (seen == wanted) return;
  std::ostringstream text;
  text << what << ": " << seen << ", expected " << wanted;
  throw Failure(text.str());
}

void expect_status(const Status& status, Code code) {
  if (status.code != code)
    throw Failure("status " + describe(status) + ", expected " + name(code));
}

void expect_entry(const char* what, const Metadata& metadata, const std::string& key,
                  const std::string& value) {
  std::vector<std::string> values;
  for (const auto& entry : metadata) {
    if (entry.first == key) values.push_back(entry.second);
  }
  expect(what, values.size(), 1U);
  expect(what, values[0], value);
}

template <class Message>
Message parse(const std::optional<std::string>& bytes) {
  if (!bytes) throw Failure("no message where one is due");
  Message message;
  if (!message.ParseFromString(*bytes)) throw Failure("a message that is not of its type");
  return message;
}

Payload payload(int32_t size) {
  Payload payload;
  payload.mutable_body()->resize(static_cast<size_t>(size));
  return payload;
}

StreamingOutputCallRequest output_request(int32_t response_size, int32_t request_size) {
  StreamingOutputCallRequest request;
  request.add_response_parameters()->set_size(response_size);
  *request.mutable_payload() = payload(request_size);
  return request;
}

void expect_size(const StreamingOutputCallResponse& response, int32_t size) {
  expect("response size", response.payload().body().size(), static_cast<size_t>(size));
}

class Cases {
 public:
  Cases(Connection& connection, const std::string& target, const ChannelOptions& options)
      : connection_(connection), channel_(connection.open_channel(target, options)) {}

  void empty_unary() { expect("response size", ok(unary("EmptyCall", Empty())).size(), 0U); }

  void large_unary() {
    SimpleRequest request;
    request.set_response_size(kLargeResponse);
    *request.mutable_payload() = payload(kLargeRequest);
    expect_large(unary("UnaryCall", request));
  }

  void client_compressed_unary() {
    const CallOptions compressed{.compression = Compression::gzip};
    SimpleRequest request;
    request.set_response_size(kLargeResponse);
    *request.mutable_payload() = payload(kLargeRequest);
    request.mutable_expect_compressed()->set_value(true);
    expect_status(unary("UnaryCall", request).status, Code::invalid_argument);  // a probe
    expect_large(unary("UnaryCall", request, compressed));
    request.mutable_expect_compressed()->set_value(false);
    expect_large(unary("UnaryCall", request));
  }

  void server_compressed_unary() {
    for (const bool compressed : {true, false}) {
      SimpleRequest request;
      request.mutable_response_compressed()->set_value(compressed);
      request.set_response_size(kLargeResponse);
      *request.mutable_payload() = payload(kLargeRequest);
      expect_large(unary("UnaryCall", request));
    }
  }

  void client_compressed_streaming() {
    StreamingInputCallRequest request;
    request.mutable_expect_compressed()->set_value(true);
    *request.mutable_payload() = payload(27182);
    const auto probe = start("StreamingInputCall", Shape::client_streaming);
    write(*probe, request);
    probe->writes_done();
    expect_status(probe->finish(), Code::invalid_argument);

    const auto call = start("StreamingInputCall", Shape::client_streaming,
                            {.compression = Compression::gzip});
    write(*call, request);
    request.mutable_expect_compressed()->set_value(false);
    *request.mutable_payload() = payload(45904);
    write(*call, request, /*compress=*/false);
    call->writes_done();
    expect("aggregated size",
           parse<StreamingInputCallResponse>(call->read()).aggregated_payload_size(), 73086);
    expect_status(call->finish(), Code::ok);
  }

  void server_compressed_streaming() {
    StreamingOutputCallRequest request;
    for (const auto& [size, compressed] : {std::pair(31415, true), std::pair(92653, false)}) {
      ResponseParameters& wanted = *request.add_response_parameters();
      wanted.set_size(size);
      wanted.mutable_compressed()->set_value(compressed);
    }
    const auto call = start("StreamingOutputCall", Shape::server_streaming);
    write(*call, request);
    call->writes_done();
    for (const int32_t size : {31415, 92653})
      expect_size(parse<StreamingOutputCallResponse>(call->read()), size);
    expect_end(*call);
  }

  void client_streaming() {
    const auto call = start("StreamingInputCall", Shape::client_streaming);
    for (const int32_t size : kRequestSizes) {
      StreamingInputCallRequest request;
      *request.mutable_payload() = payload(size);
      write(*call, request);
    }
    call->writes_done();
    expect("aggregated size",
           parse<StreamingInputCallResponse>(call->read()).aggregated_payload_size(), 74922);
    expect_status(call->finish(), Code::ok);
  }

  void server_streaming() {
    StreamingOutputCallRequest request;
    for (const int32_t size : kResponseSizes) request.add_response_parameters()->set_size(size);
    const auto call = start("StreamingOutputCall", Shape::server_streaming);
    write(*call, request);
    call->writes_done();
    for (const int32_t size : kResponseSizes)
      expect_size(parse<StreamingOutputCallResponse>(call->read()), size);
    expect_end(*call);
  }

  void ping_pong() {
    const auto call = start("FullDuplexCall", Shape::bidi);
    for (size_t i = 0; i < kRequestSizes.size(); ++i) {
      write(*call, output_request(kResponseSizes[i], kRequestSizes[i]));
      expect_size(parse<StreamingOutputCallResponse>(call->read()), kResponseSizes[i]);
    }
    call->writes_done();
    expect_end(*call);
  }

  void empty_stream() {
    const auto call = start("FullDuplexCall", Shape::bidi);
    call->writes_done();
    expect_end(*call);
  }

  void timeout_on_sleeping_server() {
    const auto call = start("FullDuplexCall", Shape::bidi, {.timeout = 1ms});
    StreamingOutputCallRequest request;
    *request.mutable_payload() = payload(27182);
    call->write(request.SerializeAsString());  // the deadline may be faster
    // finish() would half-close, which the server answers with OK.
    if (call->read()) throw Failure("a message where none is due");
    expect_status(call->finish(), Code::deadline_exceeded);
  }

  void cancel_after_begin() {
    const auto call = start("StreamingInputCall", Shape::client_streaming);
    call->cancel();
    expect_status(call->finish(), Code::cancelled);
  }

  void cancel_after_first_response() {
    const auto call = start("FullDuplexCall", Shape::bidi);
    write(*call, output_request(kResponseSizes[0], kRequestSizes[0]));
    expect_size(parse<StreamingOutputCallResponse>(call->read()), kResponseSizes[0]);
    call->cancel();
    expect_status(call->finish(), Code::cancelled);
  }

  void custom_metadata() {
    const std::string initial = "test_initial_metadata_value";
    const std::string trailing = "\x0a\x0b\x0a\x0b\x0a\x0b";
    const CallOptions options{.metadata = {{kEchoInitial, initial}, {kEchoTrailing, trailing}}};
    SimpleRequest request;
    request.set_response_size(1);
    *request.mutable_payload() = payload(1);
    const UnaryResult result = unary("UnaryCall", request, options);
    ok(result);
    expect_entry("headers", result.headers, kEchoInitial, initial);
    expect_entry("trailers", result.status.trailers, kEchoTrailing, trailing);

    const auto call = start("FullDuplexCall", Shape::bidi, options);
    write(*call, output_request(1, 1));
    expect_entry("headers", call->headers(), kEchoInitial, initial);
    expect_size(parse<StreamingOutputCallResponse>(call->read()), 1);
    call->writes_done();
    const Status status = call->finish();
    expect_status(status, Code::ok);
    expect_entry("trailers", status.trailers, kEchoTrailing, trailing);
  }

  void status_code_and_message() {
    EchoStatus wanted;
    wanted.set_code(2);
    wanted.set_message("test status message");
    SimpleRequest request;
    *request.mutable_response_status() = wanted;
    expect_echoed(unary("UnaryCall", request).status, wanted);

    const auto call = start("FullDuplexCall", Shape::bidi);
    StreamingOutputCallRequest streamed;
    *streamed.mutable_response_status() = wanted;
    write(*call, streamed);
    expect_echoed(call->finish(), wanted);
  }

  void special_status_message() {
    SimpleRequest request;
    request.mutable_response_status()->set_code(2);
    request.mutable_response_status()->set_message(
        "\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001F608\t\n");
    expect_echoed(unary("UnaryCall", request).status, request.response_status());
  }

  void unimplemented_method() {
    expect_status(unary("UnimplementedCall", Empty()).status, Code::unimplemented);
  }

  void unimplemented_service() {
    expect_status(
        connection_.unary(channel_, "/grpc.testing.UnimplementedService/UnimplementedCall", {},
                          {.wait_for_ready = true})
            .status,
        Code::unimplemented);
  }

 private:
  template <class Message>
  UnaryResult unary(const char* method, const Message& request, CallOptions options = {}) {
    options.wait_for_ready = true;
    return connection_.unary(channel_, kService + method, request.SerializeAsString(), options);
  }

  std::shared_ptr<Call> start(const char* method, Shape shape, CallOptions options = {}) {
    options.shape = shape;
    options.wait_for_ready = true;
    return connection_.start_call(channel_, kService + method, options);
  }

  static const std::string& ok(const UnaryResult& result) {
    expect_status(result.status, Code::ok);
    return result.response;
  }

  static void expect_large(const UnaryResult& result) {
    const auto response = parse<SimpleResponse>(ok(result));
    expect("response size", response.payload().body().size(), size_t{kLargeResponse});
  }

  template <class Message>
  static void write(Call& call, const Message& message, bool compress = true) {
    if (!call.write(message.SerializeAsString(), compress))
      throw Failure("the call ended early: " + describe(call.finish()));
  }

  static void expect_end(Call& call) {
    if (call.read()) throw Failure("a message where none is due");
    expect_status(call.finish(), Code::ok);
  }

  static void expect_echoed(const Status& status, const EchoStatus& wanted) {
    expect_status(status, static_cast<Code>(wanted.code()));
    expect("status message", status.message, wanted.message());
  }

  Connection& connection_;
  const ChannelId channel_;
};

const std::map<std::string, void (Cases::*)()> kCases = {
    {"empty_unary", &Cases::empty_unary},
    {"large_unary", &Cases::large_unary},
    {"client_compressed_unary", &Cases::client_compressed_unary},
    {"server_compressed_unary", &Cases::server_compressed_unary},
    {"client_compressed_streaming", &Cases::client_compressed_streaming},
    {"server_compressed_streaming", &Cases::server_compressed_streaming},
    {"client_streaming", &Cases::client_streaming},
    {"server_streaming", &Cases::server_streaming},
    {"ping_pong", &Cases::ping_pong},
    {"empty_stream", &Cases::empty_stream},
    {"timeout_on_sleeping_server", &Cases::timeout_on_sleeping_server},
    {"cancel_after_begin", &Cases::cancel_after_begin},
    {"cancel_after_first_response", &Cases::cancel_after_first_response},
    {"custom_metadata", &Cases::custom_metadata},
    {"status_code_and_message", &Cases::status_code_and_message},
    {"special_status_message", &Cases::special_status_message},
    {"unimplemented_method", &Cases::unimplemented_method},
    {"unimplemented_service", &Cases::unimplemented_service},
};

/// Plaintext without `roots`. The name is one that gRPC's interop servers have certificates for.
ChannelOptions channel_options(const std::string& roots) {
  ChannelOptions options;
  if (roots.empty()) return options;
  std::ifstream file(roots);
  options.tls = legate::client::TlsOptions{.roots = {std::istreambuf_iterator<char>(file), {}},
                                           .server_name = "foo.test.google.fr"};
  return options;
}

}  // namespace
}  // namespace legated::interop

int main(int argc, char** argv) {
  using namespace legated::interop;
  CLI::App app{"Calls one of gRPC's interop cases through legated.", "interop-client"};
  std::string socket, target, name, roots;
  app.add_option("socket", socket, "Path of legated's socket")->required();
  app.add_option("target", target, "gRPC target of the interop server")->required();
  app.add_option("case", name, "Name of the case")->required()->check(CLI::IsMember(kCases));
  app.add_option("--tls-roots", roots, "PEM file of the server's authority: TLS, to *.test.google.fr")
      ->check(CLI::ExistingFile);
  CLI11_PARSE(app, argc, argv);
  try {
    const auto connection = legate::client::Connection::dial(socket, {.name = "interop-client"});
    Cases cases(*connection, target, channel_options(roots));
    (cases.*kCases.at(name))();
    std::cout << "ok\n";
    return 0;
  } catch (const std::exception& error) {
    std::cerr << name << ": " << error.what() << '\n';
    return 1;
  }
}
