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
  void add(LeaseId lease, std::vector<std::string> patterns, uint32_t slots) {
    dispatcher_.add_lease(lease, {.patterns = std::move(patterns), .slots = slots});
  }
  /// Of a generation, for every method.
  void add_to(const std::string& generation, LeaseId lease, uint16_t share, uint32_t slots = 1000,
              uint16_t weight = 100) {
    dispatcher_.add_lease(lease, {.patterns = {"*"},
                                  .slots = slots,
                                  .weight = weight,
                                  .generation = generation,
                                  .share = share});
  }
  Enqueued enqueue(uint64_t call, std::string_view method, Time deadline = Time::max()) {
    return dispatcher_.enqueue({DispatchId{call}, method, deadline}, now_);
  }
  Enqueued enqueue_sticky(uint64_t call, std::string_view value) {
    return dispatcher_.enqueue(
        {DispatchId{call}, "/s/m", Time::max(), Dispatcher::sticky_hash(value)}, now_);
  }
  Enqueued requeue(uint64_t call, std::string_view method, std::vector<LeaseId> rejected = {}) {
    return dispatcher_.requeue({DispatchId{call}, method}, std::move(rejected), now_);
  }
  const LeaseState& lease(LeaseId id) { return dispatcher_.leases().at(id); }
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

  static constexpr auto kOverload = 1s;
  Dispatcher dispatcher_{{.queue = 8, .overload = kOverload}};
  Time now_{1min};
};

using Pairs = std::vector<std::pair<uint64_t, LeaseId>>;

TEST_F(DispatcherTest, AnExactMethodGoesBeforeAServiceAndThatBeforeEverything) {
  add(kA, {"*"}, 9);
  add(kB, {"/s/*"}, 9);
  add(kC, {"/s/m"}, 9);
  enqueue(1, "/s/m");
  enqueue(2, "/s/n");
  enqueue(3, "/t/m");
  EXPECT_THAT(offers(), testing::UnorderedElementsAre(std::pair(1u, kC), std::pair(2u, kB),
                                                      std::pair(3u, kA)));
}

TEST_F(DispatcherTest, AMethodThatMatchesNoLeaseIsUnimplemented) {
  add(kA, {"/s/m", "/t/*"}, 1);
  EXPECT_EQ(enqueue(1, "/s/n"), Enqueued::unimplemented);
  EXPECT_EQ(enqueue(2, "/s/*x"), Enqueued::unimplemented);
  EXPECT_EQ(enqueue(3, "no slash"), Enqueued::unimplemented);
  EXPECT_EQ(enqueue(4, ""), Enqueued::unimplemented);
  EXPECT_EQ(dispatcher_.waiting(), 0u);
  EXPECT_EQ(enqueue(5, "/t/anything"), Enqueued::queued);
}

TEST_F(DispatcherTest, TheLeaseWithTheLowestLoadIsChosenAndNeverMoreThanItsSlots) {
  add(kA, {"*"}, 2);
  add(kB, {"*"}, 4);
  for (uint64_t call = 1; call <= 7; ++call) enqueue(call, "/s/m");
  const auto all = offers();
  ASSERT_EQ(all.size(), 6u);
  EXPECT_NE(all[0].second, all[1].second);
  EXPECT_NE(all[2].second, all[3].second);
  EXPECT_EQ(lease(kA).busy, 2u);
  EXPECT_EQ(lease(kB).busy, 4u);
  EXPECT_EQ(lease(kB).dispatched, 4u);
  EXPECT_EQ(dispatcher_.waiting(), 1u);
}

TEST_F(DispatcherTest, LoadIsCallsDividedByWeight) {
  add_to("", kA, 100, 1000, 100);
  add_to("", kB, 100, 1000, 300);
  for (uint64_t call = 1; call <= 8; ++call) {
    enqueue(call, "/s/m");
    offers();
  }
  EXPECT_EQ(lease(kA).busy, 2u);
  EXPECT_EQ(lease(kB).busy, 6u);
}

