// daemon/config: what may be set, from where, and what a wrong value's error says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "daemon/config/keys.h"
#include "daemon/config/load.h"
#include "daemon/config/values.h"

namespace legated {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::StartsWith;

// A configuration file that lives as long as the test.
class ConfigFile {
 public:
  explicit ConfigFile(const std::string& text)
      : path_(std::filesystem::temp_directory_path() /
              ("legated-config-" + std::to_string(::getpid()) + ".toml")) {
    std::ofstream(path_) << text;
  }
  ~ConfigFile() { std::filesystem::remove(path_); }
  ConfigFile(const ConfigFile&) = delete;
  ConfigFile& operator=(const ConfigFile&) = delete;

  std::string path() const { return path_; }

 private:
  std::filesystem::path path_;
};

Config load_text(const std::string& text) {
  const ConfigFile file(text);
  return load({.file = file.path(), .environment = {}, .overrides = {}});
}

Config load_environment(std::vector<std::string> variables) {
  return load({.file = {}, .environment = std::move(variables), .overrides = {}});
}

Config load_overrides(std::vector<std::string> overrides) {
  return load({.file = {}, .environment = {}, .overrides = std::move(overrides)});
}

template <class Load>
std::string error_of(Load&& load) {
  try {
    load();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

// The error of a file, with its path cut to "FILE".
std::string file_error(const std::string& text) {
  const ConfigFile file(text);
  std::string error =
      error_of([&] { load({.file = file.path(), .environment = {}, .overrides = {}}); });
  for (size_t at; (at = error.find(file.path())) != std::string::npos;) {
    error.replace(at, file.path().size(), "FILE");
  }
  return error;
}

TEST(Config, NeedsNoFile) {
  const Config config = load({});
  EXPECT_EQ(config.ipc.socket, "/run/legated/legated.sock");
  EXPECT_EQ(config.ipc.mode, 0600u);
  EXPECT_EQ(config.ipc.max_connections, 256u);
  EXPECT_EQ(config.ipc.hello_timeout, 2s);
  EXPECT_EQ(config.ipc.heartbeat, 10s);
  EXPECT_EQ(config.ipc.max_frame, 65'536u);
  EXPECT_EQ(config.ipc.call_window, 262'144u);
  EXPECT_EQ(config.ipc.connection_window, 4'194'304u);
  EXPECT_EQ(config.ipc.memory_budget, 67'108'864u);
  EXPECT_TRUE(config.access.client.empty());
  EXPECT_EQ(config.limits.max_message, 4'194'304u);
  EXPECT_EQ(config.inbound.hold, 10s);
  EXPECT_EQ(config.shutdown.grace, 30s);
  EXPECT_EQ(config.io.spin, 0us);
  EXPECT_EQ(config.log.level, LogLevel::info);
}

TEST(Config, EveryDefaultIsWithinItsOwnRange) {
  for (const Key& key : keys()) {
    const std::string file = "[" + std::string(key.section) + "]\n" + std::string(key.name) +
                             " = " + key.print(Config{});
    EXPECT_EQ(file_error(file), "no error") << file;
  }
}

TEST(Config, EveryKeyIsDescribedOnce) {
  std::set<std::string> names;
  for (const Key& key : keys()) {
    EXPECT_TRUE(names.insert(key.full_name()).second) << key.full_name();
    EXPECT_FALSE(key.reason.empty()) << key.full_name();
    EXPECT_EQ(key.reason.find('|'), std::string_view::npos) << key.full_name();
  }
}

TEST(Config, ReadsEveryTypeFromAFile) {
  const Config config = load_text(R"(
[ipc]
socket = "/tmp/x.sock"        # path
mode = "0660"                 # octal
max_connections = 7           # integer
hello_timeout = "250ms"       # duration
max_frame = "16KiB"           # size with unit
call_window = 131072          # size as an integer
memory_budget = "1GiB"
[access]
client = ["uid:1000", "group:lean", "*"]
[io]
spin = "200us"
[log]
level = "debug"
format = "json"
)");
  EXPECT_EQ(config.ipc.socket, "/tmp/x.sock");
  EXPECT_EQ(config.ipc.mode, 0660u);
  EXPECT_EQ(config.ipc.max_connections, 7u);
  EXPECT_EQ(config.ipc.hello_timeout, 250ms);
  EXPECT_EQ(config.ipc.max_frame, 16'384u);
  EXPECT_EQ(config.ipc.call_window, 131'072u);
  EXPECT_EQ(config.ipc.memory_budget, 1'073'741'824u);
  EXPECT_EQ(config.access.client, (std::vector<AccessRule>{{AccessRule::Kind::uid, 1000, ""},
                                                           {AccessRule::Kind::group, 0, "lean"},
                                                           {AccessRule::Kind::anyone, 0, ""}}));
  EXPECT_EQ(config.io.spin, 200us);
  EXPECT_EQ(config.log.level, LogLevel::debug);
  EXPECT_EQ(config.log.format, LogFormat::json);
}

TEST(Config, ReadsEveryTypeFromTheEnvironment) {
  const Config config = load_environment(
      {"LEGATED_IPC_MAX_CONNECTIONS=9", "LEGATED_IPC_MODE=0640", "LEGATED_IPC_MAX_FRAME=8KiB",
       "LEGATED_IO_SPIN=1ms", "LEGATED_ACCESS_ADMIN=uid:0, user:ops",
       "LEGATED_LOG_FILE=/tmp/a=b.log", "LEGATED_LOG_LEVEL=off"});
  EXPECT_EQ(config.ipc.max_connections, 9u);
  EXPECT_EQ(config.ipc.mode, 0640u);
  EXPECT_EQ(config.ipc.max_frame, 8'192u);
  EXPECT_EQ(config.io.spin, 1ms);
  EXPECT_EQ(config.access.admin.size(), 2u);
  EXPECT_EQ(config.log.file, "/tmp/a=b.log");
  EXPECT_EQ(config.log.level, LogLevel::off);
}

TEST(Config, LaterSourcesWin) {
  const ConfigFile file("[inbound]\nqueue = 1\nhold = \"1s\"\nmax_concurrent_streams = 1\n");
  const Config config = load({.file = file.path(),
                              .environment = {"LEGATED_INBOUND_HOLD=2s", "LEGATED_INBOUND_QUEUE=2"},
                              .overrides = {"inbound.queue=3", "inbound.queue=4"}});
  EXPECT_EQ(config.inbound.max_concurrent_streams, 1u);
  EXPECT_EQ(config.inbound.hold, 2s);
  EXPECT_EQ(config.inbound.queue, 4u);
}

TEST(Config, RuntimeDirectoryGivesTheDefaultSocketOnly) {
  const std::string variable = "XDG_RUNTIME_DIR=/run/user/1000";
  EXPECT_EQ(load_environment({variable}).ipc.socket, "/run/user/1000/legated.sock");
  EXPECT_EQ(load_environment({"XDG_RUNTIME_DIR="}).ipc.socket, "/run/legated/legated.sock");
  EXPECT_EQ(load_environment({"LEGATED_IPC_SOCKET=/a", variable}).ipc.socket, "/a");
  const ConfigFile file("[ipc]\nsocket = \"/b\"\n");
  EXPECT_EQ(load({.file = file.path(), .environment = {variable}, .overrides = {}}).ipc.socket,
            "/b");
}

TEST(Config, UnknownKeysAreRefusedWithTheNearestName) {
  EXPECT_EQ(file_error("[ipc]\nmode = \"0600\"\nmax_frames = 1\n"),
            "FILE:3: unknown key ipc.max_frames; the nearest known one is ipc.max_frame");
  EXPECT_EQ(file_error("[ipc]\nmax_message = 4096\n"),
            "FILE:2: unknown key ipc.max_message; the nearest known one is limits.max_message");
  EXPECT_EQ(file_error("[imbound]\nqueue = 1\n"),
            "FILE:2: unknown key imbound.queue; the nearest known one is inbound.queue");
  EXPECT_EQ(file_error("[shutdwn]\n"),
            "FILE:1: unknown key [shutdwn]; the nearest known one is [shutdown]");
  EXPECT_THAT(file_error("queue = 1\n"),
              HasSubstr("outside of any section; the nearest known one is inbound.queue"));
  EXPECT_EQ(error_of([] { load_environment({"LEGATED_LOG_LEVLE=info"}); }),
            "environment LEGATED_LOG_LEVLE: unknown key log.levle; the nearest known one is "
            "LEGATED_LOG_LEVEL");
  EXPECT_EQ(error_of([] { load_overrides({"io.spinn=1us"}); }),
            "--set io.spinn=1us: unknown key io.spinn; the nearest known one is io.spin");
}

TEST(Config, VariablesOfOtherProgramsAreLeftAlone) {
  EXPECT_NO_THROW(load_environment({"LEGATED_BIN=/x", "LEGATED_BIN_DIR=/x", "HOME=/", "odd"}));
}

TEST(Config, ErrorsNameWhereWhatAndTheRange) {
  EXPECT_EQ(file_error("[ipc]\n\nmax_frame = 4095\n"),
            "FILE:3: ipc.max_frame = 4095 is not a valid size; allowed: 4KiB to 1MiB");
  EXPECT_EQ(error_of([] { load_overrides({"ipc.max_frame=1048577"}); }),
            "--set ipc.max_frame=1048577: ipc.max_frame = \"1048577\" is not a valid size; "
            "allowed: 4KiB to 1MiB");
  EXPECT_EQ(
      error_of([] { load_environment({"LEGATED_IO_YIELD=17"}); }),
      "environment LEGATED_IO_YIELD: io.yield = \"17\" is not a valid integer; allowed: 0 to 16");
}

TEST(Config, RangesIncludeTheirEnds) {
  EXPECT_EQ(load_overrides({"ipc.max_frame=4096"}).ipc.max_frame, 4'096u);
  EXPECT_EQ(load_overrides({"ipc.max_frame=1MiB"}).ipc.max_frame, 1'048'576u);
  EXPECT_EQ(load_overrides({"ipc.call_window=1GiB"}).ipc.call_window, 1'073'741'824u);
  EXPECT_EQ(load_overrides({"io.spin=1000us"}).io.spin, 1ms);
  EXPECT_EQ(load_overrides({"inbound.hold=0s"}).inbound.hold, 0s);
}

TEST(Config, RefusesValuesOfTheWrongType) {
  const std::vector<std::string> lines = {
      "[ipc]\nmax_connections = \"256\"",
      "[ipc]\nmax_connections = -1",
      "[ipc]\nmax_connections = 1.5",
      "[ipc]\nmax_connections = true",
      "[ipc]\nsocket = 1",
      "[ipc]\nsocket = \"\"",
      "[ipc]\nsocket = \"a\\u0000b\"",
      "[ipc]\nmode = 600",
      "[ipc]\nmode = \"600\"",
      "[ipc]\nmode = \"0800\"",
      "[ipc]\nmode = \"01777\"",
      "[ipc]\nhello_timeout = 2",
      "[ipc]\nhello_timeout = \"2\"",
      "[ipc]\nhello_timeout = \"20500us\"",
      "[ipc]\nheartbeat = \"1 day\"",
      "[ipc]\nmax_frame = \"64KB\"",
      "[ipc]\nmax_frame = [65536]",
      "[access]\nclient = \"*\"",
      "[access]\nclient = [1]",
      "[access]\nclient = [\"root\"]",
      "[access]\nclient = [\"uid:x\"]",
      "[access]\nclient = [\"user:\"]",
      "[log]\nlevel = \"INFO\"",
      "[log.level]\nx = 1",
      "[ipc]\nheartbeat = \"99999999999999999999h\"",
  };
  for (const std::string& line : lines)
    EXPECT_THAT(file_error(line), HasSubstr("is not a valid")) << line;
}

TEST(Config, ASocketPathMustFitAUnixAddress) {
  EXPECT_NO_THROW(load_overrides({"ipc.socket=" + std::string(107, 'a')}));
  EXPECT_THROW(load_overrides({"ipc.socket=" + std::string(108, 'a')}), ConfigError);
}

TEST(Config, TellsAllProblemsInTheOrderOfTheFile) {
  EXPECT_EQ(file_error("[log]\nlevel = \"loud\"\n[ipc]\nmax_frame = 1\nheart = 1\n"),
            "FILE:2: log.level = 'loud' is not a valid string; allowed: `trace`, `debug`, `info`, "
            "`warn`, "
            "`error`, `off`\n"
            "FILE:4: ipc.max_frame = 1 is not a valid size; allowed: 4KiB to 1MiB\n"
            "FILE:5: unknown key ipc.heart; the nearest known one is ipc.heartbeat");
}

TEST(Config, TheBudgetMustHoldTheLargestMessage) {
  EXPECT_EQ(file_error("[limits]\nmax_message = \"128MiB\"\n"),
            "FILE:2: limits.max_message = 128MiB is above ipc.memory_budget = 64MiB (default): "
            "a message of that size could never be taken");
  EXPECT_NO_THROW(load_overrides({"limits.max_message=64MiB"}));
}

TEST(Config, MalformedTomlIsToldWithItsPosition) {
  EXPECT_THAT(file_error("[ipc]\nmax_frame = = 1\n"), StartsWith("FILE:2:13: not valid TOML: "));
  EXPECT_THAT(file_error("[ipc\n"), StartsWith("FILE:1:"));
  EXPECT_THAT(file_error("[ipc]\nmode = \"0600\"\nmode = \"0600\"\n"), StartsWith("FILE:3:"));
}

TEST(Config, AFileThatCannotBeReadIsAnError) {
  for (const char* path : {"/nonexistent/legated.toml", "/tmp"}) {
    EXPECT_THAT(error_of([&] { load({.file = path, .environment = {}, .overrides = {}}); }),
                HasSubstr("can't be read"));
  }
  EXPECT_EQ(file_error(""), "no error");
}

TEST(Config, AnOverrideNeedsAValue) {
  EXPECT_EQ(error_of([] { load_overrides({"ipc.mode"}); }),
            "--set ipc.mode: lacks a value; write --set section.key=value");
}

TEST(Config, PrintedValuesLoadToTheSameConfiguration) {
  const Config config = load_overrides(
      {"ipc.socket=/tmp/a \"b\"\\c\td", "ipc.mode=0007", "ipc.max_frame=5000", "ipc.heartbeat=90s",
       "access.worker=gid:5,group:x", "access.client=*", "inbound.hold=0s", "log.format=json"});
  const std::string toml = to_toml(config);
  EXPECT_THAT(toml, HasSubstr("mode = \"0007\"\n"));
  EXPECT_THAT(toml, HasSubstr("max_frame = \"5000B\"\n"));
  EXPECT_THAT(toml, HasSubstr("heartbeat = \"90s\"\n"));
  const Config again = load_text(toml);
  EXPECT_EQ(to_toml(again), toml);
  EXPECT_EQ(again.ipc.socket, config.ipc.socket);
  EXPECT_EQ(again.access.worker, config.access.worker);
}

TEST(Config, TheReferencePageIsInStep) {
  std::ifstream page(std::string(LEGATED_SOURCE_DIR) + "/docs/configuration.md");
  std::stringstream text;
  text << page.rdbuf();
  std::ostringstream reference;
  print_reference(reference);
  EXPECT_THAT(text.str(), HasSubstr(reference.str()))
      << "replace the table in docs/configuration.md by the one `legated keys` prints";
}

TEST(ConfigValues, SizesAreWrittenInTheLargestUnitThatDivides) {
  EXPECT_EQ(parse_size("0"), 0u);
  EXPECT_EQ(parse_size("12 KiB"), 12'288u);
  EXPECT_EQ(parse_size("99999999999GiB"), std::nullopt);
  EXPECT_EQ(parse_size("KiB"), std::nullopt);
  EXPECT_EQ(parse_size("-1"), std::nullopt);
  EXPECT_EQ(format_size(0), "0");
  EXPECT_EQ(format_size(1536), "1536B");
  EXPECT_EQ(format_size(3 * 1'048'576), "3MiB");
}

TEST(ConfigValues, DurationsAreWrittenInTheLargestUnitThatDivides) {
  EXPECT_EQ(parse_duration("30min"), 30min);
  EXPECT_EQ(parse_duration("30"), std::nullopt);
  EXPECT_EQ(parse_duration("1.5s"), std::nullopt);
  EXPECT_EQ(format_duration(1500ms), "1500ms");
  EXPECT_EQ(format_duration(0s), "0s");
  EXPECT_EQ(format_duration(2h), "2h");
}

TEST(ConfigValues, EditDistanceCountsChanges) {
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("queue", "queue"), 0u);
  EXPECT_EQ(edit_distance("spinn", "spin"), 1u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
}

}  // namespace
}  // namespace legated
