#include "daemon/core/turns.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace legated {
namespace {

struct TurnsTest : testing::Test {
  std::unique_ptr<Turn> make(uint32_t owner, const std::string& name) {
    return std::make_unique<Turn>(turns, SessionId{owner}, [this, name] { order += name + " "; });
  }
  Turns turns{2};
  std::string order;
};

TEST_F(TurnsTest, GoAtOnceWhileThereIsRoom) {
  const auto a = make(1, "a");
  const auto b = make(1, "b");
  auto c = make(1, "c");
  EXPECT_TRUE(a->came() && b->came());
  EXPECT_FALSE(c->came());
  EXPECT_EQ(turns.out(), 2U);
  EXPECT_EQ(turns.waiting(), 1U);
  EXPECT_EQ(order, "");
}

TEST_F(TurnsTest, AnEndLetsTheOldestOfTheNextOwnerGo) {
  auto first = make(1, "first");
  const auto second = make(1, "second");
  std::vector<std::unique_ptr<Turn>> waiting;
  for (const char* name : {"1a", "1b", "1c", "1d"}) waiting.push_back(make(1, name));
  for (const char* name : {"3a", "3b"}) waiting.push_back(make(3, name));
  waiting.push_back(make(2, "2a"));
  first.reset();
  EXPECT_EQ(order, "1a ");
  while (order.size() < 21) {
    const auto out = std::ranges::find_if(waiting, [](auto& turn) { return turn && turn->came(); });
    out->reset();
  }
  EXPECT_EQ(order, "1a 2a 3a 1b 3b 1c 1d ");
}

TEST_F(TurnsTest, OneThatNoLongerWaitsIsSkipped) {
  auto a = make(1, "a");
  const auto b = make(1, "b");
  auto c = make(2, "c");
  const auto d = make(2, "d");
  c.reset();
  EXPECT_EQ(turns.waiting(), 1U);
  a.reset();
  EXPECT_EQ(order, "d ");
}

TEST_F(TurnsTest, InAnyOrderOfEventsNoRoomIsLeftWhileSomebodyWaits) {
  std::mt19937 random{7};  // NOLINT: the same events every time
  std::vector<std::unique_ptr<Turn>> all;
  for (int step = 0; step < 20'000; ++step) {
    if (all.empty() || random() % 100 < 52) {
      all.push_back(make(static_cast<uint32_t>(random() % 5), ""));
    } else {
      std::swap(all[random() % all.size()], all.back());
      all.pop_back();
    }
    const auto out = std::ranges::count_if(all, [](auto& turn) { return turn->came(); });
    ASSERT_EQ(out, std::min<int64_t>(2, static_cast<int64_t>(all.size())));
    ASSERT_EQ(turns.out() + turns.waiting(), all.size());
  }
}

}  // namespace
}  // namespace legated
