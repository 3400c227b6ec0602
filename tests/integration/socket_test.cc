// The daemon's socket file, and who may use it.

#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "tests/integration/black_hole.h"
#include "tests/integration/outgoing.h"

namespace legated::test {
namespace {

std::string content(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

uint32_t mode_of(const std::string& path) {
  struct stat found {};
  EXPECT_EQ(0, ::lstat(path.c_str(), &found)) << path;
  return found.st_mode & 0777U;
}

bool is_socket(const std::string& path) {
  struct stat found {};
  return ::lstat(path.c_str(), &found) == 0 && S_ISSOCK(found.st_mode);
}

/// A Unix socket that somebody else has bound, and may listen on.
class ForeignSocket {
 public:
  explicit ForeignSocket(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(0, ::bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address));
  }
  ~ForeignSocket() { ::close(fd_); }
  ForeignSocket(const ForeignSocket&) = delete;
  ForeignSocket& operator=(const ForeignSocket&) = delete;
  void listen() { EXPECT_EQ(0, ::listen(fd_, 1)); }

 private:
  int fd_;
};

struct SocketFile : testing::Test {
  /// A daemon that can't serve `path` ends with status 1, and says why.
  void expect_refused(const std::string& where, const std::string& why) {
    const std::string errors = directory / "errors";
    ChildProcess second({program("legated"), "run", "--socket", where}, errors);
    EXPECT_EQ(1, second.wait()) << content(errors);
    EXPECT_THAT(content(errors), HasSubstr(where));
    EXPECT_THAT(content(errors), HasSubstr(why));
  }

  TempDir directory;
  const std::string path = directory / "legated.sock";
};

TEST_F(SocketFile, IsPrivateInAPrivateDirectory) {
  const DaemonProcess daemon;  // in a directory that is not there before
  EXPECT_TRUE(is_socket(daemon.socket()));
  EXPECT_EQ(0600U, mode_of(daemon.socket()));
  EXPECT_EQ(0700U, mode_of(std::filesystem::path(daemon.socket()).parent_path()));
}

TEST_F(SocketFile, HasTheModeThatIsConfigured) {
  const DaemonProcess daemon({"ipc.mode=0660"});
  EXPECT_EQ(0660U, mode_of(daemon.socket()));
}

TEST_F(SocketFile, InADirectoryThatAllMayWriteToGivesAWarning) {
  for (const auto& [mode, warned] : {std::pair(0777U, true), {01777U, false}, {0755U, false}}) {
    ASSERT_EQ(0, ::chmod((directory / "").c_str(), mode));
    const DaemonProcess daemon({"ipc.socket=" + path});
    EXPECT_EQ(warned, daemon.log().find("socket_directory_unsafe") != std::string::npos) << mode;
  }
}

TEST(CommandLine, MistakeEndsWithTwo) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{}, {"run", "--sockt", "x"}, {"bogus"}, {"check", "-c"}}) {
    std::vector<std::string> command{program("legated")};
    command.insert(command.end(), arguments.begin(), arguments.end());
    EXPECT_EQ(2, ChildProcess(command).wait());
  }
}

