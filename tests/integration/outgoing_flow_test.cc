// Back-pressure of outgoing calls: when one side does not read, the daemon holds little, and when it
// reads again, nothing is lost.

#include <atomic>
#include <thread>

#include "tests/integration/outgoing.h"

namespace legated::test {
namespace {

constexpr uint64_t kMiB = 1024 * 1024;
constexpr uint32_t kMessages = 200;
constexpr uint32_t kMessageSize = kMiB;

/// What the daemon may grow by while somebody does not read. Sanitizers keep freed memory.
uint64_t allowed_growth() {
  return (std::getenv("LEGATED_SANITIZER") != nullptr ? 300 : 30) * kMiB;
}

struct OutgoingFlow : Outgoing {
  /// A thing that moves while a stream flows stands still for a while. Back-pressure has no other
  /// sign: it is that nothing happens.
  void wait_until_still(const std::function<uint64_t()>& moving) {
    constexpr milliseconds kStill{400};
    uint64_t last = moving();
    auto since = std::chrono::steady_clock::now();
    EXPECT_TRUE(eventually([&] {
      const uint64_t now = moving();
      if (now != last) since = std::chrono::steady_clock::now();
      last = now;
      return std::chrono::steady_clock::now() - since > kStill;
    })) << "the stream never stood still, so nothing held it back";
  }

  /// Bytes of messages and calls that the daemon holds for the connection.
  uint64_t memory_held() {
    return query(*connection, "status")["sessions"][0]["memory"].get<uint64_t>();
  }

  void warm_up() {
    // The first large message makes allocators and buffers grow once.
    Command command;
    command.set_response_size(kMessageSize);
    for (int i = 0; i < 8; ++i) ASSERT_STATUS(Code::ok, unary(command).status);
    resident_before = daemon.resident();
  }

  uint64_t growth() const {
    const uint64_t now = daemon.resident();
    return now > resident_before ? now - resident_before : 0;
  }

  uint64_t resident_before = 0;
};

TEST_F(OutgoingFlow, ReaderThatDoesNotReadCostsLittleAndLosesNothing) {
  ASSERT_NO_FATAL_FAILURE(warm_up());
  Command command;
  command.set_response_count(kMessages);
  command.set_response_size(kMessageSize);
  const auto call = start(kServerStream, Shape::server_streaming, command, true);
  EXPECT_EQ(0U, reply_of(call->read().value_or("")).index());

  // One message is on its way to the client, and stays there.
  wait_until_still([&] { return daemon.resident(); });
  EXPECT_GE(memory_held(), kMessageSize);
  EXPECT_LT(growth(), allowed_growth()) << "while nobody read";
  EXPECT_STATUS(Code::ok, unary(Command()).status) << "another call of the connection suffers";

  uint64_t peak = 0;
  const std::string expected = pattern(kMessageSize);
  for (uint32_t i = 1; i < kMessages; ++i) {
    const auto bytes = call->read();
    ASSERT_TRUE(bytes) << "no reply " << i << ": " << describe(call->finish());
    const Reply reply = reply_of(*bytes);
    ASSERT_EQ(i, reply.index());
    ASSERT_TRUE(expected == reply.payload()) << "reply " << i << " has other bytes";
    peak = std::max(peak, growth());
  }
  EXPECT_FALSE(call->read());
  EXPECT_STATUS(Code::ok, call->finish());
  EXPECT_LT(peak, allowed_growth()) << "while the client read";
  EXPECT_EQ(0U, memory_held());
}

TEST_F(OutgoingFlow, ServerThatDoesNotReadHoldsTheWriterBack) {
  ASSERT_NO_FATAL_FAILURE(warm_up());
  Command command;
  command.set_hang(true);
  const auto call = start(kClientStream, Shape::client_streaming, command);
  std::atomic<uint64_t> written = 0;
  std::thread writer([&] {
    const std::string message = saying(pattern(kMessageSize));
    for (uint32_t i = 0; i < kMessages; ++i) {
      if (!call->write(message)) return;
      ++written;
    }
  });
  ASSERT_TRUE(eventually([&] { return written > 0; }));
  wait_until_still([&] { return written.load(); });
  EXPECT_LT(written, kMessages / 4) << "nothing held the writer back";
  EXPECT_LT(growth(), allowed_growth());
  EXPECT_STATUS(Code::ok, unary(Command()).status) << "another call of the connection suffers";

  call->cancel();
  writer.join();
  EXPECT_STATUS(Code::cancelled, call->finish());
  EXPECT_TRUE(eventually([&] { return memory_held() == 0; })) << memory_held() << " bytes are held";
}

TEST_F(OutgoingFlow, SlowServerGetsEverything) {
  Command slow;
  slow.set_delay_ms(1);
  const auto call = start(kBidi, Shape::bidi, slow);
  std::thread writer([&] {
    const std::string message = saying(pattern(200'000));
    for (int i = 1; i < 100; ++i) EXPECT_TRUE(call->write(message));
    call->writes_done();
  });
  uint32_t replies = 0;
  while (const auto bytes = call->read()) EXPECT_EQ(replies++, reply_of(*bytes).index());
  writer.join();
  EXPECT_EQ(100U, replies);
  EXPECT_STATUS(Code::ok, call->finish());
}

TEST_F(OutgoingFlow, ManyReadersThatDoNotReadStayWithinTheBudget) {
  DaemonProcess small({"ipc.memory_budget=8MiB", "ipc.connection_window=64KiB"});
  const auto other = small.dial();
  const ChannelId to_server = other->open_channel(server.address());
  Command command;
  command.set_response_count(20);
  command.set_response_size(kMessageSize);
  std::vector<std::shared_ptr<Call>> calls;
  for (int i = 0; i < 30; ++i) {
    calls.push_back(other->start_call(to_server, kServerStream, {.shape = Shape::server_streaming},
                                      command.SerializeAsString(), true));
  }
  const auto admin = small.dial();
  const auto held = [&] {
    return query(*admin, "status")["sessions"][0]["memory"].get<uint64_t>();
  };
  ASSERT_TRUE(eventually([&] { return held() > 4 * kMiB; })) << held();
  wait_until_still(held);
  // A message that was asked for when there was room may still come: one for each call.
  EXPECT_LT(held(), (8 + 30 + 1) * kMiB);
  // All at once: a call whose turn has not come would hold the budget that this one needs.
  std::vector<std::thread> readers;
  for (const auto& call : calls) {
    readers.emplace_back([&call] {
      uint32_t replies = 0;
      while (call->read()) ++replies;
      EXPECT_EQ(20U, replies);
      EXPECT_STATUS(Code::ok, call->finish());
    });
  }
  for (auto& reader : readers) reader.join();
  EXPECT_EQ(0U, held());
}

}  // namespace
}  // namespace legated::test
