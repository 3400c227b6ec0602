#pragma once
// gRPC clients for the tests of the inbound side: calls of any shape that can be held at any point,
// the Go and Python clients as child processes, and what the daemon says of itself.

#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/integration/harness.h"

namespace legated::test {

using legate::client::ServerCall;
using legate::test::v1::Command;
using legate::test::v1::Reply;
using Dispatched = std::shared_ptr<ServerCall>;

/// A channel with a connection of its own.
std::shared_ptr<grpc::Channel> connect(const std::string& address);

/// One call of a real gRPC client. On the wire all shapes are alike, so this one serves them all.
/// Replies are read as they come, unless paused. Any thread.
class ClientCall final : private grpc::ClientBidiReactor<Command, Reply> {
 public:
  struct Options {
    std::vector<std::pair<std::string, std::string>> metadata{};
    std::optional<std::chrono::milliseconds> timeout{};
    bool wait_for_ready = false;
    bool paused = false;  // reads nothing until resume()
  };
  ClientCall(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
             const Options& options);
  ClientCall(const std::shared_ptr<grpc::Channel>& channel, const std::string& method)
      : ClientCall(channel, method, Options{}) {}
  /// Cancels what has not ended, and waits for it.
  ~ClientCall() override;

  /// Queues a message.
  ClientCall& send(const Command& command);
  /// After the messages queued.
  ClientCall& half_close();
  void cancel() { context_.TryCancel(); }
  void resume();

  bool done() const;
  /// Messages that gRPC has not taken over yet.
  size_t unsent() const;
  bool have_headers() const;
  std::vector<Reply> replies() const;
  /// Waits for the end, resumed. A test failure and code -1 when kPatience is over first.
  grpc::Status wait();

  /// Initial metadata and trailers, in order within one key; after the headers, after the end.
  std::vector<std::string> header(const std::string& key) const;
  std::vector<std::string> trailer(const std::string& key) const;

 private:
  void OnReadInitialMetadataDone(bool ok) override;
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;
  void write_next();

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  grpc::ClientContext context_;
  std::deque<Command> queue_;  // the front is being written when writing_
  Reply incoming_;
  std::vector<Reply> replies_;
  bool writing_ = false;
  bool closing_ = false;
  bool closed_ = false;
  bool paused_;
  bool read_waits_ = false;  // paused: a read is owed
  bool ended_ = false;       // the stream brings nothing more
  bool headers_ = false;
  std::optional<grpc::Status> status_;
};

/// A Command with this payload.
Command command(const std::string& payload = {});

/// A whole call with one message.
grpc::Status call_once(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                       const Command& message = command(), const ClientCall::Options& options = {});

/// A worker whose dispatches the test handles itself, or by a handler.
struct ManualWorker {
  using Handler = std::function<void(Dispatched)>;  // on the reader thread; must not block
  ManualWorker(const DaemonProcess& daemon, const std::vector<std::string>& patterns,
               uint32_t slots, const std::string& address = "127.0.0.1:0", Handler handler = {},
               const legate::client::LeaseOptions& options = {});
  ~ManualWorker();

  /// The next dispatch; null, and a test failure, when none comes.
  Dispatched take();
  size_t waiting() const;
  /// RETIREs that have come, oldest first.
  std::vector<legate::client::Event> retired() const;

  std::string address;
  legate::client::ServerId server;
  legate::client::LeaseId lease;

 private:
  mutable std::mutex mutex_;
  std::deque<Dispatched> dispatched_;
  std::vector<legate::client::Event> retired_;

 public:
  std::unique_ptr<legate::client::Connection> connection;  // goes first
};

/// build/bin/peer-worker, to be killed.
struct WorkerProcess {
  explicit WorkerProcess(const DaemonProcess& daemon, const std::string& address = "127.0.0.1:0",
                         int slots = 64, const std::vector<std::string>& more = {});
  void kill() { process.signal(SIGKILL); }
  ChildProcess process;
  std::string address;
};

/// A client in another language.
struct Client {
  std::string name;
  std::vector<std::string> command;
};
std::vector<Client> foreign_clients();

/// Runs it to its end against `address`; a line of JSON for each call. See tests/peers/README.md.
std::vector<nlohmann::json> run(const Client& client, const std::string& address,
                                const std::vector<std::string>& arguments);

/// The answer to a QUERY.
nlohmann::json ask(legate::client::Connection& connection, const std::string& what);

/// Nothing is open in the daemon any more: no call, no message byte, no slot taken. Waits for it.
void expect_all_quiet(const DaemonProcess& daemon);

/// "UNAVAILABLE (14): message"
std::string describe(const grpc::Status& status);

}  // namespace legated::test
