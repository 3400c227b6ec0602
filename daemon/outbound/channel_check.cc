#include "daemon/outbound/channel_check.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "daemon/core/method_pattern.h"
#include "daemon/core/policies.h"
#include "daemon/outbound/credentials.h"
#include "daemon/outbound/token_source.h"
#include "ipc-schema/cpp/frame.h"

namespace legated {

using legate::ipc::view;
namespace {

constexpr size_t kMaxTarget = 2048;
constexpr size_t kMaxName = 255;
constexpr size_t kMaxPolicies = 32;
constexpr size_t kMaxPatterns = 100;
constexpr uint32_t kMaxMilliseconds = 24 * 3600 * 1000;

bool printable(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > 0x20 && c < 0x7f; });
}

std::string problem_with_limit(const char* name, uint32_t value, uint32_t most,
                               const char* of_daemon) {
  if (value <= most) return {};
  return std::string(name) + " of " + std::to_string(value) + " bytes is above the daemon's " +
         of_daemon + ", " + std::to_string(most) + " bytes";
}

/// What gRPC would take for a name to look up, or dial at another port.
std::string problem_with_target(const std::string& target) {
  for (const std::string_view scheme : {"legated:", "http:", "https:", "grpc:", "grpcs:"}) {
    if (!target.starts_with(scheme)) continue;
    return "the target " + target.substr(0, 100) + " has no scheme of gRPC's; write \"host:port\", or " +
           "\"legated:///NAME\" in a program for a channel of the configuration";
  }
  if (target.starts_with("unix")) return {};
  std::string_view host = target;
  host.remove_prefix(host.rfind('/') + 1);  // npos + 1 is 0
  for (const std::string_view scheme : {"dns:", "ipv4:", "ipv6:"})
    if (host.starts_with(scheme)) host.remove_prefix(scheme.size());
  const size_t colon = host.rfind(':');
  if (colon == host.npos || colon == 0) return {};
  if (host.find(':') != colon && host[colon - 1] != ']') return {};  // an IPv6 address
  const std::string_view port = host.substr(colon + 1);
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (error == std::errc() && end == port.data() + port.size() && number > 65'535)
    return "the target's port, " + std::string(port.substr(0, 20)) + ", is above 65535";
  return {};
}

std::string problem_with_texts(const ChannelSettings& settings) {
  if (settings.target.empty() || settings.target.size() > kMaxTarget ||
      !printable(settings.target)) {
    return "the channel's target must be 1 to 2048 printable ASCII characters without spaces, such "
           "as \"host:port\"";
  }
  if (auto problem = problem_with_target(settings.target); !problem.empty()) return problem;
  const std::pair<const char*, const std::string&> names[] = {
      {"authority", settings.authority}, {"tls server_name", settings.tls_server_name}};
  for (const auto& [name, text] : names) {
    if (text.size() > kMaxName || !printable(text))
      return std::string(name) + " must be at most 255 printable ASCII characters without spaces";
  }
  const bool agent_fine = std::ranges::all_of(settings.user_agent,
                                              [](char c) { return c >= 0x20 && c < 0x7f; });
  if (settings.user_agent.size() > kMaxName || !agent_fine)
    return "user_agent must be at most 255 printable ASCII characters";
  return {};
}

std::string problem_with_balancing(const ChannelSettings& settings) {
  const std::string& policy = settings.load_balancing;
  if (policy != "pick_first" && policy != "round_robin") {
    return "load_balancing must be \"pick_first\" or \"round_robin\"; name any other policy in "
           "service_config, as loadBalancingConfig";
  }
  if (settings.service_config.empty()) return {};
  if (settings.retry_attempts > 0)
    return "service_config and retry can't both be set; put a retryPolicy into service_config";
  const auto parsed = nlohmann::json::parse(settings.service_config, nullptr, false);
  if (!parsed.is_object()) return "service_config must be a JSON object";
  return {};
}

bool are_failures(const std::vector<uint8_t>& codes) {
  return !codes.empty() &&
         std::ranges::all_of(codes, [](uint8_t code) { return code >= 1 && code <= 16; });
}

std::string problem_with_hedging(const ChannelSettings& settings) {
  if (settings.hedging_attempts == 0) {
    return settings.hedging_methods.empty() ? "" : "hedging_methods need hedging_attempts";
  }
  if (settings.hedging_attempts < 2 || settings.hedging_attempts > 5)
    return "hedging attempts must be 2 to 5";
  if (settings.retry_attempts > 0 ||
      settings.service_config.find("retryPolicy") != std::string::npos) {
    return "hedging and retries can't both be set: each would make the other's attempts again";
  }
  if (!are_failures(settings.hedging_codes))
    return "hedging codes must be gRPC status codes, 1 to 16";
  if (settings.hedging_methods.size() > kMaxPatterns)
    return "hedging_methods may have at most 100 patterns";
  for (const std::string& pattern : settings.hedging_methods) {
    if (const auto why = refuse_pattern(pattern)) return "hedging_methods: " + *why;
  }
  return {};
}

std::string problem_with_retry(const ChannelSettings& settings) {
  if (settings.retry_attempts == 0) return {};
  if (settings.retry_attempts < 2 || settings.retry_attempts > 5)
    return "retry attempts must be 2 to 5: gRPC takes no more";
  if (settings.retry_initial_backoff.count() <= 0 || settings.retry_max_backoff.count() <= 0)
    return "retry backoffs must be above 0";
  if (!(settings.retry_multiplier >= 1 && settings.retry_multiplier <= 10))
    return "retry multiplier must be 1 to 10 (100 to 1000 percent)";
  if (!are_failures(settings.retry_codes))
    return "retry codes must be gRPC status codes, 1 to 16";
  if (settings.retry_throttle_tokens > 1000 ||
      !(settings.retry_throttle_ratio >= 0.001 && settings.retry_throttle_ratio <= 1))
    return "retry throttle_tokens must be at most 1000, their ratio 0.001 to 1 (1 to 1000 permille)";
  return {};
}

}  // namespace

