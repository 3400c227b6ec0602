// What passes through a port of the daemon: headers, trailers, statuses, metadata, messages of all
// sizes.
#include "tests/integration/calls.h"

namespace legated::test {
namespace {

using legate::client::Code;
using legate::client::make_status;
using legate::client::Metadata;
using legate::client::Status;

constexpr size_t kMaxMessage = 4 * 1024 * 1024;  // the daemon's default, and gRPC's

std::string pattern(size_t size) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i % 251);
  return bytes;
}

void add(google::protobuf::RepeatedPtrField<legate::test::v1::Header>* list, const std::string& key,
         const std::string& value) {
  auto* const entry = list->Add();
  entry->set_key(key);
  entry->set_value(value);
}

/// The values of the dispatch's metadata under `key`, in order.
std::vector<std::string> values(const Metadata& metadata, const std::string& key) {
  std::vector<std::string> found;
  for (const auto& [name, value] : metadata) {
    if (name == key) found.push_back(value);
  }
  return found;
}

using Values = std::vector<std::string>;

// ---- Headers and trailers ----------------------------------------------------------------------

TEST(Headers, GoOutBeforeTheFirstMessage) {
  const DaemonProcess daemon;
  ManualWorker worker(daemon, {"*"}, 1);
  ClientCall call(connect(worker.address), kBidi);
  call.send(command());
  const auto dispatch = worker.take();
  EXPECT_TRUE(dispatch->send_headers({{"x-early", "1"}}));
  EXPECT_TRUE(eventually([&] { return call.have_headers(); }));
  EXPECT_EQ(call.header("x-early"), Values{"1"});
  EXPECT_TRUE(call.replies().empty());
  EXPECT_FALSE(call.done());
  EXPECT_TRUE(dispatch->post(Reply().SerializeAsString()));
  dispatch->finish({});
  EXPECT_TRUE(call.wait().ok());
  EXPECT_EQ(call.replies().size(), 1u);
}

TEST(Headers, AreImplicitWithTheFirstMessage) {
  const DaemonProcess daemon;
  ManualWorker worker(daemon, {"*"}, 1);
  ClientCall call(connect(worker.address), kBidi);
  call.send(command());
  const auto dispatch = worker.take();
  dispatch->accept();
  EXPECT_NE(dispatch->read(), std::nullopt);
  EXPECT_TRUE(dispatch->write(Reply().SerializeAsString()));
  EXPECT_TRUE(eventually([&] { return call.replies().size() == 1; }));
  EXPECT_TRUE(call.have_headers());
  EXPECT_FALSE(dispatch->send_headers({{"x-late", "1"}}));
  dispatch->finish({});
  EXPECT_TRUE(call.wait().ok());
}

TEST(Trailers, ComeWithDetailsAndMessage) {
  const DaemonProcess daemon;
  const Worker worker(daemon);
  const std::string details("\x00\x01\xff bytes", 9);
  Command script;
  script.set_status_code(9);
  script.set_status_message("why: \xc3\xa4 % \n");
  script.set_status_details(details);
  add(script.mutable_headers(), "x-h", "head");
  add(script.mutable_trailers(), "x-t", "one");
  add(script.mutable_trailers(), "x-t", "two");
  add(script.mutable_trailers(), "x-t-bin", std::string("\0\xff", 2));
  ClientCall call(connect(worker.address), kUnary);
  const auto status = call.send(script).half_close().wait();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(status.error_message(), "why: \xc3\xa4 % \n");
  EXPECT_EQ(status.error_details(), details);
  EXPECT_EQ(call.header("x-h"), Values{"head"});
  EXPECT_EQ(call.trailer("x-t"), (Values{"one", "two"}));
  EXPECT_EQ(call.trailer("x-t-bin"), Values{std::string("\0\xff", 2)});
}

