// The JSON of meta tables: fields in the order of legate.fbs, scalars always, what is absent left
// out.
#include <array>
#include <cstdio>

#include "tests/unit/golden_vectors.h"

namespace legate::ipc {
namespace {

std::string quoted(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      std::array<char, 8> escape{};
      std::snprintf(escape.data(), escape.size(), "\\u%04x", static_cast<unsigned>(c));
      result += escape.data();
    } else {
      result += c;
    }
  }
  return result + '"';
}

class Object {
 public:
  template <class Int>
  requires std::is_integral_v<Int> Object& add(std::string_view key, Int value) {
    return put(key, std::to_string(value));
  }
  Object& add(std::string_view key, bool value) { return put(key, value ? "true" : "false"); }
  template <class Enum>
  requires std::is_enum_v<Enum> Object& add(std::string_view key, Enum value) {
    return add(key, static_cast<unsigned>(value));
  }
  Object& add(std::string_view key, const flatbuffers::String* text) {
    return text == nullptr ? *this : put(key, quoted(view(text)));
  }
  Object& add(std::string_view key, const flatbuffers::Vector<uint8_t>* bytes) {
    return bytes == nullptr ? *this : put(key, '"' + to_hex({bytes->data(), bytes->size()}) + '"');
  }
  template <class Item>
  Object& add(std::string_view key, const flatbuffers::Vector<flatbuffers::Offset<Item>>* items) {
    if (items == nullptr) return *this;
    std::string list;
    for (const Item* item : *items) list += (list.empty() ? "" : ",") + json(*item);
    return put(key, '[' + list + ']');
  }
  Object& put(std::string_view key, const std::string& value) {
    text_ += (text_.empty() ? "" : ",") + quoted(key) + ':' + value;
    return *this;
  }
  std::string text() const { return '{' + text_ + '}'; }

 private:
  static std::string json(const flatbuffers::String& text) { return quoted(view(&text)); }
  static std::string json(const Entry& entry) {
    return Object().add("key", entry.key()).add("value", entry.value()).text();
  }

  std::string text_;
};

Object json(const Hello& t) {
  return Object()
      .add("version_min", t.version_min())
      .add("version_max", t.version_max())
      .add("features", t.features())
      .add("roles", t.roles())
      .add("name", t.name())
      .add("instance", t.instance())
      .add("build", t.build())
      .add("max_frame", t.max_frame())
      .add("call_window", t.call_window())
      .add("connection_window", t.connection_window());
}

Object json(const Limits& t) {
  return Object()
      .add("max_frame", t.max_frame())
      .add("max_meta", t.max_meta())
      .add("call_window", t.call_window())
      .add("connection_window", t.connection_window())
      .add("max_message", t.max_message())
      .add("max_metadata", t.max_metadata())
      .add("max_calls", t.max_calls())
      .add("memory_budget", t.memory_budget());
}

Object json(const HelloAck& t) {
  return Object()
      .add("version", t.version())
      .add("features", t.features())
      .add("roles", t.roles())
      .add("session", t.session())
      .add("epoch", t.epoch())
      .add("build", t.build())
      .add("heartbeat_ms", t.heartbeat_ms())
      .put("limits", json(*t.limits()).text());
}

Object json(const Error& t) {
  return Object()
      .add("code", t.code())
      .add("message", t.message())
      .add("frame_type", t.frame_type());
}

Object json(const Goaway& t) {
  return Object()
      .add("final", t.final())
      .add("last_id", t.last_id())
      .add("grace_ms", t.grace_ms())
      .add("epoch", t.epoch())
      .add("reason", t.reason());
}

Object json(const Identity& t) {
  return Object()
      .add("subject", t.subject())
      .add("names", t.names())
      .add("certificate", t.certificate());
}

Object json(const Start& t) {
  Object object;
  object.add("method", t.method())
      .add("metadata", t.metadata())
      .add("timeout_us", t.timeout_us())
      .add("channel", t.channel())
      .add("shape", t.shape())
      .add("wait_for_ready", t.wait_for_ready())
      .add("lease", t.lease())
      .add("authority", t.authority())
      .add("peer", t.peer())
      .add("queued_us", t.queued_us())
      .add("compression", t.compression())
      .add("max_send_message", t.max_send_message())
      .add("max_receive_message", t.max_receive_message())
      .add("idempotent", t.idempotent());
  if (t.identity() != nullptr) object.put("identity", json(*t.identity()).text());
  return object;
}

Object json(const Headers& t) {
  return Object().add("metadata", t.metadata()).add("compression", t.compression());
}

Object json(const Status& t) {
  return Object()
      .add("code", t.code())
      .add("message", t.message())
      .add("details", t.details())
      .add("trailers", t.trailers())
      .add("origin", t.origin())
      .add("elapsed_us", t.elapsed_us())
      .add("attempts", t.attempts());
}

Object json(const Tls& t) {
  return Object()
      .add("roots", t.roots())
      .add("certificate", t.certificate())
      .add("key", t.key())
      .add("server_name", t.server_name());
}

Object json(const Retry& t) {
  return Object()
      .add("attempts", t.attempts())
      .add("initial_backoff_ms", t.initial_backoff_ms())
      .add("max_backoff_ms", t.max_backoff_ms())
      .add("multiplier_percent", t.multiplier_percent())
      .add("codes", t.codes())
      .add("throttle_tokens", t.throttle_tokens())
      .add("throttle_permille", t.throttle_permille());
}

