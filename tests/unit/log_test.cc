// daemon/telemetry/log: what a line looks like, what is dropped, and where lines go.
#include "daemon/telemetry/log.h"

#include <gmock/gmock.h>
#include <grpc/support/log.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>
#include <thread>

#include "daemon/config/load.h"

namespace legated {
namespace {

using std::chrono::steady_clock;
using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

// Logs to a file of its own, and to standard error again afterwards.
class LogTest : public testing::Test {
 protected:
  LogTest()
      : folder_(std::filesystem::temp_directory_path() /
                ("legated-log-" + std::to_string(::getpid()))) {
    std::filesystem::create_directory(folder_);
  }
  ~LogTest() override {
    log::setup({});
    std::filesystem::remove_all(folder_);
  }
  LogTest(const LogTest&) = delete;
  LogTest& operator=(const LogTest&) = delete;

  std::string path() const { return folder_ / "log"; }

  void begin(LogLevel level, LogFormat format) {
    log::setup({.level = level, .format = format, .file = path()});
  }

  static std::vector<std::string> lines_of(const std::string& file) {
    std::ifstream input(file);
    std::vector<std::string> lines;
    for (std::string line; std::getline(input, line);) lines.push_back(line);
    return lines;
  }

  std::vector<std::string> lines() const { return lines_of(path()); }

