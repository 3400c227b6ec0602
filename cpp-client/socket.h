#pragma once
// Socket: a connected Unix stream socket, owned. Blocking; `dial` is the only way to make one from
// a path. Not locked: one thread may read while another writes, and any may call shut_down().

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>

namespace legate::client {

/// No connection to the daemon could be made. The text says problem, cause and what to do.
class DialError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) : fd_(fd) {}  // takes the descriptor over
  ~Socket();
  Socket(Socket&& other) noexcept;
  Socket& operator=(Socket&& other) noexcept;

  /// Connects to the daemon's socket at `path`. Throws DialError.
  static Socket dial(const std::string& path);

  int fd() const { return fd_; }

  /// Bytes written, 0 when nothing fits now, -1 on an error (errno).
  ssize_t send_now(std::span<const uint8_t> bytes) const;
  /// Waits for bytes. Bytes read, 0 at the end of the stream, -1 on an error (errno).
  ssize_t receive(std::span<uint8_t> buffer) const;
  /// Waits until the socket can be written or, with `or_read`, read. `timeout_ms` -1 waits for ever.
  /// False when the time is over.
  bool wait_writable(int timeout_ms, bool or_read = false) const;
  /// Waits until the socket can be read. False when the time is over.
  bool wait_readable(int timeout_ms) const;
  /// Ends both directions; whoever waits on the socket wakes up. The descriptor stays open.
  void shut_down() const;

 private:
  int fd_ = -1;
};

}  // namespace legate::client
