#include "ipc-schema/cpp/frame.h"

#include <cassert>

namespace legate::ipc {
namespace {

constexpr uint32_t kMaxDepth = 16;
constexpr uint32_t kMaxTables = 4096;

using Verify = bool (*)(flatbuffers::Verifier&);

struct TypeInfo {
  FrameType type;
  const char* name;
  uint8_t flags;  // allowed besides CRITICAL
  Verify verify;  // null: the type has no meta
};

template <class Table>
bool verify(flatbuffers::Verifier& verifier) {
  return verifier.VerifyBuffer<Table>(nullptr);
}

constexpr uint8_t kMessageFlags = flag::end_stream | flag::whole_message | flag::no_compress;

constexpr TypeInfo kTypes[] = {
    {FrameType::hello, "HELLO", 0, verify<Hello>},
    {FrameType::hello_ack, "HELLO_ACK", 0, verify<HelloAck>},
    {FrameType::error, "ERROR", 0, verify<Error>},
    {FrameType::ping, "PING", 0, nullptr},
    {FrameType::pong, "PONG", 0, nullptr},
    {FrameType::goaway, "GOAWAY", 0, verify<Goaway>},
    {FrameType::window, "WINDOW", 0, nullptr},
    {FrameType::unsupported, "UNSUPPORTED", 0, nullptr},
    {FrameType::start, "START", kMessageFlags, verify<Start>},
    {FrameType::headers, "HEADERS", 0, verify<Headers>},
    {FrameType::data, "DATA", kMessageFlags, nullptr},
    {FrameType::status, "STATUS", 0, verify<Status>},
    {FrameType::cancel, "CANCEL", 0, nullptr},
    {FrameType::accept, "ACCEPT", 0, nullptr},
    {FrameType::reject, "REJECT", 0, nullptr},
    {FrameType::open_channel, "OPEN_CHANNEL", 0, verify<OpenChannel>},
    {FrameType::channel_opened, "CHANNEL_OPENED", 0, verify<ChannelOpened>},
    {FrameType::close_channel, "CLOSE_CHANNEL", 0, nullptr},
    {FrameType::channel_state, "CHANNEL_STATE", 0, nullptr},
    {FrameType::connect, "CONNECT", 0, nullptr},
    {FrameType::listen, "LISTEN", 0, verify<Listen>},
    {FrameType::listening, "LISTENING", 0, verify<Listening>},
    {FrameType::register_methods, "REGISTER", 0, verify<Register>},
    {FrameType::lease, "LEASE", 0, nullptr},
    {FrameType::serve, "SERVE", 0, nullptr},
    {FrameType::unregister, "UNREGISTER", 0, nullptr},
    {FrameType::describe, "DESCRIBE", 0, nullptr},
    {FrameType::set_health, "SET_HEALTH", 0, verify<SetHealth>},
    {FrameType::retire, "RETIRE", 0, verify<Retire>},
    {FrameType::query, "QUERY", 0, verify<Query>},
    {FrameType::command, "COMMAND", 0, verify<Command>},
};

constexpr auto kIndex = [] {
  std::array<uint8_t, 256> index{};
  uint8_t position = 0;
  for (const TypeInfo& info : kTypes) index[static_cast<uint8_t>(info.type)] = ++position;
  return index;
}();

const TypeInfo* find(FrameType type) {
  uint8_t position = kIndex[static_cast<uint8_t>(type)];
  return position == 0 ? nullptr : &kTypes[position - 1];
}

template <class Int>
Int load(const uint8_t* bytes) {
  Int value;
  std::memcpy(&value, bytes, sizeof value);
  return flatbuffers::EndianScalar(value);
}

template <class Int>
void store(uint8_t* bytes, Int value) {
  value = flatbuffers::EndianScalar(value);
  std::memcpy(bytes, &value, sizeof value);
}

bool carries_payload(FrameType type) { return type == FrameType::start || type == FrameType::data; }

}  // namespace

std::string name(FrameType type) {
  const TypeInfo* info = find(type);
  return info != nullptr ? info->name : "type " + std::to_string(static_cast<int>(type));
}

bool is_known(FrameType type) { return find(type) != nullptr; }

std::array<uint8_t, kHeaderSize> encode(const Header& header) {
  std::array<uint8_t, kHeaderSize> bytes;
  store<uint32_t>(&bytes[0], header.body_length);
  store<uint32_t>(&bytes[4], header.call_id);
  bytes[8] = static_cast<uint8_t>(header.type);
  bytes[9] = header.flags;
  store<uint16_t>(&bytes[10], header.meta_words);
  store<uint32_t>(&bytes[12], header.aux);
  return bytes;
}

Header decode_header(std::span<const uint8_t, kHeaderSize> bytes) {
  return {.body_length = load<uint32_t>(&bytes[0]),
          .call_id = load<uint32_t>(&bytes[4]),
          .type = static_cast<FrameType>(bytes[8]),
          .flags = bytes[9],
          .meta_words = load<uint16_t>(&bytes[10]),
          .aux = load<uint32_t>(&bytes[12])};
}

FrameDecoder::Result FrameDecoder::fail(ErrorCode code, FrameType type, std::string message) {
  error_ = {code, type, std::move(message)};
  return Result::error;
}

bool FrameDecoder::check_header(const Header& header) {
  const auto fail_with = [&](ErrorCode code, const std::string& message) {
    fail(code, header.type, name(header.type) + ": " + message);
    return false;
  };
  if (header.meta_length() > header.body_length) {
    return fail_with(ErrorCode::malformed_frame, "meta of " + std::to_string(header.meta_length()) +
                                                     " bytes does not fit a body of " +
                                                     std::to_string(header.body_length));
  }
  const size_t payload = header.body_length - header.meta_length();
  if (header.meta_length() > max_meta_) {
    return fail_with(ErrorCode::frame_too_large, "meta of " + std::to_string(header.meta_length()) +
                                                     " bytes exceeds max_meta " +
                                                     std::to_string(max_meta_));
  }
  if (payload > max_frame_) {
    return fail_with(ErrorCode::frame_too_large, "payload of " + std::to_string(payload) +
                                                     " bytes exceeds max_frame " +
                                                     std::to_string(max_frame_));
  }
  const TypeInfo* info = find(header.type);
  if (info == nullptr) {
    // Without CRITICAL the caller answers UNSUPPORTED.
    return !header.has(flag::critical) ||
           fail_with(ErrorCode::unsupported,
                     "flagged CRITICAL, and this side does not know the type");
  }
  if ((header.flags & ~(info->flags | flag::critical)) != 0) {
    return fail_with(ErrorCode::malformed_frame,
                     "flags " + std::to_string(header.flags) + " are not allowed on this type");
  }
  if (payload > 0 && !carries_payload(header.type)) {
    return fail_with(ErrorCode::malformed_frame, "carries a payload, the type has none");
  }
  if (info->verify == nullptr && header.meta_words > 0) {
    return fail_with(ErrorCode::malformed_frame, "carries a meta table, the type has none");
  }
  if (info->verify != nullptr && header.meta_words == 0) {
    return fail_with(ErrorCode::malformed_frame, "lacks its meta table");
  }
  return true;
}

bool FrameDecoder::check_meta(const Header& header, Frame& frame, const uint8_t* bytes) {
  const TypeInfo* info = find(header.type);
  if (info == nullptr || info->verify == nullptr) {
    frame.meta = {};
    return true;
  }
  const size_t length = header.meta_length();
  if (reinterpret_cast<uintptr_t>(bytes) % 8 != 0) {
    aligned_.resize(header.meta_words);
    std::memcpy(aligned_.data(), bytes, length);
    bytes = reinterpret_cast<const uint8_t*>(aligned_.data());
  }
  flatbuffers::Verifier verifier(bytes, length, kMaxDepth, kMaxTables);
  if (!info->verify(verifier)) {
    fail(ErrorCode::meta_invalid, header.type,
         name(header.type) + ": the meta table of " + std::to_string(length) +
             " bytes does not verify");
    return false;
  }
  frame.meta = {bytes, length};
  return true;
}

FrameDecoder::Result FrameDecoder::next(std::span<const uint8_t>& input, Frame& frame) {
  if (input.size() < kHeaderSize) {
    wanted_ = kHeaderSize;
    return Result::need_more;
  }
  const Header header = decode_header(input.first<kHeaderSize>());
  // Checked before the body is here: a hostile length is refused without buffering for it.
  if (!check_header(header)) return Result::error;
  wanted_ = kHeaderSize + header.body_length;
  if (input.size() < wanted_) return Result::need_more;

  frame.header = header;
  if (!check_meta(header, frame, input.data() + kHeaderSize)) return Result::error;
  frame.payload =
      input.subspan(kHeaderSize + header.meta_length(), header.body_length - header.meta_length());
  input = input.subspan(wanted_);
  return Result::frame;
}

void append_frame_head(std::vector<uint8_t>& out, Header header,
                       const flatbuffers::FlatBufferBuilder* meta, size_t payload_length) {
  const size_t meta_size = meta == nullptr ? 0 : meta->GetSize();
  const size_t words = (meta_size + 7) / 8;
  assert(words <= UINT16_MAX);
  header.meta_words = static_cast<uint16_t>(words);
  header.body_length = static_cast<uint32_t>(words * 8 + payload_length);
  const auto head = encode(header);
  out.insert(out.end(), head.begin(), head.end());
  if (meta == nullptr) return;
  out.insert(out.end(), meta->GetBufferPointer(), meta->GetBufferPointer() + meta_size);
  out.resize(out.size() + (words * 8 - meta_size));
}

void append_frame(std::vector<uint8_t>& out, const Header& header,
                  const flatbuffers::FlatBufferBuilder* meta, std::span<const uint8_t> payload) {
  append_frame_head(out, header, meta, payload.size());
  out.insert(out.end(), payload.begin(), payload.end());
}

}  // namespace legate::ipc