TEST_F(DispatcherTest, TheLongestIdleIsChosenOnATie) {
  add(kA, {"*"}, 1);
  add(kB, {"*"}, 1);
  enqueue(1, "/s/m");
  enqueue(2, "/s/m");
  ASSERT_EQ(offers().size(), 2u);
  dispatcher_.release(kB, now_ + 1s);
  dispatcher_.release(kA, now_ + 2s);
  enqueue(3, "/s/m");
  EXPECT_THAT(offers(), ElementsAre(std::pair(3u, kB)));
}

TEST_F(DispatcherTest, CallsOfOneQueueAreHandedOutInTheOrderTheyCame) {
  add(kA, {"/s/*"}, 1);
  for (uint64_t call = 1; call <= 4; ++call) enqueue(call, call % 2 ? "/s/m" : "/s/n");
  std::vector<uint64_t> order;
  while (const auto offer = dispatcher_.next(now_)) {
    order.push_back(raw(offer->call));
    dispatcher_.release(kA, now_);
  }
  EXPECT_THAT(order, ElementsAre(1, 2, 3, 4));
}

TEST_F(DispatcherTest, EachPoolIsBoundedByItself) {
  add(kA, {"/s/*"}, 1);
  add(kB, {"/t/m"}, 1);
  for (uint64_t call = 1; call <= 8; ++call) EXPECT_EQ(enqueue(call, "/s/m"), Enqueued::queued);
  EXPECT_EQ(enqueue(9, "/s/n"), Enqueued::queue_full);
  EXPECT_EQ(dispatcher_.pool_of("/s/n"), "/s/*") << "for the message";
  EXPECT_EQ(enqueue(20, "/t/m"), Enqueued::queued) << "the other pool is empty";
  EXPECT_EQ(requeue(10, "/s/m"), Enqueued::queued) << "a call that came back is not bounded";
  dispatcher_.remove(DispatchId{10});
  EXPECT_EQ(calls().size(), 2u);
  EXPECT_EQ(enqueue(11, "/s/m"), Enqueued::queued);
  EXPECT_EQ(enqueue(12, "/s/m"), Enqueued::queue_full);
}

TEST_F(DispatcherTest, CallsOfAPoolWhoseLastLeaseLeftAreBoundedByItself) {
  add(kA, {"/s/*"}, 1);
  add(kB, {"/t/m"}, 1);
  for (uint64_t call = 1; call <= 4; ++call) enqueue(call, "/s/m");
  dispatcher_.remove_lease(kA, now_);
  dispatcher_.remove_lease(kB, now_);
  for (uint64_t call = 5; call <= 8; ++call) EXPECT_EQ(enqueue(call, "/s/m"), Enqueued::queued);
  EXPECT_EQ(enqueue(9, "/s/m"), Enqueued::queue_full);
  EXPECT_EQ(enqueue(10, "/t/m"), Enqueued::queued);
  for (uint64_t call = 11; call <= 18; ++call) EXPECT_EQ(enqueue(call, "/u/m"), Enqueued::queued);
  EXPECT_EQ(enqueue(19, "/v/m"), Enqueued::queue_full) << "all that no pool matches, together";
  add(kC, {"*"}, 99);
  EXPECT_EQ(calls().size(), 17u);
  EXPECT_EQ(dispatcher_.waiting(), 0u);
}

TEST_F(DispatcherTest, QueuedCallPastDeadlineIsNeverHandedOut) {
  add(kA, {"*"}, 9);
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
  add(kA, {"*"}, 1);
  for (uint64_t call = 1; call <= 3; ++call) enqueue(call, "/s/m");
  ASSERT_THAT(calls(), ElementsAre(1));
  dispatcher_.release(kA, now_);
  EXPECT_EQ(requeue(1, "/s/m"), Enqueued::queued);
  EXPECT_THAT(calls(), ElementsAre(1));
}

TEST_F(DispatcherTest, ALeaseThatRejectedACallIsNotOfferedItAgain) {
  add(kA, {"*"}, 9);
  add(kB, {"*"}, 1);
  EXPECT_EQ(requeue(1, "/s/m", {kA}), Enqueued::queued);
  EXPECT_THAT(offers(), ElementsAre(std::pair(1u, kB)));
  EXPECT_EQ(requeue(2, "/s/m", {kA}), Enqueued::queued);
  enqueue(3, "/s/m");
  EXPECT_THAT(offers(), ElementsAre(std::pair(3u, kA))) << "others pass it meanwhile";
  dispatcher_.release(kB, now_);
  EXPECT_THAT(offers(), ElementsAre(std::pair(2u, kB)));
}

