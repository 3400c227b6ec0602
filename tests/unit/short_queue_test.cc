#include "daemon/core/short_queue.h"

#include <gtest/gtest.h>

namespace legated {
namespace {

TEST(ShortQueue, IsFirstInFirstOutAtEveryLength) {
  ShortQueue<int> queue;
  for (int length = 1; length <= 4; ++length) {
    for (int i = 0; i < length; ++i) queue.push_back(i);
    EXPECT_EQ(queue.size(), static_cast<size_t>(length));
    for (int i = 0; i < length; ++i) {
      ASSERT_FALSE(queue.empty());
      EXPECT_EQ(queue.front(), i);
      queue.pop_front();
    }
    EXPECT_TRUE(queue.empty());
    EXPECT_EQ(queue.size(), 0u);
  }
}

TEST(ShortQueue, TakesElementsBetweenOthers) {
  ShortQueue<int> queue;
  queue.push_back(1);
  queue.push_back(2);
  queue.pop_front();
  queue.push_back(3);
  EXPECT_EQ(queue.front(), 2);
  queue.pop_front();
  EXPECT_EQ(queue.front(), 3);
}

TEST(ShortQueue, IsEmptyAfterClear) {
  ShortQueue<int> queue;
  queue.push_back(1);
  queue.push_back(2);
  queue.clear();
  EXPECT_TRUE(queue.empty());
  queue.push_back(3);
  EXPECT_EQ(queue.front(), 3);
  EXPECT_EQ(queue.size(), 1u);
}

}  // namespace
}  // namespace legated
