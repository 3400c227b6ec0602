// daemon/services/health_state.h: who is SERVING, and what those who watch are told.
#include <gtest/gtest.h>

#include "daemon/services/health_state.h"

namespace legated {
namespace {

using std::chrono::seconds;
using enum ServingStatus;

constexpr SessionId kAnn{1};
constexpr SessionId kBob{2};

struct Told final : HealthState::Watcher {
  void on_health(ServingStatus status) override { all.push_back(status); }
  std::vector<ServingStatus> all;
};

class HealthStateTest : public testing::Test {
 protected:
  HealthStateTest() { state.set_serving(true); }

  LeaseId add(SessionId session, const std::vector<std::string>& patterns) {
    const LeaseId id{next_lease++};
    state.add_lease(id, session, served_by(patterns));
    return id;
  }

  HealthState state;
  HealthState::Time now{seconds(100)};
  uint64_t next_lease = 1;
};

TEST_F(HealthStateTest, AServiceIsServingWhileALeaseNamesIt) {
  EXPECT_EQ(state.status("a.A"), service_unknown);
  EXPECT_EQ(state.status(""), not_serving) << "nobody serves anything";
  const LeaseId whole = add(kAnn, {"/a.A/*", "/b.B/One"});
  const LeaseId part = add(kBob, {"/a.A/One"});
  for (const char* name : {"", "a.A", "b.B"}) EXPECT_EQ(state.status(name), serving) << name;
  EXPECT_EQ(state.status("a"), service_unknown);
  state.remove_lease(whole, now);
  EXPECT_EQ(state.status("a.A"), serving) << "another lease has it";
  EXPECT_EQ(state.status("b.B"), not_serving);
  state.remove_lease(part, now);
  EXPECT_EQ(state.status("a.A"), not_serving);
  EXPECT_EQ(state.status(""), not_serving);
}

TEST_F(HealthStateTest, AServiceWithoutLeasesIsForgottenInTime) {
  const LeaseId first = add(kAnn, {"/a.A/*"});
  const LeaseId second = add(kAnn, {"/b.B/*"});
  EXPECT_EQ(state.departed_since(), std::nullopt);
  state.remove_lease(first, now);
  state.remove_lease(second, now + seconds(5));
  EXPECT_EQ(state.departed_since(), now);
  state.forget(now + seconds(4));
  EXPECT_EQ(state.status("a.A"), service_unknown);
  EXPECT_EQ(state.status("b.B"), not_serving);
  add(kBob, {"/b.B/*"});
  state.forget(now + seconds(60));
  EXPECT_EQ(state.status("b.B"), serving) << "it came back";
}

TEST_F(HealthStateTest, ALeaseThatGetsNoCallsStandsForNothing) {
  Told watch;
  const LeaseId lease = add(kAnn, {"/a.A/*"});
  state.watch("a.A", watch);
  state.set_active(lease, false);
  EXPECT_EQ(state.status("a.A"), not_serving);
  EXPECT_EQ(state.status(""), not_serving);
  state.set_active(lease, true);
  EXPECT_EQ(state.status("a.A"), serving);
  EXPECT_EQ(watch.all, (std::vector{not_serving, serving}));
  state.unwatch("a.A", watch);
}

TEST_F(HealthStateTest, APeerSpeaksForItselfOnly) {
  add(kAnn, {"/a.A/*"});
  ASSERT_TRUE(state.set(kAnn, "a.A", false));
  EXPECT_EQ(state.status("a.A"), not_serving);
  EXPECT_EQ(state.status(""), serving) << "nothing was said of the rest";
  ASSERT_TRUE(state.set(kBob, "a.A", false));
  ASSERT_TRUE(state.set(kAnn, "a.A", true));
  EXPECT_EQ(state.status("a.A"), serving);
  add(kBob, {"/a.A/*"});
  ASSERT_TRUE(state.set(kAnn, "", false));
  EXPECT_EQ(state.status("a.A"), not_serving) << "both have said so, in their ways";
  EXPECT_EQ(state.status(""), serving) << "Bob has not";
  ASSERT_TRUE(state.set(kBob, "a.A", true));
  EXPECT_EQ(state.status("a.A"), serving);
}

TEST_F(HealthStateTest, WhatWasSaidStandsUntilTheSessionLeaves) {
  const LeaseId lease = add(kAnn, {"/a.A/*"});
  ASSERT_TRUE(state.set(kAnn, "a.A", false));
  state.remove_lease(lease, now);
  add(kAnn, {"/a.A/*"});
  EXPECT_EQ(state.status("a.A"), not_serving);
  state.remove_session(kAnn);
  EXPECT_EQ(state.status("a.A"), serving);
}

TEST_F(HealthStateTest, AnythingStandsForWhatIsKnownOfIt) {
  const LeaseId any = add(kAnn, {"*"});
  EXPECT_EQ(state.status(""), serving);
  EXPECT_EQ(state.status("a.A"), service_unknown) << "a lease of everything names nothing";
  state.add_services(any, {"a.A"});
  EXPECT_EQ(state.status("a.A"), serving);
  ASSERT_TRUE(state.set(kAnn, "b.B", true));
  EXPECT_EQ(state.status("b.B"), serving);
  const LeaseId named = add(kBob, {"/c.C/*"});
  state.add_services(named, {"d.D"});
  EXPECT_EQ(state.status("d.D"), service_unknown) << "described, but no call would be dispatched";
}

TEST_F(HealthStateTest, NothingIsServingBeforeServeAndInADrain) {
  state.set_serving(false);
  add(kAnn, {"/a.A/*"});
  EXPECT_EQ(state.status("a.A"), not_serving);
  EXPECT_EQ(state.status(""), not_serving);
  EXPECT_EQ(state.status("x"), service_unknown);
}

TEST_F(HealthStateTest, ListTellsAllThatAreKnown) {
  add(kAnn, {"/a.A/*", "/b.B/*"});
  ASSERT_TRUE(state.set(kAnn, "b.B", false));
  ASSERT_TRUE(state.set(kAnn, "nobody.Serves", true));
  EXPECT_EQ(state.list(), (std::map<std::string, ServingStatus>{
                              {"", serving}, {"a.A", serving}, {"b.B", not_serving}}));
}

TEST_F(HealthStateTest, WatchersAreToldOfEachChangeOnce) {
  Told one;
  Told server;
  EXPECT_EQ(state.watch("a.A", one), service_unknown);
  EXPECT_EQ(state.watch("", server), not_serving);
  const LeaseId lease = add(kAnn, {"/a.A/*"});
  add(kBob, {"/b.B/*"});
  ASSERT_TRUE(state.set(kAnn, "a.A", false));
  ASSERT_TRUE(state.set(kAnn, "a.A", false));
  ASSERT_TRUE(state.set(kAnn, "a.A", true));
  state.remove_lease(lease, now);
  state.forget(now);
  state.set_serving(false);
  EXPECT_EQ(one.all, (std::vector{serving, not_serving, serving, not_serving, service_unknown}));
  EXPECT_EQ(server.all, (std::vector{serving, not_serving}));
  state.unwatch("a.A", one);
  state.unwatch("", server);
  state.set_serving(true);
  EXPECT_EQ(server.all.size(), 2U);
}

TEST_F(HealthStateTest, APeerCanNotSpeakWithoutEnd) {
  for (size_t i = 0; i < HealthState::kMostWords; ++i)
    ASSERT_TRUE(state.set(kAnn, "s" + std::to_string(i), false));
  EXPECT_FALSE(state.set(kAnn, "one.More", false));
  EXPECT_TRUE(state.set(kAnn, "s0", true)) << "one that it has spoken of already";
  EXPECT_TRUE(state.set(kBob, "one.More", false));
}

TEST(HealthChangesTest, ASlowReaderMissesWhatIsInBetween) {
  HealthChanges changes;
  changes.push(serving);
  EXPECT_EQ(changes.take(), serving);
  for (int i = 0; i < 1000; ++i) changes.push(i % 2 == 0 ? not_serving : serving);
  changes.push(service_unknown);
  std::vector<ServingStatus> all;
  while (const auto status = changes.take()) all.push_back(*status);
  EXPECT_LE(all.size(), HealthChanges::kMost);
  EXPECT_EQ(all.back(), service_unknown);
  EXPECT_EQ(all.front(), not_serving);
  for (size_t i = 1; i < all.size(); ++i) EXPECT_NE(all[i], all[i - 1]) << i;
}

TEST(ServedTest, NamesAreThoseOfPatterns) {
  const Served served = served_by({"/a.A/*", "/a.A/One", "/b.B/Two", "/b\xff/Bad", "*"});
  EXPECT_EQ(served.services, (std::set<std::string>{"a.A", "b.B"}));
  EXPECT_TRUE(served.any);
  EXPECT_EQ(service_of("/a.A/One"), "a.A");
  for (const char* none : {"", "/", "//", "a.A/One", "/a"}) EXPECT_EQ(service_of(none), "") << none;
}

}  // namespace
}  // namespace legated
