#include "daemon/core/metadata.h"

#include <algorithm>
#include <array>

namespace legated {
namespace {

using namespace std::string_view_literals;

constexpr std::array kAllowedGrpcKeys = {"grpc-trace-bin"sv, "grpc-tags-bin"sv,
                                         "grpc-previous-rpc-attempts"sv,
                                         "grpc-retry-pushback-ms"sv};

constexpr std::array kTransportKeys = {"content-type"sv,   "te"sv,
                                       "user-agent"sv,     "host"sv,
                                       "connection"sv,     "upgrade"sv,
                                       "keep-alive"sv,     "proxy-connection"sv,
                                       "content-length"sv, "transfer-encoding"sv};

bool legal_key_byte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

template <size_t N>
bool contains(const std::array<std::string_view, N>& keys, std::string_view key) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

}  // namespace

std::string printable(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string shown;
  for (const char c : text.substr(0, 100)) {
    if (c >= 0x20 && c <= 0x7e) {
      shown += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      shown += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return text.size() > 100 ? shown + "..." : shown;
}

std::optional<std::string> refuse_metadata(std::string_view key, std::string_view value) {
  if (key.empty()) return "metadata with an empty key";
  if (key.front() == ':' || contains(kTransportKeys, key) ||
      (key.starts_with("grpc-") && !contains(kAllowedGrpcKeys, key))) {
    return "metadata key \"" + printable(key) + "\" is reserved for the transport";
  }
  if (!std::all_of(key.begin(), key.end(), legal_key_byte)) {
    return "metadata key \"" + printable(key) +
           "\" is illegal: use lower-case letters, digits, '-', '_' and '.'";
  }
  if (key.ends_with("-bin")) return std::nullopt;
  if (!std::all_of(value.begin(), value.end(), [](char c) { return c >= 0x20 && c <= 0x7e; })) {
    return "metadata key \"" + printable(key) +
           "\" has an illegal value: printable ASCII only, or use a key that ends in \"-bin\"";
  }
  return std::nullopt;
}

bool is_transport_key(std::string_view key) {
  return (!key.empty() && key.front() == ':') || contains(kTransportKeys, key) ||
         (key.starts_with("grpc-") && !contains(kAllowedGrpcKeys, key));
}

}  // namespace legated
