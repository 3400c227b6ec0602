#include "cpp-client/encode.h"

#include <unistd.h>

#include <algorithm>

#include "cpp-client/options.h"

namespace legate::client {
namespace {

// A receiver verifies at most 4096 tables: the root and an Entry for each element.
constexpr size_t kMaxEntries = 4095;

flatbuffers::Offset<flatbuffers::Vector<uint8_t>> bytes(Builder& builder, std::string_view text) {
  return builder.CreateVector(reinterpret_cast<const uint8_t*>(text.data()), text.size());
}

flatbuffers::Offset<Entries> entries(Builder& builder, const Metadata& metadata) {
  if (metadata.empty()) return 0;
  std::vector<flatbuffers::Offset<ipc::Entry>> offsets;
  offsets.reserve(metadata.size());
  for (const auto& [key, value] : metadata) {
    const auto key_offset = builder.CreateString(key);
    offsets.push_back(ipc::CreateEntry(builder, key_offset, bytes(builder, value)));
  }
  return builder.CreateVector(offsets);
}

// 0 says that there is no deadline, so one that is over already becomes the shortest there is.
uint64_t timeout_us(const std::optional<Microseconds>& timeout) {
  return timeout ? static_cast<uint64_t>(std::max<int64_t>(timeout->count(), 1)) : 0;
}

Microseconds microseconds(uint64_t count) {
  return Microseconds(static_cast<int64_t>(std::min<uint64_t>(count, INT64_MAX)));
}

}  // namespace

void encode_hello(Builder& builder, const Options& options) {
  builder.Clear();
  const auto name = builder.CreateString(options.name);
  const auto instance = builder.CreateString(std::to_string(::getpid()));
  const auto build = builder.CreateString("legate_client " LEGATE_CLIENT_VERSION);
  ipc::HelloBuilder hello(builder);
  hello.add_roles(static_cast<uint8_t>(options.roles));
  hello.add_name(name);
  hello.add_instance(instance);
  hello.add_build(build);
  hello.add_max_frame(options.max_frame);
  hello.add_call_window(options.call_window);
  hello.add_connection_window(options.connection_window);
  builder.Finish(hello.Finish());
}

void encode_start(Builder& builder, ChannelId channel, const std::string& method,
                  const CallOptions& options) {
  builder.Clear();
  const auto metadata = entries(builder, options.metadata);
  const auto method_offset = builder.CreateString(method);
  ipc::StartBuilder start(builder);
  start.add_method(method_offset);
  start.add_metadata(metadata);
  start.add_timeout_us(timeout_us(options.timeout));
  start.add_channel(channel.value);
  start.add_shape(options.shape);
  start.add_wait_for_ready(options.wait_for_ready);
  start.add_compression(options.compression);
  start.add_max_send_message(options.max_send_message);
  start.add_max_receive_message(options.max_receive_message);
  start.add_idempotent(options.idempotent);
  builder.Finish(start.Finish());
}

void encode_headers(Builder& builder, const Metadata& metadata, ipc::Compression compression) {
  builder.Clear();
  const auto offset = entries(builder, metadata);
  builder.Finish(ipc::CreateHeaders(builder, offset, compression));
}

void encode_status(Builder& builder, const Status& status) {
  builder.Clear();
  const auto message = status.message.empty() ? 0 : builder.CreateString(status.message);
  const auto details = status.details ? bytes(builder, *status.details) : 0;
  const auto trailers = entries(builder, status.trailers);
  builder.Finish(ipc::CreateStatus(builder, static_cast<uint16_t>(status.code), message, details,
                                   trailers, status.origin));
}

void encode_error(Builder& builder, const Violation& violation, ipc::FrameType type) {
  builder.Clear();
  const auto message = builder.CreateString(violation.message);
  builder.Finish(ipc::CreateError(builder, violation.code, message, static_cast<uint8_t>(type)));
}

namespace {

flatbuffers::Offset<flatbuffers::String> text(Builder& builder, const std::string& value) {
  return value.empty() ? 0 : builder.CreateString(value);
}

uint32_t ms(std::chrono::milliseconds time) { return static_cast<uint32_t>(time.count()); }

flatbuffers::Offset<ipc::Tls> encode_tls(Builder& builder, const TlsOptions& options) {
  const auto roots = text(builder, options.roots);
  const auto certificate = text(builder, options.certificate);
  const auto key = text(builder, options.key);
  const auto server_name = text(builder, options.server_name);
  return ipc::CreateTls(builder, roots, certificate, key, server_name);
}

flatbuffers::Offset<flatbuffers::Vector<uint8_t>> encode_codes(Builder& builder,
                                                               const std::vector<Code>& codes) {
  std::vector<uint8_t> numbers;
  for (const Code code : codes) numbers.push_back(static_cast<uint8_t>(code));
  return numbers.empty() ? 0 : builder.CreateVector(numbers);
}

flatbuffers::Offset<ipc::Retry> encode_retry(Builder& builder, const RetryOptions& options) {
  const auto vector = encode_codes(builder, options.codes);
  return ipc::CreateRetry(builder, options.attempts, ms(options.initial_backoff),
                          ms(options.max_backoff), options.multiplier_percent, vector,
                          options.throttle_tokens, options.throttle_permille);
}

flatbuffers::Offset<ipc::Hedging> encode_hedging(Builder& builder, const HedgingOptions& options) {
  const auto codes = encode_codes(builder, options.codes);
  return ipc::CreateHedging(builder, options.attempts, ms(options.delay), codes);
}

flatbuffers::Offset<ipc::ChannelOptions> encode_options(Builder& builder,
                                                        const ChannelOptions& options) {
  const auto tls = options.tls ? encode_tls(builder, *options.tls) : 0;
  const auto retry = options.retry ? encode_retry(builder, *options.retry) : 0;
  const auto hedging = options.hedging ? encode_hedging(builder, *options.hedging) : 0;
  const auto token = text(builder, options.token);
  const auto authority = text(builder, options.authority);
  const auto user_agent = text(builder, options.user_agent);
  const auto load_balancing = text(builder, options.load_balancing);
  const auto service_config = text(builder, options.service_config);
  std::vector<flatbuffers::Offset<flatbuffers::String>> lines;
  for (const std::string& line : options.policies) lines.push_back(builder.CreateString(line));
  const auto policies = lines.empty() ? 0 : builder.CreateVector(lines);
  return ipc::CreateChannelOptions(
      builder, tls, authority, user_agent, load_balancing, service_config, options.compression,
      options.max_send_message, options.max_receive_message, options.max_metadata,
      ms(options.keepalive_time), ms(options.keepalive_timeout), options.keepalive_without_calls,
      ms(options.connect_timeout), ms(options.initial_backoff), ms(options.max_backoff),
      ms(options.idle_timeout), ms(options.dns_interval), retry, policies, token,
      hedging);
}

flatbuffers::Offset<ipc::ServerTls> encode_tls(Builder& builder, const ServerTlsOptions& options) {
  const auto certificate = builder.CreateString(options.certificate);
  const auto key = builder.CreateString(options.key);
  const auto roots = text(builder, options.roots);
  return ipc::CreateServerTls(builder, certificate, key, roots, options.client_auth);
}

flatbuffers::Offset<ipc::ListenOptions> encode_options(Builder& builder,
                                                       const ListenOptions& options) {
  const auto tls = options.tls ? encode_tls(builder, *options.tls) : 0;
  const auto sticky = text(builder, options.sticky);
  const auto policies =
      options.policies.empty() ? 0 : builder.CreateVectorOfStrings(options.policies);
  return ipc::CreateListenOptions(
      builder, tls, options.compression, options.max_send_message, options.max_receive_message,
      options.max_metadata, options.max_connections, options.max_concurrent_streams, options.memory,
      ms(options.keepalive_time), ms(options.keepalive_timeout), ms(options.min_ping_interval),
      options.ping_without_calls, ms(options.max_connection_idle), ms(options.max_connection_age),
      ms(options.max_connection_age_grace), sticky, policies, options.health, options.reflection,
      options.channelz);
}

}  // namespace

void encode_open_channel(Builder& builder, const std::string& target,
                         const ChannelOptions& options) {
  builder.Clear();
  const auto target_offset = builder.CreateString(target);
  ChannelOptions unwatched = options;
  unwatched.watch = false;
  const bool plain = unwatched == ChannelOptions();
  const auto options_offset = plain ? 0 : encode_options(builder, options);
  builder.Finish(ipc::CreateOpenChannel(builder, target_offset, options_offset, options.watch));
}

void encode_listen(Builder& builder, const std::string& address, const ListenOptions& options) {
  builder.Clear();
  const auto address_offset = builder.CreateString(address);
  const auto options_offset = options == ListenOptions() ? 0 : encode_options(builder, options);
  builder.Finish(ipc::CreateListen(builder, address_offset, options_offset));
}

void encode_register(Builder& builder, ServerId server, const std::vector<std::string>& methods,
                     uint32_t slots, const LeaseOptions& options) {
  builder.Clear();
  const auto offset = builder.CreateVectorOfStrings(methods);
  flatbuffers::Offset<flatbuffers::String> generation;
  if (!options.generation.empty()) generation = builder.CreateString(options.generation);
  builder.Finish(ipc::CreateRegister(builder, server.value, offset, slots, options.weight,
                                     generation, options.share));
}

void encode_command(Builder& builder, const Command& command) {
  builder.Clear();
  const auto what = builder.CreateString(command.what);
  flatbuffers::Offset<flatbuffers::String> server;
  if (!command.server.empty()) server = builder.CreateString(command.server);
  builder.Finish(ipc::CreateCommand(builder, what, command.session, command.call, server));
}

void encode_set_health(Builder& builder, ServerId server, const std::string& service,
                       ipc::Health health) {
  builder.Clear();
  const auto offset = text(builder, service);
  builder.Finish(ipc::CreateSetHealth(builder, server.value, offset, health));
}

void encode_query(Builder& builder, const std::string& what) {
  builder.Clear();
  builder.Finish(ipc::CreateQuery(builder, builder.CreateString(what)));
}

bool fits(const Builder& builder, size_t entries, const Limits& limits) {
  return entries <= kMaxEntries && builder.GetSize() <= std::min(limits.max_meta, 8U * UINT16_MAX);
}

Metadata decode_metadata(const Entries* entries) {
  Metadata metadata;
  if (entries == nullptr) return metadata;
  metadata.reserve(entries->size());
  for (const ipc::Entry* entry : *entries) {
    metadata.emplace_back(ipc::view(entry->key()), ipc::view(entry->value()));
  }
  return metadata;
}

Status decode_status(const ipc::Status& table) {
  Status status;
  status.code = Code{table.code()};
  status.message = ipc::view(table.message());
  if (table.details() != nullptr) status.details = ipc::view(table.details());
  status.trailers = decode_metadata(table.trailers());
  status.origin = table.origin();
  status.elapsed = microseconds(table.elapsed_us());
  status.attempts = table.attempts();
  return status;
}

namespace {

Identity decode_identity(const ipc::Identity& table) {
  Identity identity;
  identity.subject = ipc::view(table.subject());
  if (table.names() != nullptr) {
    for (const flatbuffers::String* name : *table.names()) identity.names.emplace_back(ipc::view(name));
  }
  identity.certificate = ipc::view(table.certificate());
  return identity;
}

}  // namespace

Dispatch decode_dispatch(const ipc::Start& table) {
  Dispatch dispatch;
  dispatch.lease = {table.lease()};
  dispatch.method = ipc::view(table.method());
  dispatch.metadata = decode_metadata(table.metadata());
  dispatch.authority = ipc::view(table.authority());
  dispatch.peer = ipc::view(table.peer());
  if (table.identity() != nullptr) dispatch.identity = decode_identity(*table.identity());
  dispatch.queued = microseconds(table.queued_us());
  if (table.timeout_us() != 0) {
    // A deadline farther away than a century is none: the clock could not hold it.
    constexpr Microseconds kCentury = std::chrono::hours(24 * 36525);
    const Microseconds left = microseconds(table.timeout_us());
    if (left < kCentury) dispatch.deadline = std::chrono::steady_clock::now() + left;
  }
  return dispatch;
}

Welcome decode_welcome(const ipc::HelloAck& table) {
  Welcome welcome;
  welcome.version = table.version();
  welcome.roles = Role{table.roles()};
  welcome.session = table.session();
  welcome.epoch = ipc::view(table.epoch());
  welcome.build = ipc::view(table.build());
  welcome.heartbeat = std::chrono::milliseconds(table.heartbeat_ms());
  const ipc::Limits& limits = *table.limits();
  welcome.limits = {.max_frame = limits.max_frame(),
                    .max_meta = limits.max_meta(),
                    .call_window = limits.call_window(),
                    .connection_window = limits.connection_window(),
                    .max_message = limits.max_message(),
                    .max_metadata = limits.max_metadata(),
                    .max_calls = limits.max_calls(),
                    .memory_budget = limits.memory_budget()};
  return welcome;
}

}  // namespace legate::client
