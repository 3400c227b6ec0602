// When a lease is suspect. Time is made up.
#include "daemon/core/suspects.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace legated {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr LeaseId kA{1}, kB{2};
constexpr DispatchId kFirst{1}, kSecond{2}, kThird{3};
constexpr Suspects::Time kStart{1h};

TEST(Suspects, ALeaseIsOneOnceACancelledCallHasWaitedTooLong) {
  Suspects suspects(30s);
  suspects.on_cancelled(kFirst, kA, kStart);
  suspects.on_cancelled(kSecond, kB, kStart + 5s);
  EXPECT_EQ(suspects.due(), kStart + 30s);
  EXPECT_THAT(suspects.take_new(kStart + 29s), IsEmpty());
  EXPECT_THAT(suspects.take_new(kStart + 30s), ElementsAre(kA));
  EXPECT_THAT(suspects.take_new(kStart + 31s), IsEmpty()) << "each time once";
  EXPECT_EQ(suspects.due(), kStart + 35s);
  EXPECT_TRUE(suspects.on_answered(kFirst));
  EXPECT_FALSE(suspects.on_answered(kSecond)) << "in time";
  EXPECT_EQ(suspects.due(), std::nullopt);
}

TEST(Suspects, ItRecoversWithTheLastOfItsCalls) {
  Suspects suspects(30s);
  suspects.on_cancelled(kFirst, kA, kStart);
  suspects.on_cancelled(kSecond, kA, kStart + 1s);
  EXPECT_THAT(suspects.take_new(kStart + 30s), ElementsAre(kA));
  EXPECT_THAT(suspects.take_new(kStart + 31s), IsEmpty()) << "it is one already";
  EXPECT_FALSE(suspects.on_answered(kFirst));
  EXPECT_TRUE(suspects.on_answered(kSecond));
  EXPECT_FALSE(suspects.on_answered(kSecond));
  suspects.on_cancelled(kThird, kA, kStart + 40s);
  EXPECT_THAT(suspects.take_new(kStart + 70s), ElementsAre(kA)) << "and may be one again";
}

TEST(Suspects, ALeaseThatHasEndedIsForgotten) {
  Suspects suspects(30s);
  suspects.on_cancelled(kFirst, kA, kStart);
  suspects.on_cancelled(kSecond, kA, kStart + 10s);
  suspects.on_cancelled(kThird, kB, kStart + 10s);
  EXPECT_THAT(suspects.take_new(kStart + 30s), ElementsAre(kA));
  suspects.forget(kA);
  EXPECT_FALSE(suspects.on_answered(kFirst));
  EXPECT_THAT(suspects.take_new(kStart + 40s), ElementsAre(kB));
}

TEST(Suspects, WithoutPatienceToLoseThereIsNone) {
  Suspects suspects(0s);
  suspects.on_cancelled(kFirst, kA, kStart);
  EXPECT_EQ(suspects.due(), std::nullopt);
  EXPECT_FALSE(suspects.on_answered(kFirst));
}

}  // namespace
}  // namespace legated