TEST_F(DispatcherTest, ACallThatAllHaveRejectedIsToldSo) {
  add(kA, {"*"}, 1);
  add(kB, {"*"}, 1);
  EXPECT_EQ(requeue(1, "/s/m", {kB, kA}), Enqueued::rejected_by_all);
  EXPECT_EQ(dispatcher_.waiting(), 0u);
}

TEST_F(DispatcherTest, ACallThatOnlyLeasesThatRejectedItCouldTakeWaitsNoLongerThanTheHoldTime) {
  add(kA, {"*"}, 9);
  add(kB, {"*"}, 1);
  EXPECT_EQ(requeue(1, "/s/m", {kA}), Enqueued::queued);
  dispatcher_.remove_lease(kB, now_);
  EXPECT_THAT(offers(), IsEmpty());
  EXPECT_EQ(dispatcher_.held_since(), now_);
  add(kC, {"/t/*"}, 1);
  EXPECT_EQ(dispatcher_.held_since(), now_) << "no use to it";
  EXPECT_THAT(expire(now_), ElementsAre(1));

  add(kB, {"*"}, 1);
  EXPECT_EQ(requeue(2, "/s/m", {kA}), Enqueued::queued);
  dispatcher_.remove_lease(kB, now_);
  add(LeaseId{9}, {"*"}, 1);
  EXPECT_THAT(offers(), ElementsAre(std::pair(2u, LeaseId{9})));
}

TEST_F(DispatcherTest, WithoutAnyLeaseCallsAreHeldForTheFirst) {
  EXPECT_EQ(enqueue(1, "/s/m"), Enqueued::queued);
  EXPECT_EQ(enqueue(2, "/t/m"), Enqueued::queued);
  EXPECT_EQ(dispatcher_.held_since(), now_);
  EXPECT_THAT(offers(), IsEmpty());
  add(kA, {"/s/*"}, 9);
  EXPECT_THAT(calls(), ElementsAre(1)) << "the other waits on for its hold time";
  add(kB, {"*"}, 9);
  EXPECT_THAT(calls(), ElementsAre(2));
}

TEST_F(DispatcherTest, CallsOfTheLastLeaseAreHeldAndTheNextGenerationGetsThem) {
  add(kA, {"/s/m"}, 1);
  add(kB, {"/t/m"}, 1);
  for (uint64_t call = 1; call <= 3; ++call) enqueue(call, "/s/m");
  ASSERT_THAT(calls(), ElementsAre(1));
  now_ += 1s;
  dispatcher_.remove_lease(kA, now_);
  EXPECT_EQ(requeue(1, "/s/m"), Enqueued::queued) << "its worker had not accepted it";
  EXPECT_EQ(enqueue(4, "/s/m"), Enqueued::queued) << "the pattern departed just now";
  EXPECT_EQ(enqueue(5, "/s/other"), Enqueued::unimplemented);
  EXPECT_THAT(offers(), IsEmpty());
  EXPECT_EQ(dispatcher_.held_since(), now_);
  add(kC, {"/s/*"}, 9);
  EXPECT_THAT(calls(), ElementsAre(1, 2, 3, 4));
  EXPECT_EQ(dispatcher_.waiting(), 0u);
}

TEST_F(DispatcherTest, CallsGoToABroaderLeaseWhenTheirsIsGone) {
  add(kA, {"/s/m"}, 1);
  add(kB, {"*"}, 1);
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
  add(kA, {"/s/m"}, 1);
  add(kB, {"/t/m"}, 1);
  dispatcher_.remove_lease(kA, now_);
  EXPECT_EQ(dispatcher_.held_since(), now_) << "the timer must run though no call is held";
  EXPECT_THAT(expire(now_ - 1s), IsEmpty());
  EXPECT_EQ(enqueue(1, "/s/m"), Enqueued::queued);
  EXPECT_THAT(expire(now_), ElementsAre(1));
  EXPECT_EQ(enqueue(2, "/s/m"), Enqueued::unimplemented);
  EXPECT_EQ(dispatcher_.held_since(), std::nullopt);
}

