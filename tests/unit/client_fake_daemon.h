#pragma once
// FakeDaemon: the other end of the client library's connection, scripted by a test frame by frame.
// Used by one thread. What it waits for and does not get within ten seconds throws.

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cpp-client/connection.h"
#include "cpp-client/encode.h"

namespace legate::client {

class FakeDaemon {
 public:
  /// A frame that outlives the buffer it came in.
  struct Received {
    ipc::Header header;
    std::vector<uint64_t> meta;
    std::string payload;

    template <class Table>
    const Table& as() const {
      return *flatbuffers::GetRoot<Table>(meta.data());
    }
  };

  struct Script {
    uint32_t max_frame = 4096;
    uint32_t call_window = 65'536;
    uint32_t connection_window = 131'072;
  };

  /// Connects a client with `options` to a new fake daemon, through HELLO and HELLO_ACK.
  FakeDaemon(Options options, const Script& script);
  FakeDaemon() : FakeDaemon(all_roles(), Script{}) {}
  ~FakeDaemon();

  static Options all_roles();

  Connection& client() { return *client_; }
  void destroy_client() { client_.reset(); }
  const Received& hello() const { return hello_; }

  /// The next frame. Throws at the end of the stream.
  Received receive();
  /// The next frame, which is of `type`; otherwise the test fails and this throws.
  Received expect(ipc::FrameType type);
  /// Whether the client has closed, after whatever frames.
  bool closed();
  /// Whether nothing comes for a while. For what must not be sent; costs its 50 ms.
  bool quiet();

  void send(const ipc::Header& header, const Builder* meta = nullptr,
            std::string_view payload = {});
  void send_data(uint32_t id, std::string_view message);
  void send_headers(uint32_t id, const Metadata& metadata);
  void send_status(uint32_t id, const Status& status);
  void send_window(uint32_t id, uint32_t credit);
  /// A dispatch of lease `lease`, with one whole message and half-closed.
  void send_dispatch(uint32_t id, uint32_t lease, const std::string& method,
                     std::string_view message, uint64_t timeout_us = 0);
  /// Many frames in one write.
  void send_raw(const std::vector<uint8_t>& bytes);
  void close() { socket_ = Socket(); }

  /// Answers LISTEN, REGISTER and SERVE of a client that calls `register_handlers` meanwhile; the
  /// lease's id is 3.
  void serve_handlers(const std::function<void()>& register_handlers);

 private:
  void greet(const Script& script);

  Socket socket_;
  std::unique_ptr<Connection> client_;
  Received hello_;
  ipc::FrameDecoder decoder_{ipc::kMaxMaxFrame, ipc::kDefaultMaxMeta};
  std::vector<uint8_t> input_;
};

}  // namespace legate::client
