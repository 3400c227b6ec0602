#pragma once
// A connection to the daemon for load generators: the codec on a blocking socket, one read and one
// write for as many frames as there are. What belongs to the connection (credit, PING, ERROR) is
// done here. One thread.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "cpp-client/socket.h"
#include "ipc-schema/cpp/frame.h"

namespace legated::bench {

class IpcPeer {
 public:
  /// Dials, waiting for a daemon that is still starting, and says HELLO.
  IpcPeer(const std::string& socket, legate::ipc::Role role);

  /// An id for a call or a request of one's own.
  uint32_t new_id();

  /// Frames to be written. Payload must have been taken from credit.
  std::vector<uint8_t>& output() { return output_; }
  /// Takes credit of the connection; false when there is not enough.
  [[nodiscard]] bool spend(size_t payload_bytes);

  /// Writes what is in output(), then reads once. Failure when the daemon is gone.
  void exchange();
  /// The next of the frames that were read; false: exchange() again. Valid until the next call.
  bool next(legate::ipc::Frame& frame);

  /// Exchanges until the answer to request `id` is there. Failure when it is a refusal.
  legate::ipc::Frame answer_to(uint32_t id);

 private:
  bool on_connection(const legate::ipc::Frame& frame);

  legate::client::Socket socket_;
  std::vector<uint8_t> input_;
  size_t begin_ = 0;
  size_t end_ = 0;
  legate::ipc::FrameDecoder decoder_;
  std::vector<uint8_t> output_;
  uint32_t last_id_ = 0;
  uint32_t credit_ = 0;  // of the connection, in bytes
  uint32_t owed_ = 0;    // likewise, to be given back to the daemon
};

/// Appends a frame with a meta table that `build` makes in a builder; it returns the table's offset.
template <class Build>
void append_with_meta(std::vector<uint8_t>& out, const legate::ipc::Header& header, Build build) {
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(build(builder));
  legate::ipc::append_frame(out, header, &builder);
}

}  // namespace legated::bench
