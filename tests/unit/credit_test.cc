// The credit ledger: what may be sent, what is granted and when.
#include "daemon/core/credit.h"

#include <gtest/gtest.h>

#include "tests/unit/random.h"

namespace legated {
namespace {

using legate::ipc::kMaxWindow;

TEST(SendCredit, SpendsAndIsGrantedMore) {
  SendCredit credit(10);
  credit.spend(10);
  EXPECT_EQ(credit.available(), 0u);
  EXPECT_TRUE(credit.add(7));
  EXPECT_EQ(credit.available(), 7u);
}

TEST(SendCredit, AnEmptyGrantIsRefused) {
  SendCredit credit(10);
  EXPECT_FALSE(credit.add(0));
  EXPECT_EQ(credit.available(), 10u);
}

TEST(SendCredit, AWindowAboveTheMaximumIsRefused) {
  SendCredit credit(10);
  EXPECT_FALSE(credit.add(kMaxWindow - 9));
  EXPECT_FALSE(credit.add(UINT32_MAX));
  EXPECT_EQ(credit.available(), 10u);
  EXPECT_TRUE(credit.add(kMaxWindow - 10));
  EXPECT_EQ(credit.available(), kMaxWindow);
  EXPECT_FALSE(credit.add(1));
}

TEST(ReceiveCredit, BytesBeyondTheWindowAreRefused) {
  ReceiveCredit credit(10);
  EXPECT_TRUE(credit.receive(10));
  EXPECT_TRUE(credit.receive(0));
  EXPECT_FALSE(credit.receive(1));
}

TEST(ReceiveCredit, GrantsWaitForHalfAWindow) {
  ReceiveCredit credit(10);
  ASSERT_TRUE(credit.receive(10));
  credit.give_back(4);
  EXPECT_EQ(credit.take_grant(), 0u);
  credit.give_back(1);
  EXPECT_EQ(credit.take_grant(), 5u);
  EXPECT_EQ(credit.take_grant(), 0u);
}

TEST(ReceiveCredit, HalfAnOddWindowIsRoundedUp) {
  ReceiveCredit credit(5);
  ASSERT_TRUE(credit.receive(5));
  credit.give_back(2);
  EXPECT_EQ(credit.take_grant(), 0u);
  credit.give_back(1);
  EXPECT_EQ(credit.take_grant(), 3u);
}

TEST(ReceiveCredit, TheLargestWindowDoesNotOverflow) {
  ReceiveCredit credit(kMaxWindow);
  ASSERT_TRUE(credit.receive(kMaxWindow));
  credit.give_back(kMaxWindow / 2);
  EXPECT_EQ(credit.take_grant(), 0u);
  credit.give_back(kMaxWindow / 2 + 1);
  EXPECT_EQ(credit.take_grant(), kMaxWindow);
}

TEST(ReceiveCredit, AGrantIsUrgentWhenTheSenderLacksCreditForWhatMustCome) {
  ReceiveCredit credit(10);
  ASSERT_TRUE(credit.receive(8));
  credit.give_back(1);
  EXPECT_EQ(credit.take_grant(2), 0u) << "2 are left, 2 are expected";
  EXPECT_EQ(credit.take_grant(3), 1u);
}

TEST(ReceiveCredit, NothingOwedIsNothingGranted) {
  ReceiveCredit credit(10);
  ASSERT_TRUE(credit.receive(10));
  EXPECT_EQ(credit.take_grant(100), 0u);
}

TEST(ReceiveCredit, WhatIsGrantedMayBeSentAgain) {
  ReceiveCredit credit(10);
  ASSERT_TRUE(credit.receive(10));
  credit.give_back(6);
  ASSERT_EQ(credit.take_grant(), 6u);
  EXPECT_TRUE(credit.receive(6));
  EXPECT_FALSE(credit.receive(1));
}

TEST(ReceiveCredit, BothSidesLedgersAgreeWhateverIsSentAndConsumed) {
  for (uint64_t seed = 0; seed < 500; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Random random(seed);
    const uint32_t window = random.between(1, 50);
    SendCredit sender(window);
    ReceiveCredit receiver(window);
    uint32_t held = 0;
    for (int step = 0; step < 300; ++step) {
      if (random.one_in(2)) {
        const uint32_t bytes = random.between(0, sender.available());
        sender.spend(bytes);
        ASSERT_TRUE(receiver.receive(bytes));
        held += bytes;
      } else {
        const uint32_t bytes = random.between(0, held);
        receiver.give_back(bytes);
        held -= bytes;
        const uint32_t grant = receiver.take_grant(random.below(2 * window));
        if (grant > 0) {
          ASSERT_TRUE(sender.add(grant));
        }
      }
      ASSERT_LE(sender.available() + held, window);
    }
    receiver.give_back(held);
    if (const uint32_t grant = receiver.take_grant(UINT32_MAX); grant > 0) {
      ASSERT_TRUE(sender.add(grant));
    }
    ASSERT_EQ(sender.available(), window);
  }
}

}  // namespace
}  // namespace legated
