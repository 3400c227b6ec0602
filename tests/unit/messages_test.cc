// The two message streams of a call on its IPC leg: framing, credit, and that large messages never
// deadlock.
#include "daemon/core/messages.h"

#include <gtest/gtest.h>

#include <deque>
#include <map>

#include "tests/unit/random.h"

namespace legated {
namespace {

using legate::ipc::ErrorCode;
using namespace legate::ipc::flag;

constexpr uint32_t kWindow = 100;

struct Frame {
  uint8_t flags;
  uint32_t aux;
  uint32_t length;
};

// What the last of these frames is answered with; the others must be fine.
std::optional<ErrorCode> fault(const std::vector<Frame>& frames) {
  FromPeer from(kWindow);
  std::optional<ErrorCode> code;
  for (const Frame& frame : frames) {
    EXPECT_EQ(code, std::nullopt);
    const auto violation = from.on_part(frame.flags, frame.aux, frame.length);
    if (violation) code = violation->code;
  }
  return code;
}

TEST(FromPeer, LegalFramingIsTaken) {
  const std::vector<std::vector<Frame>> streams = {
      {{whole_message, 5, 5}},
      {{whole_message, 0, 0}},
      {{whole_message | end_stream, 5, 5}},
      {{whole_message | end_stream, 0, 0}},
      {{end_stream, 0, 0}},
      {{whole_message, 5, 5}, {end_stream, 0, 0}},
      {{msg_begin, 5, 2}, {msg_end, 0, 3}},
      {{msg_begin, 5, 2}, {0, 0, 2}, {msg_end, 0, 1}},
      {{msg_begin, 5, 2}, {msg_end | end_stream, 0, 3}},
      {{whole_message, 5, 5}, {msg_begin, 2, 1}, {msg_end, 0, 1}, {whole_message, 0, 0}},
      {{msg_begin, 1000, 100}},
  };
  for (size_t i = 0; i < streams.size(); ++i) EXPECT_EQ(fault(streams[i]), std::nullopt) << i;
}

TEST(FromPeer, IllegalFramingIsNamed) {
  const std::vector<std::vector<Frame>> streams = {
      {{0, 0, 0}},                                  // nothing at all
      {{0, 0, 1}},                                  // a part of nothing
      {{msg_end, 0, 1}},                            // an end of nothing
      {{msg_begin, 5, 0}},                          // an empty first part
      {{msg_begin, 0, 0}},                          // likewise, of an empty message
      {{msg_begin, 5, 2}, {0, 0, 0}},               // nothing, inside a message
      {{msg_begin, 5, 2}, {msg_end, 0, 0}},         // an empty last part
      {{msg_begin, 5, 2}, {msg_begin, 5, 2}},       // a message inside a message
      {{msg_begin, 5, 2}, {whole_message, 5, 5}},   // likewise
      {{msg_begin, 5, 2}, {msg_end, 0, 4}},         // too long
      {{msg_begin, 5, 2}, {msg_end, 0, 2}},         // too short
      {{msg_begin, 5, 2}, {0, 0, 3}},               // complete without MSG_END
      {{msg_begin, 5, 5}},                          // likewise
      {{whole_message, 5, 4}},                      // too short
      {{whole_message, 5, 6}},                      // too long
      {{whole_message, 5, 0}},                      // empty
      {{msg_begin, 5, 2}, {end_stream, 0, 0}},      // half-closed inside a message
      {{msg_begin, 5, 2}, {end_stream, 0, 1}},      // likewise
      {{msg_begin | end_stream, 5, 2}},             // likewise
      {{end_stream, 0, 0}, {end_stream, 0, 0}},     // after END_STREAM
      {{end_stream, 0, 0}, {whole_message, 5, 5}},  // likewise
      {{whole_message | end_stream, 5, 5}, {whole_message, 0, 0}},
  };
  for (size_t i = 0; i < streams.size(); ++i) {
    EXPECT_EQ(fault(streams[i]), ErrorCode::message_framing) << i;
  }
}

TEST(FromPeer, BytesBeyondTheCreditAreAFlowControlError) {
  EXPECT_EQ(fault({{whole_message, 101, 101}}), ErrorCode::flow_control);
  EXPECT_EQ(fault({{whole_message, 60, 60}, {whole_message, 41, 41}}), ErrorCode::flow_control);
  EXPECT_EQ(fault({{whole_message, 60, 60}, {whole_message, 40, 40}}), std::nullopt);
}

TEST(FromPeer, TellsWhatItHolds) {
  FromPeer from(kWindow);
  ASSERT_EQ(from.on_part(msg_begin, 5, 2), std::nullopt);
  EXPECT_EQ(from.assembling(), 5u);
  EXPECT_EQ(from.whole(), 0u);
  EXPECT_EQ(from.held(), 2u);
  ASSERT_EQ(from.on_part(msg_end | end_stream, 0, 3), std::nullopt);
  EXPECT_EQ(from.assembling(), std::nullopt);
  EXPECT_EQ(from.whole(), 1u);
  EXPECT_TRUE(from.closed());
  from.on_taken();
  EXPECT_EQ(from.whole(), 0u);
  EXPECT_EQ(from.held(), 0u);
}

TEST(FromPeer, CreditOfAMessageComesBackWhenItIsTaken) {
  FromPeer from(kWindow);
  ASSERT_EQ(from.on_part(whole_message, 60, 60), std::nullopt);
  EXPECT_EQ(from.take_grant(), 0u);
  from.on_taken();
  EXPECT_EQ(from.take_grant(), 60u);
  EXPECT_EQ(from.take_grant(), 0u);
}

TEST(FromPeer, AMessageThatFitsTheWindowGivesNothingBackEarly) {
  FromPeer from(kWindow);
  ASSERT_EQ(from.on_part(msg_begin, kWindow, 99), std::nullopt);
  EXPECT_EQ(from.take_grant(), 0u);
  ASSERT_EQ(from.on_part(msg_end, 0, 1), std::nullopt);
  EXPECT_EQ(from.take_grant(), 0u);
}

TEST(FromPeer, AMessageLongerThanTheWindowGivesItsBytesBackAsTheyArrive) {
  FromPeer from(kWindow);
  ASSERT_EQ(from.on_part(msg_begin, 250, 100), std::nullopt);
  EXPECT_EQ(from.take_grant(), 100u);
  ASSERT_EQ(from.on_part(0, 0, 100), std::nullopt);
  EXPECT_EQ(from.take_grant(), 100u);
  ASSERT_EQ(from.on_part(msg_end, 0, 50), std::nullopt);
  EXPECT_EQ(from.held(), 250u);
  EXPECT_EQ(from.take_grant(), 50u);
  from.on_taken();
  EXPECT_EQ(from.take_grant(), 0u) << "all of it has come back already";
}

TEST(FromPeer, OnlyTheOldestMessageGivesBackEarly) {
  FromPeer from(kWindow);
  ASSERT_EQ(from.on_part(whole_message, 10, 10), std::nullopt);
  ASSERT_EQ(from.on_part(msg_begin, 250, 90), std::nullopt);
  EXPECT_EQ(from.take_grant(), 0u) << "a message before it has not been taken";
  from.on_taken();
  EXPECT_EQ(from.take_grant(), 100u) << "now it is the oldest";
}

TEST(FromPeer, WhatIsOwedIsUrgentWhenTheMessageNeedsMoreThanTheSenderHas) {
  FromPeer from(kWindow);
  ASSERT_EQ(from.on_part(whole_message, 20, 20), std::nullopt);
  ASSERT_EQ(from.on_part(msg_begin, 90, 75), std::nullopt);
  from.on_taken();
  // 20 are owed, less than half a window; 5 are left to the sender, who has 15 to send.
  EXPECT_EQ(from.take_grant(), 20u);
}

TEST(FromPeer, WhatIsOwedWaitsWhileTheSenderHasEnough) {
  FromPeer from(kWindow);
  ASSERT_EQ(from.on_part(whole_message, 20, 20), std::nullopt);
  ASSERT_EQ(from.on_part(msg_begin, 90, 10), std::nullopt);
  from.on_taken();
  EXPECT_EQ(from.take_grant(), 20u) << "80 to send with 70 of credit";
  ASSERT_EQ(from.on_part(msg_end, 0, 80), std::nullopt);
  ASSERT_EQ(from.on_part(msg_begin, 5, 1), std::nullopt);
  EXPECT_EQ(from.take_grant(), 0u);
}

TEST(ToPeer, PartsAreBoundedByFrameCallAndConnection) {
  ToPeer to(kWindow);
  to.on_message(90);
  const auto part = [&](uint32_t frame, uint32_t connection) {
    return to.next_part(frame, connection);
  };
  auto first = part(40, 1000);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->offset, 0u);
  EXPECT_EQ(first->length, 40u);
  EXPECT_EQ(first->flags, msg_begin);
  EXPECT_EQ(first->aux, 90u);
  auto second = part(1000, 30);
  ASSERT_TRUE(second);
  EXPECT_EQ(second->offset, 40u);
  EXPECT_EQ(second->length, 30u);
  EXPECT_EQ(second->flags, 0);
  EXPECT_EQ(second->aux, 0u);
  EXPECT_EQ(part(1000, 0), std::nullopt);
  auto third = part(1000, 1000);
  ASSERT_TRUE(third);
  EXPECT_EQ(third->length, 20u);
  EXPECT_EQ(third->flags, msg_end);
  EXPECT_EQ(to.waiting(), 0u);

