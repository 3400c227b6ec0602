// cpp-client/inbox.h: message framing and credit, PROTOCOL.md sections 6 and 7.
#include <gtest/gtest.h>

#include "cpp-client/inbox.h"

namespace legate::client {
namespace {

namespace flag = ipc::flag;
using ipc::ErrorCode;

constexpr uint32_t kWindow = 65'536;

class InboxTest : public testing::Test {
 protected:
  std::optional<Violation> add(uint8_t flags, uint32_t aux, size_t size,
                               ipc::FrameType type = ipc::FrameType::data) {
    const std::vector<uint8_t> payload(size, 'x');
    return inbox.add({.call_id = 1, .type = type, .flags = flags, .aux = aux}, payload);
  }
  void expect_framing_error(uint8_t flags, uint32_t aux, size_t size) {
    const auto violation = add(flags, aux, size);
    ASSERT_TRUE(violation);
    EXPECT_EQ(violation->code, ErrorCode::message_framing) << violation->message;
  }

  Inbox inbox{kWindow};
};

TEST_F(InboxTest, AWholeMessageInOneFrame) {
  EXPECT_FALSE(inbox.has_message());
  EXPECT_FALSE(add(flag::whole_message, 5, 5));
  EXPECT_EQ(inbox.take(), "xxxxx");
  EXPECT_EQ(inbox.take(), std::nullopt);
}

TEST_F(InboxTest, AnEmptyMessageIsAMessage) {
  EXPECT_FALSE(add(flag::whole_message, 0, 0));
  EXPECT_EQ(inbox.take(), "");
}

TEST_F(InboxTest, PartsAddUp) {
  EXPECT_FALSE(add(flag::msg_begin, 6, 3));
  EXPECT_FALSE(add(0, 0, 2));
  EXPECT_FALSE(inbox.has_message());
  EXPECT_FALSE(add(flag::msg_end | flag::end_stream, 0, 1));
  EXPECT_EQ(inbox.take(), "xxxxxx");
  EXPECT_TRUE(inbox.ended());
}

TEST_F(InboxTest, AStartMayCarryNothing) {
  EXPECT_FALSE(add(0, 0, 0, ipc::FrameType::start));
  EXPECT_FALSE(inbox.ended());
}

TEST_F(InboxTest, ABareHalfCloseEnds) {
  EXPECT_FALSE(add(flag::end_stream, 0, 0));
  EXPECT_TRUE(inbox.ended());
}

TEST_F(InboxTest, DataWithNeitherMessageNorEndStreamIsRefused) { expect_framing_error(0, 0, 0); }
TEST_F(InboxTest, APartWithoutABeginningIsRefused) { expect_framing_error(0, 0, 3); }
TEST_F(InboxTest, AnEndWithoutABeginningIsRefused) { expect_framing_error(flag::msg_end, 0, 3); }
TEST_F(InboxTest, MoreBytesThanAuxAreRefused) { expect_framing_error(flag::whole_message, 2, 3); }
TEST_F(InboxTest, FewerBytesThanAuxAreRefused) { expect_framing_error(flag::whole_message, 4, 3); }
TEST_F(InboxTest, AnEmptyFirstPartIsRefused) { expect_framing_error(flag::msg_begin, 4, 0); }
TEST_F(InboxTest, AFirstPartWithEverythingIsRefused) {
  expect_framing_error(flag::msg_begin, 4, 4);
}

TEST_F(InboxTest, EndStreamInsideAMessageIsRefused) {
  expect_framing_error(flag::msg_begin | flag::end_stream, 4, 2);
}

TEST_F(InboxTest, AMessageInsideAnotherIsRefused) {
  EXPECT_FALSE(add(flag::msg_begin, 4, 2));
  expect_framing_error(flag::whole_message, 1, 1);
}

TEST_F(InboxTest, AnEmptyPartIsRefused) {
  EXPECT_FALSE(add(flag::msg_begin, 4, 2));
  expect_framing_error(flag::end_stream, 0, 0);
}

TEST_F(InboxTest, PartsBeyondAuxAreRefused) {
  EXPECT_FALSE(add(flag::msg_begin, 4, 2));
  expect_framing_error(flag::msg_end, 0, 3);
}

TEST_F(InboxTest, AnythingAfterEndStreamIsRefused) {
  EXPECT_FALSE(add(flag::end_stream, 0, 0));
  expect_framing_error(flag::whole_message, 1, 1);
}

TEST_F(InboxTest, BytesBeyondTheWindowAreAFlowControlError) {
  EXPECT_FALSE(add(flag::whole_message, kWindow, kWindow));
  const auto violation = add(flag::whole_message, 1, 1);
  ASSERT_TRUE(violation);
  EXPECT_EQ(violation->code, ErrorCode::flow_control);
}

TEST_F(InboxTest, CreditFollowsTheReaderInPortionsOfHalfAWindow) {
  for (int i = 0; i < 8; ++i) ASSERT_FALSE(add(flag::whole_message, kWindow / 8, kWindow / 8));
  EXPECT_EQ(inbox.take_credit(), 0) << "nothing was read";
  for (int i = 0; i < 3; ++i) inbox.take();
  EXPECT_EQ(inbox.take_credit(), 0) << "less than half a window was read";
  inbox.take();
  EXPECT_EQ(inbox.take_credit(), kWindow / 2);
  EXPECT_EQ(inbox.take_credit(), 0);
}

TEST_F(InboxTest, AMessageThatFitsTheWindowNeverStarvesForALatePortion) {
  // A third of the window was read and waits to be returned when a message of most of it comes.
  constexpr uint32_t kThird = kWindow / 3;
  constexpr uint32_t kMost = kWindow - 10;
  ASSERT_FALSE(add(flag::whole_message, kThird, kThird));
  inbox.take();
  EXPECT_EQ(inbox.take_credit(), 0);
  ASSERT_FALSE(add(flag::msg_begin, kMost, kWindow - kThird));
  EXPECT_EQ(inbox.take_credit(), kThird);
  EXPECT_FALSE(add(flag::msg_end, 0, kMost - (kWindow - kThird)));
}

TEST_F(InboxTest, TheOldestMessageBeyondTheWindowIsReturnedAsItComes) {
  ASSERT_FALSE(add(flag::msg_begin, 4 * kWindow, kWindow / 2));
  EXPECT_EQ(inbox.take_credit(), kWindow / 2);
  uint32_t sent = kWindow / 2;
  while (sent < 4 * kWindow) {
    const uint32_t size = kWindow / 4;
    sent += size;
    ASSERT_FALSE(add(sent == 4 * kWindow ? flag::msg_end : uint8_t{0}, 0, size));
    inbox.take_credit();
  }
  EXPECT_EQ(inbox.take()->size(), 4 * kWindow);
}

TEST_F(InboxTest, AMessageBeyondTheWindowWaitsForTheOlderOnes) {
  ASSERT_FALSE(add(flag::whole_message, kWindow / 4, kWindow / 4));
  ASSERT_FALSE(add(flag::msg_begin, 4 * kWindow, kWindow / 2));
  EXPECT_EQ(inbox.take_credit(), 0);
  inbox.take();
  EXPECT_EQ(inbox.take_credit(), 3 * (kWindow / 4)) << "now it is the oldest";
}

TEST_F(InboxTest, DiscardingTakesWhatIsHereAndWhatComes) {
  ASSERT_FALSE(add(flag::whole_message, kWindow / 4, kWindow / 4));
  ASSERT_FALSE(add(flag::msg_begin, kWindow / 2, kWindow / 4));
  inbox.discard();
  EXPECT_EQ(inbox.take_credit(), kWindow / 2);
  ASSERT_FALSE(add(flag::msg_end, 0, kWindow / 4));
  ASSERT_FALSE(add(flag::whole_message, kWindow / 4, kWindow / 4));
  EXPECT_EQ(inbox.take_credit(), kWindow / 2);
  EXPECT_FALSE(inbox.has_message());
}

}  // namespace
}  // namespace legate::client
