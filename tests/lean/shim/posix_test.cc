// legate_posix.c over real sockets.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <numeric>
#include <thread>
#include <vector>

#include "legate_posix.h"
#include "unix_peer.h"

namespace legate::shim::test {
namespace {

constexpr int kPatienceMs = 30'000;

std::string pattern(size_t size) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i % 251);
  return bytes;
}

struct LegatePosix : testing::Test {
  ~LegatePosix() override {
    if (fd >= 0) legate_posix_close(fd);
  }
  void connect() {
    fd = legate_posix_connect(peer.path().c_str(), kPatienceMs);
    ASSERT_GE(fd, 0);
    peer.accept();
  }
  ssize_t read(std::string& bytes, size_t size, int timeout_ms = kPatienceMs) const {
    bytes.assign(size, '\0');
    const ssize_t got = legate_posix_read(fd, bytes.data(), size, timeout_ms);
    bytes.resize(got > 0 ? static_cast<size_t>(got) : 0);
    return got;
  }
  int write(std::vector<std::string> pieces) const {
    std::vector<iovec> parts;
    for (std::string& piece : pieces) parts.push_back({piece.data(), piece.size()});
    return legate_posix_write(fd, parts.data(), static_cast<int>(parts.size()));
  }

  UnixPeer peer;
  int fd = -1;
};

TEST_F(LegatePosix, ConnectTellsWhyItCant) {
  EXPECT_EQ(-ENOENT, legate_posix_connect("/no/such/socket", kPatienceMs));
  EXPECT_EQ(-ENAMETOOLONG, legate_posix_connect(std::string(200, 'x').c_str(), kPatienceMs));
  std::string path;
  {
    const UnixPeer gone;
    path = gone.path();
  }
  EXPECT_EQ(-ENOENT, legate_posix_connect(path.c_str(), kPatienceMs));
  EXPECT_EQ(-ECONNREFUSED, legate_posix_connect("/", kPatienceMs));
}

TEST_F(LegatePosix, ConnectDoesNotWaitForEverOnABusyListener) {
  const UnixPeer busy(0);
  std::vector<int> waiting;
  int result = 0;
  while ((result = legate_posix_connect(busy.path().c_str(), 50)) >= 0) waiting.push_back(result);
  EXPECT_EQ(-ETIMEDOUT, result);
  EXPECT_FALSE(waiting.empty());
  for (const int each : waiting) legate_posix_close(each);
}

TEST_F(LegatePosix, DescriptorIsBlockingAndClosedOnExec) {
  connect();
  EXPECT_NE(0, ::fcntl(fd, F_GETFD) & FD_CLOEXEC);
  EXPECT_EQ(0, ::fcntl(fd, F_GETFL) & O_NONBLOCK);
  timeval timeout{};
  socklen_t size = sizeof timeout;
  ASSERT_EQ(0, ::getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, &size));
  EXPECT_EQ(0, timeout.tv_sec);  // that of connecting is gone
  EXPECT_EQ(0, timeout.tv_usec);
}

TEST_F(LegatePosix, ReadGivesWhatIsThere) {
  connect();
  peer.send("hello");
  std::string bytes;
  EXPECT_EQ(2, read(bytes, 2));
  EXPECT_EQ("he", bytes);
  EXPECT_EQ(3, read(bytes, 100));
  EXPECT_EQ("llo", bytes);
  EXPECT_EQ(-ETIMEDOUT, read(bytes, 100, 0));
  peer.send("last");
  peer.close();
  EXPECT_EQ(4, read(bytes, 100));
  EXPECT_EQ(0, read(bytes, 100));
  EXPECT_EQ(0, read(bytes, 100));
}

TEST_F(LegatePosix, ReadEndsAtItsDeadlineDespiteSignals) {
  connect();
  const Interruptions interruptions;
  const auto start = std::chrono::steady_clock::now();
  std::string bytes;
  EXPECT_EQ(-ETIMEDOUT, read(bytes, 1, 200));
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(199));
  EXPECT_GT(Interruptions::count(), 0);
}

TEST_F(LegatePosix, ReadWithoutDeadlineWaitsThroughSignals) {
  connect();
  const Interruptions interruptions;
  std::thread sender([&] {
    while (Interruptions::count() < 3) std::this_thread::yield();
    peer.send("x");
  });
  std::string bytes;
  EXPECT_EQ(1, read(bytes, 1, -1));
  sender.join();
}

TEST_F(LegatePosix, ShutdownWakesAReader) {
  connect();
  std::thread other([&] { legate_posix_shutdown(fd); });
  std::string bytes;
  EXPECT_EQ(0, read(bytes, 1, -1));
  other.join();
  legate_posix_shutdown(fd);
  EXPECT_EQ(-EPIPE, write({"late"}));
}

TEST_F(LegatePosix, WriteSendsAllPartsInOrder) {
  connect();
  EXPECT_EQ(0, write({"", "a", "", "bc", "def", ""}));
  EXPECT_EQ("abcdef", peer.receive(6));
  EXPECT_EQ(0, write({}));
  EXPECT_EQ(0, write({"", ""}));
  EXPECT_EQ(0, write(std::vector<std::string>(LEGATE_POSIX_PARTS, "xy")));
  EXPECT_EQ(size_t{2} * LEGATE_POSIX_PARTS, peer.receive(size_t{2} * LEGATE_POSIX_PARTS).size());
}

// The socket's buffer is far smaller, so the kernel takes the bytes in many parts that end anywhere, and
// signals interrupt the waits between them.
TEST_F(LegatePosix, WriteGoesOnAfterPartsAndSignals) {
  connect();
  peer.shrink_buffer();
  const int size = 4096;
  ASSERT_EQ(0, ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size));
  std::vector<std::string> pieces;
  for (const size_t length : {1U, 70'001U, 3U, 0U, 300'007U, 4'096U}) pieces.push_back(pattern(length));
  const std::string all = std::accumulate(pieces.begin(), pieces.end(), std::string());
  std::string received;
  std::thread reader([&] { received = peer.receive(all.size()); });
  {
    const Interruptions interruptions;
    EXPECT_EQ(0, write(pieces));
  }
  reader.join();
  EXPECT_EQ(all, received);
}

TEST_F(LegatePosix, WriteToAClosedPeerIsAnErrorWithoutASignal) {
  connect();
  peer.close();
  int result = 0;
  while (result == 0) result = write({pattern(1000)});
  EXPECT_EQ(-EPIPE, result);
}

TEST_F(LegatePosix, ShutdownWakesAWriter) {
  connect();
  std::thread other([&] {
    EXPECT_EQ(100'000U, peer.receive(100'000).size());  // it has begun, and fills the buffer again
    legate_posix_shutdown(fd);
  });
  EXPECT_EQ(-EPIPE, write({pattern(50'000'000)}));
  other.join();
}

}  // namespace
}  // namespace legate::shim::test
