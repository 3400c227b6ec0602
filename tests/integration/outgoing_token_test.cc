// Tokens that a channel sends with each call: where they come from, when they change, what happens
// when there is none, and that nobody else gets to see them.

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/integration/outgoing.h"
#include "tests/integration/scripted_server.h"

namespace legated::test {
namespace {

using legate::client::ChannelOptions;
using legate::client::RetryOptions;
using legate::client::TlsOptions;

const Pki& pki() {
  static const Pki made;
  return made;
}

void write(const std::string& path, const std::string& text) {
  // As those do it who rotate secrets: nobody sees half of it.
  std::ofstream(path + ".new") << text;
  std::filesystem::rename(path + ".new", path);
}

std::string content(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Processes whose parent is `parent`, dead ones that nobody has waited for too.
size_t children_of(pid_t parent) {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream file(entry.path() / "status");
    for (std::string line; std::getline(file, line);)
      if (line == "PPid:\t" + std::to_string(parent)) ++count;
  }
  return count;
}

/// A TLS server, and a place for files. The daemon begins with start().
struct Tokens : testing::Test {
  ~Tokens() override {
    if (daemon == nullptr) return;
    // Whatever a test did.
    EXPECT_THAT(everything_shown(), Not(HasSubstr("s3cret")));
    EXPECT_EQ(0U, children_of(daemon->process().pid()));
  }

  /// With the channel "t": TLS, and these settings of it.
  void start(std::vector<std::string> settings) {
    write(directory / "ca.pem", pki().roots);
    for (std::string& setting : settings) setting = "channels.t." + setting;
    settings.insert(settings.end(),
                    {"channels.t.target=" + server.address(), "channels.t.tls=true",
                     "log.level=trace", "channels.t.tls_roots_file=" + (directory / "ca.pem")});
    daemon = std::make_unique<DaemonProcess>(settings);
    connection = daemon->dial();
    channel = connection->open_channel("legated:///t");
  }
  /// An executable shell script; `$D` is the directory.
  std::string script(const std::string& body) {
    const std::string path = directory / "command";
    write(path, "#!/bin/sh\nD='" + (directory / "") + "'\n" + body + "\n");
    chmod(path.c_str(), 0700);
    return path;
  }
  void start_with(const std::string& body, std::vector<std::string> settings = {}) {
    settings.push_back("token_command=" + script(body));
    start(std::move(settings));
  }

  UnaryResult call(std::optional<milliseconds> timeout = {}) {
    return connection->unary(channel, kUnary, saying("hello"), {.timeout = timeout});
  }
  std::shared_ptr<Call> begin() {
    return connection->start_call(channel, kUnary, {.shape = Shape::unary}, saying("hello"), true);
  }
  /// What the server got with the last call.
  std::string sent() {
    const auto calls = server.calls();
    if (calls.empty() || calls.back().authorization.size() != 1) return "";
    return calls.back().authorization[0];
  }
  bool call_sends(const std::string& token) {
    return call().status.ok() && sent() == "Bearer " + token;
  }
  nlohmann::json token() {
    return query(*connection, "channels")["channels"][0]["tokens"][0];
  }
  size_t runs() {
    const std::string text = content(directory / "runs");
    return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
  }
  void expect_failure(const UnaryResult& result, const std::string& reason) {
    EXPECT_STATUS(Code::unavailable, result.status);
    EXPECT_EQ(Origin::daemon, result.status.origin);
    EXPECT_THAT(result.status.message, HasSubstr("the channel's token can't be had: "));
    EXPECT_THAT(result.status.message, HasSubstr(reason));
    EXPECT_TRUE(server.calls().empty());
    EXPECT_EQ("failed", token()["state"]) << token();
    EXPECT_THAT(token()["last_error"].get<std::string>(), HasSubstr(reason));
  }
  std::string everything_shown() {
    std::string all = daemon->log();
    const auto admin = daemon->dial();
    for (const char* what : {"status", "channels", "calls", "workers"})
      all += admin->query(what).json;
    return all;
  }

