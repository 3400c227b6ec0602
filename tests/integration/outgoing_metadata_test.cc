// Metadata of outgoing calls: what passes unchanged, and what is refused.

#include "tests/integration/outgoing.h"

namespace legated::test {
namespace {

struct OutgoingMetadata : Outgoing {
  /// A call whose server sends the request's metadata back, and its own.
  UnaryResult echo(const Metadata& metadata, Command command = {}) {
    command.set_echo_metadata(true);
    return unary(command, {.metadata = metadata});
  }

  /// The call is refused by the daemon, for a reason that names `named`, and the next one is fine.
  void expect_refused(const Metadata& metadata, Code code, const std::string& named) {
    SCOPED_TRACE(named);
    const uint64_t before = server.calls_seen();
    const auto result = echo(metadata);
    EXPECT_STATUS(code, result.status);
    EXPECT_EQ(Origin::daemon, result.status.origin);
    EXPECT_THAT(result.status.message, HasSubstr(named));
    EXPECT_EQ(before, server.calls_seen()) << "the server saw the call";
    ASSERT_TRUE(daemon.process().running()) << "the daemon died";
    EXPECT_STATUS(Code::ok, echo({{"x-fine", "yes"}}).status);
  }
};

std::string all_bytes() {
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) bytes += static_cast<char>(byte);
  return bytes;
}

std::string all_printable() {
  std::string text = "a";  // spaces at the ends would be stripped
  for (char c = 0x20; c < 0x7f; ++c) text += c;
  return text;
}

TEST_F(OutgoingMetadata, PassesInRequests) {
  const auto result = echo({{"x-a", "1"},
                            {"x-b", "between"},
                            {"x-a", "2"},
                            {"x-a", "1"},
                            {"x-empty", ""},
                            {"x-printable", all_printable()},
                            {"x-long", std::string(8192, 'v')},
                            {"x.dot_under-dash.0", "k"},
                            {"x-all-bin", all_bytes()},
                            {"x-zero-bin", std::string(3, '\0')},
                            {"x-empty-bin", ""},
                            {"x-two-bin", std::string("\0a", 2)},
                            {"x-two-bin", "comma,comma"}});
  ASSERT_STATUS(Code::ok, result.status);
  const auto echoed = [&](const std::string& key) {
    return values(result.headers, "x-echo-" + key);
  };
  EXPECT_THAT(echoed("x-a"), ElementsAre("1", "2", "1"));
  EXPECT_THAT(echoed("x-b"), ElementsAre("between"));
  EXPECT_THAT(echoed("x-empty"), ElementsAre(""));
  EXPECT_THAT(echoed("x-printable"), ElementsAre(all_printable()));
  EXPECT_THAT(echoed("x-long"), ElementsAre(std::string(8192, 'v')));
  EXPECT_THAT(echoed("x.dot_under-dash.0"), ElementsAre("k"));
  EXPECT_THAT(echoed("x-all-bin"), ElementsAre(all_bytes()));
  EXPECT_THAT(echoed("x-zero-bin"), ElementsAre(std::string(3, '\0')));
  EXPECT_THAT(echoed("x-empty-bin"), ElementsAre(""));
  EXPECT_THAT(echoed("x-two-bin"), ElementsAre(std::string("\0a", 2), "comma,comma"));
}

TEST_F(OutgoingMetadata, PassesInHeadersAndTrailers) {
  Command command;
  const std::vector<std::pair<std::string, std::string>> sent = {
      {"x-a", "1"},        {"x-a", "2"},
      {"x-empty", ""},     {"x-all-bin", all_bytes()},
      {"x-empty-bin", ""}, {"x-long", std::string(8192, 'v')}};
  for (const auto& [key, value] : sent) {
    add_header(command, key, value);
    add_trailer(command, "t" + key, value);
  }
  for (const uint32_t code : {0U, 5U}) {
    SCOPED_TRACE(code);
    command.set_status_code(code);
    command.set_headers_first(true);
    // A stream, so that the headers come even when no reply does.
    const auto call = start(kServerStream, Shape::server_streaming, command, true);
    EXPECT_FALSE(call->read());
    const Status status = call->finish();
    EXPECT_EQ(code, static_cast<uint32_t>(status.code)) << describe(status);
    for (const auto& [key, value] : sent) {
      EXPECT_THAT(values(call->headers(), key), Contains(value)) << key;
      EXPECT_THAT(values(status.trailers, "t" + key), Contains(value)) << key;
    }
    EXPECT_THAT(values(call->headers(), "x-a"), ElementsAre("1", "2"));
    EXPECT_THAT(values(status.trailers, "tx-a"), ElementsAre("1", "2"));
  }
}

TEST_F(OutgoingMetadata, TransportKeysOfTheAnswerStayBehind) {
  const auto result = echo({});
  ASSERT_STATUS(Code::ok, result.status);
  for (const auto* list : {&result.headers, &result.status.trailers}) {
    for (const auto& [key, value] : *list) {
      EXPECT_FALSE(key.starts_with("grpc-") || key.starts_with(":") || key == "content-type")
          << key << ": " << value;
    }
  }
}

TEST_F(OutgoingMetadata, TrailersOnlyAnswerHasNoHeaders) {
  Command command;
  command.set_status_code(5);
  add_trailer(command, "x-trailer", "here");
  const auto call = start(kServerStream, Shape::server_streaming, command, true);
  const Status status = call->finish();
  EXPECT_STATUS(Code::not_found, status);
  EXPECT_THAT(values(status.trailers, "x-trailer"), ElementsAre("here"));
  EXPECT_THAT(call->headers(), IsEmpty());
}

TEST_F(OutgoingMetadata, IllegalKeysAreRefused) {
  for (const std::string key :
       {"", "Upper", "sp ace", "x:colon", "x/slash", "\xc3\xbc", "x\ny", "x,y", "x-\x7f"}) {
    const bool shown = key.find_first_of("\n\xc3\x7f") == std::string::npos && !key.empty();
    expect_refused({{"x-before", "1"}, {key, "value"}}, Code::invalid_argument,
                   shown ? "\"" + key + "\"" : "key");
  }
  expect_refused({{std::string("x\0y", 3), "value"}}, Code::invalid_argument, "x\\x00y");
  expect_refused({{std::string(9000, 'X'), "value"}}, Code::invalid_argument, "XXX");
}

TEST_F(OutgoingMetadata, IllegalValuesAreRefused) {
  for (const std::string& value :
       {std::string("a\nb"), std::string("a\rb"), std::string("tab\t"), std::string("\0", 1),
        std::string("\x7f"), std::string("\xff"), std::string("\xc3\xbc")}) {
    expect_refused({{"x-value", value}}, Code::invalid_argument, "\"x-value\"");
  }
}

TEST_F(OutgoingMetadata, ReservedKeysAreRefused) {
  for (const std::string key : {":path",
                                ":authority",
                                ":anything",
                                "grpc-timeout",
                                "grpc-status",
                                "grpc-message",
                                "grpc-encoding",
                                "grpc-accept-encoding",
                                "grpc-status-details-bin",
                                "grpc-internal-x",
                                "grpc-",
                                "content-type",
                                "te",
                                "user-agent",
                                "host",
                                "connection",
                                "content-length",
                                "transfer-encoding",
                                "upgrade",
                                "keep-alive",
                                "proxy-connection"}) {
    expect_refused({{key, "1"}}, Code::invalid_argument, "\"" + key + "\"");
  }
}

TEST_F(OutgoingMetadata, GrpcKeysForApplicationsMayBeSet) {
  const auto result = echo({{"grpc-trace-bin", std::string("\0\1", 2)},
                            {"grpc-tags-bin", "t"},
                            {"grpc-previous-rpc-attempts", "2"}});
  EXPECT_STATUS(Code::ok, result.status);
  EXPECT_STATUS(Code::ok, echo({{"grpc-retry-pushback-ms", "10"}}).status);
}

TEST_F(OutgoingMetadata, ListOfJustTheLimitPasses) {
  Metadata metadata;
  for (int i = 0; i < 8; ++i)
    metadata.emplace_back("x-" + std::to_string(i), std::string(8189, 'v'));
  const auto result = unary(Command(), {.metadata = metadata});  // 65,536 bytes
  EXPECT_STATUS(Code::ok, result.status);
  metadata.front().second += 'v';
  expect_refused(metadata, Code::resource_exhausted, "limits.max_metadata");
}

TEST_F(OutgoingMetadata, ListTooLongForAFrameEndsTheCallOnly) {
  const auto result = unary(Command(), {.metadata = {{"x-huge", std::string(300'000, 'v')}}});
  EXPECT_STATUS(Code::resource_exhausted, result.status);
  EXPECT_STATUS(Code::ok, unary(Command()).status);
}

TEST_F(OutgoingMetadata, ManySmallEntriesPass) {
  Metadata metadata;
  for (int i = 0; i < 500; ++i) metadata.emplace_back("k", std::to_string(i));
  const auto result = echo(metadata);
  ASSERT_STATUS(Code::ok, result.status);
  const auto echoed = values(result.headers, "x-echo-k");
  ASSERT_EQ(500U, echoed.size());
  for (int i = 0; i < 500; ++i) EXPECT_EQ(std::to_string(i), echoed[static_cast<size_t>(i)]);
}

TEST_F(OutgoingMetadata, AnswerAboveTheLimitIsResourceExhausted) {
  // The first is little above the daemon's limit, the second far above, the third above gRPC's own.
  for (const int values : {9, 40, 150}) {
    for (const bool in_trailers : {false, true}) {
      SCOPED_TRACE(std::to_string(values) + " in " + (in_trailers ? "trailers" : "headers"));
      Command command;
      for (int i = 0; i < values; ++i) {
        const std::string key = "x-" + std::to_string(i);
        const std::string value(8192, 'v');
        in_trailers ? add_trailer(command, key, value) : add_header(command, key, value);
      }
      const auto result = unary(command);
      EXPECT_STATUS(Code::resource_exhausted, result.status);
      EXPECT_THAT(result.headers, IsEmpty());
      EXPECT_THAT(result.status.trailers, IsEmpty());
      command.set_response_count(1);
      const auto call = start(kServerStream, Shape::server_streaming, command, true);
      EXPECT_STATUS(Code::resource_exhausted, call->finish());
      // gRPC may fail the next call on the connection along with one above its own bound.
      if (values < 100) {
        EXPECT_STATUS(Code::ok, unary(Command()).status);
      }
    }
  }
}

}  // namespace
}  // namespace legated::test