  to.on_message(50);
  auto fourth = part(1000, 1000);
  ASSERT_TRUE(fourth);
  EXPECT_EQ(fourth->length, 10u) << "the call's window";
  EXPECT_FALSE(to.has_credit());
  EXPECT_EQ(part(1000, 1000), std::nullopt);
  EXPECT_TRUE(to.on_window(40));
  EXPECT_EQ(part(1000, 1000)->flags, msg_end);
}

TEST(ToPeer, AnEmptyMessageNeedsNoCredit) {
  ToPeer to(kWindow);
  to.on_message(100);
  ASSERT_TRUE(to.next_part(1000, 1000));
  to.on_message(0);
  EXPECT_TRUE(to.can_send(0));
  const auto part = to.next_part(1000, 0);
  ASSERT_TRUE(part);
  EXPECT_EQ(part->flags, whole_message);
  EXPECT_EQ(part->length, 0u);
  EXPECT_EQ(part->aux, 0u);
}

TEST(ToPeer, EndStreamTravelsWithTheLastPartOrAlone) {
  ToPeer with(kWindow);
  with.on_message(5);
  with.on_message(6);
  with.on_end();
  EXPECT_EQ(with.next_part(1000, 1000)->flags, whole_message);
  EXPECT_EQ(with.next_part(4, 1000)->flags, msg_begin);
  EXPECT_EQ(with.next_part(4, 1000)->flags, msg_end | end_stream);
  EXPECT_FALSE(with.can_send(1000)) << "END_STREAM is sent once";

  ToPeer alone(kWindow);
  alone.on_message(5);
  EXPECT_EQ(alone.next_part(1000, 1000)->flags, whole_message);
  EXPECT_FALSE(alone.can_send(1000));
  alone.on_end();
  EXPECT_TRUE(alone.can_send(0)) << "a bare half-close needs no credit";
  const auto part = alone.next_part(1000, 0);
  EXPECT_EQ(part->flags, end_stream);
  EXPECT_EQ(part->length, 0u);
}

TEST(ToPeer, GrantsOutsideTheWindowsBoundsAreRefused) {
  ToPeer to(kWindow);
  EXPECT_FALSE(to.on_window(0));
  EXPECT_FALSE(to.on_window(legate::ipc::kMaxWindow));
  EXPECT_TRUE(to.on_window(1));
}

TEST(ToPeer, AfterDropNothingIsSentAnyMore) {
  ToPeer to(kWindow);
  to.on_message(50);
  ASSERT_TRUE(to.next_part(10, 1000));
  to.on_end();
  to.drop();
  EXPECT_EQ(to.waiting(), 0u);
  EXPECT_FALSE(to.can_send(1000));
  to.on_message(7);
  to.on_end();
  EXPECT_EQ(to.waiting(), 0u) << "what comes later is dropped too";
  EXPECT_EQ(to.next_part(1000, 1000), std::nullopt);
}

// A sender, a receiver whose application takes messages whenever it likes, frames and grants that
// take their time between them.
void run_stream(uint64_t seed) {
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  const uint32_t window = random.between(1, 64);
  const uint32_t max_frame = random.between(1, 80);
  const uint32_t count = random.between(0, 12);
  ToPeer sender(window);
  FromPeer receiver(window);
  std::deque<uint32_t> expected;
  std::deque<Frame> frames;
  std::deque<uint32_t> grants;
  uint32_t made = 0;
  uint32_t longest = 0;
  bool ended = false;

  for (int step = 0; step < 20'000 && !(receiver.closed() && expected.empty()); ++step) {
    const bool patient = step < 500;  // later everything goes on whenever it can
    switch (random.below(5)) {
      case 0:
        if (made < count) {
          const uint32_t length = random.one_in(4) ? 0 : random.between(0, 3 * window);
          sender.on_message(length);
          expected.push_back(length);
          longest = std::max(longest, length);
          ++made;
        } else if (!std::exchange(ended, true)) {
          sender.on_end();
        }
        break;
      case 1:
        if (const auto part = sender.next_part(max_frame, random.between(patient ? 0 : 1, 80))) {
          ASSERT_LE(part->length, max_frame);
          frames.push_back({part->flags, part->aux, part->length});
        }
        break;
      case 2:
        if (!frames.empty()) {
          const Frame frame = frames.front();
          frames.pop_front();
          const auto violation = receiver.on_part(frame.flags, frame.aux, frame.length);
          ASSERT_FALSE(violation) << violation->message;
          ASSERT_LE(receiver.held(), uint64_t{window} + longest);
        }
        break;
      case 3:
        if (receiver.whole() > 0 && !(patient && random.one_in(2))) {
          const uint64_t held = receiver.held();
          receiver.on_taken();
          ASSERT_EQ(held - receiver.held(), expected.front());
          expected.pop_front();
        }
        break;
      default:
        if (!grants.empty() && !(patient && random.one_in(2))) {
          ASSERT_TRUE(sender.on_window(grants.front()));
          grants.pop_front();
        }
        break;
    }
    if (const uint32_t grant = receiver.take_grant(); grant > 0) grants.push_back(grant);
  }
  ASSERT_TRUE(expected.empty()) << expected.size() << " messages are stuck";
  ASSERT_TRUE(receiver.closed());
  ASSERT_EQ(receiver.held(), 0u);
}

TEST(Messages, AnySizesSplitsAndConsumptionArriveWithoutDeadlock) {
  for (uint64_t seed = 0; seed < 3000 && !testing::Test::HasFatalFailure(); ++seed)
    run_stream(seed);
}

}  // namespace
}  // namespace legated
