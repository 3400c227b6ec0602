#include "daemon/core/token.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace legated {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;
using testing::Not;

constexpr TokenCache::Time kStart{std::chrono::hours(1)};

TokenCache::Time at(double s) {
  return kStart + milliseconds(static_cast<int64_t>(s * 1000));
}

std::string problem(std::string_view text, bool json = true) {
  const auto parsed = parse_token(text, json);
  const auto* why = std::get_if<std::string>(&parsed);
  return why == nullptr ? "" : *why;
}

Token token(std::string_view text, bool json = true) {
  auto parsed = parse_token(text, json);
  return std::holds_alternative<Token>(parsed) ? std::get<Token>(parsed) : Token{};
}

TEST(ParseToken, TakesTextAndObjects) {
  EXPECT_EQ(token(" abc.def~+/=\r\n").text, "abc.def~+/=");
  EXPECT_EQ(token("abc").lifetime, std::nullopt);
  EXPECT_EQ(token(R"({"token": "a"})").text, "a");
  EXPECT_EQ(token("\n{\"access_token\": \"b\", \"expires_in\": 3599}\n").text, "b");
  EXPECT_EQ(token(R"({"access_token": "b", "expires_in": 3599})").lifetime, seconds(3599));
  EXPECT_EQ(token(R"({"token": "b", "expires_in": "60"})").lifetime, seconds(60));
  EXPECT_EQ(token(R"({"token": "b", "expires_in": 1.9})").lifetime, seconds(1));
  EXPECT_EQ(token(R"({"token": "b", "expires_in": 1e300})").lifetime, std::chrono::hours(24 * 365));
  EXPECT_EQ(token(R"({"token": "b", "expires_in": null})").lifetime, std::nullopt);
}

TEST(ParseToken, RefusesTheRestWithoutQuotingIt) {
  for (const char* bad :
       {"", "  \n", "s3cret two", "s3cret\nline", "s3cret\x01", "s3cr\xc3\xa9t", "{s3cret", "{}",
        R"({"token": 5, "x": "s3cret"})", R"({"token": "s3cret two"})", R"({"token": ""})",
        R"({"token": "s3cret", "expires_in": 0})", R"({"token": "s3cret", "expires_in": -1})",
        R"({"token": "s3cret", "expires_in": "soon"})", R"({"token": "s3cret", "expires_in": true})"}) {
    EXPECT_NE(problem(bad), "") << bad;
    EXPECT_THAT(problem(bad), Not(HasSubstr("s3cr"))) << bad;
  }
  EXPECT_NE(problem(std::string(8193, 'x')), "");
  EXPECT_EQ(problem(std::string(8192, 'x')), "");
}

TEST(ParseToken, AFileHoldsNothingButTheToken) {
  EXPECT_NE(problem(R"({"token": "a b"})", false), "");
  EXPECT_EQ(token(R"({"a":1})", false).text, R"({"a":1})") << "as good a token as any";
}

struct CommandToken : testing::Test {
  TokenCache cache{TokenCache::Times{.lifetime = seconds(100)}};
};

TEST_F(CommandToken, FirstCallFetchesAndAllWait) {
  EXPECT_EQ(cache.report(at(0)).state, "none");
  const auto first = cache.ask(at(0));
  EXPECT_TRUE(first.fetch);
  EXPECT_TRUE(first.token == nullptr && first.problem == nullptr);
  const auto second = cache.ask(at(1));
  EXPECT_FALSE(second.fetch) << "one at a time";
  EXPECT_TRUE(second.token == nullptr && second.problem == nullptr);
  cache.on_token({"a"}, at(2));
  const auto third = cache.ask(at(2));
  ASSERT_NE(third.token, nullptr);
  EXPECT_EQ(*third.token, "a");
  EXPECT_FALSE(third.fetch);
}

