// daemon/ctl/text.h: what legatectl reads and writes as text.
#include <gtest/gtest.h>

#include "daemon/ctl/text.h"

namespace legated::ctl {
namespace {

using std::chrono::microseconds;

TEST(CtlTextTest, ControlCharactersDoNotReachATerminal) {
  EXPECT_EQ(printable("h\x1b[31m\n\x7f\xc2\x9b ü€"), "h\\x1b[31m\\x0a\\x7f\\xc29b ü€");
}

TEST(CtlTextTest, DurationsHaveAUnit) {
  EXPECT_EQ(parse_duration("2s"), microseconds(2'000'000));
  EXPECT_EQ(parse_duration("500ms"), microseconds(500'000));
  EXPECT_EQ(parse_duration("1.5m"), microseconds(90'000'000));
  EXPECT_EQ(parse_duration("7us"), microseconds(7));
  EXPECT_EQ(parse_duration("0s"), microseconds(0));
  for (const char* text : {"", "2", "s", "-1s", "2 s", "2sec", "1e3s", "inf", "nans", "9999999h"}) {
    EXPECT_EQ(parse_duration(text), std::nullopt) << text;
  }
}

TEST(CtlTextTest, DurationsArePrintedInTheUnitThatFits) {
  EXPECT_EQ(to_text(microseconds(870)), "870 µs");
  EXPECT_EQ(to_text(microseconds(12'340)), "12.3 ms");
  EXPECT_EQ(to_text(microseconds(2'500'000)), "2.50 s");
}

TEST(CtlTextTest, Hex) {
  EXPECT_EQ(parse_hex("00 fF:7e\n"), std::string("\x00\xff\x7e", 3));
  EXPECT_EQ(parse_hex(""), "");
  EXPECT_EQ(parse_hex("0"), std::nullopt);
  EXPECT_EQ(parse_hex("0 0"), std::nullopt);
  EXPECT_EQ(parse_hex("zz"), std::nullopt);
  EXPECT_EQ(to_hex(std::string("\x00\xff\x7e", 3)), "00ff7e");
}

TEST(CtlTextTest, Base64GoesThereAndBack) {
  const std::string all = "\xff\xfe light work.";
  for (size_t size = 0; size <= all.size(); ++size) {
    EXPECT_EQ(parse_base64(to_base64(all.substr(0, size))), all.substr(0, size));
  }
  EXPECT_EQ(to_base64("a"), "YQ==");
  EXPECT_EQ(to_base64("ab"), "YWI=");
  EXPECT_EQ(to_base64("abc"), "YWJj");
  EXPECT_EQ(parse_base64("YQ"), "a") << "padding may be left out";
  EXPECT_EQ(parse_base64("Y"), std::nullopt);
  EXPECT_EQ(parse_base64("Y!=="), std::nullopt);
}

TEST(CtlTextTest, Metadata) {
  EXPECT_EQ(parse_metadata("key:value"), (std::pair<std::string, std::string>("key", "value")));
  EXPECT_EQ(parse_metadata("key: a: b"), (std::pair<std::string, std::string>("key", "a: b")));
  EXPECT_EQ(parse_metadata("key:"), (std::pair<std::string, std::string>("key", "")));
  EXPECT_EQ(parse_metadata("k-bin:AP8="),
            (std::pair<std::string, std::string>("k-bin", std::string("\x00\xff", 2))));
  EXPECT_EQ(parse_metadata("k-bin:?"), std::nullopt);
  EXPECT_EQ(parse_metadata("key"), std::nullopt);
  EXPECT_EQ(parse_metadata(":value"), std::nullopt);
}

}  // namespace
}  // namespace legated::ctl