TEST(StatusCodes, AllOfThemAndOneTooHigh) {
  const DaemonProcess daemon;
  const Worker worker(daemon);
  const auto channel = connect(worker.address);
  for (const std::string method : {kUnary, kBidi}) {
    for (uint32_t code = 0; code <= 16; ++code) {
      Command script;
      script.set_status_code(code);
      script.set_status_message("m" + std::to_string(code));
      const auto status = call_once(channel, method, script);
      EXPECT_EQ(static_cast<uint32_t>(status.error_code()), code) << describe(status);
      if (code != 0) {
        EXPECT_EQ(status.error_message(), "m" + std::to_string(code));
      }
    }
    Command script;
    script.set_status_code(99);
    script.set_status_message("odd");
    const auto status = call_once(channel, method, script);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNKNOWN) << describe(status);
    EXPECT_NE(status.error_message().find("99"), std::string::npos) << describe(status);
    EXPECT_NE(status.error_message().find("odd"), std::string::npos) << describe(status);
  }
}

TEST(StatusCodes, FromGoAndPython) {
  const DaemonProcess daemon;
  const Worker worker(daemon);
  for (const Client& client : foreign_clients()) {
    for (const int code : {5, 16, 99}) {
      const std::string script = R"({"statusCode": )" + std::to_string(code) +
                                 R"(, "statusMessage": "no", "statusDetails": "AAH/"})";
      for (const auto& result : run(client, worker.address, {"--command", script})) {
        EXPECT_EQ(result["code"], code > 16 ? 2 : code) << client.name << result.dump();
        if (code <= 16) {
          EXPECT_EQ(result["message"], "no");
        }
        EXPECT_EQ(result["details_b64"], "AAH/") << client.name << result.dump();
      }
    }
  }
}

// ---- Metadata ----------------------------------------------------------------------------------

TEST(RequestMetadata, ReachesTheWorkerInOrder) {
  const DaemonProcess daemon;
  ManualWorker worker(daemon, {"*"}, 1);
  const std::string large(8192, 'v');
  const std::string bytes("\0\x01\xfe\xff", 4);
  ClientCall call(connect(worker.address), "/a.S/M",
                  {.metadata = {{"x-twice", "b"},
                                {"x-other", ""},
                                {"x-twice", "a"},
                                {"x-raw-bin", bytes},
                                {"x-raw-bin", ""},
                                {"x-large", large}}});
  call.send(command()).half_close();
  const auto dispatch = worker.take();
  const Metadata& metadata = dispatch->metadata();
  EXPECT_EQ(values(metadata, "x-twice"), (Values{"b", "a"}));
  EXPECT_EQ(values(metadata, "x-other"), Values{""});
  EXPECT_EQ(values(metadata, "x-raw-bin"), (Values{bytes, ""}));
  EXPECT_EQ(values(metadata, "x-large"), Values{large});
  for (const auto& [key, value] : metadata)
    EXPECT_TRUE(key.starts_with("x-")) << "a transport key was passed on: " << key;
  EXPECT_EQ(dispatch->method(), "/a.S/M");
  EXPECT_EQ(dispatch->authority(), worker.address);
  EXPECT_TRUE(dispatch->peer().find("127.0.0.1:") != std::string::npos) << dispatch->peer();
  EXPECT_FALSE(dispatch->time_left().has_value());
  dispatch->finish({});
}

TEST(RequestMetadata, FromGoAndPythonComesBack) {
  const DaemonProcess daemon;
  const Worker worker(daemon);
  for (const Client& client : foreign_clients()) {
    const auto results =
        run(client, worker.address,
            {"-H", "a:1", "-H", "a:2", "-H", "b-bin:AAE=", "-H", "empty:", "--timeout", "20s",
             "--command", R"({"echoMetadata": true})"});
    ASSERT_EQ(results.size(), 1u);
    const auto& headers = results[0]["headers"];
    EXPECT_EQ(headers["x-echo-a"], (Values{"1", "2"})) << client.name << headers.dump();
    EXPECT_EQ(headers["x-echo-b-bin"], Values{"AAE="}) << client.name << headers.dump();
    EXPECT_EQ(headers["x-echo-empty"], Values{""}) << client.name << headers.dump();
    EXPECT_EQ(headers["x-echo-authority"], Values{worker.address}) << client.name;
    EXPECT_GT(std::stoi(headers["x-deadline-ms"][0].get<std::string>()), 1000) << headers.dump();
  }
}

