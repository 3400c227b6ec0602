#include "daemon/inbound/server_check.h"

#include <algorithm>

#include "daemon/core/metadata.h"
#include "daemon/inbound/access_policies.h"
#include "daemon/inbound/listening.h"
#include "daemon/inbound/server_credentials.h"
#include "ipc-schema/cpp/frame.h"

namespace legated {

using legate::ipc::view;
namespace {

constexpr size_t kMaxPolicies = 32;
constexpr size_t kMaxAddresses = 16;
constexpr std::chrono::hours kMaxTime{24};
constexpr uint64_t kLeastMemory = 1 << 20;

std::string problem_with_limit(const char* name, uint64_t value, uint64_t most, const char* key) {
  if (value <= most) return {};
  return std::string(name) + " of " + std::to_string(value) + " bytes is above the daemon's " + key +
         ", " + std::to_string(most) + " bytes";
}

std::string problem_with_limits(const ServerSettings& settings, const Config& config) {
  const auto& limits = config.limits;
  for (const std::string& problem :
       {problem_with_limit("max_send_message", settings.max_send_message, limits.max_message,
                           "limits.max_message"),
        problem_with_limit("max_receive_message", settings.max_receive_message, limits.max_message,
                           "limits.max_message"),
        problem_with_limit("max_metadata", settings.max_metadata, limits.max_metadata,
                           "limits.max_metadata")}) {
    if (!problem.empty()) return problem;
  }
  if (settings.memory > 0 && settings.memory < kLeastMemory)
    return "memory must be at least 1 MiB: with less, gRPC ends every call";
  for (const auto time :
       {settings.keepalive_time, settings.keepalive_timeout, settings.min_ping_interval,
        settings.max_connection_idle, settings.max_connection_age,
        settings.max_connection_age_grace}) {
    if (time > kMaxTime) return "times must be at most 24 h";
  }
  return {};
}

}  // namespace

ServerSettings settings_of(const legate::ipc::Listen& request) {
  ServerSettings settings;
  settings.addresses = {std::string(view(request.address()))};
  const auto* options = request.options();
  if (options == nullptr) return settings;
  const auto milliseconds = [](uint32_t ms) { return std::chrono::milliseconds(ms); };
  if (const auto* tls = options->tls()) {
    settings.tls = true;
    settings.tls_certificate = view(tls->certificate());
    settings.tls_key = view(tls->key());
    settings.tls_client_roots = view(tls->roots());
    settings.tls_client_auth = static_cast<ClientAuth>(tls->client_auth());
  }
  if (options->compression() != legate::ipc::Compression::inherit)
    settings.compression = static_cast<Compression>(options->compression());
  settings.max_send_message = options->max_send_message();
  settings.max_receive_message = options->max_receive_message();
  settings.max_metadata = options->max_metadata();
  settings.max_connections = options->max_connections();
  settings.max_concurrent_streams = options->max_concurrent_streams();
  settings.memory = options->memory();
  settings.keepalive_time = milliseconds(options->keepalive_time_ms());
  settings.keepalive_timeout = milliseconds(options->keepalive_timeout_ms());
  settings.min_ping_interval = milliseconds(options->min_ping_interval_ms());
  settings.ping_without_calls = options->ping_without_calls();
  settings.max_connection_idle = milliseconds(options->max_connection_idle_ms());
  settings.max_connection_age = milliseconds(options->max_connection_age_ms());
  settings.max_connection_age_grace = milliseconds(options->max_connection_age_grace_ms());
  settings.sticky = view(options->sticky());
  if (const auto* policies = options->policies()) {
    for (const auto* line : *policies) settings.policies.emplace_back(view(line));
  }
  const auto choose = [](bool& setting, legate::ipc::Switch choice) {
    if (choice != legate::ipc::Switch::inherit) setting = choice == legate::ipc::Switch::on;
  };
  choose(settings.health, options->health());
  choose(settings.reflection, options->reflection());
  choose(settings.channelz, options->channelz());
  return settings;
}

std::string problem_with(const ServerSettings& settings, const Config& config,
                         const Policies::Kinds& kinds) {
  if (settings.addresses.empty() || settings.addresses.size() > kMaxAddresses)
    return "there must be 1 to 16 addresses";
  for (const std::string& address : settings.addresses) {
    if (std::string problem = refuse_address(address); !problem.empty()) return problem;
    if (std::ranges::count(settings.addresses, address) > 1 && !address.ends_with(":0"))
      return "the address " + address + " stands there twice";
  }
  if (settings.compression > Compression::gzip)
    return "compression must be identity, deflate or gzip";
  if (std::string problem = problem_with_limits(settings, config); !problem.empty()) return problem;
  if (!settings.sticky.empty()) {
    if (settings.sticky.size() > 255) return "sticky must be at most 255 bytes";
    if (auto why = refuse_metadata(settings.sticky, "")) return "sticky: " + *why;
  }
  if (settings.policies.size() > kMaxPolicies) return "there may be at most 32 policies";
  const auto policies = Policies::parse(settings.policies, kinds);
  if (const auto* problem = std::get_if<std::string>(&policies)) return *problem;
  const bool identified = settings.tls && settings.tls_client_auth != ClientAuth::none;
  for (const std::string& line : settings.policies) {
    if (!identified && line.find("require-identity ") != line.npos)
      return "\"" + line + "\" lets nobody in without tls and tls_client_auth";
  }
  return problem_with_tls(settings);
}

ServerSettings effective(ServerSettings settings, const Config& config) {
  const auto fill = [](auto& value, auto otherwise) {
    if (value == 0) value = otherwise;
  };
  fill(settings.unix_mode, config.inbound.unix_mode);
  fill(settings.max_send_message, config.limits.max_message);
  fill(settings.max_receive_message, config.limits.max_message);
  fill(settings.max_metadata, config.limits.max_metadata);
  fill(settings.max_connections, config.inbound.max_connections);
  fill(settings.max_concurrent_streams, config.inbound.max_concurrent_streams);
  fill(settings.memory, config.inbound.memory);
  return settings;
}

std::string problems_with_servers(const Config& config) {
  std::string problems;
  for (const auto& [name, settings] : config.servers) {
    if (const auto problem = problem_with(settings, config, incoming_policies()); !problem.empty())
      problems += (problems.empty() ? "" : "\n") + ("servers." + name + ": " + problem);
  }
  return problems;
}

}  // namespace legated