TEST_F(DispatcherTest, APatternThatAnotherLeaseHasDoesNotDepart) {
  add(kA, {"/s/m"}, 1);
  add(kB, {"/s/m"}, 1);
  dispatcher_.remove_lease(kA, now_);
  enqueue(1, "/s/m");
  EXPECT_THAT(offers(), ElementsAre(std::pair(1u, kB)));
}

TEST_F(DispatcherTest, QueuesThatShareSlotsTakeTurns) {
  add(kA, {"/a/m", "/b/m", "/c/m"}, 1);
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
  add(kA, {"*"}, 9);
  enqueue(2, "/s/m");
  enqueue(3, "/s/m");
  dispatcher_.remove(DispatchId{2});
  dispatcher_.remove(DispatchId{2});
  EXPECT_THAT(calls(), ElementsAre(3));
  dispatcher_.remove(DispatchId{3});
  EXPECT_EQ(dispatcher_.waiting(), 0u);
}

TEST_F(DispatcherTest, ALeaseThatNamesAPatternTwiceCountsOnce) {
  add(kA, {"/s/m", "/s/m"}, 1);
  enqueue(1, "/s/m");
  enqueue(2, "/s/m");
  EXPECT_THAT(calls(), ElementsAre(1));
  dispatcher_.remove_lease(kA, now_);
  dispatcher_.release(kA, now_);  // of a lease that has ended: harmless
  dispatcher_.remove_lease(kA, now_);
  EXPECT_EQ(dispatcher_.held_since(), now_);
  EXPECT_EQ(dispatcher_.waiting(), 1u);
}

// ---- Generations -------------------------------------------------------------------------------

TEST_F(DispatcherTest, GenerationsShareTheCallsSmoothly) {
  add_to("v1", kA, 90);
  add_to("v2", kB, 10);
  std::vector<size_t> canary;
  for (uint64_t call = 0; call < 200; ++call) {
    enqueue(call, "/s/m");
    if (offers().at(0).second == kB) canary.push_back(call);
    const double due = static_cast<double>(call + 1) * 0.1;
    EXPECT_NEAR(static_cast<double>(canary.size()), due, 1.0) << "after call " << call;
  }
  EXPECT_EQ(canary.size(), 20u);
}

TEST_F(DispatcherTest, AShareIsOfTheGenerationHoweverManyLeasesItHas) {
  add_to("v1", kA, 50);
  add_to("v1", LeaseId{7}, 50);
  add_to("v1", LeaseId{8}, 50);
  add_to("v2", kB, 50);
  for (uint64_t call = 0; call < 120; ++call) {
    enqueue(call, "/s/m");
    offers();
  }
  EXPECT_EQ(lease(kB).dispatched, 60u);
  for (const LeaseId id : {kA, LeaseId{7}, LeaseId{8}}) EXPECT_EQ(lease(id).dispatched, 20u);
}

TEST_F(DispatcherTest, AGenerationWithoutAFreeSlotMakesUpForNothingLater) {
  add_to("v1", kA, 50, 2);
  add_to("v2", kB, 50);
  uint64_t call = 0;
  for (; call < 100; ++call) {
    enqueue(call, "/s/m");
    offers();
  }
  EXPECT_EQ(lease(kA).busy, 2u);
  EXPECT_EQ(lease(kB).busy, 98u) << "the others take what it can't";
  for (int i = 0; i < 10; ++i) {
    while (lease(kA).busy > 0) dispatcher_.release(kA, now_);
    enqueue(call++, "/s/m");
    enqueue(call++, "/s/m");
    offers();
  }
  EXPECT_NEAR(static_cast<double>(lease(kA).dispatched), 12, 1) << "half of the calls since";
}