TEST(ReplyMetadata, ReachesTheClientInOrder) {
  const DaemonProcess daemon;
  ManualWorker worker(daemon, {"*"}, 1);
  const std::string large(8192, 'v');
  const Metadata list{{"x-twice", "b"},
                      {"x-empty", ""},
                      {"x-twice", "a"},
                      {"x-raw-bin", std::string("\0\xff", 2)},
                      {"x-large", large}};
  ClientCall call(connect(worker.address), kBidi);
  call.send(command());
  const auto dispatch = worker.take();
  EXPECT_TRUE(dispatch->send_headers(list));
  Status status = make_status(Code::ok, "");
  status.trailers = list;
  dispatch->finish(status);
  const auto end = call.wait();
  EXPECT_TRUE(end.ok()) << describe(end);
  for (const bool trailers : {false, true}) {
    const auto get = [&](const char* key) {
      return trailers ? call.trailer(key) : call.header(key);
    };
    EXPECT_EQ(get("x-twice"), (Values{"b", "a"})) << trailers;
    EXPECT_EQ(get("x-empty"), Values{""}) << trailers;
    EXPECT_EQ(get("x-raw-bin"), Values{std::string("\0\xff", 2)}) << trailers;
    EXPECT_EQ(get("x-large"), Values{large}) << trailers;
  }
}

TEST(ReplyMetadata, IllegalKeysAndValuesEndTheCallInternal) {
  const DaemonProcess daemon;
  ManualWorker worker(daemon, {"*"}, 1);
  const auto channel = connect(worker.address);
  const std::pair<std::string, std::string> cases[] = {{":path", "x"},
                                                       {"grpc-status", "0"},
                                                       {"content-type", "x"},
                                                       {"te", "x"},
                                                       {"user-agent", "x"},
                                                       {"connection", "x"},
                                                       {"Upper", "x"},
                                                       {"with space", "x"},
                                                       {"x-newline", "a\nb"},
                                                       {"x-high", "\xc3\xa4"},
                                                       {"x-zero", std::string("\0", 1)},
                                                       {"grpc-encoding", "gzip"}};
  for (const auto& [key, value] : cases) {
    for (const bool in_trailers : {false, true}) {
      SCOPED_TRACE(key + (in_trailers ? " in trailers" : " in headers"));
      ClientCall call(channel, kBidi);
      call.send(command());
      const auto dispatch = worker.take();
      if (in_trailers) {
        Status status;
        status.trailers = {{"x-fine", "1"}, {key, value}};
        dispatch->finish(status);
      } else {
        EXPECT_TRUE(dispatch->send_headers({{"x-fine", "1"}, {key, value}}));
        EXPECT_TRUE(dispatch->wait_cancelled(kPatience));
        EXPECT_EQ(dispatch->cancel_code(), Code::internal);
        dispatch->finish({});
      }
      const auto status = call.wait();
      EXPECT_EQ(status.error_code(), grpc::StatusCode::INTERNAL) << describe(status);
      EXPECT_NE(status.error_message().find('"' + key + '"'), std::string::npos)
          << describe(status);
    }
  }
  expect_all_quiet(daemon);
}

