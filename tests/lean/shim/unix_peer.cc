#include "unix_peer.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <thread>

namespace legate::shim::test {

UnixPeer::UnixPeer(int backlog) : directory_(testing::TempDir() + "legate-shim-XXXXXX") {
  EXPECT_NE(nullptr, ::mkdtemp(directory_.data()));
  path_ = directory_ + "/socket";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path_.copy(address.sun_path, sizeof address.sun_path - 1);
  listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_EQ(0, ::bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address));
  EXPECT_EQ(0, ::listen(listener_, backlog));
}

UnixPeer::~UnixPeer() {
  close();
  ::close(listener_);
  ::unlink(path_.c_str());
  ::rmdir(directory_.c_str());
}

void UnixPeer::accept() {
  do {
    connection_ = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
  } while (connection_ < 0 && errno == EINTR);
  ASSERT_GE(connection_, 0);
}

void UnixPeer::send(const std::string& bytes) const {
  EXPECT_EQ(static_cast<ssize_t>(bytes.size()),
            ::send(connection_, bytes.data(), bytes.size(), MSG_NOSIGNAL));
}

std::string UnixPeer::receive(size_t size) const {
  std::string bytes;
  std::array<char, 1000> buffer{};
  while (bytes.size() < size) {
    const size_t wanted = std::min(size - bytes.size(), buffer.size());
    const ssize_t got = ::recv(connection_, buffer.data(), wanted, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    bytes.append(buffer.data(), static_cast<size_t>(got));
  }
  return bytes;
}

std::string UnixPeer::receive_all() const { return receive(SIZE_MAX); }

void UnixPeer::close() {
  if (connection_ >= 0) ::close(connection_);
  connection_ = -1;
}

void UnixPeer::shrink_buffer() const {
  const int size = 4096;
  EXPECT_EQ(0, ::setsockopt(connection_, SOL_SOCKET, SO_RCVBUF, &size, sizeof size));
}

namespace {

std::atomic<int> handled{0};

}  // namespace

struct Interruptions::Thread {
  std::atomic<bool> over{false};
  std::thread thread;
};

Interruptions::Interruptions() : thread_(new Thread) {
  handled = 0;
  struct sigaction action {};
  action.sa_handler = [](int) { ++handled; };  // no SA_RESTART: system calls do return
  EXPECT_EQ(0, ::sigaction(SIGUSR1, &action, nullptr));
  thread_->thread = std::thread([this, target = ::pthread_self()] {
    while (!thread_->over) {
      ::pthread_kill(target, SIGUSR1);
      std::this_thread::sleep_for(std::chrono::microseconds(200));  // a pace, not a wait
    }
  });
}

Interruptions::~Interruptions() {
  thread_->over = true;
  thread_->thread.join();
  delete thread_;
}

int Interruptions::count() { return handled; }

}  // namespace legate::shim::test