ChannelSettings settings_of(const legate::ipc::OpenChannel& request) {
  using std::chrono::milliseconds;
  ChannelSettings settings;
  settings.target = view(request.target());
  const auto* options = request.options();
  if (options == nullptr) return settings;
  if (const auto* tls = options->tls()) {
    settings.tls = true;
    settings.tls_roots = view(tls->roots());
    settings.tls_certificate = view(tls->certificate());
    settings.tls_key = view(tls->key());
    settings.tls_server_name = view(tls->server_name());
  }
  settings.authority = view(options->authority());
  settings.user_agent = view(options->user_agent());
  if (const auto policy = view(options->load_balancing()); !policy.empty())
    settings.load_balancing = policy;
  settings.service_config = view(options->service_config());
  if (options->compression() != legate::ipc::Compression::inherit)
    settings.compression = static_cast<Compression>(options->compression());
  settings.max_send_message = options->max_send_message();
  settings.max_receive_message = options->max_receive_message();
  settings.max_metadata = options->max_metadata();
  settings.keepalive_time = milliseconds(options->keepalive_time_ms());
  settings.keepalive_timeout = milliseconds(options->keepalive_timeout_ms());
  settings.keepalive_without_calls = options->keepalive_without_calls();
  settings.connect_timeout = milliseconds(options->connect_timeout_ms());
  settings.initial_backoff = milliseconds(options->initial_backoff_ms());
  settings.max_backoff = milliseconds(options->max_backoff_ms());
  settings.idle_timeout = milliseconds(options->idle_timeout_ms());
  settings.dns_interval = milliseconds(options->dns_interval_ms());
  if (const auto* policies = options->policies()) {
    for (const auto* line : *policies) settings.policies.emplace_back(view(line));
  }
  if (const auto* retry = options->retry()) {
    settings.retry_attempts = std::max<uint32_t>(retry->attempts(), 1);  // 0 would be none at all
    settings.retry_initial_backoff = milliseconds(retry->initial_backoff_ms());
    settings.retry_max_backoff = milliseconds(retry->max_backoff_ms());
    settings.retry_multiplier = retry->multiplier_percent() / 100.0;
    if (retry->codes() != nullptr)
      settings.retry_codes.assign(retry->codes()->begin(), retry->codes()->end());
    settings.retry_throttle_tokens = retry->throttle_tokens();
    settings.retry_throttle_ratio = retry->throttle_permille() / 1000.0;
  }
  settings.token = view(options->token());
  if (const auto* hedging = options->hedging()) {
    settings.hedging_attempts = std::max<uint32_t>(hedging->attempts(), 1);  // 0 would be none at all
    settings.hedging_delay = milliseconds(hedging->delay_ms());
    if (hedging->codes() != nullptr)
      settings.hedging_codes.assign(hedging->codes()->begin(), hedging->codes()->end());
  }
  return settings;
}

std::string problem_with(const ChannelSettings& settings, const Config& config) {
  if (auto problem = problem_with_texts(settings); !problem.empty()) return problem;
  if (auto problem = problem_with_balancing(settings); !problem.empty()) return problem;
  if (auto problem = problem_with_retry(settings); !problem.empty()) return problem;
  if (auto problem = problem_with_hedging(settings); !problem.empty()) return problem;
  if (settings.compression > Compression::gzip)
    return "compression must be identity, deflate or gzip";
  const auto& limits = config.limits;
  if (auto problem = problem_with_limit("max_send_message", settings.max_send_message,
                                        limits.max_message, "limits.max_message");
      !problem.empty())
    return problem;
  if (auto problem = problem_with_limit("max_receive_message", settings.max_receive_message,
                                        limits.max_message, "limits.max_message");
      !problem.empty())
    return problem;
  if (auto problem = problem_with_limit("max_metadata", settings.max_metadata, limits.max_metadata,
                                        "limits.max_metadata");
      !problem.empty())
    return problem;
  for (const auto time :
       {settings.keepalive_time, settings.keepalive_timeout, settings.connect_timeout,
        settings.initial_backoff, settings.max_backoff, settings.idle_timeout,
        settings.dns_interval, settings.retry_initial_backoff, settings.retry_max_backoff,
        settings.hedging_delay}) {
    if (time.count() > kMaxMilliseconds) return "times must be at most 24 h";
  }
  if (settings.policies.size() > kMaxPolicies) return "there may be at most 32 policies";
  const auto policies = Policies::parse(settings.policies);
  if (const auto* problem = std::get_if<std::string>(&policies)) return *problem;
  if (auto problem = problem_with_tokens(settings); !problem.empty()) return problem;
  return problem_with_tls(settings);
}

std::string problems_with_channels(const Config& config) {
  std::string problems;
  for (const auto& [name, settings] : config.channels) {
    if (const auto problem = problem_with(settings, config); !problem.empty())
      problems += (problems.empty() ? "" : "\n") + ("channels." + name + ": " + problem);
  }
  return problems;
}

}  // namespace legated
