// A client process that is killed, at each phase of a call: the server hears of it, and the daemon
// holds nothing for it any more.

#include <csignal>
#include <fstream>

#include "tests/integration/outgoing.h"
#include "tests/integration/raw_peer.h"

namespace legated::test {
namespace {

namespace flag = legate::ipc::flag;

std::string hex(const std::string& bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    text += {kDigits[byte >> 4], kDigits[byte & 15]};
  }
  return text;
}

struct OutgoingKill : Outgoing {
  /// legatectl making a call. Its output is hexadecimal, a reply a line.
  std::unique_ptr<ChildProcess> victim(const std::string& method, const std::string& shape,
                                       const Command& command,
                                       const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments{program("legatectl"),
                                       "--socket",
                                       daemon.socket(),
                                       "call",
                                       server.address(),
                                       method,
                                       "--shape",
                                       shape,
                                       "--out",
                                       "hex",
                                       "--hex",
                                       hex(command.SerializeAsString())};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return std::make_unique<ChildProcess>(arguments, errors);
  }

  /// Kills it; then the server must hear of it, and nothing be left.
  void expect_forgotten(ChildProcess& process) {
    ASSERT_TRUE(process.running()) << "the client ended before it was killed";
    process.signal(SIGKILL);
    EXPECT_EQ(128 + SIGKILL, process.wait());
    expect_nothing_left();
    EXPECT_TRUE(eventually([&] { return server.cancelled_seen() == 1; }))
        << "the server did not see the cancellation";
  }

  void expect_nothing_left() {
    EXPECT_TRUE(eventually([&] { return no_calls(*connection); })) << query(*connection, "calls");
    const auto only_us = [&] {
      const auto status = query(*connection, "status");
      return status["sessions"].size() == 1 && status["sessions"][0]["memory"] == 0;
    };
    EXPECT_TRUE(eventually(only_us)) << query(*connection, "status");
    EXPECT_STATUS(Code::ok, unary(Command()).status);
  }

  static Command hanging() {
    Command command;
    command.set_hang(true);
    return command;
  }

