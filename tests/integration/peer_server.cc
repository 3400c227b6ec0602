// PeerServer: the Peer service on gRPC's own C++ server, one thread a call.

#include <atomic>
#include <optional>
#include <thread>

#include "tests/integration/harness.h"

namespace legated::test {
namespace {

constexpr int kMaxMetadata = 1024 * 1024;  // above what legated lets pass

using legate::test::v1::Command;
using legate::test::v1::Header;
using legate::test::v1::Peer;
using legate::test::v1::Reply;
using std::chrono::milliseconds;

// The payload that every peer sends when only a size is asked for.
std::string pattern(size_t size) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i % 251);
  return bytes;
}

struct Counts {
  std::atomic<uint64_t> calls{0};
  std::atomic<uint64_t> cancelled{0};
};

/// One call's script and how far it got.
class Script {
 public:
  Script(grpc::ServerContext& context, Counts& counts) : context_(context), counts_(counts) {}

  /// The first message becomes the script. True when it wants the headers to go at once.
  bool received(const Command& command) {
    if (++received_ > 1) return false;
    ++counts_.calls;
    first_ = command;
    if (first_.echo_metadata()) echo_metadata();
    for (const Header& header : first_.headers())
      context_.AddInitialMetadata(header.key(), header.value());
    for (const Header& trailer : first_.trailers())
      context_.AddTrailingMetadata(trailer.key(), trailer.value());
    return first_.headers_first();
  }

  const Command& first() const { return first_; }
  bool hangs() const { return first_.hang() && received_ > 0; }
  bool replied_enough() const {
    return first_.status_code() != 0 && replied_ >= first_.response_count();
  }

  /// The next reply. Nothing when the call was cancelled while the script waited.
  std::optional<Reply> reply(const std::string& echo) {
    if (!delay()) return std::nullopt;
    Reply reply;
    reply.set_payload(first_.response_size() > 0 ? pattern(first_.response_size()) : echo);
    reply.set_index(replied_++);
    reply.set_cancelled_seen(counts_.cancelled);
    reply.set_messages_received(received_);
    return reply;
  }

  grpc::Status end() {
    if (hangs()) {
      wait_cancelled(std::chrono::hours(1));
    } else if (replied_ == 0 && !context_.IsCancelled()) {
      delay();
    }
    if (first_.status_code() == 0 && first_.status_message().empty() &&
        first_.status_details().empty()) {
      return grpc::Status::OK;
    }
    return {static_cast<grpc::StatusCode>(first_.status_code()), first_.status_message(),
            first_.status_details()};
  }

  /// As the shapes that answer once end: with a reply only when the status is OK.
  grpc::Status answer(const std::string& echo, Reply& response) {
    if (!hangs() && first_.status_code() == 0) {
      if (auto made = reply(echo)) response = std::move(*made);
    }
    return end();
  }

 private:
  void echo_metadata() {
    for (const auto& [key, value] : context_.client_metadata()) {
      context_.AddInitialMetadata("x-echo-" + std::string(key.data(), key.size()),
                                  std::string(value.data(), value.size()));
    }
    const auto authority = context_.ExperimentalGetAuthority();
    context_.AddInitialMetadata("x-echo-authority", {authority.data(), authority.size()});
    const auto deadline = context_.deadline();
    if (deadline == std::chrono::system_clock::time_point::max()) return;
    const auto left = deadline - std::chrono::system_clock::now();
    context_.AddInitialMetadata(
        "x-deadline-ms", std::to_string(std::chrono::duration_cast<milliseconds>(left).count()));
  }

  bool delay() { return wait_cancelled(milliseconds(first_.delay_ms())); }

  /// Waits for `time`. False, and counts, when the call was cancelled first.
  bool wait_cancelled(milliseconds time) {
    const auto end = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < end) {
      if (context_.IsCancelled()) {
        ++counts_.cancelled;
        return false;
      }
      std::this_thread::sleep_for(milliseconds(3));
    }
    return true;
  }

  grpc::ServerContext& context_;
  Counts& counts_;
  Command first_;
  uint32_t received_ = 0;
  uint32_t replied_ = 0;
};

}  // namespace

struct PeerServer::Service final : Peer::Service {
  grpc::Status Unary(grpc::ServerContext* context, const Command* command,
                     Reply* response) override {
    // The sync API sends a unary answer's headers with the answer, so headers_first has no effect.
    Script script(*context, counts);
    script.received(*command);
    return script.answer(command->payload(), *response);
  }

  grpc::Status ClientStream(grpc::ServerContext* context, grpc::ServerReader<Command>* reader,
                            Reply* response) override {
    Script script(*context, counts);
    std::string payload;
    Command command;
    while (!script.hangs() && reader->Read(&command)) {
      if (script.received(command)) reader->SendInitialMetadata();
      payload += command.payload();
    }
    return script.answer(payload, *response);
  }

  grpc::Status ServerStream(grpc::ServerContext* context, const Command* command,
                            grpc::ServerWriter<Reply>* writer) override {
    Script script(*context, counts);
    if (script.received(*command)) writer->SendInitialMetadata();
    for (uint32_t i = 0; i < command->response_count(); ++i) {
      const auto reply = script.reply(command->payload());
      if (!reply || !writer->Write(*reply)) break;
    }
    return script.end();
  }

  grpc::Status Bidi(grpc::ServerContext* context,
                    grpc::ServerReaderWriter<Reply, Command>* stream) override {
    Script script(*context, counts);
    Command command;
    while (stream->Read(&command)) {
      if (script.received(command)) stream->SendInitialMetadata();
      if (script.hangs() || script.replied_enough()) break;
      const auto reply = script.reply(command.payload());
      if (!reply || !stream->Write(*reply) || script.replied_enough()) break;
    }
    return script.end();
  }

  Counts counts;
};

PeerServer::PeerServer(const std::string& address,
                       const std::shared_ptr<grpc::ServerCredentials>& credentials)
    : service_(std::make_unique<Service>()) {
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(address, credentials, &port);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadata);
  builder.SetMaxReceiveMessageSize(-1);
  builder.SetMaxSendMessageSize(-1);
  builder.RegisterService(service_.get());
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) throw std::runtime_error("no gRPC server at " + address);
  const bool tcp = !address.starts_with("unix:");
  address_ = tcp ? address.substr(0, address.rfind(':') + 1) + std::to_string(port) : address;
}

PeerServer::~PeerServer() { stop(); }

uint64_t PeerServer::cancelled_seen() const { return service_->counts.cancelled; }

uint64_t PeerServer::calls_seen() const { return service_->counts.calls; }

void PeerServer::stop() {
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
  server_.reset();
}

}  // namespace legated::test
