#pragma once
// RawPeer: a peer that speaks the socket's protocol frame by frame, rightly or wrongly. One thread.

#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "cpp-client/socket.h"
#include "ipc-schema/cpp/frame.h"

namespace legate::ipc {

/// So that a failing test shows the name.
inline void PrintTo(ErrorCode code, std::ostream* out) { *out << EnumNameErrorCode(code); }

}  // namespace legate::ipc

namespace legated::test {

using legate::ipc::ErrorCode;
using legate::ipc::FrameType;

/// A frame that was received, with bytes of its own.
struct OwnFrame {
  legate::ipc::Header header;
  std::vector<uint64_t> meta;  // aligned
  std::string payload;

  template <class Table>
  const Table& as() const {
    return *flatbuffers::GetRoot<Table>(meta.data());
  }
};

/// What a HELLO says, and with it what this peer expects.
struct HelloOptions {
  uint16_t version_min = 1;
  uint16_t version_max = 1;
  legate::ipc::Role roles = legate::ipc::Role::ANY;
  uint32_t max_frame = legate::ipc::kDefaultMaxFrame;
  uint32_t call_window = legate::ipc::kDefaultCallWindow;
  uint32_t connection_window = legate::ipc::kDefaultConnectionWindow;
};

class RawPeer {
 public:
  /// Connects, and says nothing yet.
  explicit RawPeer(const std::string& socket_path);

  /// Bytes as they are. False when the daemon has closed.
  bool send(std::string_view bytes);
  bool send(const std::vector<uint8_t>& bytes);
  /// A frame as it is told; `meta` of the builder when it was finished.
  bool send(const legate::ipc::Header& header, std::string_view payload = {},
            bool with_meta = false);

  bool hello(const HelloOptions& options = {});
  /// HELLO, and waits for HELLO_ACK; a failure of the test when another frame comes.
  void greet(const HelloOptions& options = {});
  bool open_channel(uint32_t id, const std::string& target);
  bool start(uint32_t id, uint32_t channel, const std::string& method, uint8_t flags = 0,
             std::string_view message = {}, std::optional<uint32_t> length = {});
  bool query(uint32_t id, const std::string& what);
  bool data(uint32_t id, uint8_t flags, std::string_view part, uint32_t length);
  bool window(uint32_t id, uint32_t bytes);

  /// The bytes that the functions above would send, one after another, until flush().
  void hold() { holding_ = true; }
  bool flush();

  /// The next frame; nothing at the end of the stream, or when the patience of the tests is over.
  std::optional<OwnFrame> receive();
  /// The next frame of this type for this id; others are passed over.
  std::optional<OwnFrame> receive(FrameType type, uint32_t id);
  /// Passes over everything up to an ERROR, after which the daemon must close. Nothing when it
  /// closes without one, or the patience is over; then `how` of the failure is in last_problem().
  std::optional<ErrorCode> error();
  const std::string& last_problem() const { return problem_; }
  /// Whether the daemon closes the connection; frames are passed over.
  bool closed();

  flatbuffers::FlatBufferBuilder& builder() { return builder_; }

 private:
  bool write(std::string_view bytes);

  legate::client::Socket socket_;
  legate::ipc::FrameDecoder decoder_;
  flatbuffers::FlatBufferBuilder builder_;
  std::vector<uint8_t> input_;
  std::string held_;
  bool holding_ = false;
  std::string problem_;
};

/// The code of the STATUS that comes for `id`; -1 when none does.
int status_code(RawPeer& peer, uint32_t id);

}  // namespace legated::test
