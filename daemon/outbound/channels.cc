#include "daemon/outbound/channels.h"

#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "daemon/config/load.h"
#include "daemon/core/method_pattern.h"
#include "daemon/grpc/arguments.h"
#include "daemon/outbound/channel_check.h"
#include "daemon/outbound/credentials.h"

namespace legated {
namespace {

using Json = nlohmann::json;

// Bytes of metadata that gRPC takes in; the daemon's own, lower limit is applied then. gRPC 1.51
// drops a header block in the middle when it meets its bound, and may take the rest for that of the
// next call on the connection.
constexpr int64_t kGrpcMaxMetadata = 1 << 20;

std::string seconds(std::chrono::milliseconds time) {
  return std::to_string(static_cast<double>(time.count()) / 1000) + "s";
}

std::string retry_config(const ChannelSettings& settings, uint32_t max_attempts) {
  Json codes = Json::array();
  for (const uint8_t code : settings.retry_codes)
    codes.push_back(name(static_cast<StatusCode>(code)));
  Json method;
  method["name"] = Json::array({Json::object()});  // every method
  method["retryPolicy"] = {{"maxAttempts", std::min(settings.retry_attempts, max_attempts)},
                           {"initialBackoff", seconds(settings.retry_initial_backoff)},
                           {"maxBackoff", seconds(settings.retry_max_backoff)},
                           {"backoffMultiplier", settings.retry_multiplier},
                           {"retryableStatusCodes", codes}};
  Json config;
  config["methodConfig"] = Json::array({method});
  if (settings.retry_throttle_tokens > 0) {
    config["retryThrottling"] = {{"maxTokens", settings.retry_throttle_tokens},
                                 {"tokenRatio", settings.retry_throttle_ratio}};
  }
  return config.dump();
}

/// The service config with its retries within the daemon's bound.
std::string bounded(const std::string& service_config, uint32_t max_attempts) {
  Json config = Json::parse(service_config, nullptr, false);
  if (!config.contains("methodConfig") || !config["methodConfig"].is_array()) return service_config;
  bool changed = false;
  for (Json& method : config["methodConfig"]) {
    if (!method.is_object() || !method.contains("retryPolicy")) continue;
    Json& policy = method["retryPolicy"];
    if (!policy.is_object() || !policy.contains("maxAttempts")) continue;
    Json& attempts = policy["maxAttempts"];
    if (!attempts.is_number() || attempts.get<double>() <= max_attempts) continue;
    attempts = max_attempts;
    changed = true;
  }
  return changed ? config.dump() : service_config;
}

std::string service_config_of(const ChannelSettings& settings, uint32_t max_attempts) {
  if (max_attempts < 2) return settings.service_config;  // retries are off altogether
  if (!settings.service_config.empty()) return bounded(settings.service_config, max_attempts);
  return settings.retry_attempts > 0 ? retry_config(settings, max_attempts) : "";
}

grpc_channel_credentials* credentials_of(const ChannelSettings& settings,
                                         const TokenSource* token) {
  grpc_channel_credentials* const channel = credentials_for(settings);
  if (token == nullptr) return channel;
  grpc_call_credentials* const calls = token->credentials();
  grpc_channel_credentials* const both =
      grpc_composite_channel_credentials_create(channel, calls, nullptr);
  grpc_call_credentials_release(calls);
  grpc_channel_credentials_release(channel);
  return both;
}

grpc_channel* create(const ChannelSettings& settings, const Config& config,
                     const TokenSource* token) {
  const auto or_limit = [](uint32_t own, uint32_t limit) { return own > 0 ? own : limit; };
  const std::string service_config = service_config_of(settings, config.outbound.max_attempts);
  Arguments args;
  args.set_fixed_windows(config.limits.stream_window);
  args.set(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
           or_limit(settings.max_receive_message, config.limits.max_message));
  // What may be sent is checked by the daemon on the way in, so gRPC's own limit would only be a
  // second, worse message.
  args.set(GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, -1);
  args.set(GRPC_ARG_MAX_METADATA_SIZE, kGrpcMaxMetadata);
  args.set(GRPC_ARG_DEFAULT_AUTHORITY, settings.authority);
  args.set(GRPC_ARG_PRIMARY_USER_AGENT_STRING, settings.user_agent);
  args.set(GRPC_SSL_TARGET_NAME_OVERRIDE_ARG, settings.tls_server_name);
  args.set(GRPC_ARG_LB_POLICY_NAME, settings.load_balancing);
  args.set(GRPC_ARG_SERVICE_CONFIG, service_config);
  args.set(GRPC_ARG_ENABLE_RETRIES, config.outbound.max_attempts > 1 ? 1 : 0);
  args.set(GRPC_COMPRESSION_CHANNEL_DEFAULT_ALGORITHM, algorithm(settings.compression));
  args.set_unless_zero(GRPC_ARG_KEEPALIVE_TIME_MS, settings.keepalive_time);
  args.set_unless_zero(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, settings.keepalive_timeout);
  if (settings.keepalive_time.count() > 0) {
    args.set(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, settings.keepalive_without_calls ? 1 : 0);
    args.set(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);  // no other bound: the user has set one
  }
  args.set_unless_zero(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, settings.connect_timeout);
  args.set_unless_zero(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, settings.initial_backoff);
  args.set_unless_zero(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, settings.max_backoff);
  args.set_unless_zero(GRPC_ARG_CLIENT_IDLE_TIMEOUT_MS, settings.idle_timeout);
  args.set_unless_zero(GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, settings.dns_interval);
  const grpc_channel_args channel_args = args.get();
  grpc_channel_credentials* const credentials = credentials_of(settings, token);
  grpc_channel* const channel =
      grpc_channel_create(settings.target.c_str(), credentials, &channel_args);
  grpc_channel_credentials_release(credentials);
  return channel;
}

/// gRPC makes a channel out of anything; one that it could not make ends every call with the reason.
std::string reason_of_lame(grpc_channel* channel) {
  grpc_completion_queue* const queue = grpc_completion_queue_create_for_pluck(nullptr);
  const grpc_slice method = grpc_slice_from_static_string("/legated/Why");
  grpc_call* const call = grpc_channel_create_call(channel, nullptr, 0, queue, method, nullptr,
                                                   gpr_inf_future(GPR_CLOCK_MONOTONIC), nullptr);
  grpc_metadata_array trailers;
  grpc_metadata_array_init(&trailers);
  grpc_status_code code;
  grpc_slice details = grpc_empty_slice();
  std::array<grpc_op, 2> ops{};
  ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
  ops[1].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
  ops[1].data.recv_status_on_client.trailing_metadata = &trailers;
  ops[1].data.recv_status_on_client.status = &code;
  ops[1].data.recv_status_on_client.status_details = &details;
  grpc_call_start_batch(call, ops.data(), ops.size(), &ops, nullptr);
  grpc_completion_queue_pluck(queue, &ops, gpr_inf_future(GPR_CLOCK_MONOTONIC), nullptr);
  std::string reason(text_of(details));
  grpc_slice_unref(details);
  grpc_metadata_array_destroy(&trailers);
  grpc_call_unref(call);
  grpc_completion_queue_shutdown(queue);
  grpc_completion_queue_destroy(queue);
  return reason;
}

/// gRPC's own view of its objects, as channelz tells it; empty for one that is gone.
Json channelz(char* text) {
  Json json = text == nullptr ? Json() : Json::parse(text, nullptr, false);
  gpr_free(text);
  return json.is_object() ? json : Json::object();
}

/// The number of the channel made last. Channels are made on one thread only.
int64_t newest_channel() {
  static int64_t newest = 0;
  for (bool more = true; more;) {
    const Json answer = channelz(grpc_channelz_get_top_channels(newest + 1));
    more = false;
    for (const Json& channel : answer.value("channel", Json::array())) {
      newest = std::max<int64_t>(newest, std::stoll(channel["ref"].value("channelId", "0")));
      more = true;
    }
  }
  return newest;
}

/// Waits for the channel's state to differ from what it was; then for the next. Lives until gRPC has
/// told of the last.
class StateWatch final : public Completion {
 public:
  StateWatch(Loop& loop, const std::shared_ptr<Channel>& channel,
             std::function<void(Channel&)> on_change)
      : loop_(loop), channel_(channel), on_change_(std::move(on_change)) {
    wait(*channel, channel->state());
  }

