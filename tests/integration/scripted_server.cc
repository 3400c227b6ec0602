#include "tests/integration/scripted_server.h"

#include <fstream>
#include <condition_variable>
#include <deque>
#include <iterator>
#include <mutex>

#include "tests/integration/harness.h"

namespace legated::test {
namespace {

using legate::test::v1::Command;
using legate::test::v1::Peer;
using legate::test::v1::Reply;

std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void run(const std::vector<std::string>& command, const std::string& log) {
  ChildProcess process(command, log);
  process.rest();
  if (process.wait() != 0) throw std::runtime_error(command[1] + " failed: " + content(log));
}

}  // namespace

Pki::Pki() {
  const TempDir directory;
  const auto at = [&](const char* name) { return directory / name; };
  std::ofstream(at("names")) << "subjectAltName=DNS:localhost,IP:127.0.0.1\n";
  run({"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
       "-nodes", "-days", "2", "-subj", "/CN=authority", "-keyout", at("ca.key"), "-out",
       at("ca.pem")},
      at("log"));
  run({"openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
       "-subj", "/CN=localhost", "-keyout", at("key.pem"), "-out", at("request.pem")},
      at("log"));
  run({"openssl", "x509", "-req", "-in", at("request.pem"), "-CA", at("ca.pem"), "-CAkey",
       at("ca.key"), "-CAcreateserial", "-days", "2", "-extfile", at("names"), "-out",
       at("cert.pem")},
      at("log"));
  roots = content(at("ca.pem"));
  certificate = content(at("cert.pem"));
  key = content(at("key.pem"));
}

struct ScriptedServer::Service final : Peer::Service {
  grpc::Status Unary(grpc::ServerContext* context, const Command* command,
                     Reply* reply) override {
    std::unique_lock lock(mutex);
    const size_t number = seen.size();
    Plan plan;
    if (!plans.empty()) {
      plan = std::move(plans.front());
      plans.pop_front();
    }
    seen.push_back({.payload = command->payload(),
                    .authorization = {},
                    .when = std::chrono::steady_clock::now()});
    for (const auto& [key, value] : context->client_metadata()) {
      if (key == "authorization")
        seen[number].authorization.emplace_back(value.data(), value.size());
    }
    const uint64_t round = releases;
    while (plan.hold && releases == round && !context->IsCancelled())
      changed.wait_for(lock, std::chrono::milliseconds(3));
    if (plan.hold && releases == round) seen[number].cancelled = true;
    for (const auto& [key, value] : plan.trailers) context->AddTrailingMetadata(key, value);
    reply->set_payload(std::to_string(number));
    return {static_cast<grpc::StatusCode>(plan.code), plan.message};
  }

  mutable std::mutex mutex;  // guards all below
  std::condition_variable changed;
  std::deque<Plan> plans;
  std::vector<Seen> seen;
  uint64_t releases = 0;
};

ScriptedServer::ScriptedServer(const std::string& address, const Pki* pki)
    : service_(std::make_unique<Service>()) {
  auto credentials = grpc::InsecureServerCredentials();
  if (pki != nullptr) {
    grpc::SslServerCredentialsOptions options;
    options.pem_key_cert_pairs.push_back({pki->key, pki->certificate});
    credentials = grpc::SslServerCredentials(options);
  }
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(address, credentials, &port);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.RegisterService(service_.get());
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) throw std::runtime_error("no gRPC server at " + address);
  const bool tcp = !address.starts_with("unix:");
  address_ = tcp ? address.substr(0, address.rfind(':') + 1) + std::to_string(port) : address;
}

ScriptedServer::~ScriptedServer() {
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
}

void ScriptedServer::plan(std::vector<Plan> plans) {
  const std::lock_guard lock(service_->mutex);
  service_->plans.assign(std::make_move_iterator(plans.begin()),
                         std::make_move_iterator(plans.end()));
}

std::vector<ScriptedServer::Seen> ScriptedServer::calls() const {
  const std::lock_guard lock(service_->mutex);
  return service_->seen;
}

size_t ScriptedServer::cancelled() const {
  size_t count = 0;
  for (const Seen& call : calls()) count += call.cancelled ? 1 : 0;
  return count;
}

void ScriptedServer::release() {
  const std::lock_guard lock(service_->mutex);
  ++service_->releases;
  service_->changed.notify_all();
}

}  // namespace legated::test