Object json(const Hedging& t) {
  return Object()
      .add("attempts", t.attempts())
      .add("delay_ms", t.delay_ms())
      .add("codes", t.codes());
}

Object json(const ChannelOptions& t) {
  Object object;
  if (t.tls() != nullptr) object.put("tls", json(*t.tls()).text());
  object.add("authority", t.authority())
      .add("user_agent", t.user_agent())
      .add("load_balancing", t.load_balancing())
      .add("service_config", t.service_config())
      .add("compression", t.compression())
      .add("max_send_message", t.max_send_message())
      .add("max_receive_message", t.max_receive_message())
      .add("max_metadata", t.max_metadata())
      .add("keepalive_time_ms", t.keepalive_time_ms())
      .add("keepalive_timeout_ms", t.keepalive_timeout_ms())
      .add("keepalive_without_calls", t.keepalive_without_calls())
      .add("connect_timeout_ms", t.connect_timeout_ms())
      .add("initial_backoff_ms", t.initial_backoff_ms())
      .add("max_backoff_ms", t.max_backoff_ms())
      .add("idle_timeout_ms", t.idle_timeout_ms())
      .add("dns_interval_ms", t.dns_interval_ms());
  if (t.retry() != nullptr) object.put("retry", json(*t.retry()).text());
  object.add("policies", t.policies()).add("token", t.token());
  if (t.hedging() != nullptr) object.put("hedging", json(*t.hedging()).text());
  return object;
}

Object json(const OpenChannel& t) {
  Object object;
  object.add("target", t.target());
  if (t.options() != nullptr) object.put("options", json(*t.options()).text());
  return object.add("watch", t.watch());
}

Object json(const ChannelOpened& t) {
  return Object().add("shared", t.shared()).add("state", t.state());
}

Object json(const ServerTls& t) {
  return Object()
      .add("certificate", t.certificate())
      .add("key", t.key())
      .add("roots", t.roots())
      .add("client_auth", t.client_auth());
}

Object json(const ListenOptions& t) {
  Object object;
  if (t.tls() != nullptr) object.put("tls", json(*t.tls()).text());
  return object.add("compression", t.compression())
      .add("max_send_message", t.max_send_message())
      .add("max_receive_message", t.max_receive_message())
      .add("max_metadata", t.max_metadata())
      .add("max_connections", t.max_connections())
      .add("max_concurrent_streams", t.max_concurrent_streams())
      .add("memory", t.memory())
      .add("keepalive_time_ms", t.keepalive_time_ms())
      .add("keepalive_timeout_ms", t.keepalive_timeout_ms())
      .add("min_ping_interval_ms", t.min_ping_interval_ms())
      .add("ping_without_calls", t.ping_without_calls())
      .add("max_connection_idle_ms", t.max_connection_idle_ms())
      .add("max_connection_age_ms", t.max_connection_age_ms())
      .add("max_connection_age_grace_ms", t.max_connection_age_grace_ms())
      .add("sticky", t.sticky())
      .add("policies", t.policies())
      .add("health", t.health())
      .add("reflection", t.reflection())
      .add("channelz", t.channelz());
}

Object json(const Listen& t) {
  Object object;
  object.add("address", t.address());
  if (t.options() != nullptr) object.put("options", json(*t.options()).text());
  return object;
}

Object json(const Listening& t) {
  return Object().add("port", t.port()).add("address", t.address()).add("shared", t.shared());
}

Object json(const Register& t) {
  return Object()
      .add("server", t.server())
      .add("methods", t.methods())
      .add("slots", t.slots())
      .add("weight", t.weight())
      .add("generation", t.generation())
      .add("share", t.share());
}

Object json(const SetHealth& t) {
  return Object()
      .add("server", t.server())
      .add("service", t.service())
      .add("health", t.health());
}

Object json(const Retire& t) {
  return Object().add("reason", t.reason()).add("message", t.message());
}

Object json(const Query& t) { return Object().add("what", t.what()); }

Object json(const Command& t) {
  return Object()
      .add("what", t.what())
      .add("session", t.session())
      .add("call", t.call())
      .add("server", t.server());
}

}  // namespace

std::string meta_json(const Frame& frame) {
  switch (frame.header.type) {
    case FrameType::hello: return json(frame.as<Hello>()).text();
    case FrameType::hello_ack: return json(frame.as<HelloAck>()).text();
    case FrameType::error: return json(frame.as<Error>()).text();
    case FrameType::goaway: return json(frame.as<Goaway>()).text();
    case FrameType::start: return json(frame.as<Start>()).text();
    case FrameType::headers: return json(frame.as<Headers>()).text();
    case FrameType::status: return json(frame.as<Status>()).text();
    case FrameType::open_channel: return json(frame.as<OpenChannel>()).text();
    case FrameType::channel_opened: return json(frame.as<ChannelOpened>()).text();
    case FrameType::listen: return json(frame.as<Listen>()).text();
    case FrameType::listening: return json(frame.as<Listening>()).text();
    case FrameType::register_methods: return json(frame.as<Register>()).text();
    case FrameType::set_health: return json(frame.as<SetHealth>()).text();
    case FrameType::retire: return json(frame.as<Retire>()).text();
    case FrameType::query: return json(frame.as<Query>()).text();
    case FrameType::command: return json(frame.as<Command>()).text();
    default: return "-";
  }
}

}  // namespace legate::ipc