 private:
  void on_complete(bool) override {
    const auto channel = channel_.lock();
    const auto state = channel != nullptr ? channel->state() : GRPC_CHANNEL_SHUTDOWN;
    if (state == GRPC_CHANNEL_SHUTDOWN) {
      delete this;
      return;
    }
    wait(*channel, state);
    on_change_(*channel);
  }

  void wait(Channel& channel, grpc_connectivity_state state) {
    grpc_channel_watch_connectivity_state(channel.get(), state,
                                          gpr_inf_future(GPR_CLOCK_MONOTONIC),
                                          loop_.completions(), static_cast<Completion*>(this));
  }

  Loop& loop_;
  const std::weak_ptr<Channel> channel_;
  const std::function<void(Channel&)> on_change_;
};

std::vector<Channel::Backend> backends_of(int64_t channelz_id) {
  std::vector<Channel::Backend> backends;
  const Json channel = channelz(grpc_channelz_get_channel(channelz_id));
  for (const Json& ref : channel.value("channel", Json::object()).value("subchannelRef", Json::array())) {
    const Json answer =
        channelz(grpc_channelz_get_subchannel(std::stoll(ref.value("subchannelId", "0"))));
    const Json data = answer.value("subchannel", Json::object()).value("data", Json::object());
    backends.push_back({.address = data.value("target", ""),
                        .state = data.value("state", Json::object()).value("state", "")});
  }
  return backends;
}

}  // namespace

Channel::Channel(std::string name, ChannelSettings settings, const Config& config,
                 grpc_channel* channel, std::unique_ptr<TokenSource> token, ClosedChannels& closed)
    : policies(std::get<Policies>(Policies::parse(settings.policies))),
      throttle(settings.retry_throttle_tokens, settings.retry_throttle_ratio),
      turns(settings.max_in_flight),
      name_(std::move(name)),
      settings_(std::move(settings)),
      config_(config),
      token_(std::move(token)),
      channel_(channel),
      closed_(closed),
      channelz_id_(newest_channel()),
      retries_calls_(service_config_of(settings_, config.outbound.max_attempts)
                         .find("retryPolicy") != std::string::npos &&
                     config.outbound.max_attempts > 1),
      hedging_{.attempts = std::min(settings_.hedging_attempts, config.outbound.max_attempts),
               .delay = settings_.hedging_delay,
               .codes = settings_.hedging_codes} {}

Channel::~Channel() { closed_.add(channel_, channelz_id_); }

void Channel::watch(Loop& loop, const std::function<void(Channel&)>& on_change) {
  if (std::exchange(watched_, true)) return;
  new StateWatch(loop, shared_from_this(), on_change);  // destroys itself
}

MessageLimit Channel::send_limit() const {
  if (settings_.max_send_message > 0)
    return {settings_.max_send_message, "the channel's max_send_message"};
  return {config_.limits.max_message, "limits.max_message"};
}

MessageLimit Channel::receive_limit() const {
  if (settings_.max_receive_message > 0)
    return {settings_.max_receive_message, "the channel's max_receive_message"};
  return {config_.limits.max_message, "limits.max_message"};
}

MetadataLimit Channel::max_metadata() const {
  if (settings_.max_metadata > 0) return {settings_.max_metadata, "the channel's max_metadata"};
  return config_.limits.max_metadata;
}

bool Channel::hedges_call(std::string_view method, bool idempotent) const {
  if (hedging_.attempts < 2) return false;
  return idempotent || std::ranges::any_of(settings_.hedging_methods, [&](const auto& pattern) {
           return matches(pattern, method);
         });
}

std::vector<Channel::Backend> Channel::backends() const { return backends_of(channelz_id_); }

void ClosedChannels::add(grpc_channel* channel, int64_t channelz_id) {
  channels_.push_back({channel, channelz_id});
  sweep();
}

void ClosedChannels::sweep() {
  constexpr std::chrono::milliseconds kEvery{100};
  std::erase_if(channels_, [](const Closed& closed) {
    const auto backends = backends_of(closed.channelz_id);
    if (std::ranges::any_of(backends, [](auto& backend) { return backend.state == "CONNECTING"; }))
      return false;
    grpc_channel_destroy(closed.channel);
    return true;
  });
  if (!channels_.empty()) timer_.set(loop_.now() + kEvery);
}

void ClosedChannels::destroy() {
  for (const Closed& closed : channels_) grpc_channel_destroy(closed.channel);
  channels_.clear();
}

Channels::Channels(Loop& loop, const Config& config) : loop_(loop), config_(config), closed_(loop) {
  for (const auto& [name, settings] : config.channels) {
    const Opened made = make(name, settings);
    if (const Status* status = std::get_if<Status>(&made))
      throw ConfigError("channels." + name + ": " + status->message);
    named_[name] = std::get<std::shared_ptr<Channel>>(made);
  }
}

Channels::Opened Channels::make(const std::string& name, const ChannelSettings& settings) {
  if (std::string problem = problem_with(settings, config_); !problem.empty())
    return Status{StatusCode::invalid_argument, std::move(problem), Origin::daemon, {}};
  auto token = has_token(settings) ? std::make_unique<TokenSource>(loop_, name, settings) : nullptr;
  grpc_channel* const channel = create(settings, config_, token.get());
  if (grpc_channel_support_connectivity_watcher(channel) == 0) {
    std::string reason = reason_of_lame(channel);
    grpc_channel_destroy(channel);
    return Status{StatusCode::invalid_argument, "gRPC refuses the channel: " + reason,
                  Origin::daemon, {}};
  }
  return std::make_shared<Channel>(name, settings, config_, channel, std::move(token),
                                   closed_);
}

Channels::Opened Channels::open(const ChannelSettings& settings) {
  if (const auto known = shared_.find(settings); known != shared_.end()) {
    if (auto channel = known->second.lock()) return channel;
  }
  std::erase_if(shared_, [](const auto& entry) { return entry.second.expired(); });
  Opened made = make("", settings);
  if (const auto* channel = std::get_if<std::shared_ptr<Channel>>(&made))
    shared_[settings] = *channel;
  return made;
}

Channels::Opened Channels::named(const std::string& name) const {
  if (const auto found = named_.find(name); found != named_.end()) return found->second;
  std::string names;
  for (const auto& [other, channel] : named_) names += (names.empty() ? "" : ", ") + other;
  return Status{StatusCode::not_found,
                "the daemon's configuration has no channel \"" + name + "\"; it has " +
                    (names.empty() ? "none" : names),
                Origin::daemon,
                {}};
}

}  // namespace legated