  TempDir directory;
  std::string errors = directory / "errors";
};

TEST_F(OutgoingKill, WhileItWaitsForTheAnswer) {
  const auto process = victim(kUnary, "unary", hanging());
  ASSERT_TRUE(eventually([&] { return server.calls_seen() == 1; }));
  expect_forgotten(*process);
}

TEST_F(OutgoingKill, AfterHeadersAndReplies) {
  Command command = hanging();
  command.set_headers_first(true);
  command.set_response_count(3);
  const auto process = victim(kServerStream, "server-streaming", command);
  for (int i = 0; i < 3; ++i) ASSERT_NE("", process->line()) << "no reply " << i;
  expect_forgotten(*process);
}

TEST_F(OutgoingKill, WhileAServerStreamFlows) {
  Command command = hanging();
  command.set_response_count(1'000'000);
  command.set_response_size(10'000);
  const auto process = victim(kServerStream, "server-streaming", command);
  ASSERT_NE("", process->line());
  // Its output pipe is full by now or soon, so it stops reading. The server's handler sees the end
  // when it writes, and then waits for it.
  expect_forgotten(*process);
}

TEST_F(OutgoingKill, WhileItWritesToAServerThatDoesNotRead) {
  std::ofstream(directory / "message", std::ios::binary) << saying(pattern(3'000'000));
  std::vector<std::string> messages;
  for (int i = 0; i < 16; ++i)
    messages.insert(messages.end(), {"--data", "@" + (directory / "message")});
  const auto process = victim(kClientStream, "client-streaming", hanging(), messages);
  ASSERT_TRUE(eventually([&] { return server.calls_seen() == 1; }));
  const auto held = [&] {
    const auto answer = query(*connection, "status");
    for (const auto& session : answer["sessions"])
      if (session["name"] == "legatectl") return session["memory"].get<uint64_t>();
    return uint64_t{0};
  };
  ASSERT_TRUE(eventually([&] { return held() > 1'000'000; })) << "no message waits in the daemon";
  expect_forgotten(*process);
}

TEST_F(OutgoingKill, InMidBidi) {
  const auto process = victim(kBidi, "bidi", hanging(), {"--data", "", "--data", ""});
  ASSERT_TRUE(eventually([&] { return server.calls_seen() == 1; }));
  expect_forgotten(*process);
}

// The rest needs a client that stops in the middle of something, which is the same to the daemon.

TEST_F(OutgoingKill, BeforeHello) {
  { const RawPeer peer(daemon.socket()); }
  expect_nothing_left();
}

TEST_F(OutgoingKill, InMidHello) {
  {
    RawPeer peer(daemon.socket());
    ASSERT_TRUE(peer.send(std::string_view("\x30\0\0\0\0\0\0", 7)));
  }
  expect_nothing_left();
}

TEST_F(OutgoingKill, AfterHello) {
  {
    RawPeer peer(daemon.socket());
    ASSERT_NO_FATAL_FAILURE(peer.greet());
  }
  expect_nothing_left();
}

TEST_F(OutgoingKill, RightAfterStart) {
  for (int i = 0; i < 20; ++i) {
    RawPeer peer(daemon.socket());
    ASSERT_NO_FATAL_FAILURE(peer.greet());
    peer.hold();
    peer.open_channel(1, server.address());
    peer.start(3, 1, kUnary, flag::whole_message | flag::end_stream, saying("gone"));
    ASSERT_TRUE(peer.flush());
  }
  expect_nothing_left();
}

TEST_F(OutgoingKill, InMidMessage) {
  {
    RawPeer peer(daemon.socket());
    ASSERT_NO_FATAL_FAILURE(peer.greet());
    peer.open_channel(1, server.address());
    peer.start(3, 1, kClientStream, flag::msg_begin, saying("half of it"), 4'000'000);
    ASSERT_TRUE(peer.receive(FrameType::channel_opened, 1));
    ASSERT_TRUE(eventually([&] { return !no_calls(*connection); }));
  }
  expect_nothing_left();
}

TEST_F(OutgoingKill, InMidFrame) {
  {
    RawPeer peer(daemon.socket());
    ASSERT_NO_FATAL_FAILURE(peer.greet());
    peer.open_channel(1, server.address());
    peer.start(3, 1, kBidi, flag::whole_message, hanging().SerializeAsString());
    ASSERT_TRUE(eventually([&] { return server.calls_seen() == 1; }));
    // A DATA frame of 1000 bytes, of which 4 come.
    const auto head = legate::ipc::encode({.body_length = 1000,
                                           .call_id = 3,
                                           .type = FrameType::data,
                                           .flags = flag::whole_message,
                                           .aux = 1000});
    peer.send(std::vector<uint8_t>(head.begin(), head.end()));
    peer.send("four");
  }
  EXPECT_TRUE(eventually([&] { return server.cancelled_seen() == 1; }));
  expect_nothing_left();
}

TEST_F(OutgoingKill, WithManyCallsInFlight) {
  {
    RawPeer peer(daemon.socket());
    ASSERT_NO_FATAL_FAILURE(peer.greet());
    peer.open_channel(1, server.address());
    for (uint32_t i = 0; i < 100; ++i) {
      peer.start(3 + 2 * i, 1, kUnary, flag::whole_message | flag::end_stream,
                 hanging().SerializeAsString());
    }
    ASSERT_TRUE(eventually([&] { return server.calls_seen() == 100; })) << server.calls_seen();
  }
  EXPECT_TRUE(eventually([&] { return server.cancelled_seen() == 100; }))
      << "the server saw " << server.cancelled_seen() << " cancellations";
  expect_nothing_left();
}

}  // namespace
}  // namespace legated::test
