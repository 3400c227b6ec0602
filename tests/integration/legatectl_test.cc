// legatectl against a live daemon.

#include <csignal>
#include <fstream>
#include <sstream>

#include "cpp-client/encode.h"
#include "tests/integration/outgoing.h"

namespace legated::test {
namespace {

using nlohmann::json;

std::string hex(const std::string& bytes) {
  std::string text;
  for (const char c : bytes) {
    constexpr char kDigits[] = "0123456789ABCDEF";
    const auto byte = static_cast<unsigned char>(c);
    text += {kDigits[byte >> 4], kDigits[byte & 15]};
  }
  return text;
}

struct Legatectl : Outgoing {
  /// Runs it to its end.
  int run(const std::vector<std::string>& arguments) { return run_on(daemon.socket(), arguments); }
  int run_on(const std::string& socket, const std::vector<std::string>& arguments) {
    std::vector<std::string> all{program("legatectl"), "--socket", socket};
    all.insert(all.end(), arguments.begin(), arguments.end());
    const std::string file = directory / ("errors" + std::to_string(++runs));
    ChildProcess process(all, file);
    out = process.rest();
    const int status = process.wait();
    std::ifstream stream(file);
    errors.assign(std::istreambuf_iterator<char>(stream), {});
    return status;
  }
  /// The same with -o json: what it printed.
  json run_json(std::vector<std::string> arguments, int expected = 0) {
    arguments.insert(arguments.end(), {"-o", "json"});
    EXPECT_EQ(expected, run(arguments)) << errors;
    json parsed = json::parse(out, nullptr, false);
    EXPECT_FALSE(parsed.is_discarded()) << "no JSON: " << out;
    return parsed;
  }
  std::vector<std::string> call(const std::string& method, const Command& command,
                                const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments{"call", server.address(), method, "--hex",
                                       hex(command.SerializeAsString())};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  TempDir directory;
  int runs = 0;
  std::string out;
  std::string errors;
};

// ---- Queries -----------------------------------------------------------------------------------

TEST_F(Legatectl, StatusTellsOfTheDaemonAndItsSessions) {
  EXPECT_EQ(0, run({"status"})) << errors;
  for (const char* what : {"version", "uptime_s", "legate_client", "max_message", "running"})
    EXPECT_THAT(out, HasSubstr(what));
  const auto status = run_json({"status"});
  EXPECT_EQ(daemon.socket(), status["socket"]);
  EXPECT_EQ(daemon.process().pid(), status["pid"]);
  EXPECT_EQ(connection->welcome().epoch, status["epoch"]);
  ASSERT_EQ(2U, status["sessions"].size()) << status;
  EXPECT_EQ("legatectl", status["sessions"][1]["name"]);
  EXPECT_EQ(json::array({"admin"}), status["sessions"][1]["roles"]);
}

TEST_F(Legatectl, ChannelsAndCallsAreShown) {
  Command command;
  command.set_hang(true);
  const auto running = start(kUnary, Shape::unary, command, true);
  ASSERT_TRUE(eventually([&] { return server.calls_seen() == 1; }));
  EXPECT_EQ(0, run({"channels"})) << errors;
  EXPECT_THAT(out, HasSubstr(server.address()));
  EXPECT_THAT(out, HasSubstr("READY"));
  EXPECT_EQ(1U, run_json({"channels"})["channels"].size());
  EXPECT_EQ(0, run({"calls"})) << errors;
  EXPECT_THAT(out, HasSubstr(kUnary));
  const auto calls = run_json({"calls"})["calls"];
  ASSERT_EQ(1U, calls.size()) << calls;
  EXPECT_EQ(running->id(), calls[0]["id"]);
  EXPECT_EQ("out", calls[0]["direction"]);
  EXPECT_EQ(server.address(), calls[0]["target"]);
}

TEST_F(Legatectl, WorkersAreShown) {
  EXPECT_EQ(json::array(), run_json({"workers"})["servers"]);
  EXPECT_EQ(0, run({"workers"})) << errors;
  const Worker worker(daemon, 5);
  EXPECT_EQ(0, run({"workers"})) << errors;
  EXPECT_THAT(out, HasSubstr(worker.address));
  EXPECT_THAT(out, HasSubstr("OLDEST_MS"));
  const auto servers = run_json({"workers"})["servers"];
  ASSERT_EQ(1U, servers.size()) << servers;
  EXPECT_EQ(worker.address, servers[0]["address"]);
  ASSERT_EQ(1U, servers[0]["leases"].size()) << servers;
  EXPECT_EQ(5, servers[0]["leases"][0]["slots"]);
  EXPECT_EQ("serving", servers[0]["leases"][0]["state"]);
  ASSERT_EQ(4U, servers[0]["pools"].size()) << servers;
  for (const char* field : {"pool", "generation", "share", "leases", "slots", "busy", "dispatched",
                            "queued", "oldest_ms"}) {
    EXPECT_TRUE(servers[0]["pools"][0].contains(field)) << field;
  }
}

TEST_F(Legatectl, PingCounts) {
  EXPECT_EQ(0, run({"ping"})) << errors;
  EXPECT_THAT(out, HasSubstr("legated"));
  EXPECT_EQ(3U, run_json({"ping", "-c", "3"})["times_us"].size());
}

// ---- Calls -------------------------------------------------------------------------------------

TEST_F(Legatectl, CallPrintsTheReplysBytes) {
  Command command;
  command.set_payload(std::string("a\0b\xff", 4));
  EXPECT_EQ(0, run(call(kUnary, command))) << errors;
  EXPECT_EQ(command.payload(), reply_of(out).payload());
  EXPECT_EQ(0, run(call(kUnary, command, {"--out", "hex"}))) << errors;
  EXPECT_THAT(out, HasSubstr("610062ff"));
  EXPECT_EQ(0, run(call(kUnary, command, {"--out", "@" + (directory / "reply")}))) << errors;
  EXPECT_EQ("", out);
  std::ifstream file(directory / "reply", std::ios::binary);
  EXPECT_EQ(command.payload(), reply_of({std::istreambuf_iterator<char>(file), {}}).payload());
}

TEST_F(Legatectl, CallTakesMessagesFromTextAndFiles) {
  std::ofstream(directory / "raw", std::ios::binary) << saying("from a file");
  std::ofstream(directory / "hex") << hex(saying("from hexadecimal"));
  EXPECT_EQ(0, run({"call", server.address(), kUnary, "-d", "@" + (directory / "raw")})) << errors;
  EXPECT_EQ("from a file", reply_of(out).payload());
  EXPECT_EQ(0, run({"call", server.address(), kUnary, "--hex", "@" + (directory / "hex")}))
      << errors;
  EXPECT_EQ("from hexadecimal", reply_of(out).payload());
  EXPECT_EQ(0, run({"call", server.address(), kUnary, "-d", saying("as text")})) << errors;
  EXPECT_EQ("as text", reply_of(out).payload());
  EXPECT_EQ(0, run({"call", server.address(), kUnary})) << errors;
  EXPECT_EQ(1U, reply_of(out).messages_received());
}

TEST_F(Legatectl, CallTakesEveryShape) {
  Command command;
  command.set_payload("one ");
  command.set_response_count(2);
  EXPECT_EQ(0, run(call(kClientStream, command, {"-d", saying("two")}))) << errors;
  EXPECT_EQ("one two", reply_of(out).payload());
  const auto lines = [&] { return std::count(out.begin(), out.end(), '\n'); };
  EXPECT_EQ(0, run(call(kServerStream, command, {"--shape", "server-streaming", "--out", "hex"})))
      << errors;
  EXPECT_EQ(2, lines()) << out;
  EXPECT_EQ(0, run(call(kBidi, command,
                        {"--shape", "bidi", "--out", "hex", "-d", "", "-d", saying("x")})))
      << errors;
  EXPECT_EQ(3, lines()) << out;
}

TEST_F(Legatectl, ExitCodeTellsTheStatus) {
  for (uint32_t code = 1; code <= 16; ++code) {
    Command command;
    command.set_status_code(code);
    command.set_status_message("as asked");
    EXPECT_EQ(64 + static_cast<int>(code), run(call(kUnary, command)));
    EXPECT_THAT(errors, HasSubstr("as asked"));
    EXPECT_EQ("", out);
  }
}

TEST_F(Legatectl, CallInJsonHasItAll) {
  Command command;
  command.set_status_code(5);
  command.set_status_message("none");
  command.set_status_details("\x08\x05");
  add_trailer(command, "x-trailer", "t");
  add_trailer(command, "x-bin", std::string("\0\1\2", 3));
  const auto failed = run_json(call(kUnary, command), 64 + 5);
  EXPECT_EQ(5, failed["status"]["code"]);
  EXPECT_EQ("NOT_FOUND", failed["status"]["name"]);
  EXPECT_EQ("none", failed["status"]["message"]);
  EXPECT_EQ("CAU=", failed["status"]["details_base64"]);
  EXPECT_THAT(failed["trailers"], Contains(json{{"key", "x-trailer"}, {"value", "t"}}));
  EXPECT_THAT(failed["trailers"], Contains(json{{"key", "x-bin"}, {"value", "AAEC"}}));
  EXPECT_EQ(json::array(), failed["messages_base64"]);

  Command fine;
  add_header(fine, "x-header", "h");
  const auto answer = run_json(call(kUnary, fine));
  EXPECT_EQ(0, answer["status"]["code"]);
  EXPECT_THAT(answer["headers"], Contains(json{{"key", "x-header"}, {"value", "h"}}));
  EXPECT_EQ(1U, answer["messages_base64"].size());
}

TEST_F(Legatectl, CallSendsMetadata) {
  Command command;
  command.set_echo_metadata(true);
  const auto headers = run_json(
      call(kUnary, command,
           {"-H", "x-a:1", "-H", "x-a: 2", "-H", "x-b:", "-H", "x-c-bin:AAE="}))["headers"];
  EXPECT_THAT(headers, Contains(json{{"key", "x-echo-x-a"}, {"value", "1"}}));
  EXPECT_THAT(headers, Contains(json{{"key", "x-echo-x-a"}, {"value", "2"}}));
  EXPECT_THAT(headers, Contains(json{{"key", "x-echo-x-b"}, {"value", ""}}));
  EXPECT_THAT(headers, Contains(json{{"key", "x-echo-x-c-bin"}, {"value", "AAE="}}));
  EXPECT_EQ(64 + 3, run(call(kUnary, command, {"-H", "te:trailers"})));
  EXPECT_THAT(errors, HasSubstr("te"));
}

TEST_F(Legatectl, CallEndsAtItsTimeout) {
  Command command;
  command.set_hang(true);
  EXPECT_EQ(64 + 4, run(call(kUnary, command, {"--timeout", "200ms"})));
  EXPECT_THAT(errors, HasSubstr("DEADLINE_EXCEEDED"));
}

TEST_F(Legatectl, CallToNobodyIsUnavailable) {
  EXPECT_EQ(64 + 14, run({"call", "unix:/nonexistent.sock", kUnary}));
  EXPECT_THAT(errors, HasSubstr("UNAVAILABLE"));
}

// ---- Attach ------------------------------------------------------------------------------------

TEST_F(Legatectl, AttachGivesTheConnectionToAProgram) {
  flatbuffers::FlatBufferBuilder builder;
  legate::client::encode_hello(builder, {.name = "attached"});
  std::vector<uint8_t> hello;
  legate::ipc::append_frame(hello, {.type = legate::ipc::FrameType::hello}, &builder, {});
  const std::string file = directory / "hello";
  std::ofstream(file, std::ios::binary) << std::string(hello.begin(), hello.end());
  // The program sends HELLO and prints the header of the answer; its own error stream is ours, and
  // so is its exit status.
  const std::string script =
      "cat \"$0\" && dd bs=16 count=1 iflag=fullblock status=none | od -An -tu1 >&2; "
      "echo \"stdio=$LEGATE_STDIO $1\" >&2; exit 7";
  EXPECT_EQ(7, run({"attach", "--", "sh", "-c", script, file, "--an-option"})) << errors;
  EXPECT_EQ("", out);
  EXPECT_THAT(errors, HasSubstr("stdio=1 --an-option"));
  std::istringstream words(errors);
  std::vector<int> header(16);
  for (int& byte : header) ASSERT_TRUE(words >> byte) << errors;
  EXPECT_EQ(static_cast<int>(legate::ipc::FrameType::hello_ack), header[8]) << errors;
}

TEST_F(Legatectl, AttachedProgramSeesTheEndOfTheDaemon) {
  const std::string script = "echo waiting >&2; cat >/dev/null; echo over >&2";
  const std::string file = directory / "attached";
  ChildProcess process({program("legatectl"), "--socket", daemon.socket(), "attach", "--", "sh", "-c", script}, file);
  const auto printed = [&](const std::string& text) {
    std::ifstream stream(file);
    return std::string(std::istreambuf_iterator<char>(stream), {}).find(text) != std::string::npos;
  };
  ASSERT_TRUE(eventually([&] { return printed("waiting"); }));
  connection.reset();
  daemon.expect_death();
  daemon.process().signal(SIGKILL);
  EXPECT_EQ(0, process.wait());
  EXPECT_TRUE(printed("over"));
}

TEST_F(Legatectl, AttachExplainsWhatItCantRun) {
  EXPECT_EQ(127, run({"attach", "--", "/no/such/program"}));
  EXPECT_THAT(errors, HasSubstr("/no/such/program"));
  EXPECT_EQ(126, run({"attach", "--", "/"}));
  EXPECT_THAT(errors, HasSubstr("can't run /"));
  EXPECT_EQ(1, run_on(directory / "nobody.sock", {"attach", "--", "true"}));
  EXPECT_THAT(errors, HasSubstr("nobody.sock"));
}

// ---- Failures ----------------------------------------------------------------------------------

TEST_F(Legatectl, WithoutADaemonItHelps) {
  const std::string nowhere = directory / "nobody.sock";
  for (const char* command : {"status", "channels", "calls", "workers", "ping"}) {
    EXPECT_EQ(1, run_on(nowhere, {command})) << command;
    EXPECT_THAT(errors, HasSubstr(nowhere));
    EXPECT_THAT(errors, HasSubstr("legated"));
    EXPECT_EQ("", out);
  }
}

TEST_F(Legatectl, BadArgumentsAreExplained) {
  const std::vector<std::vector<std::string>> bad = {
      {},
      {"nonsense"},
      {"attach"},
      {"attach", "--"},
      {"call"},
      {"call", server.address()},
      {"call", server.address(), kUnary, "--hex", "0g"},
      {"call", server.address(), kUnary, "--hex", "abc"},
      {"call", server.address(), kUnary, "-d", "@/no/such/file"},
      {"call", server.address(), kUnary, "-H", "nocolon"},
      {"call", server.address(), kUnary, "-H", "x-bin:!!!"},
      {"call", server.address(), kUnary, "--timeout", "soon"},
      {"call", server.address(), kUnary, "--out", "sideways"},
      {"status", "-o", "xml"}};
  for (const auto& arguments : bad) {
    EXPECT_EQ(1, run(arguments)) << testing::PrintToString(arguments) << out;
    EXPECT_NE("", errors) << testing::PrintToString(arguments);
  }
  EXPECT_EQ(0U, server.calls_seen());
}

}  // namespace
}  // namespace legated::test
