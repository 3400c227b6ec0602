#pragma once
// What the user of the IPC client library can choose. Plain data.

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "cpp-client/values.h"

namespace legate::client {

/// For Connection::dial. Sizes in bytes.
struct Options {
  std::string name = "legate_client";  // what the process is called in logs and in legatectl
  Role roles = Role::client;
  uint32_t call_window = ipc::kDefaultCallWindow;
  uint32_t connection_window = ipc::kDefaultConnectionWindow;
  uint32_t max_frame = ipc::kDefaultMaxFrame;
  std::chrono::milliseconds hello_timeout{5000};  // to wait for HELLO_ACK
  /// Called on the connection's reader thread; must not block.
  std::function<void(const Event&)> on_event{};
};

struct CallOptions {
  Shape shape = Shape::bidi;
  Metadata metadata{};
  std::optional<Microseconds> timeout{};  // none: no deadline
  bool wait_for_ready = false;
};

}  // namespace legate::client
