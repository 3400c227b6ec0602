// The table. A vector once released is never changed, only others are added.
#include "tests/unit/golden_vectors.h"

#include <algorithm>
#include <string>
#include <utility>

namespace legate::ipc {
namespace {

using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;
using Metadata = std::vector<std::pair<std::string_view, std::string_view>>;

constexpr std::string_view kMethod = "/helloworld.Greeter/SayHello";
constexpr FrameType kUnknownType{200};

std::span<const uint8_t> as_bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// A frame without meta.
std::vector<uint8_t> plain(const Header& header, std::string_view payload = {}) {
  std::vector<uint8_t> bytes;
  append_frame(bytes, header, nullptr, as_bytes(payload));
  return bytes;
}

// A frame whose meta is the table that `fill` makes.
template <class Fill>
std::vector<uint8_t> with_meta(const Header& header, Fill fill, std::string_view payload = {}) {
  FlatBufferBuilder builder;
  builder.Finish(fill(builder));
  std::vector<uint8_t> bytes;
  append_frame(bytes, header, &builder, as_bytes(payload));
  return bytes;
}

// A frame whose header says what it likes.
std::vector<uint8_t> raw(const Header& header, const std::vector<uint8_t>& body = {}) {
  const auto head = encode(header);
  std::vector<uint8_t> bytes(head.begin(), head.end());
  for (const uint8_t byte : body) bytes.push_back(byte);
  return bytes;
}

std::vector<uint8_t> cut(std::vector<uint8_t> bytes, size_t length) {
  bytes.resize(length);
  return bytes;
}

std::vector<Offset<Entry>> entries(FlatBufferBuilder& builder, const Metadata& metadata) {
  std::vector<Offset<Entry>> list;
  for (const auto& [key, value] : metadata) {
    const auto key_offset = builder.CreateString(key.data(), key.size());
    const auto bytes = as_bytes(value);
    // A vector's address may not be null, even when it has no elements.
    const uint8_t none = 0;
    const auto value_offset =
        builder.CreateVector(bytes.empty() ? &none : bytes.data(), bytes.size());
    list.push_back(CreateEntry(builder, key_offset, value_offset));
  }
  return list;
}

auto hello_full(FlatBufferBuilder& b) {
  constexpr auto kRoles = static_cast<uint8_t>(Role::ANY);
  return CreateHelloDirect(b, 1, 3, 0x8000'0001, kRoles, "greeter", "4711", "legate-lean 0.1.0",
                           4'096, 65'536, 2'147'483'647);
}

auto hello_ack_full(FlatBufferBuilder& b) {
  const auto limits =
      CreateLimits(b, 65'536, 131'072, 262'144, 4'194'304, 4'194'304, 65'536, 10'000, 67'108'864);
  return CreateHelloAckDirect(b, 1, 0, static_cast<uint8_t>(Role::client), 7, "5f0c9a3e",
                              "legated 0.1.0", 10'000, limits);
}

auto unary_start(FlatBufferBuilder& b) {
  const auto metadata = entries(b, {{"x-trace", "abc"}});
  return CreateStartDirect(b, kMethod.data(), &metadata, 2'000'000, 1, Shape::unary);
}

auto start_dispatch(FlatBufferBuilder& b) {
  const auto metadata = entries(b, {{"x-request-id", "b7"}});
  return CreateStartDirect(b, kMethod.data(), &metadata, 999'999, 0, Shape::bidi, false, 5,
                           "greeter.example:50051", "ipv4:127.0.0.1:40000", 1'234);
}

auto start_metadata(FlatBufferBuilder& b) {
  const auto metadata = entries(b, {{"x-a", "1"},
                                    {"x-b-bin", std::string_view("\0\xff\0\x80\n", 5)},
                                    {"x-a", "2"},
                                    {"x-empty", ""},
                                    {"x-empty-bin", ""},
                                    {"x-a", "1"}});
  return CreateStartDirect(b, kMethod.data(), &metadata, 0, 1);
}

auto status_full(FlatBufferBuilder& b) {
  const std::vector<uint8_t> details = {0x08, 0x05, 0x12, 0x00};
  const auto trailers =
      entries(b, {{"x-why", "gone"}, {"x-raw-bin", std::string_view("\0\x01", 2)}});
  return CreateStatusDirect(b, 5, "no such greeting: \"h\u00e9llo\"\n", &details, &trailers,
                            Origin::remote, 18'446'744'073'709'551'615u);
}

// START as a later version could write it: with a field that this one does not know.
auto start_appended_field(FlatBufferBuilder& b) {
  constexpr flatbuffers::voffset_t kField = 4 + 2 * 99;
  const auto method = b.CreateString(kMethod.data(), kMethod.size());
  const auto start = b.StartTable();
  b.AddElement<uint32_t>(kField, 0xdead'beef, 0);
  b.AddOffset(Start::VT_METHOD, method);
  b.AddElement<uint32_t>(Start::VT_CHANNEL, 1, 0);
  return Offset<Start>(b.EndTable(start));
}

auto start_identity(FlatBufferBuilder& b) {
  const std::vector<Offset<flatbuffers::String>> names = {b.CreateString("dns:till.example"),
                                                          b.CreateString("uri:spiffe://shop/till")};
  const auto identity = CreateIdentityDirect(b, "CN=till,O=Shop", &names,
                                             "-----BEGIN CERTIFICATE-----");
  const auto method = b.CreateString(kMethod.data(), kMethod.size());
  StartBuilder start(b);
  start.add_method(method);
  start.add_lease(5);
  start.add_identity(identity);
  return start.Finish();
}

auto listen_options(FlatBufferBuilder& b) {
  const auto tls = CreateServerTlsDirect(b, "-----BEGIN CERTIFICATE-----",
                                         "-----BEGIN PRIVATE KEY-----",
                                         "-----BEGIN CERTIFICATE-----", ClientAuth::require);
  const auto address = b.CreateString("[::]:50051");
  const auto sticky = b.CreateString("x-user");
  const std::vector<Offset<flatbuffers::String>> lines = {b.CreateString("request-id")};
  const auto policies = b.CreateVector(lines);
  ListenOptionsBuilder options(b);
  options.add_tls(tls);
  options.add_compression(Compression::gzip);
  options.add_max_connections(1'000);
  options.add_memory(17'179'869'184);
  options.add_max_connection_age_ms(3'600'000);
  options.add_sticky(sticky);
  options.add_policies(policies);
  options.add_reflection(Switch::off);
  options.add_channelz(Switch::on);
  const auto table = options.Finish();
  return CreateListen(b, address, table);
}

// START whose method lacks the zero byte after its last character.
std::vector<uint8_t> unterminated_string() {
  std::vector<uint8_t> bytes = with_meta({.call_id = 3, .type = FrameType::start}, [](auto& b) {
    return CreateStartDirect(b, kMethod.data());
  });
  // clang 14 can't take the standard library's ranges::search.
  const auto method = std::search(bytes.begin(), bytes.end(), kMethod.begin(), kMethod.end());
  *(method + static_cast<std::ptrdiff_t>(kMethod.size())) = 'X';
  return bytes;
}

using Type = FrameType;

void add_connection(std::vector<GoldenVector>& v) {
  const auto add = [&v](std::string name, std::string about, std::vector<uint8_t> bytes) {
    v.push_back({std::move(name), std::move(about), std::move(bytes), std::nullopt});
  };
  add("hello-minimal", "Every field has its default.",
      with_meta({.type = Type::hello}, [](auto& b) { return CreateHello(b); }));
  add("hello-full", "Every field is set.", with_meta({.type = Type::hello}, hello_full));
  add("hello-ack-minimal", "Only the limits table, which is required, and nothing in it.",
      with_meta({.type = Type::hello_ack}, [](auto& b) {
        return CreateHelloAckDirect(b, 0, 0, 0, 0, nullptr, nullptr, 0, CreateLimits(b));
      }));
  add("hello-ack-full", "The limits' defaults, role client.",
      with_meta({.type = Type::hello_ack}, hello_ack_full));
  add("error-minimal", "Code 0, internal, is the default; the message is required but empty.",
      with_meta({.type = Type::error},
                [](auto& b) { return CreateErrorDirect(b, ErrorCode::internal, ""); }));
  add("error-full", "Every field is set.", with_meta({.type = Type::error}, [](auto& b) {
        return CreateErrorDirect(b, ErrorCode::meta_invalid,
                                 "START: the meta table does not verify", 16);
      }));
  add("ping", "aux is the sender's choice.", plain({.type = Type::ping, .aux = 0xdeadbeef}));
  add("pong", "aux is that of the PING.", plain({.type = Type::pong, .aux = 0xdeadbeef}));
  add("goaway-announce", "The first phase.", with_meta({.type = Type::goaway}, [](auto& b) {
        return CreateGoawayDirect(b, false, 0, 30'000, "5f0c9a3e", "SIGTERM");
      }));
  add("goaway-final", "The second phase; no text fields.",
      with_meta({.type = Type::goaway},
                [](auto& b) { return CreateGoawayDirect(b, true, 4'294'967'295); }));
  add("window-connection", "Credit of the connection: call_id 0.",
      plain({.type = Type::window, .aux = 2'097'152}));
  add("window-call", "The most that can be added: 2^31 - 1.",
      plain({.call_id = 3, .type = Type::window, .aux = 2'147'483'647}));
  add("unsupported", "Answers unknown-type.",
      plain({.call_id = 9, .type = Type::unsupported, .aux = 200}));
  add("unknown-type",
      "A type of a later version without CRITICAL: to be skipped. What its meta holds is not "
      "looked at.",
      raw({.body_length = 11,
           .call_id = 9,
           .type = kUnknownType,
           .flags = 0,
           .meta_words = 1,
           .aux = 5},
          {1, 2, 3, 4, 5, 6, 7, 8, 0xaa, 0xbb, 0xcc}));
}

void add_calls(std::vector<GoldenVector>& v) {
  const auto add = [&v](std::string name, std::string about, std::vector<uint8_t> bytes) {
    v.push_back({std::move(name), std::move(about), std::move(bytes), std::nullopt});
  };
  constexpr auto kWhole = flag::whole_message;
  constexpr auto kWholeAndEnd = flag::whole_message | flag::end_stream;
  const auto minimal = [](auto& b) { return CreateStartDirect(b, kMethod.data()); };
  add("start-minimal", "Only the method, which is required: no message yet, no deadline, bidi.",
      with_meta({.call_id = 3, .type = Type::start}, minimal));
  add("unary-start", "A unary call in one frame: see PROTOCOL.md, section 11.",
      with_meta({.call_id = 3, .type = Type::start, .flags = kWholeAndEnd, .aux = 5}, unary_start,
                "hello"));
  add("start-dispatch", "From the daemon, with everything a dispatch has, and the first message.",
      with_meta({.call_id = 2, .type = Type::start, .flags = kWhole, .aux = 5}, start_dispatch,
                "hello"));
  add("start-wait-for-ready", "The highest odd call_id, the longest timeout.",
      with_meta({.call_id = 4'294'967'295, .type = Type::start}, [](auto& b) {
        return CreateStartDirect(b, kMethod.data(), nullptr, 18'446'744'073'709'551'615u,
                                 4'294'967'293, Shape::server_streaming, true);
      }));
  add("start-metadata", "Duplicates in their order, values of any bytes under -bin, empty values.",
      with_meta({.call_id = 3, .type = Type::start}, start_metadata));
  add("start-metadata-empty", "A metadata list that is present and empty means the same as none.",
      with_meta({.call_id = 3, .type = Type::start}, [](auto& b) {
        const auto none = entries(b, {});
        return CreateStartDirect(b, kMethod.data(), &none, 0, 1);
      }));
  add("start-empty-message", "A message of no bytes, which is not the same as no message.",
      with_meta({.call_id = 3, .type = Type::start, .flags = kWholeAndEnd}, minimal));
  add("start-half-closed", "No message at all: END_STREAM only.",
      with_meta({.call_id = 3, .type = Type::start, .flags = flag::end_stream}, minimal));
  add("start-first-part", "The first 4 of a message's 10 bytes.",
      with_meta({.call_id = 3, .type = Type::start, .flags = flag::msg_begin, .aux = 10}, minimal,
                "0123"));
  add("start-appended-field", "A field of a later version after the last one known: to be ignored.",
      with_meta({.call_id = 3, .type = Type::start}, start_appended_field));
  add("start-identity", "A dispatch from a client whose certificate was verified.",
      with_meta({.call_id = 2, .type = Type::start}, start_identity));
  add("start-idempotent", "May be hedged.",
      with_meta({.call_id = 3, .type = Type::start}, [](auto& b) {
        const auto method = b.CreateString(kMethod.data(), kMethod.size());
        StartBuilder start(b);
        start.add_method(method);
        start.add_channel(1);
        start.add_shape(Shape::unary);
        start.add_idempotent(true);
        return start.Finish();
      }));
  add("headers-compression", "The worker wants its answers compressed.",
      with_meta({.call_id = 2, .type = Type::headers}, [](auto& b) {
        return CreateHeadersDirect(b, nullptr, Compression::gzip);
      }));
  add("headers-empty", "No metadata.",
      with_meta({.call_id = 3, .type = Type::headers}, [](auto& b) { return CreateHeaders(b); }));
  add("unary-headers", "The answer's headers: see PROTOCOL.md, section 11.",
      with_meta({.call_id = 3, .type = Type::headers}, [](auto& b) {
        const auto metadata = entries(b, {{"x-served-by", "a"}});
        return CreateHeadersDirect(b, &metadata);
      }));
  add("unary-data", "The answer's message: see PROTOCOL.md, section 11.",
      plain({.call_id = 3, .type = Type::data, .flags = kWhole, .aux = 11}, "hello world"));
  add("data-empty-message", "A message of no bytes.",
      plain({.call_id = 3, .type = Type::data, .flags = kWhole}));
  add("data-first-part", "The first 4 of a message's 10 bytes.",
      plain({.call_id = 3, .type = Type::data, .flags = flag::msg_begin, .aux = 10}, "0123"));
  add("data-middle-part", "Neither begins nor ends the message.",
      plain({.call_id = 3, .type = Type::data}, "45"));
  add("data-last-part", "The last 4 bytes.",
      plain({.call_id = 3, .type = Type::data, .flags = flag::msg_end}, "6789"));
  add("data-last-part-half-closed", "The last part of the last message.",
      plain({.call_id = 3, .type = Type::data, .flags = flag::msg_end | flag::end_stream}, "6789"));
  add("data-half-close", "END_STREAM alone.",
      plain({.call_id = 3, .type = Type::data, .flags = flag::end_stream}));
  add("data-critical", "CRITICAL is allowed on every type.",
      plain({.call_id = 3, .type = Type::data, .flags = kWhole | flag::critical, .aux = 1}, "x"));
  add("status-minimal", "Every field has its default: OK.",
      with_meta({.call_id = 3, .type = Type::status}, [](auto& b) { return CreateStatus(b); }));
  add("unary-status", "The answer's end: see PROTOCOL.md, section 11.",
      with_meta({.call_id = 3, .type = Type::status}, [](auto& b) {
        return CreateStatusDirect(b, 0, nullptr, nullptr, nullptr, Origin::remote, 1'500);
      }));
  add("status-full", "Every field is set; the message is not ASCII.",
      with_meta({.call_id = 2, .type = Type::status}, status_full));
  add("status-attempts", "The third try was answered.",
      with_meta({.call_id = 3, .type = Type::status}, [](auto& b) {
        return CreateStatusDirect(b, 0, nullptr, nullptr, nullptr, Origin::remote, 1'500, 3);
      }));
  add("status-details-empty",
      "Details that are present and empty, which is not the same as absent.",
      with_meta({.call_id = 2, .type = Type::status}, [](auto& b) {
        const std::vector<uint8_t> none;
        return CreateStatusDirect(b, 2, "", &none);
      }));
  add("cancel", "aux 0 means 1, CANCELLED.", plain({.call_id = 3, .type = Type::cancel}));
  add("cancel-deadline", "A dispatch whose deadline has passed.",
      plain({.call_id = 2, .type = Type::cancel, .aux = 4}));
  add("accept", "A worker takes a dispatch up.", plain({.call_id = 2, .type = Type::accept}));
  add("reject", "A worker gives a dispatch back.", plain({.call_id = 2, .type = Type::reject}));
}

void add_requests(std::vector<GoldenVector>& v) {
  const auto add = [&v](std::string name, std::string about, std::vector<uint8_t> bytes) {
    v.push_back({std::move(name), std::move(about), std::move(bytes), std::nullopt});
  };
  add("open-channel", "A target as gRPC spells it.",
      with_meta({.call_id = 1, .type = Type::open_channel}, [](auto& b) {
        return CreateOpenChannelDirect(b, "dns:///greeter.example:50051");
      }));
  add("open-channel-options", "TLS, retries, policies and a watch.",
      with_meta({.call_id = 1, .type = Type::open_channel}, [](auto& b) {
        const auto target = b.CreateString("orders.internal:443");
        const auto tls = CreateTlsDirect(b, "-----BEGIN CERTIFICATE-----", nullptr, nullptr,
                                         "orders.example");
        const std::vector<uint8_t> codes = {14, 8};
        const auto retry = CreateRetryDirect(b, 3, 50, 2'000, 150, &codes, 20, 500);
        const auto agent = b.CreateString("greeter/1.0");
        const auto balancing = b.CreateString("round_robin");
        const std::vector<Offset<flatbuffers::String>> lines = {b.CreateString("request-id"),
                                                                b.CreateString("max-timeout 30s")};
        const auto policies = b.CreateVector(lines);
        ChannelOptionsBuilder options(b);
        options.add_tls(tls);
        options.add_user_agent(agent);
        options.add_load_balancing(balancing);
        options.add_compression(Compression::gzip);
        options.add_max_receive_message(1'000'000);
        options.add_keepalive_time_ms(30'000);
        options.add_retry(retry);
        options.add_policies(policies);
        const auto table = options.Finish();
        return CreateOpenChannel(b, target, table, true);
      }));
  add("open-channel-hedging", "A token, which needs TLS, and hedging.",
      with_meta({.call_id = 1, .type = Type::open_channel}, [](auto& b) {
        const auto target = b.CreateString("orders.internal:443");
        const auto tls = CreateTls(b);
        const auto token = b.CreateString("s3cret");
        const std::vector<uint8_t> codes = {14};
        const auto hedging = CreateHedgingDirect(b, 3, 50, &codes);
        ChannelOptionsBuilder options(b);
        options.add_tls(tls);
        options.add_token(token);
        options.add_hedging(hedging);
        const auto table = options.Finish();
        return CreateOpenChannel(b, target, table);
      }));
  add("channel-opened", "Every field has its default: new, idle.",
      with_meta({.call_id = 1, .type = Type::channel_opened},
                [](auto& b) { return CreateChannelOpened(b); }));
  add("channel-opened-shared", "An equal channel was there, and connected.",
      with_meta({.call_id = 1, .type = Type::channel_opened},
                [](auto& b) { return CreateChannelOpened(b, true, ConnectivityState::ready); }));
  add("close-channel", "aux names the channel.",
      plain({.call_id = 5, .type = Type::close_channel, .aux = 1}));
  add("channel-state", "A watched channel is ready.",
      plain({.call_id = 1,
             .type = Type::channel_state,
             .aux = static_cast<uint32_t>(ConnectivityState::ready)}));
  add("connect", "aux names the channel.", plain({.call_id = 7, .type = Type::connect, .aux = 1}));
  add("listen", "Any free port.", with_meta({.call_id = 1, .type = Type::listen}, [](auto& b) {
        return CreateListenDirect(b, "127.0.0.1:0");
      }));
  add("listen-options", "mTLS, limits, a policy and services.",
      with_meta({.call_id = 1, .type = Type::listen}, listen_options));
  add("listening", "The port that was bound.",
      with_meta({.call_id = 1, .type = Type::listening},
                [](auto& b) { return CreateListeningDirect(b, 50'051, "127.0.0.1:50051", true); }));
  add("listening-unix", "A Unix socket has no port.",
      with_meta({.call_id = 1, .type = Type::listening},
                [](auto& b) { return CreateListeningDirect(b, 0, "unix:/run/greeter.sock"); }));
  add("register", "The default number of slots.",
      with_meta({.call_id = 3, .type = Type::register_methods}, [](auto& b) {
        const std::vector<Offset<flatbuffers::String>> methods = {b.CreateString("*")};
        return CreateRegisterDirect(b, 1, &methods);
      }));
  add("register-full", "Two patterns, one slot.",
      with_meta({.call_id = 3, .type = Type::register_methods}, [](auto& b) {
        const std::vector<Offset<flatbuffers::String>> methods = {
            b.CreateString(kMethod.data(), kMethod.size()),
            b.CreateString("/helloworld.Farewell/*")};
        return CreateRegisterDirect(b, 1, &methods, 1);
      }));
  add("register-generation", "A canary: a twentieth of what the others' hundred gets.",
      with_meta({.call_id = 3, .type = Type::register_methods}, [](auto& b) {
        const std::vector<Offset<flatbuffers::String>> methods = {b.CreateString("*")};
        return CreateRegisterDirect(b, 1, &methods, 8, 200, "v2", 5);
      }));
  add("lease", "Answers REGISTER.", plain({.call_id = 3, .type = Type::lease}));
  add("serve", "aux names the server.", plain({.call_id = 5, .type = Type::serve, .aux = 1}));
  add("unregister", "aux names the lease.",
      plain({.call_id = 7, .type = Type::unregister, .aux = 3}));
  add("describe", "aux names the lease; the descriptors follow in DATA.",
      plain({.call_id = 9, .type = Type::describe, .aux = 3}));
  add("set-health", "One service is not well.",
      with_meta({.call_id = 11, .type = Type::set_health}, [](auto& b) {
        return CreateSetHealthDirect(b, 1, "helloworld.Greeter", Health::not_serving);
      }));
  add("retire", "The worker has served its number of calls.",
      with_meta({.call_id = 3, .type = Type::retire}, [](auto& b) {
        return CreateRetireDirect(b, RetireReason::recycle, "10000 calls");
      }));
  add("command", "Cancels one call.",
      with_meta({.call_id = 13, .type = Type::command},
                [](auto& b) { return CreateCommandDirect(b, "cancel", 7, 21); }));
  add("query", "What to tell.", with_meta({.call_id = 9, .type = Type::query}, [](auto& b) {
        return CreateQueryDirect(b, "status");
      }));
}

void add_malformed(std::vector<GoldenVector>& v) {
  const auto add = [&v](std::string name, std::string about, ErrorCode error,
                        std::vector<uint8_t> bytes) {
    v.push_back({"bad-" + std::move(name), std::move(about), std::move(bytes), error});
  };
  using enum ErrorCode;
  const std::vector<uint8_t> minimal = with_meta({.call_id = 3, .type = Type::start}, [](auto& b) {
    return CreateStartDirect(b, kMethod.data());
  });
  v.push_back({"cut-header", "15 bytes of a header: no error, wait for the rest.",
               cut(plain({.call_id = 3, .type = Type::cancel}), 15), std::nullopt});
  v.push_back({"cut-meta", "A meta without its last byte: no error, wait for the rest.",
               cut(minimal, minimal.size() - 1), std::nullopt});
  v.push_back({"cut-payload", "A payload without its last byte: no error, wait for the rest.",
               cut(plain({.call_id = 3, .type = Type::data}, "45"), 17), std::nullopt});
  add("body-shorter-than-meta", "meta_words says 16 bytes, body_length 15.", malformed_frame,
      raw({.body_length = 15,
           .call_id = 3,
           .type = Type::headers,
           .flags = 0,
           .meta_words = 2,
           .aux = 0}));
  add("payload-too-large", "One byte more than max_frame; refused by the header alone.",
      frame_too_large, raw({.body_length = 65'537, .call_id = 3, .type = Type::data}));
  add("payload-too-large-beside-meta",
      "The meta does not count against max_frame, the payload does.", frame_too_large,
      raw({.body_length = 65'545,
           .call_id = 3,
           .type = Type::start,
           .flags = 0,
           .meta_words = 1,
           .aux = 0}));
  add("body-huge", "The largest body_length; nothing may be allocated for it.", frame_too_large,
      raw({.body_length = 4'294'967'295, .call_id = 3, .type = Type::data}));
  add("meta-too-large", "One word more than max_meta.", frame_too_large,
      raw({.body_length = 131'080,
           .call_id = 3,
           .type = Type::start,
           .flags = 0,
           .meta_words = 16'385,
           .aux = 0}));
  add("unknown-type-too-large", "The limits hold for unknown types too.", frame_too_large,
      raw({.body_length = 65'537, .call_id = 9, .type = kUnknownType}));
  add("unknown-type-critical", "Can't be skipped.", unsupported,
      raw({.body_length = 0, .call_id = 9, .type = kUnknownType, .flags = flag::critical}));
  add("type-zero-critical", "0 is no type either.", unsupported,
      raw({.body_length = 0, .call_id = 0, .type = FrameType{0}, .flags = flag::critical}));
  add("flag-unknown", "Bit 0x10 is not defined.", malformed_frame,
      raw({.body_length = 0, .call_id = 3, .type = Type::data, .flags = flag::end_stream | 0x10}));
  add("flag-misplaced", "END_STREAM on CANCEL.", malformed_frame,
      raw({.body_length = 0, .call_id = 3, .type = Type::cancel, .flags = flag::end_stream}));
  add("payload-on-ping", "PING has no payload.", malformed_frame,
      raw({.body_length = 1, .call_id = 0, .type = Type::ping}, {0}));
  add("payload-on-headers", "HEADERS has a meta, but no payload.", malformed_frame,
      with_meta(
          {.call_id = 3, .type = Type::headers}, [](auto& b) { return CreateHeaders(b); }, "x"));
  add("meta-on-data", "DATA has no meta.", malformed_frame,
      raw({.body_length = 8,
           .call_id = 3,
           .type = Type::data,
           .flags = 0,
           .meta_words = 1,
           .aux = 0},
          {0, 0, 0, 0, 0, 0, 0, 0}));
  add("meta-missing", "HEADERS has a meta always, even without metadata.", malformed_frame,
      raw({.body_length = 0, .call_id = 3, .type = Type::headers}));
  add("meta-zero", "Eight zero bytes: the root is not at 0.", meta_invalid,
      raw({.body_length = 8,
           .call_id = 3,
           .type = Type::headers,
           .flags = 0,
           .meta_words = 1,
           .aux = 0},
          {0, 0, 0, 0, 0, 0, 0, 0}));
  add("meta-root-outside", "The root's offset leads out of the meta.", meta_invalid,
      raw({.body_length = 8,
           .call_id = 3,
           .type = Type::headers,
           .flags = 0,
           .meta_words = 1,
           .aux = 0},
          {0xf0, 0xff, 0xff, 0x7f, 0, 0, 0, 0}));
  add("method-absent", "START without its required method.", meta_invalid,
      with_meta({.call_id = 3, .type = Type::start},
                [](auto& b) { return Offset<Start>(b.EndTable(b.StartTable())); }));
  add("limits-absent", "HELLO_ACK without its required limits.", meta_invalid,
      with_meta({.type = Type::hello_ack},
                [](auto& b) { return Offset<HelloAck>(b.EndTable(b.StartTable())); }));
  add("entry-without-value", "Both fields of an Entry are required.", meta_invalid,
      with_meta({.call_id = 3, .type = Type::headers}, [](auto& b) {
        const auto key = b.CreateString("x-a");
        const auto entry = b.StartTable();
        b.AddOffset(Entry::VT_KEY, key);
        const std::vector<Offset<Entry>> list = {Offset<Entry>(b.EndTable(entry))};
        return CreateHeadersDirect(b, &list);
      }));
  add("string-unterminated", "A string ends in a zero byte that its length does not count.",
      meta_invalid, unterminated_string());
}

}  // namespace

const std::vector<GoldenVector>& golden_vectors() {
  static const auto table = [] {
    std::vector<GoldenVector> v;
    add_connection(v);
    add_calls(v);
    add_requests(v);
    add_malformed(v);
    std::ranges::sort(v, {}, &GoldenVector::name);
    return v;
  }();
  return table;
}

}  // namespace legate::ipc
