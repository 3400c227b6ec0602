#include "tests/integration/calls.h"

#include <csignal>

namespace legated::test {

using legate::client::Role;

std::shared_ptr<grpc::Channel> connect(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_MAX_METADATA_SIZE, 128 * 1024);  // gRPC's default is 8 KiB
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetMaxSendMessageSize(-1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

// ---- ClientCall --------------------------------------------------------------------------------

ClientCall::ClientCall(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                       const Options& options)
    : paused_(options.paused) {
  for (const auto& [key, value] : options.metadata) context_.AddMetadata(key, value);
  if (options.timeout) {
    context_.set_deadline(std::chrono::system_clock::now() + *options.timeout);
  }
  context_.set_wait_for_ready(options.wait_for_ready);
  grpc::TemplatedGenericStub<Command, Reply> generic(channel);
  generic.PrepareBidiStreamingCall(&context_, method, {}, this);
  AddHold();  // until the stream has ended: writes come from outside
  if (paused_) {
    read_waits_ = true;
  } else {
    StartRead(&incoming_);
  }
  StartCall();
}

ClientCall::~ClientCall() {
  if (!done()) {
    cancel();
    wait();
  }
}

ClientCall& ClientCall::send(const Command& command) {
  const std::lock_guard lock(mutex_);
  if (ended_) return *this;
  queue_.push_back(command);
  write_next();
  return *this;
}

ClientCall& ClientCall::half_close() {
  const std::lock_guard lock(mutex_);
  closing_ = true;
  write_next();
  return *this;
}

void ClientCall::write_next() {
  if (writing_ || ended_ || closed_) return;
  if (!queue_.empty()) {
    writing_ = true;
    StartWrite(&queue_.front());
  } else if (closing_) {
    closed_ = true;
    StartWritesDone();
  }
}

void ClientCall::resume() {
  const std::lock_guard lock(mutex_);
  paused_ = false;
  if (std::exchange(read_waits_, false)) StartRead(&incoming_);
}

void ClientCall::OnReadInitialMetadataDone(bool ok) {
  const std::lock_guard lock(mutex_);
  headers_ = ok;
  changed_.notify_all();
}

void ClientCall::OnReadDone(bool ok) {
  const std::lock_guard lock(mutex_);
  if (!ok) {
    ended_ = true;
    RemoveHold();
    return;
  }
  replies_.push_back(std::move(incoming_));
  incoming_ = {};
  changed_.notify_all();
  if (paused_) {
    read_waits_ = true;
  } else {
    StartRead(&incoming_);
  }
}

void ClientCall::OnWriteDone(bool ok) {
  const std::lock_guard lock(mutex_);
  writing_ = false;
  queue_.pop_front();
  if (!ok) queue_.clear();
  if (ok) write_next();
}

void ClientCall::OnDone(const grpc::Status& status) {
  const std::lock_guard lock(mutex_);
  status_ = status;
  changed_.notify_all();
}

bool ClientCall::done() const {
  const std::lock_guard lock(mutex_);
  return status_.has_value();
}

size_t ClientCall::unsent() const {
  const std::lock_guard lock(mutex_);
  return queue_.size();
}

bool ClientCall::have_headers() const {
  const std::lock_guard lock(mutex_);
  return headers_;
}

std::vector<Reply> ClientCall::replies() const {
  const std::lock_guard lock(mutex_);
  return replies_;
}

grpc::Status ClientCall::wait() {
  resume();
  std::unique_lock lock(mutex_);
  if (changed_.wait_for(lock, kPatience, [this] { return status_.has_value(); })) return *status_;
  ADD_FAILURE() << "the call has not ended; replies so far: " << replies_.size();
  context_.TryCancel();
  changed_.wait(lock, [this] { return status_.has_value(); });
  return {static_cast<grpc::StatusCode>(-1), "not ended in time"};
}

namespace {

std::vector<std::string> values(const std::multimap<grpc::string_ref, grpc::string_ref>& metadata,
                                const std::string& key) {
  std::vector<std::string> found;
  const auto [begin, end] = metadata.equal_range(key);
  for (auto entry = begin; entry != end; ++entry) {
    found.emplace_back(entry->second.data(), entry->second.size());
  }
  return found;
}

}  // namespace

std::vector<std::string> ClientCall::header(const std::string& key) const {
  return values(context_.GetServerInitialMetadata(), key);
}

std::vector<std::string> ClientCall::trailer(const std::string& key) const {
  return values(context_.GetServerTrailingMetadata(), key);
}

Command command(const std::string& payload) {
  Command made;
  made.set_payload(payload);
  return made;
}

grpc::Status call_once(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                       const Command& message, const ClientCall::Options& options) {
  ClientCall call(channel, method, options);
  return call.send(message).half_close().wait();
}

// ---- Workers -----------------------------------------------------------------------------------

ManualWorker::ManualWorker(const DaemonProcess& daemon, const std::vector<std::string>& patterns,
                           uint32_t slots, const std::string& listen_at, Handler handler,
                           const legate::client::LeaseOptions& options)
    : connection(daemon.dial(
          {.name = "manual-worker", .on_event = [this](const legate::client::Event& event) {
             if (event.kind != legate::client::Event::Kind::retire) return;
             const std::lock_guard lock(mutex_);
             retired_.push_back(event);
           }})) {
  const auto listening = connection->listen(listen_at);
  if (!listening.status.ok()) throw std::runtime_error(describe(listening.status));
  address = listening.address;
  server = listening.server;
  if (!handler) {
    handler = [this](Dispatched call) {
      const std::lock_guard lock(mutex_);
      dispatched_.push_back(std::move(call));
    };
  }
  const auto registered =
      connection->register_methods(server, patterns, slots, std::move(handler), options);
  if (!registered.status.ok()) throw std::runtime_error(describe(registered.status));
  lease = registered.id;
  const auto serving = connection->serve(server);
  if (!serving.ok()) throw std::runtime_error(describe(serving));
}

ManualWorker::~ManualWorker() { connection->close(); }

Dispatched ManualWorker::take() {
  Dispatched call;
  const bool came = eventually([&] {
    const std::lock_guard lock(mutex_);
    if (dispatched_.empty()) return false;
    call = std::move(dispatched_.front());
    dispatched_.pop_front();
    return true;
  });
  EXPECT_TRUE(came) << "no dispatch came";
  return call;
}

size_t ManualWorker::waiting() const {
  const std::lock_guard lock(mutex_);
  return dispatched_.size();
}

std::vector<legate::client::Event> ManualWorker::retired() const {
  const std::lock_guard lock(mutex_);
  return retired_;
}

WorkerProcess::WorkerProcess(const DaemonProcess& daemon, const std::string& listen_at, int slots,
                             const std::vector<std::string>& more)
    : process([&] {
        std::vector<std::string> all{program("peer-worker"), "--socket", daemon.socket(),
                                     "--listen", listen_at, "--slots", std::to_string(slots)};
        all.insert(all.end(), more.begin(), more.end());
        return all;
      }()) {
  const std::string line = process.line();
  if (!line.starts_with("listening ")) throw std::runtime_error("peer-worker said: " + line);
  address = listen_at.substr(0, listen_at.rfind(':') + 1) + line.substr(line.find(' ') + 1);
}

// ---- Clients in other languages ----------------------------------------------------------------

std::vector<Client> foreign_clients() {
  return {{"Go", {program("peer-client")}},
          {"Python",
           {"/usr/bin/python3",
            std::string(LEGATED_SOURCE_DIR) + "/tests/peers/python/peer_client.py"}}};
}

std::vector<nlohmann::json> run(const Client& client, const std::string& address,
                                const std::vector<std::string>& arguments) {
  std::vector<std::string> all = client.command;
  all.insert(all.end(), {"--target", address});
  all.insert(all.end(), arguments.begin(), arguments.end());
  ChildProcess process(all);
  std::vector<nlohmann::json> results;
  for (std::string line = process.line(); !line.empty(); line = process.line()) {
    results.push_back(nlohmann::json::parse(line));
  }
  EXPECT_EQ(process.wait(), 0) << client.name;
  return results;
}

// ---- The daemon --------------------------------------------------------------------------------

nlohmann::json ask(legate::client::Connection& connection, const std::string& what) {
  const auto answer = connection.query(what);
  EXPECT_TRUE(answer.status.ok()) << what << ": " << describe(answer.status);
  return answer.json.empty() ? nlohmann::json() : nlohmann::json::parse(answer.json);
}

void expect_all_quiet(const DaemonProcess& daemon) {
  const auto connection = daemon.dial();
  std::string loud;
  const bool quiet = eventually([&] {
    loud.clear();
    const auto calls = ask(*connection, "calls")["calls"];
    if (!calls.empty()) loud += "calls: " + calls.dump() + "\n";
    const auto status = ask(*connection, "status");
    for (const auto& session : status["sessions"]) {
      if (session["memory"] != 0) loud += "memory: " + session.dump() + "\n";
    }
    const auto workers = ask(*connection, "workers");
    for (const auto& server : workers["servers"]) {
      if (server["queued"] != 0 || server["in_flight"] != 0) loud += server.dump() + "\n";
      for (const auto& lease : server["leases"]) {
        if (lease["busy"] != 0) loud += "busy: " + lease.dump() + "\n";
      }
    }
    const auto channels = ask(*connection, "channels");
    for (const auto& channel : channels["channels"]) {
      if (channel["calls"] != 0) loud += "channel: " + channel.dump() + "\n";
    }
    return loud.empty();
  });
  EXPECT_TRUE(quiet) << "left over in the daemon:\n" << loud.substr(0, 4000);
}

std::string describe(const grpc::Status& status) {
  const auto code = static_cast<int>(status.error_code());
  return legate::client::name(static_cast<legate::client::Code>(code)) + " (" +
         std::to_string(code) + "): " + status.error_message();
}

}  // namespace legated::test