TEST_F(CommandToken, IsRenewedAheadOfItsEndWithoutWaiting) {
  EXPECT_TRUE(cache.ask(at(0)).fetch);
  cache.on_token({"a", seconds(50)}, at(0));
  EXPECT_FALSE(cache.ask(at(39)).fetch);
  const auto ahead = cache.ask(at(41));
  EXPECT_TRUE(ahead.fetch);
  EXPECT_NE(ahead.token, nullptr);
  EXPECT_FALSE(cache.ask(at(42)).fetch);
  cache.on_failure("broken", at(43));
  EXPECT_NE(cache.ask(at(43)).token, nullptr) << "still good";
  EXPECT_EQ(cache.report(at(43)).state, "stale");
  EXPECT_EQ(cache.report(at(43)).last_error, "broken");
  EXPECT_TRUE(cache.ask(at(44.1)).fetch) << "tried again";
  cache.on_token({"b"}, at(45));
  EXPECT_EQ(*cache.ask(at(45)).token, "b");
  EXPECT_EQ(cache.report(at(45)).expires_in, seconds(100)) << "its source did not say";
  EXPECT_EQ(cache.report(at(45)).last_error, "");
}

TEST_F(CommandToken, CallWaitsWhenItHasExpired) {
  EXPECT_TRUE(cache.ask(at(0)).fetch);
  cache.on_token({"a", seconds(10)}, at(0));
  EXPECT_EQ(cache.report(at(11)).state, "expired");
  const auto late = cache.ask(at(10));
  EXPECT_TRUE(late.fetch);
  EXPECT_EQ(late.token, nullptr);
}

TEST_F(CommandToken, FailureHoldsOffWithGrowingPauses) {
  double now = 0;
  for (const double pause : {1, 2, 4, 8, 16, 32, 60, 60}) {
    const auto answer = cache.ask(at(now));
    EXPECT_TRUE(answer.fetch) << now;
    EXPECT_EQ(answer.problem, nullptr);
    cache.on_failure("broken", at(now));
    const auto meanwhile = cache.ask(at(now + pause - 0.1));
    EXPECT_FALSE(meanwhile.fetch) << now;
    ASSERT_NE(meanwhile.problem, nullptr) << now;
    EXPECT_EQ(*meanwhile.problem, "broken");
    now += pause;
  }
  EXPECT_EQ(cache.report(at(now)).failed, 8u);
}

struct FileToken : testing::Test {
  TokenCache cache{TokenCache::Times{.lifetime = seconds(100), .look = seconds(10)}};
};

TEST_F(FileToken, CallWaitsForTheLookSoThatAReplacedTokenIsNotUsed) {
  EXPECT_TRUE(cache.ask(at(0)).fetch);
  cache.on_token({"a"}, at(0));
  EXPECT_NE(cache.ask(at(9)).token, nullptr);
  const auto due = cache.ask(at(10));
  EXPECT_TRUE(due.fetch);
  EXPECT_EQ(due.token, nullptr);
  EXPECT_EQ(cache.ask(at(10)).token, nullptr) << "the look is under way";
  cache.on_token({"b"}, at(10));
  EXPECT_EQ(*cache.ask(at(10)).token, "b");
}

TEST_F(FileToken, LastTokenIsUsedOnWhenTheFileHasGone) {
  EXPECT_TRUE(cache.ask(at(0)).fetch);
  cache.on_token({"a"}, at(0));
  EXPECT_TRUE(cache.ask(at(20)).fetch);
  cache.on_failure("gone", at(20));
  EXPECT_EQ(*cache.ask(at(20)).token, "a");
  EXPECT_TRUE(cache.ask(at(99)).fetch);
  cache.on_failure("gone", at(99));
  EXPECT_EQ(cache.ask(at(100)).token, nullptr) << "its time is over";
  EXPECT_NE(cache.ask(at(100)).problem, nullptr);
}

TEST(ValueToken, IsThereForEver) {
  TokenCache cache("a");
  const auto answer = cache.ask(TokenCache::Time::max() - seconds(1));
  EXPECT_EQ(*answer.token, "a");
  EXPECT_FALSE(answer.fetch);
  EXPECT_EQ(cache.report(at(0)).state, "fresh");
  EXPECT_EQ(cache.report(at(0)).expires_in, std::nullopt);
}

}  // namespace
}  // namespace legated