  std::filesystem::path folder_;
};

std::string text(log::Fields fields) {
  return log::format_event(LogFormat::text, LogLevel::info, "e", fields);
}

std::string json(log::Fields fields) {
  return log::format_event(LogFormat::json, LogLevel::info, "e", fields);
}

TEST(LogFormat, TextQuotesOnlyWhatNeedsIt) {
  EXPECT_EQ(text({}), "info  e");
  EXPECT_EQ(text({{"n", -3}, {"u", 18'446'744'073'709'551'615u}, {"b", true}, {"s", "a/b:c"}}),
            "info  e n=-3 u=18446744073709551615 b=true s=a/b:c");
  EXPECT_EQ(text({{"empty", ""}, {"space", "a b"}, {"equals", "a=b"}, {"quote", "a\"b"}}),
            "info  e empty=\"\" space=\"a b\" equals=\"a=b\" quote=\"a\\\"b\"");
  EXPECT_EQ(text({{"newline", "a\nb"}}), "info  e newline=\"a\\u000ab\"");
  EXPECT_EQ(log::format_event(LogFormat::text, LogLevel::error, "e", {}), "error e");
}

TEST(LogFormat, JsonEscapesStrings) {
  EXPECT_EQ(json({{"n", -3}, {"b", false}, {"s", "plain"}}),
            R"("level":"info","event":"e","n":-3,"b":false,"s":"plain")");
  EXPECT_EQ(json({{"s", "\"\\\n\x01\x7f"}}),
            R"("level":"info","event":"e","s":"\"\\\u000a\u0001\u007f")");
  EXPECT_EQ(json({{"s", std::string_view("a\0b", 3)}}),
            R"("level":"info","event":"e","s":"a\u0000b")");
}

TEST(LogFormat, InvalidUtf8IsReplacedAndValidKept) {
  EXPECT_EQ(json({{"s", "\u00e9\u20ac\U0001F600"}}),
            "\"level\":\"info\",\"event\":\"e\",\"s\":\"\u00e9\u20ac\U0001F600\"");
  // A lone continuation, an overlong slash, a surrogate, a cut character.
  for (const char* bad : {"\x80", "\xff"}) {
    EXPECT_THAT(json({{"s", bad}}), HasSubstr(R"("s":"\ufffd")"));
  }
  EXPECT_THAT(json({{"s", "\xc0\xaf"}}), HasSubstr(R"("s":"\ufffd\ufffd")"));
  EXPECT_THAT(json({{"s", "\xed\xa0\x80"}}), HasSubstr(R"("s":"\ufffd\ufffd\ufffd")"));
  EXPECT_THAT(json({{"s", "a\xe2\x82"}}), HasSubstr(R"("s":"a\ufffd\ufffd")"));
}

TEST_F(LogTest, LinesCarryTimeAndLevel) {
  begin(LogLevel::info, LogFormat::text);
  log::warn("session_lost", {{"session", 7u}});
  const std::regex expected(
      R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z warn  session_lost session=7)");
  ASSERT_THAT(lines(), SizeIs(1));
  EXPECT_TRUE(std::regex_match(lines()[0], expected)) << lines()[0];
}

TEST_F(LogTest, JsonLinesAreWholeObjects) {
  begin(LogLevel::info, LogFormat::json);
  log::error("port_lost", {{"address", "[::]:1"}, {"percent", "%v {}"}});
  const std::regex expected(
      R"(\{"time":"[^"]+Z","level":"error","event":"port_lost","address":"\[::\]:1","percent":"%v \{\}"\})");
  ASSERT_THAT(lines(), SizeIs(1));
  EXPECT_TRUE(std::regex_match(lines()[0], expected)) << lines()[0];
}

TEST_F(LogTest, LevelsBelowTheConfiguredAreDropped) {
  begin(LogLevel::warn, LogFormat::text);
  log::info("a");
  log::debug("b");
  log::warn("c");
  log::error("d");
  EXPECT_FALSE(log::enabled(LogLevel::info));
  EXPECT_THAT(lines(), ElementsAre(HasSubstr(" c"), HasSubstr(" d")));
}

TEST_F(LogTest, OffDropsEverything) {
  begin(LogLevel::off, LogFormat::text);
  log::error("a");
  EXPECT_FALSE(log::enabled(LogLevel::off));
  EXPECT_THAT(lines(), SizeIs(0));
}

TEST_F(LogTest, ReopenFollowsARotatedFile) {
  begin(LogLevel::info, LogFormat::text);
  log::info("before");
  std::filesystem::rename(path(), path() + ".1");
  log::info("between");
  log::reopen();
  log::info("after");
  EXPECT_THAT(lines_of(path() + ".1"), ElementsAre(HasSubstr("before"), HasSubstr("between")));
  EXPECT_THAT(lines(), ElementsAre(HasSubstr("log_reopened"), HasSubstr("after")));
}

TEST_F(LogTest, AReaderThatStallsCostsLinesAndNoTime) {
  ASSERT_EQ(mkfifo(path().c_str(), 0600), 0);
  const int reader = open(path().c_str(), O_RDONLY | O_NONBLOCK);
  begin(LogLevel::info, LogFormat::text);
  for (int i = 0; i < 3000; ++i) log::info("event", {{"text", std::string(100, 'x')}});
  std::string text(1 << 20, '\0');
  ASSERT_GT(read(reader, text.data(), text.size()), 0);
  log::info("after");
  text.resize(static_cast<size_t>(read(reader, text.data(), text.size())));
  close(reader);
  EXPECT_THAT(text, testing::AllOf(HasSubstr("log_lines_lost count="), HasSubstr("after")));
}

TEST_F(LogTest, APipeThatNobodyReadsIsRefused) {
  ASSERT_EQ(mkfifo(path().c_str(), 0600), 0);
  EXPECT_THROW(begin(LogLevel::info, LogFormat::text), ConfigError);
}

TEST_F(LogTest, AFailedReopenKeepsTheOldFile) {
  begin(LogLevel::info, LogFormat::text);
  std::filesystem::rename(path(), path() + ".1");
  std::filesystem::create_directory(path());
  log::reopen();
  log::info("after");
  EXPECT_THAT(lines_of(path() + ".1"),
              ElementsAre(HasSubstr("log_reopen_failed"), HasSubstr("after")));
}

TEST_F(LogTest, AFileThatCannotBeOpenedIsAStartUpError) {
  try {
    log::setup({.level = LogLevel::info, .format = LogFormat::text, .file = "/nonexistent/log"});
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(),
                HasSubstr("log.file = \"/nonexistent/log\" can't be opened: No such file"));
  }
}

TEST(LogLimited, LetsSoManyThroughASecondAndCountsTheRest) {
  log::Limited limited(2);
  const steady_clock::time_point start{1000s};
  EXPECT_EQ(limited.admit(start), 0u);
  EXPECT_EQ(limited.admit(start + 1ms), 0u);
  EXPECT_EQ(limited.admit(start + 2ms), std::nullopt);
  EXPECT_EQ(limited.admit(start + 999ms), std::nullopt);
  EXPECT_EQ(limited.admit(start + 1s), 2u);
  EXPECT_EQ(limited.admit(start + 1s), 0u);
}

TEST(LogLimited, WorksFromTheClocksFirstSecond) {
  log::Limited limited(1);
  EXPECT_EQ(limited.admit(steady_clock::time_point{}), 0u);
  EXPECT_EQ(limited.admit(steady_clock::time_point{}), std::nullopt);
}

TEST_F(LogTest, ALimitedEventSaysHowManyWereDropped) {
  begin(LogLevel::info, LogFormat::text);
  log::Limited limited(1);
  const auto past = steady_clock::now() - 10s;
  EXPECT_EQ(limited.admit(past), 0u);
  EXPECT_EQ(limited.admit(past), std::nullopt);
  log::warn(limited, "e", {{"a", 1}});
  EXPECT_THAT(lines(), ElementsAre(HasSubstr("warn  e a=1 suppressed=1")));
}

TEST_F(LogTest, AnEventThatIsOffDoesNotCountAgainstTheLimit) {
  begin(LogLevel::error, LogFormat::text);
  log::Limited limited(1);
  log::warn(limited, "e");
  EXPECT_EQ(limited.admit(steady_clock::now()), 0u);
}

TEST_F(LogTest, ThreadsNeverMixTheirLines) {
  begin(LogLevel::info, LogFormat::text);
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([] {
        for (int n = 0; n < 200; ++n) log::info("e", {{"n", n}, {"tail", "end"}});
      });
    }
  }
  const auto all = lines();
  EXPECT_THAT(all, SizeIs(800));
  EXPECT_THAT(all, testing::Each(testing::EndsWith(" tail=end")));
}

TEST_F(LogTest, GrpcLogsIntoOurs) {
  begin(LogLevel::debug, LogFormat::text);
  log::install_grpc_log();
  gpr_log("/some/where/chttp2.cc", 12, GPR_LOG_SEVERITY_ERROR, "broken %d", 5);
  gpr_log("x.cc", 13, GPR_LOG_SEVERITY_DEBUG, "fine");
  EXPECT_THAT(lines(),
              ElementsAre(HasSubstr("warn  grpc file=chttp2.cc line=12 message=\"broken 5\""),
                          HasSubstr("debug grpc file=x.cc line=13 message=fine")));
  gpr_set_log_function(nullptr);
}

}  // namespace
}  // namespace legated
