#pragma once
// What the tests of outgoing calls share: a daemon, one connection to it, and the scripts of Peer.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "tests/integration/harness.h"

namespace legated::test {

using legate::client::Call;
using legate::client::CallOptions;
using legate::client::ChannelId;
using legate::client::Code;
using legate::client::Connection;
using legate::client::Metadata;
using legate::client::Origin;
using legate::client::Role;
using legate::client::Shape;
using legate::client::Status;
using legate::client::UnaryResult;
using legate::test::v1::Command;
using legate::test::v1::Reply;
using std::chrono::milliseconds;
using testing::AnyOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

inline void add_header(Command& command, const std::string& key, const std::string& value) {
  auto& header = *command.add_headers();
  header.set_key(key);
  header.set_value(value);
}

inline void add_trailer(Command& command, const std::string& key, const std::string& value) {
  auto& trailer = *command.add_trailers();
  trailer.set_key(key);
  trailer.set_value(value);
}

/// A Command with nothing but a payload.
inline std::string saying(const std::string& payload) {
  Command command;
  command.set_payload(payload);
  return command.SerializeAsString();
}

inline Reply reply_of(const std::string& bytes) {
  Reply reply;
  EXPECT_TRUE(reply.ParseFromString(bytes)) << "no Reply: " << bytes.size() << " bytes";
  return reply;
}

/// Bytes that are not all alike, so that one out of place shows.
inline std::string pattern(size_t size) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i % 251);
  return bytes;
}

/// The values of `key`, in order.
inline std::vector<std::string> values(const Metadata& metadata, std::string_view key) {
  std::vector<std::string> found;
  for (const auto& [name, value] : metadata)
    if (name == key) found.push_back(value);
  return found;
}

inline nlohmann::json query(Connection& connection, const std::string& what) {
  const auto answer = connection.query(what);
  EXPECT_TRUE(answer.status.ok()) << describe(answer.status);
  return nlohmann::json::parse(answer.json, nullptr, false);
}

/// Whether the daemon holds no call, in either direction.
inline bool no_calls(Connection& connection) { return query(connection, "calls")["calls"].empty(); }

/// Whether a status has this code; says the whole status when not.
inline testing::AssertionResult has_code(Code expected, const Status& status) {
  if (status.code == expected) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "expected " << legate::client::name(expected) << ", was "
                                     << describe(status);
}

#define EXPECT_STATUS(expected, status) EXPECT_TRUE(has_code(expected, status))
#define ASSERT_STATUS(expected, status) ASSERT_TRUE(has_code(expected, status))

/// A daemon, a connection, and a channel to a PeerServer in this process.
struct Outgoing : testing::Test {
  explicit Outgoing(const std::vector<std::string>& settings = {}) : daemon(settings) {}

  /// A call of the wanted shape, with `command` as its first message.
  std::shared_ptr<Call> start(const char* method, Shape shape, const Command& command,
                              bool half_close = false, CallOptions options = {}) {
    options.shape = shape;
    return connection->start_call(channel, method, options, command.SerializeAsString(),
                                  half_close);
  }
  UnaryResult unary(const Command& command, const CallOptions& options = {}) {
    return connection->unary(channel, kUnary, command.SerializeAsString(), options);
  }

  DaemonProcess daemon;
  PeerServer server;
  std::unique_ptr<Connection> connection = daemon.dial();
  ChannelId channel = connection->open_channel(server.address());
};

}  // namespace legated::test
