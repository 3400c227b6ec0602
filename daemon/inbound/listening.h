#pragma once
// Sockets that listen for gRPC clients: addresses, bind, and what the service manager has opened.
// Functions that make system calls; the loop's thread.

#include <map>
#include <string>
#include <variant>
#include <vector>

#include "daemon/core/status.h"

namespace legated {

/// Why this can't be an address to listen on, and what can; empty when it can.
std::string refuse_address(std::string_view address);

/// Sockets that the service manager has opened for the daemon, by name (sd_listen_fds(3)).
class ActivatedSockets {
 public:
  /// Takes what the environment tells, once.
  ActivatedSockets();
  ~ActivatedSockets();
  ActivatedSockets(const ActivatedSockets&) = delete;
  ActivatedSockets& operator=(const ActivatedSockets&) = delete;

  const std::vector<int>& named(const std::string& name) const;
  std::string names() const;  // "a, b" or "none", for messages

 private:
  std::map<std::string, std::vector<int>> sockets_;
};

/// One address that listens. The descriptors are the caller's.
struct Listening {
  std::vector<int> sockets;  // several for localhost, and for what the service manager opened
  std::string address;       // with the real port in it
  uint32_t port = 0;         // 0 for a Unix socket
  std::string path;          // of a Unix socket made here, for remove_path(); else empty
  uint64_t inode = 0;        // of that path
};

/// Binds and listens; nothing is accepted. `unix_mode` are the permission bits of a Unix socket's
/// path, from the moment it exists. Not OK: FAILED_PRECONDITION with the system's reason.
std::variant<Listening, Status> listen_on(const std::string& address, uint32_t unix_mode,
                                          const ActivatedSockets& activated);

/// Removes the path of a Unix socket if it is still the one made then.
void remove_path(const std::string& path, uint64_t inode);

}  // namespace legated
