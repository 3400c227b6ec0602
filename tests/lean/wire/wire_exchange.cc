// The C++ side of test_wire.py. A frame is a line of hexadecimal digits.
//   wire_exchange write COUNT SEED    random frames, laid out in the many ways FlatBuffers allows
//   wire_exchange change SEED         reads frames, writes each with a few bytes of it changed
//   wire_exchange describe            reads frames, writes what the decoder makes of each
#include <charconv>
#include <iostream>
#include <string>

#include "tests/unit/golden_vectors.h"
#include "tests/unit/random.h"

namespace legate::ipc {
namespace {

using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;
using legated::Random;
using Type = FrameType;

std::vector<uint8_t> from_hex(const std::string& line) {
  std::vector<uint8_t> bytes(line.size() / 2);
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::from_chars(&line[2 * i], &line[2 * i] + 2, bytes[i], 16);
  }
  return bytes;
}

// Builds random tables. Fields are written in a random order of two, strings are shared at random,
// scalars may be forced into the table although they have their default.
class Sampler {
 public:
  explicit Sampler(uint64_t seed) : random_(seed) {}

  std::vector<uint8_t> frame() {
    static const std::vector<Type> kTypes = {
        Type::hello,    Type::hello_ack,    Type::error,          Type::goaway,
        Type::start,    Type::headers,      Type::data,           Type::status,
        Type::cancel,   Type::open_channel, Type::channel_opened, Type::listen,
        Type::listening, Type::register_methods, Type::describe,  Type::set_health,
        Type::retire,   Type::query,    Type::command,        Type::window,
        FrameType{200}};
    Header header{};
    header.call_id = number<uint32_t>();
    header.type = random_.pick(kTypes);
    header.aux = number<uint32_t>();
    FlatBufferBuilder builder;
    builder.ForceDefaults(random_.one_in(2));
    builder.DedupVtables(!random_.one_in(3));
    const bool has_meta = build(builder, header.type);
    std::vector<uint8_t> payload;
    if (header.type == Type::data || header.type == Type::start) {
      payload = bytes(40);
      header.flags = static_cast<uint8_t>(random_.below(16));
    }
    if (random_.one_in(4) && is_known(header.type)) header.flags |= flag::critical;
    std::vector<uint8_t> out;
    append_frame(out, header, has_meta ? &builder : nullptr, payload);
    return out;
  }

