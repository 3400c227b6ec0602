// Each policy by itself, their order, and what is said of mistaken ones. Time is made up.
#include "daemon/core/policies.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <regex>
#include <set>

#include "tests/unit/random.h"

namespace legated {
namespace {

using namespace std::chrono_literals;
using Metadata = PolicyCall::Metadata;
using Time = Policies::Time;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::MatchesRegex;
using testing::Optional;
using testing::Pair;

constexpr char kUuid[] = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}";
constexpr char kNewTrace[] = "00-[0-9a-f]{32}-[0-9a-f]{16}-00";
constexpr char kTrace[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

using Lines = std::vector<std::string>;

Policies parse(const Lines& lines) {
  auto parsed = Policies::parse(lines);
  if (const auto* why = std::get_if<std::string>(&parsed)) {
    ADD_FAILURE() << *why;
    return {};
  }
  return std::get<Policies>(std::move(parsed));
}

std::string mistake(const std::string& line) {
  const auto parsed = Policies::parse({line});
  const auto* why = std::get_if<std::string>(&parsed);
  return why == nullptr ? "" : *why;
}

class PoliciesTest : public testing::Test {
 protected:
  void use(const Lines& lines) { policies_ = parse(lines); }

  // The call's id, 0 when it was refused; then status_ says why.
  uint64_t admit(Metadata metadata = {}, uint64_t timeout_us = 0) {
    metadata_ = std::move(metadata);
    timeout_us_ = timeout_us;
    AdmissionId id{};
    const auto refused = policies_.admit({metadata_, timeout_us_, method_}, now_, random_bits_, id);
    status_ = refused.value_or(Status{});
    return static_cast<uint64_t>(id);
  }
  Metadata edited(Metadata metadata) {
    EXPECT_NE(admit(std::move(metadata)), 0u);
    return metadata_;
  }
  uint64_t timeout(uint64_t timeout_us) {
    EXPECT_NE(admit({}, timeout_us), 0u);
    return timeout_us_;
  }
  void end(uint64_t id, StatusCode code, Origin origin = Origin::remote) {
    policies_.on_end(AdmissionId{id}, {code, "", origin, {}}, now_);
  }
  // How many of `calls` are admitted now.
  int admitted(int calls) {
    int count = 0;
    for (; calls > 0; --calls) count += admit() != 0 ? 1 : 0;
    return count;
  }
  std::string state(size_t policy = 0) { return policies_.report(now_)[policy].state; }
  uint64_t applied(size_t policy = 0) { return policies_.report(now_)[policy].applied; }
  uint64_t refused(size_t policy = 0) { return policies_.report(now_)[policy].refused; }

  Policies policies_;
  Random random_{1};
  Policies::RandomSource random_bits_ = [this] { return random_.next(); };
  Time now_{1min};
  std::string method_ = "/package.Service/Method";
  Metadata metadata_;
  uint64_t timeout_us_ = 0;
  Status status_;
};

TEST_F(PoliciesTest, NoneIsEmptyAndAdmitsAll) {
  EXPECT_TRUE(policies_.empty());
  EXPECT_TRUE(parse({}).empty());
  EXPECT_FALSE(parse({"traceparent"}).empty());
  EXPECT_NE(admit({{"a", "b"}}, 5), 0u);
  EXPECT_THAT(metadata_, ElementsAre(Pair("a", "b")));
  EXPECT_EQ(timeout_us_, 5u);
  EXPECT_THAT(policies_.report(now_), IsEmpty());
}

// ---- Metadata

TEST_F(PoliciesTest, AddAppends) {
  use({"add-metadata k  two words "});
  EXPECT_THAT(edited({{"k", "1"}, {"z", "2"}}),
              ElementsAre(Pair("k", "1"), Pair("z", "2"), Pair("k", "two words")));
  EXPECT_EQ(applied(), 1u);
}

TEST_F(PoliciesTest, SetReplacesAll) {
  use({"set-metadata k v"});
  EXPECT_THAT(edited({{"k", "1"}, {"k2", "2"}, {"k", "3"}}),
              ElementsAre(Pair("k2", "2"), Pair("k", "v")));
  EXPECT_THAT(edited({}), ElementsAre(Pair("k", "v")));
}

TEST_F(PoliciesTest, BinaryValuesAreBase64) {
  const std::pair<const char*, std::string> cases[] = {
      {"AP8=", {"\x00\xff", 2}}, {"AP8", {"\x00\xff", 2}}, {"QQ==", "A"},
      {"QUJD", "ABC"},           {"+/+/", "\xfb\xff\xbf"},
  };
  for (const auto& [text, bytes] : cases) {
    use({std::string("add-metadata k-bin ") + text});
    EXPECT_THAT(edited({}), ElementsAre(Pair("k-bin", bytes))) << text;
  }
}

TEST_F(PoliciesTest, RemoveTakesAKeyOrAPrefix) {
  const Metadata all = {{"x-a", "1"}, {"x-ab", "2"}, {"y", "3"}, {"x-a", "4"}, {"x", "5"}};
  use({"remove-metadata x-a"});
  EXPECT_THAT(edited(all), ElementsAre(Pair("x-ab", "2"), Pair("y", "3"), Pair("x", "5")));
  EXPECT_THAT(edited({{"y", "3"}}), ElementsAre(Pair("y", "3")));
  EXPECT_EQ(applied(), 1u) << "the second call had nothing to remove";
  use({"remove-metadata x-*"});
  EXPECT_THAT(edited(all), ElementsAre(Pair("y", "3"), Pair("x", "5")));
  use({"remove-metadata te*"});
  EXPECT_THAT(edited({{"tenant", "1"}, {"t", "2"}}), ElementsAre(Pair("t", "2")));
  use({"remove-metadata *"});
  EXPECT_THAT(edited(all), IsEmpty());
}

TEST_F(PoliciesTest, TheyRunInTheOrderGiven) {
  use({"remove-metadata x-*", "add-metadata x-a new"});
  EXPECT_THAT(edited({{"x-a", "old"}}), ElementsAre(Pair("x-a", "new")));
  use({"add-metadata x-a new", "remove-metadata x-*"});
  EXPECT_THAT(edited({{"x-a", "old"}}), IsEmpty());
  use({"set-metadata x-request-id mine", "request-id"});
  EXPECT_THAT(edited({}), ElementsAre(Pair("x-request-id", "mine")));
  use({"default-timeout 9s", "max-timeout 2s"});
  EXPECT_EQ(timeout(0), 2'000'000u);
  use({"max-timeout 2s", "default-timeout 9s"});
  EXPECT_EQ(timeout(0), 2'000'000u);
}

// ---- Ids

TEST_F(PoliciesTest, RequestIdIsCreatedWhenThereIsNone) {
  use({"request-id", "request-id my-id"});
  std::set<std::string> ids;
  for (int i = 0; i < 100; ++i) {
    ASSERT_THAT(edited({{"a", "b"}}),
                ElementsAre(Pair("a", "b"), Pair("x-request-id", MatchesRegex(kUuid)),
                            Pair("my-id", MatchesRegex(kUuid))));
    ids.insert({metadata_[1].second, metadata_[2].second});
  }
  EXPECT_EQ(ids.size(), 200u);
  EXPECT_THAT(edited({{"my-id", ""}, {"x-request-id", "7"}}),
              ElementsAre(Pair("my-id", ""), Pair("x-request-id", "7")));
  EXPECT_EQ(applied(0), 100u);
}

TEST_F(PoliciesTest, UuidKeepsVersionAndVariantWhateverTheRandomBits) {
  for (const auto& [bits, uuid] : {std::pair(uint64_t{0}, "00000000-0000-4000-8000-000000000000"),
                                   {~uint64_t{0}, "ffffffff-ffff-4fff-bfff-ffffffffffff"},
                                   {0x0123456789abcdef, "01234567-89ab-4def-8123-456789abcdef"}}) {
    use({"request-id"});
    random_bits_ = [b = bits] { return b; };
    EXPECT_THAT(edited({}), ElementsAre(Pair("x-request-id", uuid)));
  }
}

TEST_F(PoliciesTest, TraceparentIsCreatedWhenThereIsNone) {
  use({"traceparent"});
  EXPECT_THAT(edited({}), ElementsAre(Pair("traceparent", MatchesRegex(kNewTrace))));
  const std::string first = metadata_[0].second;
  EXPECT_THAT(edited({{"tracestate", "a=1"}, {"k", "v"}}),
              ElementsAre(Pair("k", "v"), Pair("traceparent", MatchesRegex(kNewTrace))))
      << "a state without its parent belongs to no trace";
  EXPECT_NE(metadata_[1].second, first);
  random_bits_ = [] { return uint64_t{0}; };
  EXPECT_THAT(edited({}),
              ElementsAre(Pair("traceparent",
                               "00-00000000000000000000000000000001-0000000000000001-00")))
      << "never all zeros";
}

TEST_F(PoliciesTest, AValidTraceparentIsCarriedOnUntouched) {
  use({"traceparent"});
  for (const std::string& valid :
       {std::string(kTrace), "00" + std::string(kTrace).substr(2, 51) + "ff",
        "01" + std::string(kTrace).substr(2), "cc" + std::string(kTrace).substr(2) + "-more.Of it",
        "fe" + std::string(kTrace).substr(2) + "-"}) {
    const Metadata all = {{"tracestate", "a=1"}, {"traceparent", valid}, {"tracestate", "b=2"}};
    EXPECT_EQ(edited(all), all) << valid;
  }
  EXPECT_EQ(applied(), 0u);
}

TEST_F(PoliciesTest, AnInvalidTraceparentIsReplacedAndItsStateRemoved) {
  use({"traceparent"});
  const std::string zeros(32, '0'), good = kTrace;
  const auto with = [&](size_t position, const std::string& text) {
    return std::string(good).replace(position, text.size(), text);
  };
  const Lines bad = {
      "",
      "00",
      good.substr(0, 54),
      good + "0",
      good + "-00",
      " " + good,
      with(2, "_"),
      with(35, "0"),
      with(52, "x"),
      with(3, "0AF7"),
      with(36, "B7AD"),
      with(53, "0A"),
      with(0, "0A"),
      with(0, "0g"),
      with(10, "g"),
      with(3, zeros),
      with(36, zeros.substr(0, 16)),
      with(0, "ff"),
      with(0, "ff") + "-more",
      with(0, "01") + "more",
  };
  for (const std::string& text : bad) {
    EXPECT_THAT(edited({{"tracestate", "a=1"}, {"k", "v"}, {"traceparent", text}}),
                ElementsAre(Pair("k", "v"), Pair("traceparent", MatchesRegex(kNewTrace))))
        << text;
    EXPECT_THAT(metadata_.back().second, testing::Not(HasSubstr(good.substr(3, 32)))) << text;
  }
  EXPECT_EQ(applied(), bad.size());
  EXPECT_THAT(edited({{"traceparent", good}, {"traceparent", good}, {"tracestate", "a=1"}}),
              ElementsAre(Pair("traceparent", MatchesRegex(kNewTrace))))
      << "of two, none is the parent";
}

// ---- Deadlines

TEST_F(PoliciesTest, DefaultTimeoutIsForCallsWithoutDeadline) {
  use({"default-timeout 250ms"});
  EXPECT_EQ(timeout(0), 250'000u);
  EXPECT_EQ(timeout(1), 1u);
  EXPECT_EQ(timeout(UINT64_MAX), UINT64_MAX);
  EXPECT_EQ(applied(), 1u);
}

TEST_F(PoliciesTest, MaxTimeoutIsTheLongest) {
  use({"max-timeout 30s"});
  EXPECT_EQ(timeout(0), 30'000'000u);
  EXPECT_EQ(timeout(30'000'001), 30'000'000u);
  EXPECT_EQ(timeout(UINT64_MAX), 30'000'000u);
  EXPECT_EQ(timeout(30'000'000), 30'000'000u);
  EXPECT_EQ(timeout(1), 1u);
  EXPECT_EQ(applied(), 3u);
}

// ---- Rate limit

TEST_F(PoliciesTest, RateLimitRefusesWhenTheBucketIsEmptyAndFillsItAgain) {
  use({"rate-limit 10/s burst 3"});
  EXPECT_EQ(state(), "3 tokens");
  EXPECT_EQ(admitted(5), 3);
  EXPECT_EQ(status_.code, StatusCode::resource_exhausted);
  EXPECT_EQ(status_.origin, Origin::daemon);
  EXPECT_EQ(status_.message, "rate-limit 10/s burst 3: no token is free, the next in 100 ms");
  now_ += 98'500us;
  EXPECT_EQ(admit(), 0u);
  EXPECT_THAT(status_.message, HasSubstr(" in 2 ms")) << "rounded up";
  now_ += 1'500us;
  EXPECT_EQ(state(), "1 token");
  EXPECT_EQ(admitted(2), 1);
  now_ += 250ms;
  EXPECT_EQ(state(), "2 tokens");
  EXPECT_EQ(admitted(4), 2);
  now_ += 50ms;
  EXPECT_EQ(admitted(1), 1) << "the half token that was left is not lost";
  EXPECT_EQ(applied(), 7u);
  EXPECT_EQ(refused(), 6u);
}

TEST_F(PoliciesTest, RateLimitBurstDefaultsToASecondsWorth) {
  for (const auto& [line, burst] : {std::pair("rate-limit 7/s", 7),
                                    {"rate-limit 1/s", 1},
                                    {"rate-limit 60/min", 1},
                                    {"rate-limit 61/min", 2},
                                    {"rate-limit 1/h", 1},
                                    {"rate-limit 7201/h", 3},
                                    {"rate-limit 1/h burst 20", 20}}) {
    use({line});
    EXPECT_EQ(admitted(30), burst) << line;
  }
}

TEST_F(PoliciesTest, RateLimitIsExactOverTime) {
  use({"rate-limit 7/min burst 2"});
  int count = admitted(2);
  for (int i = 0; i < 3600; ++i) {  // an hour, by the second
    now_ += 1s;
    count += admitted(3);
  }
  EXPECT_EQ(count, 2 + 7 * 60) << "what a token is not yet is kept";
  use({"rate-limit 3/s burst 1"});
  count = admitted(1);
  for (int i = 0; i < 30'000; ++i) {
    now_ += 333'333ns;
    count += admitted(1);
  }
  EXPECT_EQ(count, 30) << "9.99999 s";
}

TEST_F(PoliciesTest, RateLimitSurvivesLongPausesAndTimeThatGoesBack) {
  for (const char* line : {"rate-limit 1000000/s burst 1000000", "rate-limit 1/h burst 1000000",
                           "rate-limit 1000000/h burst 1000000", "rate-limit 1000000/s burst 1"}) {
    use({line});
    now_ = Time{1min};
    const int burst = std::string(line).ends_with(" 1") ? 1 : 1'000'000;
    EXPECT_EQ(admitted(2), std::min(burst, 2)) << line;
    now_ += 24h * 365 * 200;
    EXPECT_EQ(state(), burst == 1 ? "1 token" : "1000000 tokens") << line;
    EXPECT_NE(admit(), 0u) << line;
    now_ = Time::max();
    EXPECT_NE(admit(), 0u) << line;
    now_ = Time{1min};
    EXPECT_EQ(state(), burst == 1 ? "0 tokens" : "999999 tokens") << line;
  }
  use({"rate-limit 1/h"});
  now_ += 2h;
  EXPECT_EQ(admitted(9), 1);
  now_ -= 1h;
  EXPECT_EQ(admitted(9), 0);
  now_ += 1h;
  EXPECT_EQ(admitted(9), 0) << "no hour is counted twice";
  EXPECT_THAT(status_.message, HasSubstr(" in 3600000 ms"));
}

// ---- Circuit breaker

class Breaker : public PoliciesTest {
 protected:
  Breaker() { use({"circuit-breaker 3 10s"}); }

  void call(StatusCode code, Origin origin = Origin::remote) {
    const uint64_t id = admit();
    ASSERT_NE(id, 0u) << status_.message;
    end(id, code, origin);
  }
  void open() {
    for (int i = 0; i < 3; ++i) call(StatusCode::unavailable);
    ASSERT_EQ(state(), "open 10s");
  }
};

TEST_F(Breaker, WhichEndsAreFailures) {
  for (uint8_t number = 0; number <= 16; ++number) {
    const StatusCode code{number};
    const bool fails = code == StatusCode::unavailable || code == StatusCode::deadline_exceeded ||
                       code == StatusCode::internal || code == StatusCode::unknown ||
                       code == StatusCode::resource_exhausted;
    for (const Origin origin : {Origin::app, Origin::remote, Origin::daemon, Origin::ipc}) {
      SCOPED_TRACE(testing::Message() << name(code) << " " << static_cast<int>(origin));
      use({"circuit-breaker 1 10s"});
      call(code, origin);
      EXPECT_EQ(state(), fails && origin == Origin::remote ? "open 10s" : "closed");
    }
  }
}

TEST_F(Breaker, OpensAfterFailuresInARow) {
  call(StatusCode::unavailable);
  call(StatusCode::internal);
  call(StatusCode::not_found);  // the server is well
  call(StatusCode::unavailable);
  call(StatusCode::deadline_exceeded);
  call(StatusCode::cancelled, Origin::app);  // says nothing
  call(StatusCode::cancelled);
  call(StatusCode::unavailable, Origin::daemon);
  EXPECT_EQ(state(), "closed");
  call(StatusCode::unknown);
  EXPECT_EQ(state(), "open 10s");
  now_ += 5'800ms;
  EXPECT_EQ(admit(), 0u);
  EXPECT_EQ(status_.code, StatusCode::unavailable);
  EXPECT_EQ(status_.origin, Origin::daemon);
  EXPECT_EQ(status_.message,
            "circuit-breaker 3 10s: open, the last call ended UNKNOWN; one is let through in "
            "4200 ms");
  EXPECT_EQ(state(), "open 4200ms");
  EXPECT_EQ(applied(), 9u);
  EXPECT_EQ(refused(), 1u);
}

TEST_F(Breaker, OneProbeThatSucceedsCloses) {
  open();
  now_ += 10s - 1ns;
  EXPECT_EQ(admit(), 0u);
  EXPECT_THAT(status_.message, HasSubstr(" in 1 ms"));
  now_ += 1ns;
  EXPECT_EQ(state(), "half-open");
  const uint64_t probe = admit();
  ASSERT_NE(probe, 0u);
  now_ += 1s;
  EXPECT_EQ(admitted(5), 0);
  EXPECT_EQ(status_.message,
            "circuit-breaker 3 10s: open, a probe call is under way; another is let through in "
            "9000 ms");
  EXPECT_EQ(state(), "half-open");
  end(probe, StatusCode::ok);
  EXPECT_EQ(state(), "closed");
  EXPECT_EQ(admitted(5), 5);
}

TEST_F(Breaker, AProbeThatFailsOpensAgain) {
  open();
  now_ += 15s;
  call(StatusCode::deadline_exceeded);
  EXPECT_EQ(state(), "open 10s");
  EXPECT_EQ(admit(), 0u);
  now_ += 10s;
  call(StatusCode::ok);
  EXPECT_EQ(state(), "closed");
  call(StatusCode::unavailable);
  call(StatusCode::unavailable);
  EXPECT_EQ(state(), "closed") << "it counts from the beginning";
}

TEST_F(Breaker, AProbeWithoutVerdictLetsTheNextCallProbe) {
  open();
  now_ += 10s;
  for (const Origin origin : {Origin::app, Origin::remote, Origin::daemon, Origin::ipc}) {
    const uint64_t probe = admit();
    ASSERT_NE(probe, 0u);
    EXPECT_EQ(admit(), 0u);
    end(probe, StatusCode::cancelled, origin);
    EXPECT_EQ(state(), "half-open");
  }
  call(StatusCode::ok);
  EXPECT_EQ(state(), "closed");
}

TEST_F(Breaker, AProbeThatLastsLetsAnotherGoAfterThePause) {
  open();
  now_ += 10s;
  const uint64_t stream = admit();
  now_ += 10s;
  const uint64_t second = admit();
  ASSERT_NE(second, 0u);
  EXPECT_EQ(admit(), 0u);
  end(stream, StatusCode::cancelled, Origin::app);
  EXPECT_EQ(admit(), 0u) << "the second is still under way";
  end(second, StatusCode::unavailable);
  EXPECT_EQ(state(), "open 10s");

  now_ += 10s;
  const uint64_t slow = admit();
  now_ += 10s;
  const uint64_t later = admit();
  end(slow, StatusCode::ok);
  EXPECT_EQ(state(), "closed") << "slow servers are well too";
  end(later, StatusCode::unavailable);
  call(StatusCode::unavailable);
  call(StatusCode::unavailable);
  EXPECT_EQ(state(), "closed") << "what began before it closed counts no more";
}

TEST_F(Breaker, CallsFromBeforeAChangeCountNoMore) {
  std::vector<uint64_t> old;
  for (int i = 0; i < 9; ++i) old.push_back(admit());
  open();
  end(old[0], StatusCode::ok);
  EXPECT_EQ(state(), "open 10s");
  now_ += 4s;
  end(old[1], StatusCode::unavailable);
  EXPECT_EQ(state(), "open 6s") << "not for longer either";
  now_ += 6s;
  const uint64_t probe = admit();
  end(old[2], StatusCode::ok);
  end(old[3], StatusCode::cancelled, Origin::app);
  EXPECT_EQ(admit(), 0u);
  end(probe, StatusCode::ok);
  for (size_t i = 4; i < 9; ++i) end(old[i], StatusCode::unavailable);
  EXPECT_EQ(state(), "closed");
}

// ---- Together

TEST_F(PoliciesTest, WhatALaterPolicyRefusesLeavesNothingBehind) {
  use({"rate-limit 1/h burst 5", "circuit-breaker 1 10s", "rate-limit 1/h burst 2"});
  end(admit(), StatusCode::unavailable);
  EXPECT_EQ(admitted(9), 0);
  EXPECT_EQ(state(0), "4 tokens") << "the breaker's refusals cost none";
  now_ += 10s;
  EXPECT_NE(admit(), 0u);
  EXPECT_EQ(admit(), 0u);
  EXPECT_THAT(status_.message, HasSubstr("circuit-breaker"));
  now_ += 10s;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(admit(), 0u);
    EXPECT_THAT(status_.message, HasSubstr("rate-limit 1/h burst 2")) << "the probe was given back";
  }
  EXPECT_EQ(state(0), "3 tokens");
  EXPECT_EQ(state(1), "half-open");
  EXPECT_EQ(state(2), "0 tokens");
  EXPECT_EQ(refused(0), 0u);
  EXPECT_EQ(refused(1), 10u);
  EXPECT_EQ(refused(2), 3u);
  for (size_t policy = 0; policy < 3; ++policy) EXPECT_EQ(applied(policy), 2u) << policy;
}

TEST_F(PoliciesTest, TwoBreakersEachHaveTheirOwnView) {
  use({"circuit-breaker 1 1s", "circuit-breaker 2 1min"});
  end(admit(), StatusCode::unavailable);
  EXPECT_EQ(admit(), 0u);
  now_ += 1s;
  end(admit(), StatusCode::unavailable);
  EXPECT_EQ(state(1), "open 1min");
  now_ += 1s;
  EXPECT_EQ(admit(), 0u);
  EXPECT_THAT(status_.message, HasSubstr("circuit-breaker 2 1min"));
  EXPECT_EQ(state(0), "half-open") << "its probe was given back";
  now_ += 59s;
  end(admit(), StatusCode::ok);
  EXPECT_EQ(state(0), "closed");
  EXPECT_EQ(state(1), "closed");
}

TEST_F(PoliciesTest, ReportNamesTheLines) {
  use({" request-id ", "max-timeout 30 s", "circuit-breaker 5 10s"});
  admit();
  admit({{"x-request-id", "1"}}, 1);
  const auto reports = policies_.report(now_);
  ASSERT_EQ(reports.size(), 3u);
  EXPECT_EQ(reports[0].policy, "request-id");
  EXPECT_EQ(reports[0].applied, 1u);
  EXPECT_EQ(reports[0].state, "");
  EXPECT_EQ(reports[1].policy, "max-timeout 30 s");
  EXPECT_EQ(reports[1].applied, 1u);
  EXPECT_EQ(reports[2].applied, 2u);
  EXPECT_EQ(reports[2].state, "closed");
}

// ---- Mistakes

// ---- Methods and concurrency -------------------------------------------------------------------

TEST_F(PoliciesTest, AllowLetsOnlyItsMethodsThrough) {
  use({"allow /a.B/* /c.D/E"});
  for (const char* method : {"/a.B/X", "/a.B/Y", "/c.D/E"}) {
    method_ = method;
    EXPECT_NE(admit(), 0u) << method;
  }
  for (const char* method : {"/a.Bc/X", "/c.D/F", "/a.B/X/Y", ""}) {
    method_ = method;
    EXPECT_EQ(admit(), 0u) << method;
    EXPECT_EQ(status_.code, StatusCode::permission_denied);
  }
  EXPECT_EQ(applied(), 3u);
  EXPECT_EQ(refused(), 4u);
}

TEST_F(PoliciesTest, DenyKeepsItsMethodsOut) {
  use({"deny /a.B/*"});
  method_ = "/a.B/X";
  EXPECT_EQ(admit(), 0u);
  method_ = "/c.D/X";
  EXPECT_NE(admit(), 0u);
}

TEST_F(PoliciesTest, ForConcernsItsMethodsOnly) {
  use({"for /a.B/*: rate-limit 1/h burst 1"});
  method_ = "/c.D/X";
  EXPECT_EQ(admitted(3), 3);
  method_ = "/a.B/X";
  EXPECT_EQ(admitted(3), 1);
  EXPECT_THAT(status_.message, HasSubstr("for /a.B/*: rate-limit 1/h burst 1: no token"));
  EXPECT_EQ(applied(), 1u);
}

TEST_F(PoliciesTest, MaxConcurrencyCountsWhatIsUnderWay) {
  use({"max-concurrency 2"});
  const uint64_t first = admit();
  EXPECT_NE(admit(), 0u);
  EXPECT_EQ(admit(), 0u);
  EXPECT_EQ(status_.code, StatusCode::resource_exhausted);
  EXPECT_EQ(status_.message, "max-concurrency 2: 2 calls are under way");
  end(first, StatusCode::cancelled, Origin::app);
  EXPECT_EQ(state(), "1 under way");
  EXPECT_NE(admit(), 0u);
}

TEST_F(PoliciesTest, MaxConcurrencyForMethodsIsToldOfTheirEndsOnly) {
  use({"for /a.B/*: max-concurrency 1", "rate-limit 1/h burst 3"});
  method_ = "/c.D/X";
  const uint64_t other = admit();
  method_ = "/a.B/X";
  const uint64_t first = admit();
  end(other, StatusCode::ok);
  EXPECT_EQ(state(), "1 under way");
  EXPECT_EQ(admit(), 0u);
  end(first, StatusCode::ok);
  EXPECT_NE(admit(), 0u);
}

TEST_F(PoliciesTest, MaxConcurrencyIsHandedBackWhenALaterPolicyRefuses) {
  use({"for *: max-concurrency 1", "rate-limit 1/h burst 1"});
  end(admit(), StatusCode::ok);
  EXPECT_EQ(admit(), 0u);
  EXPECT_THAT(status_.message, HasSubstr("rate-limit"));
  EXPECT_EQ(state(), "0 under way");
}

TEST(PoliciesParse, MistakesAreNamedWithTheirRemedy) {
  const std::pair<const char*, const char*> cases[] = {
      {"foo bar", "unknown policy \"foo\"; known are add-metadata, set-metadata, remove-metadata, "
                  "request-id, traceparent, default-timeout, max-timeout, rate-limit, "
                  "max-concurrency, circuit-breaker, allow, deny"},
      {"", "empty policy; known are add-metadata"},
      {"\t ", "empty policy; known are add-metadata"},
      {"Request-Id", "unknown policy \"Request-Id\""},
      {"r\xc3\xa9", "unknown policy \"r\\xc3\\xa9\""},
      {"add-metadata", "policy \"add-metadata\": write it as \"add-metadata KEY VALUE\""},
      {"add-metadata k", "write it as \"add-metadata KEY VALUE\""},
      {"set-metadata k ", "write it as \"set-metadata KEY VALUE\""},
      {"add-metadata K v", "policy \"add-metadata K v\": metadata key \"K\" is illegal: use lower"},
      {"set-metadata grpc-timeout 1S", "\"grpc-timeout\" is reserved for the transport"},
      {"add-metadata k \xc3\xa9", "illegal value: printable ASCII only"},
      {"add-metadata k-bin a", "\"a\" is not base64, which keys that end in \"-bin\" take"},
      {"add-metadata k-bin QQ=", "not base64"},
      {"add-metadata k-bin Q===", "not base64"},
      {"add-metadata k-bin QQ QQ", "not base64"},
      {"add-metadata k-bin =", "not base64"},
      {"remove-metadata", "write it as \"remove-metadata KEY\""},
      {"remove-metadata a b", "write it as \"remove-metadata KEY\""},
      {"remove-metadata content-type", "reserved for the transport"},
      {"remove-metadata X-*", "no metadata key begins with \"X-\": use lower-case"},
      {"remove-metadata a*b", "\"a*b\" is illegal"},
      {"remove-metadata a**", "no metadata key begins with \"a*\""},
      {"request-id X", "\"X\" is illegal"},
      {"request-id a b", "write it as \"request-id [KEY]\""},
      {"request-id a-bin", "use a key that does not end in \"-bin\""},
      {"traceparent x", "write it as \"traceparent\""},
      {"default-timeout", "write it as \"default-timeout DURATION\""},
      {"max-timeout 30", "\"30\" is not a duration: write a number with us, ms, s, min or h"},
      {"max-timeout 30s 1s", "\"30s 1s\" is not a duration"},
      {"max-timeout -1s", "not a duration"},
      {"max-timeout 0s", "must be longer than 0"},
      {"rate-limit", "write it as \"rate-limit N/UNIT [burst N]\""},
      {"rate-limit 100", "write it as \"rate-limit N/UNIT [burst N]\""},
      {"rate-limit 0/s", "\"0\" is not a number from 1 to 1000000"},
      {"rate-limit 1000001/s", "\"1000001\" is not a number from 1 to 1000000"},
      {"rate-limit 1.5/s", "\"1.5\" is not a number"},
      {"rate-limit /s", "\"\" is not a number"},
      {"rate-limit 1/ms", "\"ms\" is not a unit: use s, min or h"},
      {"rate-limit 1/", "\"\" is not a unit"},
      {"rate-limit 1/s 20", "write it as \"rate-limit N/UNIT [burst N]\""},
      {"rate-limit 1/s burst", "write it as \"rate-limit N/UNIT [burst N]\""},
      {"rate-limit 1/s burst 0", "\"0\" is not a number from 1"},
      {"rate-limit 1/s burst 1000001", "\"1000001\" is not a number from 1"},
      {"rate-limit 1/s burst 2 x", "\"2 x\" is not a number"},
      {"circuit-breaker", "write it as \"circuit-breaker FAILURES DURATION\""},
      {"circuit-breaker 5", "write it as \"circuit-breaker FAILURES DURATION\""},
      {"circuit-breaker 0 1s", "\"0\" is not a number from 1"},
      {"circuit-breaker x 1s", "\"x\" is not a number from 1"},
      {"circuit-breaker 5 10", "\"10\" is not a duration"},
      {"max-concurrency", "write it as \"max-concurrency N\""},
      {"max-concurrency 0", "\"0\" is not a number from 1"},
      {"allow", "write it as \"allow METHOD...\""},
      {"deny a.B/C", "method pattern \"a.B/C\" is not"},
      {"for", "write it as \"for METHOD: POLICY\""},
      {"for /a.B/C traceparent", "write it as \"for METHOD: POLICY\""},
      {"for /a.B/C:", "write it as \"for METHOD: POLICY\""},
      {"for x: traceparent", "method pattern \"x\" is not"},
      {"for *: foo", "unknown policy \"foo\""},
      {"for *: for *: traceparent", "unknown policy \"for\""},
      {"circuit-breaker 5 0s", "must be longer than 0"},
      {"circuit-breaker 5 25h", "\"25h\": at most 24h"},
  };
  for (const auto& [line, why] : cases) EXPECT_THAT(mistake(line), HasSubstr(why)) << line;
  EXPECT_LT(mistake("add-metadata K " + std::string(100'000, 'x')).size(), 400u);
}

TEST(PoliciesParse, TheFirstMistakeIsTold) {
  const auto parsed = Policies::parse({"traceparent", "one", "two"});
  ASSERT_TRUE(std::holds_alternative<std::string>(parsed));
  EXPECT_THAT(std::get<std::string>(parsed), HasSubstr("\"one\""));
}

TEST(PoliciesParse, TheExampleOfThePageIsRight) {
  std::ifstream page(LEGATED_SOURCE_DIR "/docs/policies.md");
  const std::string text{std::istreambuf_iterator<char>(page), {}};
  const size_t begin = text.find("policies = [");
  ASSERT_NE(begin, std::string::npos);
  const std::string list = text.substr(begin, text.find(']', begin) - begin);
  const std::regex line("\"([^\"]*)\"");
  Lines lines;
  for (std::sregex_iterator match(list.begin(), list.end(), line), last; match != last; ++match)
    lines.push_back((*match)[1]);
  EXPECT_GE(lines.size(), 5u);
  EXPECT_EQ(parse(lines).report({}).size(), lines.size());
}

}  // namespace
}  // namespace legated