TEST_F(SocketFile, IsRemovedAtTheEnd) {
  {
    const DaemonProcess daemon({"ipc.socket=" + path});
    EXPECT_TRUE(is_socket(path));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(SocketFile, OfAKilledDaemonIsReplaced) {
  {
    DaemonProcess killed({"ipc.socket=" + path});
    killed.expect_death();
    killed.process().signal(SIGKILL);
    EXPECT_EQ(128 + SIGKILL, killed.process().wait());
  }
  ASSERT_TRUE(is_socket(path)) << "nobody could have removed it";
  const DaemonProcess next({"ipc.socket=" + path});
  EXPECT_TRUE(next.dial()->ping());
  EXPECT_THAT(next.log(), HasSubstr("stale_socket_replaced"));
}

TEST_F(SocketFile, OfALiveDaemonIsLeftAlone) {
  const DaemonProcess first({"ipc.socket=" + path});
  const auto connection = first.dial();
  expect_refused(path, "another legated serves it");
  EXPECT_TRUE(connection->ping());
  EXPECT_TRUE(first.dial()->ping()) << "the socket was taken away";
}

TEST_F(SocketFile, OfAnotherListenerIsLeftAlone) {
  ForeignSocket other(path);
  other.listen();
  expect_refused(path, "another process listens on it");
  EXPECT_TRUE(is_socket(path));
}

TEST_F(SocketFile, ThatNobodyListensOnIsReplaced) {
  { const ForeignSocket left(path); }
  const DaemonProcess daemon({"ipc.socket=" + path});
  EXPECT_TRUE(daemon.dial()->ping());
}

TEST_F(SocketFile, DoesNotReplaceAnotherKindOfFile) {
  std::ofstream(path) << "precious";
  expect_refused(path, "not a socket");
  EXPECT_EQ("precious", content(path));
}

TEST_F(SocketFile, MustHaveADirectoryThatCanBeMade) {
  expect_refused(directory / "no/such/directory/s.sock", "directory");
  std::ofstream(directory / "file") << "x";
  expect_refused(directory / "file/s.sock", "s.sock");
}

TEST_F(SocketFile, TwoDaemonsAtOnceGiveOneWinner) {
  for (int round = 0; round < 5; ++round) {
    std::vector<std::unique_ptr<ChildProcess>> daemons;
    for (int i = 0; i < 4; ++i) {
      daemons.push_back(std::make_unique<ChildProcess>(
          std::vector<std::string>{program("legated"), "run", "--socket", path}));
    }
    const auto running = [&] {
      size_t count = 0;
      for (const auto& daemon : daemons) count += daemon->running() ? 1U : 0U;
      return count;
    };
    EXPECT_TRUE(eventually([&] { return running() == 1 && is_socket(path); }))
        << running() << " daemons run";
    for (const auto& daemon : daemons) {
      daemon->signal(SIGTERM);
      EXPECT_THAT(daemon->wait(), AnyOf(0, 1));
    }
  }
}

// ---- Other users -------------------------------------------------------------------------------

constexpr char kOther[] = "65534";

struct OtherUser : testing::Test {
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "only root can become another user";
    ASSERT_EQ(0, ::chmod((directory / ".").c_str(), 0711));
    // The program must be within the other user's reach.
    std::filesystem::copy_file(program("legatectl"), ctl);
    ASSERT_EQ(0, ::chmod(ctl.c_str(), 0755));
  }

  std::unique_ptr<DaemonProcess> daemon(std::vector<std::string> settings) {
    settings.push_back("ipc.socket=" + (directory / "legated.sock"));
    return std::make_unique<DaemonProcess>(settings);
  }

  /// Exit status and errors of legatectl, run by the other user.
  int ctl_as_other(const std::vector<std::string>& arguments) {
    std::vector<std::string> all{"setpriv", "--reuid",  kOther,
                                 "--regid", kOther,     "--clear-groups",
                                 ctl,       "--socket", directory / "legated.sock"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    const std::string file = directory / ("errors" + std::to_string(++runs));
    ChildProcess process(all, file);
    process.rest();
    const int status = process.wait();
    errors = content(file);
    return status;
  }

  TempDir directory;
  std::string ctl = directory / "legatectl";
  std::string errors;
  int runs = 0;
};

TEST_F(OtherUser, CanNotEvenConnectToAPrivateSocket) {
  const auto legated = daemon({});
  EXPECT_EQ(1, ctl_as_other({"ping"}));
  EXPECT_THAT(errors, HasSubstr("ermission denied"));
}

TEST_F(OtherUser, HasNoRoleByDefault) {
  const auto legated = daemon({"ipc.mode=0666"});
  EXPECT_EQ(1, ctl_as_other({"ping"}));
  EXPECT_THAT(errors, HasSubstr("access"));
  EXPECT_THAT(errors, HasSubstr(kOther));
  EXPECT_TRUE(legated->dial()->ping());
}

TEST_F(OtherUser, HasTheRolesOfItsRules) {
  for (const std::string rule : {"*", "uid:65534", "gid:65534"}) {
    SCOPED_TRACE(rule);
    const auto legated = daemon({"ipc.mode=0666", "access.client=" + rule});
    const PeerServer server;
    EXPECT_EQ(0, ctl_as_other({"call", server.address(), kUnary})) << errors;
    EXPECT_EQ(0, ctl_as_other({"ping"})) << errors;
    EXPECT_EQ(1, ctl_as_other({"status"})) << "role admin was not given";
  }
}

TEST_F(OtherUser, IsNotMeantByRulesForOthers) {
  const auto legated =
      daemon({"ipc.mode=0666", "access.client=uid:12345,gid:54321,user:nosuchuser"});
  EXPECT_EQ(1, ctl_as_other({"ping"}));
}

}  // namespace
}  // namespace legated::test
