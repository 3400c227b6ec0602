// Which worker gets which call. Time is made up: minute 0 is the clock's start.
#include "daemon/core/dispatcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/core/method_pattern.h"

namespace legated {
namespace {

using namespace std::chrono_literals;
using Enqueued = Dispatcher::Enqueued;
using Time = Dispatcher::Time;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr LeaseId kA{1}, kB{2}, kC{3};

TEST(DispatcherPattern, ThreeFormsAreAccepted) {
  for (const char* pattern : {"*", "/pkg.Svc/Method", "/Svc/M", "/pkg.Svc/*", "/S/*"}) {
    EXPECT_EQ(refuse_pattern(pattern), std::nullopt) << pattern;
  }
}

TEST(DispatcherPattern, AllElseIsRefusedShowingThePattern) {
  for (const char* pattern :
       {"", "/", "//", "pkg.Svc/Method", "/Svc", "/Svc/", "//M", "/a/b/c", "/a//c", "**", "*/M",
        "/S/*M", "/S/M*", "/S/**", "/S*/M", "/*/M", "/*", "S/*"}) {
    const auto why = refuse_pattern(pattern);
    ASSERT_NE(why, std::nullopt) << pattern;
    EXPECT_THAT(*why, testing::HasSubstr("\"" + std::string(pattern) + "\""));
  }
  EXPECT_LT(refuse_pattern(std::string(100'000, 'x'))->size(), 400u);
}

class DispatcherTest : public testing::Test {
 protected:
  Enqueued enqueue(uint64_t call, std::string_view method, Time deadline = Time::max()) {
    return dispatcher_.enqueue(DispatchId{call}, method, deadline, now_);
  }
  Enqueued requeue(uint64_t call, std::string_view method, std::vector<LeaseId> rejected = {}) {
    return dispatcher_.requeue(DispatchId{call}, method, Time::max(), std::move(rejected), now_);
  }
  // Everything that can be handed out now, as call and lease.
  std::vector<std::pair<uint64_t, LeaseId>> offers() {
    std::vector<std::pair<uint64_t, LeaseId>> all;
    while (const auto offer = dispatcher_.next(now_))
      all.emplace_back(raw(offer->call), offer->lease);
    return all;
  }
  std::vector<uint64_t> calls() {
    std::vector<uint64_t> all;
    for (const auto& [call, lease] : offers()) all.push_back(call);
    return all;
  }
  std::vector<uint64_t> expire(Time since) {
    std::vector<uint64_t> all;
    for (const DispatchId call : dispatcher_.take_held_since(since)) all.push_back(raw(call));
    return all;
  }

  Dispatcher dispatcher_{8};
  Time now_{1min};
};

using Pairs = std::vector<std::pair<uint64_t, LeaseId>>;

TEST_F(DispatcherTest, AnExactMethodGoesBeforeAServiceAndThatBeforeEverything) {
  dispatcher_.add_lease(kA, {"*"}, 9);
  dispatcher_.add_lease(kB, {"/s/*"}, 9);
  dispatcher_.add_lease(kC, {"/s/m"}, 9);
  enqueue(1, "/s/m");
  enqueue(2, "/s/n");
  enqueue(3, "/t/m");
  EXPECT_THAT(offers(), testing::UnorderedElementsAre(std::pair(1u, kC), std::pair(2u, kB),
                                                      std::pair(3u, kA)));
}

TEST_F(DispatcherTest, AMethodThatMatchesNoLeaseIsUnimplemented) {
  dispatcher_.add_lease(kA, {"/s/m", "/t/*"}, 1);
  EXPECT_EQ(enqueue(1, "/s/n"), Enqueued::unimplemented);
  EXPECT_EQ(enqueue(2, "/s/*x"), Enqueued::unimplemented);
  EXPECT_EQ(enqueue(3, "no slash"), Enqueued::unimplemented);
  EXPECT_EQ(enqueue(4, ""), Enqueued::unimplemented);
  EXPECT_EQ(dispatcher_.waiting(), 0u);
  EXPECT_EQ(enqueue(5, "/t/anything"), Enqueued::queued);
}

TEST_F(DispatcherTest, TheLeaseWithTheMostFreeSlotsIsChosen) {
  dispatcher_.add_lease(kA, {"*"}, 2);
  dispatcher_.add_lease(kB, {"*"}, 4);
  for (uint64_t call = 1; call <= 7; ++call) enqueue(call, "/s/m");
  const auto all = offers();
  ASSERT_EQ(all.size(), 6u);
  EXPECT_EQ(all[0].second, kB);
  EXPECT_EQ(all[1].second, kB);
  EXPECT_EQ(dispatcher_.leases().at(kA).busy, 2u);
  EXPECT_EQ(dispatcher_.leases().at(kB).busy, 4u);
  EXPECT_EQ(dispatcher_.leases().at(kB).dispatched, 4u);
  EXPECT_EQ(dispatcher_.waiting(), 1u) << "never more than the slots at once";
}

TEST_F(DispatcherTest, TheLongestIdleIsChosenOnATie) {
  dispatcher_.add_lease(kA, {"*"}, 1);
  dispatcher_.add_lease(kB, {"*"}, 1);
  enqueue(1, "/s/m");
  enqueue(2, "/s/m");
  ASSERT_EQ(offers().size(), 2u);
  dispatcher_.release(kB, now_ + 1s);
  dispatcher_.release(kA, now_ + 2s);
  enqueue(3, "/s/m");
  EXPECT_THAT(offers(), ElementsAre(std::pair(3u, kB)));
}

TEST_F(DispatcherTest, CallsOfOneQueueAreHandedOutInTheOrderTheyCame) {
  dispatcher_.add_lease(kA, {"/s/*"}, 1);
  for (uint64_t call = 1; call <= 4; ++call) enqueue(call, call % 2 ? "/s/m" : "/s/n");
  std::vector<uint64_t> order;
  while (const auto offer = dispatcher_.next(now_)) {
    order.push_back(raw(offer->call));
    dispatcher_.release(kA, now_);
  }
  EXPECT_THAT(order, ElementsAre(1, 2, 3, 4));
}

TEST_F(DispatcherTest, TheQueueIsBounded) {
  dispatcher_.add_lease(kA, {"*"}, 1);
  for (uint64_t call = 1; call <= 8; ++call) EXPECT_EQ(enqueue(call, "/s/m"), Enqueued::queued);
  EXPECT_EQ(enqueue(9, "/s/m"), Enqueued::queue_full);
  EXPECT_EQ(requeue(10, "/s/m"), Enqueued::queued) << "a call that came back is not bounded";
  dispatcher_.remove(DispatchId{10});
  EXPECT_EQ(calls().size(), 1u);
  EXPECT_EQ(enqueue(11, "/s/m"), Enqueued::queued);
}

TEST_F(DispatcherTest, QueuedCallPastDeadlineIsNeverHandedOut) {
  dispatcher_.add_lease(kA, {"*"}, 9);
  enqueue(1, "/s/m", now_ + 1s);
  enqueue(2, "/s/m", now_ + 3s);
  enqueue(3, "/s/m");
  now_ += 1s;
  EXPECT_THAT(calls(), ElementsAre(2, 3));
  EXPECT_EQ(dispatcher_.waiting(), 1u) << "its end is gRPC's to tell";
  dispatcher_.remove(DispatchId{1});
  EXPECT_EQ(dispatcher_.waiting(), 0u);
}

TEST_F(DispatcherTest, ACallThatCameBackIsFirst) {
  dispatcher_.add_lease(kA, {"*"}, 1);
  for (uint64_t call = 1; call <= 3; ++call) enqueue(call, "/s/m");
  ASSERT_THAT(calls(), ElementsAre(1));
  dispatcher_.release(kA, now_);
  EXPECT_EQ(requeue(1, "/s/m"), Enqueued::queued);
  EXPECT_THAT(calls(), ElementsAre(1));
}

TEST_F(DispatcherTest, ALeaseThatRejectedACallIsNotOfferedItAgain) {
  dispatcher_.add_lease(kA, {"*"}, 9);
  dispatcher_.add_lease(kB, {"*"}, 1);
  EXPECT_EQ(requeue(1, "/s/m", {kA}), Enqueued::queued);
  EXPECT_THAT(offers(), ElementsAre(std::pair(1u, kB)));
  EXPECT_EQ(requeue(2, "/s/m", {kA}), Enqueued::queued);
  enqueue(3, "/s/m");
  EXPECT_THAT(offers(), ElementsAre(std::pair(3u, kA))) << "others pass it meanwhile";
  dispatcher_.release(kB, now_);
  EXPECT_THAT(offers(), ElementsAre(std::pair(2u, kB)));
}

TEST_F(DispatcherTest, ACallThatAllHaveRejectedIsToldSo) {
  dispatcher_.add_lease(kA, {"*"}, 1);
  dispatcher_.add_lease(kB, {"*"}, 1);
  EXPECT_EQ(requeue(1, "/s/m", {kB, kA}), Enqueued::rejected_by_all);
  EXPECT_EQ(dispatcher_.waiting(), 0u);
}

TEST_F(DispatcherTest, ACallThatOnlyLeasesThatRejectedItCouldTakeWaitsNoLongerThanTheHoldTime) {
  dispatcher_.add_lease(kA, {"*"}, 9);
  dispatcher_.add_lease(kB, {"*"}, 1);
  EXPECT_EQ(requeue(1, "/s/m", {kA}), Enqueued::queued);
  dispatcher_.remove_lease(kB, now_);
  EXPECT_THAT(offers(), IsEmpty());
  EXPECT_EQ(dispatcher_.held_since(), now_);
  dispatcher_.add_lease(kC, {"/t/*"}, 1);
  EXPECT_EQ(dispatcher_.held_since(), now_) << "no use to it";
  EXPECT_THAT(expire(now_), ElementsAre(1));

  dispatcher_.add_lease(kB, {"*"}, 1);
  EXPECT_EQ(requeue(2, "/s/m", {kA}), Enqueued::queued);
  dispatcher_.remove_lease(kB, now_);
  dispatcher_.add_lease(LeaseId{9}, {"*"}, 1);
  EXPECT_THAT(offers(), ElementsAre(std::pair(2u, LeaseId{9})));
}

TEST_F(DispatcherTest, WithoutAnyLeaseCallsAreHeldForTheFirst) {
  EXPECT_EQ(enqueue(1, "/s/m"), Enqueued::queued);
  EXPECT_EQ(enqueue(2, "/t/m"), Enqueued::queued);
  EXPECT_EQ(dispatcher_.held_since(), now_);
  EXPECT_THAT(offers(), IsEmpty());
  dispatcher_.add_lease(kA, {"/s/*"}, 9);
  EXPECT_THAT(calls(), ElementsAre(1)) << "the other waits on for its hold time";
  dispatcher_.add_lease(kB, {"*"}, 9);
  EXPECT_THAT(calls(), ElementsAre(2));
}

TEST_F(DispatcherTest, CallsOfTheLastLeaseAreHeldAndTheNextGenerationGetsThem) {
  dispatcher_.add_lease(kA, {"/s/m"}, 1);
  dispatcher_.add_lease(kB, {"/t/m"}, 1);
  for (uint64_t call = 1; call <= 3; ++call) enqueue(call, "/s/m");
  ASSERT_THAT(calls(), ElementsAre(1));
  now_ += 1s;
  dispatcher_.remove_lease(kA, now_);
  EXPECT_EQ(requeue(1, "/s/m"), Enqueued::queued) << "its worker had not accepted it";
  EXPECT_EQ(enqueue(4, "/s/m"), Enqueued::queued) << "the pattern departed just now";
  EXPECT_EQ(enqueue(5, "/s/other"), Enqueued::unimplemented);
  EXPECT_THAT(offers(), IsEmpty());
  EXPECT_EQ(dispatcher_.held_since(), now_);
  dispatcher_.add_lease(kC, {"/s/*"}, 9);
  EXPECT_THAT(calls(), ElementsAre(1, 2, 3, 4));
  EXPECT_EQ(dispatcher_.waiting(), 0u);
}

TEST_F(DispatcherTest, CallsGoToABroaderLeaseWhenTheirsIsGone) {
  dispatcher_.add_lease(kA, {"/s/m"}, 1);
  dispatcher_.add_lease(kB, {"*"}, 1);
  enqueue(1, "/s/m");
  enqueue(2, "/s/m");
  ASSERT_THAT(offers(), ElementsAre(std::pair(1u, kA)));
  dispatcher_.remove_lease(kA, now_);
  EXPECT_THAT(offers(), ElementsAre(std::pair(2u, kB)));
}

TEST_F(DispatcherTest, HeldCallsExpireOldestFirst) {
  enqueue(1, "/s/m");
  now_ += 1s;
  enqueue(2, "/s/m");
  EXPECT_EQ(dispatcher_.held_since(), now_ - 1s);
  EXPECT_THAT(expire(now_ - 2s), IsEmpty());
  EXPECT_THAT(expire(now_ - 1s), ElementsAre(1));
  EXPECT_EQ(dispatcher_.held_since(), now_);
  EXPECT_THAT(expire(now_), ElementsAre(2));
  EXPECT_EQ(dispatcher_.waiting(), 0u);
}

TEST_F(DispatcherTest, ACallThatCameBackDoesNotProlongTheHoldOfOthers) {
  enqueue(1, "/s/m");
  const Time first = now_;
  now_ += 9s;
  EXPECT_EQ(requeue(2, "/t/m"), Enqueued::queued);
  EXPECT_EQ(dispatcher_.held_since(), first);
  EXPECT_THAT(expire(first), ElementsAre(1));
  EXPECT_THAT(expire(now_), ElementsAre(2));
}

TEST_F(DispatcherTest, ADepartedPatternIsForgottenAfterTheHoldTime) {
  dispatcher_.add_lease(kA, {"/s/m"}, 1);
  dispatcher_.add_lease(kB, {"/t/m"}, 1);
  dispatcher_.remove_lease(kA, now_);
  EXPECT_EQ(dispatcher_.held_since(), now_) << "the timer must run though no call is held";
  EXPECT_THAT(expire(now_ - 1s), IsEmpty());
  EXPECT_EQ(enqueue(1, "/s/m"), Enqueued::queued);
  EXPECT_THAT(expire(now_), ElementsAre(1));
  EXPECT_EQ(enqueue(2, "/s/m"), Enqueued::unimplemented);
  EXPECT_EQ(dispatcher_.held_since(), std::nullopt);
}

TEST_F(DispatcherTest, APatternThatAnotherLeaseHasDoesNotDepart) {
  dispatcher_.add_lease(kA, {"/s/m"}, 1);
  dispatcher_.add_lease(kB, {"/s/m"}, 1);
  dispatcher_.remove_lease(kA, now_);
  enqueue(1, "/s/m");
  EXPECT_THAT(offers(), ElementsAre(std::pair(1u, kB)));
}

TEST_F(DispatcherTest, QueuesThatShareSlotsTakeTurns) {
  dispatcher_.add_lease(kA, {"/a/m", "/b/m", "/c/m"}, 1);
  for (uint64_t call = 0; call < 6; ++call) enqueue(call, call < 4 ? "/a/m" : "/b/m");
  enqueue(6, "/c/m");
  std::vector<uint64_t> order;
  while (const auto offer = dispatcher_.next(now_)) {
    order.push_back(raw(offer->call));
    dispatcher_.release(kA, now_);
  }
  EXPECT_THAT(order, ElementsAre(0, 4, 6, 1, 5, 2, 3));
}

TEST_F(DispatcherTest, ACallMayBeRemovedAnyTime) {
  dispatcher_.remove(DispatchId{1});
  enqueue(1, "/s/m");  // held
  dispatcher_.remove(DispatchId{1});
  EXPECT_EQ(dispatcher_.held_since(), std::nullopt);
  dispatcher_.add_lease(kA, {"*"}, 9);
  enqueue(2, "/s/m");
  enqueue(3, "/s/m");
  dispatcher_.remove(DispatchId{2});
  dispatcher_.remove(DispatchId{2});
  EXPECT_THAT(calls(), ElementsAre(3));
  dispatcher_.remove(DispatchId{3});
  EXPECT_EQ(dispatcher_.waiting(), 0u);
}

TEST_F(DispatcherTest, NothingIsHandedOutWhilePaused) {
  dispatcher_.add_lease(kA, {"*"}, 9);
  enqueue(1, "/s/m");
  dispatcher_.pause(true);
  EXPECT_THAT(offers(), IsEmpty());
  dispatcher_.pause(false);
  EXPECT_THAT(calls(), ElementsAre(1));
}

TEST_F(DispatcherTest, ALeaseThatNamesAPatternTwiceCountsOnce) {
  dispatcher_.add_lease(kA, {"/s/m", "/s/m"}, 1);
  enqueue(1, "/s/m");
  enqueue(2, "/s/m");
  EXPECT_THAT(calls(), ElementsAre(1));
  dispatcher_.remove_lease(kA, now_);
  dispatcher_.release(kA, now_);  // of a lease that has ended: harmless
  dispatcher_.remove_lease(kA, now_);
  EXPECT_EQ(dispatcher_.held_since(), now_);
  EXPECT_EQ(dispatcher_.waiting(), 1u);
}

}  // namespace
}  // namespace legated
