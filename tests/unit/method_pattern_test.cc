// Patterns of methods.
#include "daemon/core/method_pattern.h"

#include <gtest/gtest.h>

namespace legated {
namespace {

TEST(MethodPattern, StandsForAMethodAServiceOrAll) {
  EXPECT_TRUE(matches("*", "/a.B/C"));
  EXPECT_TRUE(matches("/a.B/C", "/a.B/C"));
  EXPECT_TRUE(matches("/a.B/*", "/a.B/C"));
  EXPECT_FALSE(matches("/a.B/C", "/a.B/CD"));
  EXPECT_FALSE(matches("/a.B/*", "/a.BC/D"));
  EXPECT_FALSE(matches("/a.B/*", "/a/B/C"));
}

TEST(MethodPattern, OfAServiceDoesNotReachFurther) {
  EXPECT_FALSE(matches("/a.B/*", "/a.B/C/D"));
  EXPECT_FALSE(matches("/a.B/*", ""));
}

}  // namespace
}  // namespace legated