TEST_F(DispatcherTest, AGenerationWithoutAShareStandsBy) {
  add_to("standby", kB, 0, 2);
  add_to("v1", kA, 1, 2);
  for (uint64_t call = 0; call < 5; ++call) enqueue(call, "/s/m");
  EXPECT_THAT(offers(), ElementsAre(std::pair(0u, kA), std::pair(1u, kA), std::pair(2u, kB),
                                    std::pair(3u, kB)));
  dispatcher_.release(kB, now_);
  dispatcher_.release(kA, now_);
  EXPECT_THAT(offers(), ElementsAre(std::pair(4u, kA)));
  dispatcher_.remove_lease(kA, now_);
  enqueue(5, "/s/m");
  EXPECT_THAT(offers(), ElementsAre(std::pair(5u, kB))) << "there is no other";
}

TEST_F(DispatcherTest, TheLatestRegisterSpeaksForItsGeneration) {
  add_to("v1", kA, 100);
  add_to("v2", kB, 0);
  add_to("v2", kC, 300);
  for (uint64_t call = 0; call < 80; ++call) {
    enqueue(call, "/s/m");
    offers();
  }
  EXPECT_EQ(lease(kA).dispatched, 20u);
  EXPECT_EQ(lease(kB).dispatched, 30u);
  EXPECT_EQ(lease(kC).dispatched, 30u);
}

TEST_F(DispatcherTest, ARejectedCallGoesToTheOtherGeneration) {
  add_to("v1", kA, 100);
  add_to("v2", kB, 0);
  EXPECT_EQ(requeue(1, "/s/m", {kA}), Enqueued::queued);
  EXPECT_THAT(offers(), ElementsAre(std::pair(1u, kB)));
}

// ---- Sticky ------------------------------------------------------------------------------------

class StickyTest : public DispatcherTest {
 protected:
  static std::string value(size_t i) { return "user-" + std::to_string(i); }
  /// Where each of many values goes.
  std::vector<LeaseId> places() {
    std::vector<LeaseId> all;
    for (size_t i = 0; i < 600; ++i) {
      enqueue_sticky(next_++, value(i));
      all.push_back(offers().at(0).second);
      dispatcher_.release(all.back(), now_);
    }
    return all;
  }
  uint64_t next_ = 1000;
};

TEST_F(StickyTest, AValueStaysWithItsLease) {
  for (const LeaseId id : {kA, kB, kC}) add(id, {"*"}, 1);
  const auto before = places();
  EXPECT_EQ(places(), before);
  for (const LeaseId id : {kA, kB, kC}) {
    EXPECT_NEAR(static_cast<double>(std::count(before.begin(), before.end(), id)), 200, 60);
  }
}

TEST_F(StickyTest, OnlyTheValuesOfALeaseThatComesOrGoesMove) {
  for (const LeaseId id : {kA, kB, kC}) add(id, {"*"}, 1);
  const auto before = places();
  dispatcher_.remove_lease(kB, now_);
  const auto without = places();
  for (size_t i = 0; i < before.size(); ++i) {
    if (before[i] != kB) {
      EXPECT_EQ(without[i], before[i]) << value(i);
    }
  }
  const LeaseId fresh{9};
  add(fresh, {"*"}, 1);
  const auto after = places();
  for (size_t i = 0; i < before.size(); ++i) {
    if (after[i] != fresh) {
      EXPECT_EQ(after[i], without[i]) << value(i);
    }
  }
}

TEST_F(StickyTest, CallsWaitForTheirLeaseAndOthersPassThem) {
  for (const LeaseId id : {kA, kB}) add(id, {"*"}, 1);
  enqueue_sticky(1, "x");
  const LeaseId own = offers().at(0).second;
  const LeaseId other = own == kA ? kB : kA;
  enqueue_sticky(2, "x");
  EXPECT_THAT(offers(), IsEmpty());
  enqueue(3, "/s/m");
  EXPECT_THAT(offers(), ElementsAre(std::pair(3u, other))) << "has no value";
  enqueue(4, "/s/m");
  dispatcher_.release(own, now_);
  EXPECT_THAT(offers(), ElementsAre(std::pair(2u, own))) << "came before 4";
  dispatcher_.remove_lease(own, now_);
  enqueue_sticky(5, "x");
  dispatcher_.release(other, now_);
  EXPECT_THAT(offers(), ElementsAre(std::pair(4u, other)));
  dispatcher_.release(other, now_);
  EXPECT_THAT(offers(), ElementsAre(std::pair(5u, other)));
}