  TempDir directory;
  ScriptedServer server{"127.0.0.1:0", &pki()};
  std::unique_ptr<DaemonProcess> daemon;
  std::unique_ptr<Connection> connection;
  ChannelId channel;
};

// ---- A value -----------------------------------------------------------------------------------

TEST_F(Tokens, ValueOfAProcessIsSentOverTls) {
  start({});
  ChannelOptions options;
  options.tls = TlsOptions{.roots = pki().roots};
  options.token = "s3cret.value~+/=";
  channel = connection->open_channel(server.address(), options);
  EXPECT_TRUE(call_sends("s3cret.value~+/="));
  const auto channels = query(*connection, "channels")["channels"];
  const auto& shown = channels.back()["tokens"];
  ASSERT_EQ(1U, shown.size()) << channels;
  EXPECT_EQ("value", shown[0]["source"]);
  EXPECT_EQ("fresh", shown[0]["state"]);

  write(directory / "token", "s3cret.file\n");
  ChildProcess process({program("legatectl"), "--socket", daemon->socket(), "call",
                        server.address(), kUnary, "--ca", directory / "ca.pem", "--token-file", directory / "token"});
  EXPECT_EQ(0, process.wait());
  EXPECT_EQ("Bearer s3cret.file", sent());
}

TEST_F(Tokens, ValueIsNotSentInPlaintextButToThisMachine) {
  start({});
  ChannelOptions options;
  options.token = "s3cret";
  const auto refused = connection->wait(connection->open_channel("127.0.0.1:1", options)).status;
  EXPECT_STATUS(Code::invalid_argument, refused);
  EXPECT_THAT(refused.message, HasSubstr("needs tls"));
  const ScriptedServer local("unix:" + (directory / "local.sock"));
  channel = connection->open_channel(local.address(), options);
  EXPECT_STATUS(Code::ok, call().status);
  EXPECT_THAT(local.calls().back().authorization, ElementsAre("Bearer s3cret"));
}

TEST_F(Tokens, ValueThatIsNoTokenIsRefusedWithoutQuotingIt) {
  start({});
  for (const std::string& bad :
       {std::string("s3cret two"), std::string("s3cret\n"), std::string("s3cr\xc3\xa9t"),
        "s3cret" + std::string(9000, 'x')}) {
    ChannelOptions options;
    options.tls = TlsOptions{};
    options.token = bad;
    const ChannelId refused = connection->open_channel(server.address(), options);
    const Status status = connection->wait(refused).status;
    EXPECT_STATUS(Code::invalid_argument, status);
    EXPECT_THAT(status.message, HasSubstr("the token "));
    EXPECT_THAT(status.message, Not(HasSubstr("s3cr")));
  }
}

TEST_F(Tokens, AuthorizationOfACallIsRefused) {
  write(directory / "token", "s3cret");
  start({"token_file=" + (directory / "token")});
  const auto result =
      connection->unary(channel, kUnary, "", {.metadata = {{"authorization", "mine"}}});
  EXPECT_STATUS(Code::invalid_argument, result.status);
  EXPECT_EQ(Origin::daemon, result.status.origin);
  EXPECT_THAT(result.status.message, HasSubstr("authorization"));
  EXPECT_TRUE(server.calls().empty());
}

// ---- A file ------------------------------------------------------------------------------------

TEST_F(Tokens, FileIsReadAgainWhenItWasReplaced) {
  write(directory / "token", "  s3cret-1\n");
  start({"token_file=" + (directory / "token"), "token_refresh=1s"});
  EXPECT_EQ("none", token()["state"]);
  EXPECT_TRUE(call_sends("s3cret-1"));
  EXPECT_EQ("fresh", token()["state"]);
  write(directory / "token", "s3cret-2\n");
  EXPECT_TRUE(eventually([&] { return call_sends("s3cret-2"); }));
}

TEST_F(Tokens, TokenOfAFileThatHasGoneIsUsedOnForItsTime) {
  write(directory / "token", "s3cret");
  start({"token_file=" + (directory / "token"), "token_refresh=1s", "token_ttl=2s"});
  EXPECT_TRUE(call_sends("s3cret"));
  std::filesystem::remove(directory / "token");
  EXPECT_TRUE(eventually([&] { return call().status.ok() && token()["state"] == "stale"; }));
  EXPECT_THAT(token()["last_error"].get<std::string>(), HasSubstr("No such file"));
  EXPECT_TRUE(eventually([&] { return call().status.code == Code::unavailable; }));
  EXPECT_EQ("failed", token()["state"]) << token();
  write(directory / "token", "s3cret-2");
  EXPECT_TRUE(eventually([&] { return call_sends("s3cret-2"); }));
}

TEST_F(Tokens, FileThatIsMissingFailsCallsUntilItIsThere) {
  start({"token_file=" + (directory / "token")});
  expect_failure(call(), "token_file " + (directory / "token") + " can't be read: No such file");
  write(directory / "token", "s3cret");
  EXPECT_TRUE(eventually([&] { return call_sends("s3cret"); }));
  EXPECT_EQ(1, token()["failed"].get<int>()) << token();
}

TEST_F(Tokens, FileWithoutATokenFailsCalls) {
  write(directory / "token", "s3cret and more");
  start({"token_file=" + (directory / "token")});
  expect_failure(call(), "has other characters");
}

TEST_F(Tokens, FileThatIsNoneFailsCalls) {
  ASSERT_EQ(0, mkfifo((directory / "token").c_str(), 0600));
  start({"token_file=" + (directory / "token")});
  expect_failure(call(), "is not a regular file");
}

// ---- A command ---------------------------------------------------------------------------------

TEST_F(Tokens, CommandRunsOnceForManyCallsAtOnce) {
  start_with("echo run >> $D/runs; while ! test -e $D/go; do sleep 0.02; done; echo s3cret");
  std::vector<std::shared_ptr<Call>> calls;
  for (int i = 0; i < 50; ++i) calls.push_back(begin());
  ASSERT_TRUE(eventually([&] { return runs() == 1; }));
  EXPECT_TRUE(server.calls().empty());
  write(directory / "go", "");
  for (const auto& one : calls) EXPECT_STATUS(Code::ok, one->finish());
  EXPECT_EQ(50U, server.calls().size());
  for (const auto& seen : server.calls())
    EXPECT_THAT(seen.authorization, ElementsAre("Bearer s3cret"));
  EXPECT_TRUE(call_sends("s3cret"));
  EXPECT_EQ(1U, runs());
}

TEST_F(Tokens, CommandSaysHowLongItsTokenIsGood) {
  start_with(R"(echo run >> $D/runs
      echo "{\"access_token\": \"s3cret-$(wc -l < $D/runs)\", \"expires_in\": 2, \"x\": 1}")");
  EXPECT_TRUE(call_sends("s3cret-1"));
  EXPECT_GE(2000, token()["expires_in_ms"].get<int>()) << token();
  EXPECT_TRUE(eventually([&] { return call().status.ok() && sent() != "Bearer s3cret-1"; }));
  EXPECT_GE(runs(), 2U);
}

TEST_F(Tokens, CommandThatFailsSaysWhy) {
  start_with("echo s3cret; echo first >&2; echo 'out of order' >&2; exit 3");
  expect_failure(call(), "exited with status 3; it says: out of order");
}

TEST_F(Tokens, CommandThatPrintsNoTokenIsNotQuoted) {
  start_with(R"(echo '{"tokn": "s3cret"}')");
  expect_failure(call(), "is JSON without a string \"token\" or \"access_token\"");
}

TEST_F(Tokens, CommandThatIsNotThereFails) {
  start({"token_command=/nonexistent/command;argument"});
  expect_failure(call(), "token_command /nonexistent/command can't be started: No such file");
}

TEST_F(Tokens, CommandThatHangsIsKilledWithAllItStarted) {
  start_with("sleep 1000 & echo $! > $D/pid; wait", {"token_timeout=300ms"});
  expect_failure(call(), "did not end within 300 ms");
  const pid_t sleeper = std::stoi(content(directory / "pid"));
  EXPECT_TRUE(eventually([&] {
    const std::string status = content("/proc/" + std::to_string(sleeper) + "/status");
    return status.empty() || status.find("State:\tZ") != status.npos;
  }));
}

TEST_F(Tokens, CommandThatPrintsTooMuchIsKilled) {
  start_with("while :; do echo s3cret-s3cret-s3cret; done");
  expect_failure(call(), "printed more than 65536 bytes");
}

TEST_F(Tokens, CommandThatComplainsForEverIsKilled) {
  start_with("while :; do echo no >&2; done", {"token_timeout=300ms"});
  expect_failure(call(), "did not end within 300 ms; it says: ");
}

TEST_F(Tokens, CommandGetsNothingOfTheDaemons) {
  start_with("ls -l /proc/$$/fd > $D/fds; cat > $D/input; echo s3cret");
  EXPECT_TRUE(call_sends("s3cret"));
  EXPECT_EQ("", content(directory / "input"));
  const std::string listed = content(directory / "fds");
  EXPECT_THAT(listed, Not(HasSubstr("socket:")));
  EXPECT_THAT(listed, Not(HasSubstr("anon_inode")));
}

TEST_F(Tokens, CallsThatWaitKeepTheirDeadlineAndCanBeCancelled) {
  start_with("echo run >> $D/runs; sleep 1000", {"token_timeout=5min"});
  EXPECT_STATUS(Code::deadline_exceeded, call(milliseconds(300)).status);
  const auto waiting = begin();
  ASSERT_TRUE(eventually([&] { return runs() == 1; }));
  waiting->cancel();
  EXPECT_STATUS(Code::cancelled, waiting->finish());
  EXPECT_TRUE(connection->ping()) << "the daemon does not wait";
  EXPECT_TRUE(eventually([&] { return no_calls(*connection); }));
  // The command still runs; the daemon's end takes it along.
  EXPECT_EQ(1U, children_of(daemon->process().pid()));
  const auto left = begin();
  daemon->process().signal(SIGTERM);
  daemon->process().signal(SIGTERM);
  EXPECT_FALSE(left->finish().ok());
  EXPECT_EQ(0, daemon->process().wait());
  daemon->expect_death();
  daemon.reset();
}

TEST_F(Tokens, CommandIsTriedAgainAfterItFailed) {
  start_with("test -e $D/go || exit 1; echo s3cret");
  expect_failure(call(), "exited with status 1");
  write(directory / "go", "");
  EXPECT_TRUE(eventually([&] { return call_sends("s3cret"); }));
  EXPECT_EQ("", token()["last_error"]);
}

TEST_F(Tokens, EveryAttemptAsks) {
  start_with("echo s3cret", {"retry_attempts=3", "retry_initial_backoff=1ms"});
  server.plan({{.code = 14, .message = "not now"}});
  const auto result = call();
  EXPECT_STATUS(Code::ok, result.status);
  EXPECT_EQ(2U, result.status.attempts);
  for (const auto& seen : server.calls())
    EXPECT_THAT(seen.authorization, ElementsAre("Bearer s3cret"));
}

// ---- The configuration -------------------------------------------------------------------------

/// What `legated check` says of these settings of a channel.
std::string check(const std::vector<std::string>& settings) {
  const TempDir directory;
  std::vector<std::string> arguments{program("legated"), "check"};
  for (const std::string& setting : settings)
    arguments.insert(arguments.end(), {"--set", "channels.t." + setting});
  ChildProcess process(arguments, directory / "errors");
  process.rest();
  return process.wait() == 0 ? "" : content(directory / "errors");
}

TEST(TokenSettings, AreChecked) {
  EXPECT_THAT(check({"target=a:1", "token_file=/t"}), HasSubstr("channels.t: a token needs tls"));
  EXPECT_EQ("", check({"target=a:1", "token_file=/t", "token_plaintext=true"}));
  EXPECT_EQ("", check({"target=unix:/a", "token_file=/t"}));
  EXPECT_EQ("", check({"target=a:1", "tls=true", "token_file=/t"}));
  EXPECT_THAT(check({"target=unix-abstract:a", "token_file=/t"}), HasSubstr("needs tls"));
  EXPECT_THAT(check({"target=a:1", "tls=true", "token_file=/t", "token_command=/c"}),
              HasSubstr("can't both"));
  EXPECT_THAT(check({"target=a:1", "tls=true", "token_file=t"}), HasSubstr("absolute path"));
  EXPECT_THAT(check({"target=a:1", "tls=true", "token_command=c"}), HasSubstr("absolute path"));
  EXPECT_THAT(check({"target=a:1", "token_plaintext=true"}), HasSubstr("needs a token"));
  EXPECT_THAT(check({"target=a:1", "tls=true", "token=s"}), HasSubstr("unknown key"));
}

TEST(TokenInPlaintext, IsSentWhenToldSo) {
  const TempDir directory;
  const ScriptedServer server;
  write(directory / "token", "s3cret");
  const DaemonProcess daemon({"channels.t.target=" + server.address(),
                              "channels.t.token_plaintext=true",
                              "channels.t.token_file=" + (directory / "token")});
  const auto connection = daemon.dial();
  const auto result =
      connection->unary(connection->open_channel("legated:///t"), kUnary, saying("hello"));
  EXPECT_STATUS(Code::ok, result.status);
  EXPECT_THAT(server.calls().back().authorization, ElementsAre("Bearer s3cret"));
}

}  // namespace
}  // namespace legated::test
