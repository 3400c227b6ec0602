#pragma once
// What the integration tests are made of: the real daemon as a child process on a temporary socket,
// other child processes, and real gRPC peers in this process. Nothing here sleeps to synchronise:
// it waits for a condition, up to a generous time-out after which the test fails.

#include <grpcpp/grpcpp.h>
#include <sys/types.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cpp-client/connection.h"
#include "peer.grpc.pb.h"

namespace legated::test {

/// Longer than anything healthy takes, also under a sanitizer on a busy machine.
inline constexpr std::chrono::seconds kPatience{30};

/// Polls `condition` until it holds. False when kPatience is over first.
bool eventually(const std::function<bool()>& condition);

/// A directory that is removed with everything in it.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

/// A child process; killed when it is still there at the end. Standard output is read line by line.
class ChildProcess {
 public:
  /// Throws std::runtime_error when it can't be started.
  explicit ChildProcess(std::vector<std::string> arguments,
                        const std::string& stderr_file = "/dev/null");
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  /// The next line of standard output without its newline; empty at the end or when kPatience is
  /// over.
  std::string line();
  /// The rest of standard output.
  std::string rest();
  void signal(int number);
  /// Waits for the end: the exit status, or 128 + signal. -1 when kPatience is over first.
  int wait();
  bool running();

 private:
  pid_t pid_ = -1;
  int out_ = -1;
  int status_ = -1;
  std::string buffer_;
};

/// The real daemon. Ready, with its socket there, when the constructor returns.
class DaemonProcess {
 public:
  /// `settings`: "section.key=value" each.
  explicit DaemonProcess(const std::vector<std::string>& settings = {});
  /// Fails the test when the daemon has died, or does not stop cleanly on SIGTERM.
  ~DaemonProcess();

  const std::string& socket() const { return socket_; }
  ChildProcess& process() { return *process_; }
  std::string log() const;
  /// Resident memory, in bytes.
  uint64_t resident() const;
  /// Tells the destructor that the test ends the daemon itself.
  void expect_death() { expect_death_ = true; }

  /// A connection with all roles.
  std::unique_ptr<legate::client::Connection> dial(legate::client::Options options = {}) const;

 private:
  TempDir directory_;
  std::string socket_;
  std::unique_ptr<ChildProcess> process_;
  bool expect_death_ = false;
};

/// Path of a program of this build, for example program("peer-worker").
std::string program(const std::string& name);

/// The scriptable Peer service (tests/peers/peer.proto) as a real gRPC C++ server in this process,
/// on a port of its own.
class PeerServer {
 public:
  /// `address` "127.0.0.1:0" for any port, or "unix:/path".
  explicit PeerServer(const std::string& address = "127.0.0.1:0",
                      const std::shared_ptr<grpc::ServerCredentials>& credentials =
                          grpc::InsecureServerCredentials());
  ~PeerServer();
  const std::string& address() const { return address_; }
  /// Calls that the service has seen cancelled.
  uint64_t cancelled_seen() const;
  /// Calls whose first message has arrived.
  uint64_t calls_seen() const;
  /// Ends at once, cancelling what is under way.
  void stop();

 private:
  struct Service;
  std::unique_ptr<Service> service_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

/// Full names of the Peer service's methods.
inline constexpr char kUnary[] = "/legate.test.v1.Peer/Unary";
inline constexpr char kClientStream[] = "/legate.test.v1.Peer/ClientStream";
inline constexpr char kServerStream[] = "/legate.test.v1.Peer/ServerStream";
inline constexpr char kBidi[] = "/legate.test.v1.Peer/Bidi";

/// A worker behind the daemon, in this process: Peer's handlers on 127.0.0.1:0, serving.
struct Worker {
  explicit Worker(const DaemonProcess& daemon, uint32_t slots = 16,
                  const std::string& address = "127.0.0.1:0");
  std::unique_ptr<legate::client::Connection> connection;
  std::string address;  // with the real port
};

/// A real gRPC C++ client of Peer at this address, with a channel of its own.
std::unique_ptr<legate::test::v1::Peer::Stub> stub(const std::string& address);

}  // namespace legated::test