TEST_F(StickyTest, WaitingCallsMoveWithTheirValue) {
  for (const LeaseId id : {kA, kB}) add(id, {"*"}, 1);
  enqueue_sticky(1, "x");
  const LeaseId own = offers().at(0).second;
  enqueue_sticky(2, "x");
  enqueue_sticky(3, "x");
  dispatcher_.remove_lease(own, now_);
  const LeaseId other = own == kA ? kB : kA;
  EXPECT_THAT(offers(), ElementsAre(std::pair(2u, other)));
  dispatcher_.remove_lease(other, now_);
  add(kC, {"*"}, 9);
  EXPECT_THAT(offers(), ElementsAre(std::pair(3u, kC)));
}

TEST_F(StickyTest, ValuesAreSharedByShareAndWeight) {
  add_to("v1", kA, 50, 9, 100);
  add_to("v1", kB, 50, 9, 200);
  add_to("v2", kC, 25, 9, 100);
  add_to("standby", LeaseId{9}, 0, 9, 1000);
  const auto all = places();  // in proportion 50 : 100 : 25
  EXPECT_NEAR(static_cast<double>(std::count(all.begin(), all.end(), kA)), 171, 60);
  EXPECT_NEAR(static_cast<double>(std::count(all.begin(), all.end(), kB)), 343, 60);
  EXPECT_NEAR(static_cast<double>(std::count(all.begin(), all.end(), kC)), 86, 50);
  EXPECT_EQ(std::count(all.begin(), all.end(), LeaseId{9}), 0);
  for (const LeaseId id : {kA, kB, kC}) dispatcher_.remove_lease(id, now_);
  const auto standby = places();
  EXPECT_EQ(std::count(standby.begin(), standby.end(), LeaseId{9}), 600) << "there is no other";
}

TEST_F(StickyTest, ACallItsLeaseRejectedGoesToTheNextOfItsValue) {
  for (const LeaseId id : {kA, kB}) add(id, {"*"}, 1);
  enqueue_sticky(1, "x");
  const LeaseId own = offers().at(0).second;
  dispatcher_.release(own, now_);
  const Dispatcher::Call back{DispatchId{1}, "/s/m", Time::max(), Dispatcher::sticky_hash("x")};
  EXPECT_EQ(dispatcher_.requeue(back, {own}, now_), Enqueued::queued);
  const LeaseId other = offers().at(0).second;
  EXPECT_NE(other, own);
  EXPECT_EQ(dispatcher_.requeue(back, {own, other}, now_), Enqueued::rejected_by_all);
}

// ---- Overload ----------------------------------------------------------------------------------

TEST_F(DispatcherTest, UnderOverloadTheNewestGoesFirst) {
  add(kA, {"*"}, 1);
  enqueue(1, "/s/m");
  ASSERT_THAT(calls(), ElementsAre(1));
  for (uint64_t call = 2; call <= 5; ++call) enqueue(call, "/s/m");
  const auto next = [&] {
    dispatcher_.release(kA, now_);
    return calls().at(0);
  };
  now_ += kOverload;
  EXPECT_EQ(next(), 2u) << "the oldest has not waited longer than that";
  now_ += 1ms;
  enqueue(6, "/s/m");
  EXPECT_EQ(next(), 6u);
  dispatcher_.release(kA, now_);
  EXPECT_EQ(requeue(6, "/s/m"), Enqueued::queued);
  EXPECT_THAT(calls(), ElementsAre(6)) << "what came back is first all the same";
  EXPECT_EQ(next(), 5u);
  EXPECT_EQ(next(), 4u);
  EXPECT_EQ(next(), 3u);
}

TEST_F(DispatcherTest, OverloadIsThePoolsOwn) {
  add(kA, {"/s/*"}, 1);
  add(kB, {"/t/*"}, 1);
  enqueue(1, "/s/m");
  ASSERT_THAT(calls(), ElementsAre(1));
  enqueue(2, "/s/m");
  now_ += 2 * kOverload;
  enqueue(3, "/s/m");
  enqueue(4, "/t/m");
  ASSERT_THAT(calls(), ElementsAre(4));
  enqueue(5, "/t/m");
  enqueue(6, "/t/m");
  dispatcher_.release(kA, now_);
  dispatcher_.release(kB, now_);
  EXPECT_THAT(calls(), testing::UnorderedElementsAre(3, 5));
}

