#pragma once
// UnixPeer: a listener on a temporary path, and the ends that it accepted. One thread.

#include <string>

namespace legate::shim::test {

class UnixPeer {
 public:
  explicit UnixPeer(int backlog = 8);
  ~UnixPeer();
  UnixPeer(const UnixPeer&) = delete;
  UnixPeer& operator=(const UnixPeer&) = delete;

  const std::string& path() const { return path_; }
  /// Accepts one connection; later calls speak on it.
  void accept();
  void send(const std::string& bytes) const;
  /// The next `size` bytes, in small reads.
  std::string receive(size_t size) const;
  /// Everything up to the end of the stream.
  std::string receive_all() const;
  void close();
  /// Small buffers, so that large writes go out in parts.
  void shrink_buffer() const;

 private:
  std::string directory_;
  std::string path_;
  int listener_ = -1;
  int connection_ = -1;
};

/// Sends this thread SIGUSR1, whose handler does nothing, again and again from another thread.
class Interruptions {
 public:
  Interruptions();
  ~Interruptions();
  Interruptions(const Interruptions&) = delete;
  Interruptions& operator=(const Interruptions&) = delete;
  /// Signals that were handled.
  static int count();

 private:
  struct Thread;
  Thread* thread_;
};

}  // namespace legate::shim::test
