#pragma once
// Bystander: a well-behaved client that makes one call after another, while a test does its worst to
// the daemon. Every one of its calls must be answered.

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/integration/outgoing.h"

namespace legated::test {

class Bystander {
 public:
  explicit Bystander(const DaemonProcess& daemon)
      : connection_(daemon.dial({.name = "bystander"})),
        channel_(connection_->open_channel(server_.address())),
        thread_([this] { run(); }) {}
  ~Bystander() {
    // At least one whole call after all that the test has done.
    const uint64_t before = calls_;
    EXPECT_TRUE(eventually([&] { return calls_ > before + 1 || failed_; }))
        << "the bystander's calls hang";
    stop_ = true;
    thread_.join();
  }
  Bystander(const Bystander&) = delete;
  Bystander& operator=(const Bystander&) = delete;

  Connection& connection() { return *connection_; }
  const std::string& server() const { return server_.address(); }

 private:
  void run() {
    while (!stop_ && !failed_) {
      const std::string payload = std::to_string(calls_);
      const auto result =
          connection_->unary(channel_, kUnary, saying(payload), {.timeout = kPatience});
      failed_ = !result.status.ok() || reply_of(result.response).payload() != payload;
      if (failed_) ADD_FAILURE() << "a bystander's call: " << describe(result.status);
      ++calls_;
    }
  }

  PeerServer server_;
  std::unique_ptr<Connection> connection_;
  ChannelId channel_;
  std::atomic<uint64_t> calls_ = 0;
  std::atomic<bool> stop_ = false;
  std::atomic<bool> failed_ = false;
  std::thread thread_;
};

}  // namespace legated::test