 private:
  template <class Int>
  Int number() {
    static const std::vector<uint64_t> kEdges = {0, 1, 64, 255, 65'536, 1ULL << 32, ~0ULL};
    return static_cast<Int>(random_.one_in(3) ? random_.next() : random_.pick(kEdges));
  }
  template <class Enum>
  Enum choice() {
    return static_cast<Enum>(number<uint8_t>());
  }
  bool coin() { return random_.one_in(2); }

  std::vector<uint8_t> bytes(uint32_t most) {
    std::vector<uint8_t> result(random_.below(most + 1));
    for (uint8_t& byte : result) byte = static_cast<uint8_t>(random_.next());
    return result;
  }

  Offset<flatbuffers::String> text(FlatBufferBuilder& b) {
    static const std::vector<std::string> kTexts = {
        "", "a", "ab", "abc", "abcd", "x-trace", "/pkg.Service/Method", "h\u00e9llo \"w\\rld\"\n",
        std::string("\0z", 2)};
    const std::string& chosen = random_.pick(kTexts);
    if (random_.one_in(8)) {
      const auto raw = bytes(9);
      return b.CreateString(reinterpret_cast<const char*>(raw.data()), raw.size());
    }
    return coin() ? b.CreateSharedString(chosen) : b.CreateString(chosen);
  }
  Offset<flatbuffers::String> maybe_text(FlatBufferBuilder& b) {
    return random_.one_in(3) ? Offset<flatbuffers::String>() : text(b);
  }

  using Blob = Offset<flatbuffers::Vector<uint8_t>>;
  Blob blob(FlatBufferBuilder& b) { return b.CreateVector(bytes(12)); }
  Blob maybe_blob(FlatBufferBuilder& b) { return random_.one_in(3) ? Blob() : blob(b); }

  using Texts = Offset<flatbuffers::Vector<Offset<flatbuffers::String>>>;
  Texts texts(FlatBufferBuilder& b) {
    std::vector<Offset<flatbuffers::String>> list(random_.below(4));
    for (auto& item : list) item = text(b);
    return b.CreateVector(list);
  }

  using Entries = Offset<flatbuffers::Vector<Offset<Entry>>>;
  Entries entries(FlatBufferBuilder& b) {
    if (random_.one_in(3)) return {};
    std::vector<Offset<Entry>> list(random_.below(5));
    for (size_t i = 0; i < list.size(); ++i) {
      if (i > 0 && random_.one_in(5)) {
        list[i] = list[i - 1];  // one table, referred to twice
        continue;
      }
      const bool key_first = coin();
      Offset<flatbuffers::String> key;
      if (key_first) key = text(b);
      const auto value = blob(b);
      if (!key_first) key = text(b);
      EntryBuilder entry(b);
      if (coin()) {
        entry.add_key(key);
        entry.add_value(value);
      } else {
        entry.add_value(value);
        entry.add_key(key);
      }
      list[i] = entry.Finish();
    }
    return b.CreateVector(list);
  }

  Offset<Identity> identity(FlatBufferBuilder& b) {
    if (random_.one_in(3)) return {};
    const auto names = coin() ? texts(b) : Texts();
    const auto subject = maybe_text(b);
    return CreateIdentity(b, subject, names, maybe_text(b));
  }

  Offset<ListenOptions> listen_options(FlatBufferBuilder& b) {
    if (random_.one_in(3)) return {};
    Offset<ServerTls> tls;
    if (coin()) {
      const auto roots = maybe_text(b), certificate = text(b), key = text(b);
      tls = CreateServerTls(b, certificate, key, roots, choice<ClientAuth>());
    }
    const auto policies = coin() ? texts(b) : Texts();
    const auto sticky = maybe_text(b);
    ListenOptionsBuilder builder(b);
    builder.add_tls(tls);
    builder.add_compression(choice<Compression>());
    builder.add_max_send_message(number<uint32_t>());
    builder.add_max_receive_message(number<uint32_t>());
    builder.add_max_metadata(number<uint32_t>());
    builder.add_max_connections(number<uint32_t>());
    builder.add_max_concurrent_streams(number<uint32_t>());
    builder.add_memory(number<uint64_t>());
    builder.add_keepalive_time_ms(number<uint32_t>());
    builder.add_keepalive_timeout_ms(number<uint32_t>());
    builder.add_min_ping_interval_ms(number<uint32_t>());
    builder.add_ping_without_calls(coin());
    builder.add_max_connection_idle_ms(number<uint32_t>());
    builder.add_max_connection_age_ms(number<uint32_t>());
    builder.add_max_connection_age_grace_ms(number<uint32_t>());
    builder.add_sticky(sticky);
    builder.add_policies(policies);
    builder.add_health(choice<Switch>());
    builder.add_reflection(choice<Switch>());
    builder.add_channelz(choice<Switch>());
    return builder.Finish();
  }

  Offset<ChannelOptions> options(FlatBufferBuilder& b) {
    if (random_.one_in(3)) return {};
    Offset<Tls> tls;
    if (coin()) {
      const auto roots = maybe_text(b), certificate = maybe_text(b), key = maybe_text(b);
      tls = CreateTls(b, roots, certificate, key, maybe_text(b));
    }
    Offset<Retry> retry;
    if (coin()) {
      const auto codes = maybe_blob(b);
      RetryBuilder builder(b);
      builder.add_attempts(number<uint8_t>());
      builder.add_initial_backoff_ms(number<uint32_t>());
      builder.add_max_backoff_ms(number<uint32_t>());
      builder.add_multiplier_percent(number<uint16_t>());
      builder.add_codes(codes);
      builder.add_throttle_tokens(number<uint16_t>());
      builder.add_throttle_permille(number<uint16_t>());
      retry = builder.Finish();
    }
    Offset<Hedging> hedging;
    if (coin()) {
      const auto codes = maybe_blob(b);
      hedging = CreateHedging(b, number<uint8_t>(), number<uint32_t>(), codes);
    }
    const auto policies = coin() ? texts(b) : Texts();
    const auto token = maybe_text(b);
    const auto authority = maybe_text(b), agent = maybe_text(b), balancing = maybe_text(b),
               service_config = maybe_text(b);
    ChannelOptionsBuilder builder(b);
    builder.add_tls(tls);
    builder.add_authority(authority);
    builder.add_user_agent(agent);
    builder.add_load_balancing(balancing);
    builder.add_service_config(service_config);
    builder.add_compression(choice<Compression>());
    builder.add_max_send_message(number<uint32_t>());
    builder.add_max_receive_message(number<uint32_t>());
    builder.add_max_metadata(number<uint32_t>());
    builder.add_keepalive_time_ms(number<uint32_t>());
    builder.add_keepalive_timeout_ms(number<uint32_t>());
    builder.add_keepalive_without_calls(coin());
    builder.add_connect_timeout_ms(number<uint32_t>());
    builder.add_initial_backoff_ms(number<uint32_t>());
    builder.add_max_backoff_ms(number<uint32_t>());
    builder.add_idle_timeout_ms(number<uint32_t>());
    builder.add_dns_interval_ms(number<uint32_t>());
    builder.add_retry(retry);
    builder.add_policies(policies);
    builder.add_token(token);
    builder.add_hedging(hedging);
    return builder.Finish();
  }

  template <class Builder>
  bool finish(FlatBufferBuilder& b, Builder& builder) {
    b.Finish(builder.Finish());
    return true;
  }

  bool build(FlatBufferBuilder& b, Type type) {
    switch (type) {
      case Type::hello: {
        const auto name = maybe_text(b), instance = maybe_text(b), build = maybe_text(b);
        HelloBuilder builder(b);
        builder.add_version_min(number<uint16_t>());
        builder.add_version_max(number<uint16_t>());
        builder.add_features(number<uint32_t>());
        builder.add_roles(number<uint8_t>());
        builder.add_name(name);
        builder.add_instance(instance);
        builder.add_build(build);
        builder.add_max_frame(number<uint32_t>());
        builder.add_call_window(number<uint32_t>());
        builder.add_connection_window(number<uint32_t>());
        return finish(b, builder);
      }
      case Type::hello_ack: {
        const auto epoch = maybe_text(b), build = maybe_text(b);
        LimitsBuilder limits(b);
        limits.add_max_frame(number<uint32_t>());
        limits.add_max_meta(number<uint32_t>());
        limits.add_max_calls(number<uint32_t>());
        limits.add_memory_budget(number<uint64_t>());
        const auto finished = limits.Finish();
        HelloAckBuilder builder(b);
        builder.add_version(number<uint16_t>());
        builder.add_roles(number<uint8_t>());
        builder.add_session(number<uint32_t>());
        builder.add_epoch(epoch);
        builder.add_build(build);
        builder.add_heartbeat_ms(number<uint32_t>());
        builder.add_limits(finished);
        return finish(b, builder);
      }
      case Type::error: {
        const auto message = text(b);
        ErrorBuilder builder(b);
        builder.add_frame_type(number<uint8_t>());
        builder.add_message(message);
        builder.add_code(choice<ErrorCode>());
        return finish(b, builder);
      }
      case Type::goaway: {
        const auto epoch = maybe_text(b), reason = maybe_text(b);
        b.Finish(CreateGoaway(b, coin(), number<uint32_t>(), number<uint32_t>(), epoch, reason));
        return true;
      }
      case Type::start: {
        const auto authority = maybe_text(b);
        const auto metadata = entries(b);
        const auto method = text(b), peer = maybe_text(b);
        const auto client = identity(b);
        StartBuilder builder(b);
        builder.add_method(method);
        builder.add_metadata(metadata);
        builder.add_timeout_us(number<uint64_t>());
        builder.add_channel(number<uint32_t>());
        builder.add_shape(choice<Shape>());
        builder.add_wait_for_ready(coin());
        builder.add_lease(number<uint32_t>());
        builder.add_authority(authority);
        builder.add_peer(peer);
        builder.add_queued_us(number<uint64_t>());
        builder.add_compression(choice<Compression>());
        builder.add_max_send_message(number<uint32_t>());
        builder.add_max_receive_message(number<uint32_t>());
        builder.add_idempotent(coin());
        builder.add_identity(client);
        return finish(b, builder);
      }
      case Type::headers: {
        const auto metadata = entries(b);
        b.Finish(CreateHeaders(b, metadata, choice<Compression>()));
        return true;
      }
      case Type::status: {
        const auto message = maybe_text(b);
        const auto details = maybe_blob(b);
        const auto trailers = entries(b);
        b.Finish(CreateStatus(b, number<uint16_t>(), message, details, trailers, choice<Origin>(),
                              number<uint64_t>(), number<uint32_t>()));
        return true;
      }
      case Type::open_channel: {
        const auto chosen = options(b);
        b.Finish(CreateOpenChannel(b, text(b), chosen, coin()));
        return true;
      }
      case Type::channel_opened:
        b.Finish(CreateChannelOpened(b, coin(), choice<ConnectivityState>()));
        return true;
      case Type::listen: {
        const auto chosen = listen_options(b);
        b.Finish(CreateListen(b, text(b), chosen));
        return true;
      }
      case Type::listening: {
        const auto address = maybe_text(b);
        b.Finish(CreateListening(b, number<uint32_t>(), address, coin()));
        return true;
      }
      case Type::register_methods: {
        const auto methods = texts(b);
        const auto generation = maybe_text(b);
        b.Finish(CreateRegister(b, number<uint32_t>(), methods, number<uint32_t>(), number<uint16_t>(),
                                generation, number<uint16_t>()));
        return true;
      }
      case Type::set_health: {
        const auto service = maybe_text(b);
        b.Finish(CreateSetHealth(b, number<uint32_t>(), service, choice<Health>()));
        return true;
      }
      case Type::retire: {
        const auto message = maybe_text(b);
        b.Finish(CreateRetire(b, choice<RetireReason>(), message));
        return true;
      }
      case Type::query: b.Finish(CreateQuery(b, text(b))); return true;
      case Type::command: {
        const auto what = text(b);
        const auto server = maybe_text(b);
        b.Finish(CreateCommand(b, what, number<uint32_t>(), number<uint32_t>(), server));
        return true;
      }
      default: return false;
    }
  }

  Random random_;
};

// Mostly small changes within the meta, where offsets and lengths are.
void change(Random& random, std::vector<uint8_t>& bytes) {
  const size_t first = bytes.size() > kHeaderSize && !random.one_in(20) ? kHeaderSize : 0;
  for (uint32_t i = random.between(1, 3); i > 0; --i) {
    uint8_t& byte = bytes[first + random.below(static_cast<uint32_t>(bytes.size() - first))];
    switch (random.below(4)) {
      case 0: byte = static_cast<uint8_t>(random.next()); break;
      case 1: byte = static_cast<uint8_t>(byte + 1); break;
      case 2: byte = static_cast<uint8_t>(byte - 4); break;
      default: byte = static_cast<uint8_t>(random.below(64)); break;
    }
  }
}

int run(const std::vector<std::string>& arguments) {
  std::string line;
  if (arguments.size() == 3 && arguments[0] == "write") {
    Sampler sampler(std::stoull(arguments[2]));
    for (int i = std::stoi(arguments[1]); i > 0; --i) std::cout << to_hex(sampler.frame()) << '\n';
  } else if (arguments.size() == 2 && arguments[0] == "change") {
    Random random(std::stoull(arguments[1]));
    while (std::getline(std::cin, line)) {
      std::vector<uint8_t> bytes = from_hex(line);
      change(random, bytes);
      std::cout << to_hex(bytes) << '\n';
    }
  } else if (arguments.size() == 1 && arguments[0] == "describe") {
    while (std::getline(std::cin, line)) std::cout << describe(from_hex(line));
  } else {
    std::cerr << "usage: wire_exchange write COUNT SEED | change SEED | describe\n";
    return 2;
  }
  return 0;
}

}  // namespace
}  // namespace legate::ipc

int main(int argc, char** argv) { return legate::ipc::run({argv + 1, argv + argc}); }