TEST_F(DispatcherTest, ACallPastItsDeadlineMakesRoomInTheLineButWaitsForItsEnd) {
  add(kA, {"*"}, 9);
  enqueue(1, "/s/m", now_ + 1s);
  now_ += 1s;
  EXPECT_THAT(calls(), IsEmpty());
  dispatcher_.remove_lease(kA, now_);
  EXPECT_EQ(dispatcher_.waiting(), 1u);
  dispatcher_.take_held_since(now_);
  dispatcher_.remove(DispatchId{1});
  EXPECT_EQ(dispatcher_.waiting(), 0u);
}

// ---- Suspect, draining -------------------------------------------------------------------------

TEST_F(DispatcherTest, ASuspectLeaseGetsNothingUntilItIsNone) {
  add(kA, {"*"}, 9);
  add(kB, {"*"}, 1);
  dispatcher_.set_suspect(kA, true, now_);
  for (uint64_t call = 1; call <= 3; ++call) enqueue(call, "/s/m");
  EXPECT_THAT(offers(), ElementsAre(std::pair(1u, kB)));
  dispatcher_.set_suspect(kA, false, now_);
  EXPECT_THAT(offers(), ElementsAre(std::pair(2u, kA), std::pair(3u, kA)));
}

TEST_F(DispatcherTest, CallsOfALastLeaseThatIsSuspectAreHeld) {
  add(kA, {"/s/m"}, 2);
  enqueue(1, "/s/m");
  ASSERT_THAT(calls(), ElementsAre(1));
  dispatcher_.set_suspect(kA, true, now_);
  enqueue(2, "/s/m");
  EXPECT_EQ(dispatcher_.held_since(), now_);
  dispatcher_.release(kA, now_);
  EXPECT_EQ(lease(kA).busy, 0u);
  dispatcher_.set_suspect(kA, false, now_);
  EXPECT_THAT(calls(), ElementsAre(2));
  dispatcher_.set_suspect(kA, true, now_);
  enqueue(3, "/s/m");
  EXPECT_THAT(expire(now_), ElementsAre(3));
  EXPECT_EQ(enqueue(4, "/s/m"), Enqueued::queued) << "no active lease at all";
}

TEST_F(DispatcherTest, ADrainingLeaseGetsNothingEver) {
  add(kA, {"/s/m"}, 9);
  add(kB, {"/t/m"}, 9);
  enqueue(1, "/s/m");
  dispatcher_.drain_lease(kA, now_);
  dispatcher_.drain_lease(kA, now_);
  EXPECT_THAT(offers(), IsEmpty());
  dispatcher_.set_suspect(kA, true, now_);
  dispatcher_.set_suspect(kA, false, now_);
  EXPECT_THAT(offers(), IsEmpty());
  EXPECT_TRUE(lease(kA).draining);
  EXPECT_THAT(expire(now_), ElementsAre(1));
  EXPECT_EQ(enqueue(2, "/s/m"), Enqueued::unimplemented);
  dispatcher_.remove_lease(kA, now_);
  EXPECT_EQ(dispatcher_.held_since(), std::nullopt);
}

// ---- Reports -----------------------------------------------------------------------------------

TEST_F(DispatcherTest, PoolsAreReported) {
  add(kA, {"/t/m", "/s/*"}, 1);
  enqueue(1, "/s/m");
  ASSERT_THAT(calls(), ElementsAre(1));
  enqueue(2, "/s/m");
  now_ += 2s;
  enqueue(3, "/s/n");
  const auto pools = dispatcher_.pools(now_);
  ASSERT_EQ(pools.size(), 2u);
  EXPECT_EQ(pools[0].pool->pattern(), "/s/*");
  EXPECT_EQ(pools[0].pool->waiting, 2u);
  EXPECT_EQ(pools[0].oldest, 2s);
  EXPECT_EQ(pools[0].pool->generations().front().dispatched, 1u);
  EXPECT_EQ(pools[1].pool->waiting, 0u);
  EXPECT_EQ(pools[1].oldest, 0s);
}

}  // namespace
}  // namespace legated