TEST(ReplyMetadata, ListsAboveTheLimitEndTheCall) {
  const DaemonProcess daemon({"limits.max_metadata=2KiB"});
  ManualWorker worker(daemon, {"*"}, 1);
  const auto channel = connect(worker.address);
  for (const bool in_trailers : {false, true}) {
    ClientCall call(channel, kBidi);
    call.send(command());
    const auto dispatch = worker.take();
    const Metadata list{{"x-large", std::string(3000, 'v')}};
    Status status;
    if (in_trailers) {
      status.trailers = list;
    } else {
      EXPECT_TRUE(dispatch->send_headers(list));
    }
    dispatch->finish(status);
    const auto end = call.wait();
    EXPECT_EQ(end.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
    EXPECT_NE(end.error_message().find("max_metadata"), std::string::npos) << describe(end);
  }
}

// ---- Messages ----------------------------------------------------------------------------------

const size_t kSizes[] = {0, 1, 64 * 1024, kMaxMessage - 100 * 1024, kMaxMessage};

TEST(Messages, OfAllSizesInBothDirections) {
  const DaemonProcess daemon;
  ManualWorker worker(daemon, {"*"}, 1);
  const auto channel = connect(worker.address);
  for (const size_t size : kSizes) {
    SCOPED_TRACE(size);
    Command request;
    if (size > 0) request.set_payload(pattern(size));
    while (request.ByteSizeLong() > std::max<size_t>(size, 2))
      request.mutable_payload()->pop_back();
    const std::string bytes = request.SerializeAsString();
    ClientCall call(channel, kBidi);
    call.send(request).send(request).half_close();
    const auto dispatch = worker.take();
    for (int i = 0; i < 2; ++i) {
      const auto message = dispatch->read();
      ASSERT_TRUE(message.has_value()) << "message " << i;
      EXPECT_TRUE(*message == bytes) << "got " << message->size() << " bytes of " << bytes.size();
      EXPECT_TRUE(dispatch->write(bytes));  // a Reply is a Command as far as the payload goes
    }
    EXPECT_EQ(dispatch->read(), std::nullopt);
    EXPECT_FALSE(dispatch->cancelled());
    dispatch->finish({});
    const auto status = call.wait();
    EXPECT_TRUE(status.ok()) << describe(status);
    const auto replies = call.replies();
    ASSERT_EQ(replies.size(), 2u);
    EXPECT_TRUE(replies[1].payload() == request.payload());
  }
  expect_all_quiet(daemon);
}

TEST(Messages, OfAllSizesFromGoAndPython) {
  const DaemonProcess daemon;
  const Worker worker(daemon);
  for (const Client& client : foreign_clients()) {
    for (const size_t size : {size_t{0}, size_t{1}, size_t{64 * 1024}, kMaxMessage - 100 * 1024}) {
      for (const std::string shape : {"unary", "bidi"}) {
        for (const auto& result : run(client, worker.address,
                                      {"--shape", shape, "--payload-size", std::to_string(size)})) {
          EXPECT_EQ(result["code"], 0) << client.name << ' ' << size << result.dump();
          EXPECT_EQ(result["replies"][0]["size"], size) << client.name;
        }
      }
    }
  }
}

TEST(Messages, OverTheLimitFromTheClientAreRefused) {
  const DaemonProcess daemon;
  const Worker worker(daemon);
  const auto channel = connect(worker.address);
  for (const std::string method : {kUnary, kClientStream}) {
    ClientCall call(channel, method);
    call.send(command(pattern(kMaxMessage + 1))).half_close();
    const auto status = call.wait();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << describe(status);
  }
  const auto later = call_once(channel, kUnary);
  EXPECT_TRUE(later.ok()) << describe(later);
  expect_all_quiet(daemon);
}

TEST(Messages, OverTheLimitInMidStreamTellTheWorker) {
  const DaemonProcess daemon;
  ManualWorker worker(daemon, {"*"}, 1);
  ClientCall call(connect(worker.address), kClientStream);
  call.send(command("small"));
  const auto dispatch = worker.take();
  EXPECT_TRUE(dispatch->read().has_value());
  call.send(command(pattern(kMaxMessage + 1))).half_close();
  EXPECT_EQ(dispatch->read(), std::nullopt);
  EXPECT_TRUE(dispatch->cancelled()) << "the worker saw a clean end of a stream that was refused";
  dispatch->finish({});
  const auto status = call.wait();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << describe(status);
}

TEST(Messages, OverTheLimitFromTheWorkerAreRefused) {
  const DaemonProcess daemon;
  ManualWorker worker(daemon, {"*"}, 1);
  ClientCall call(connect(worker.address), kBidi);
  call.send(command());
  const auto dispatch = worker.take();
  dispatch->accept();
  EXPECT_FALSE(dispatch->write(std::string(kMaxMessage + 1, 'x')));
  EXPECT_TRUE(dispatch->wait_cancelled(kPatience));
  EXPECT_EQ(dispatch->cancel_code(), Code::resource_exhausted);
  dispatch->finish({});
  const auto status = call.wait();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << describe(status);
  EXPECT_NE(status.error_message().find("max_message"), std::string::npos) << describe(status);
  EXPECT_TRUE(worker.connection->ping()) << "the connection goes on";
  expect_all_quiet(daemon);
}

}  // namespace
}  // namespace legated::test
