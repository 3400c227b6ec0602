// Policies that change metadata.
#include <algorithm>

#include "daemon/core/metadata.h"
#include "daemon/core/policy.h"

namespace legated {
namespace {

using Time = Policy::Time;
using RandomSource = Policy::RandomSource;
using Metadata = PolicyCall::Metadata;

size_t remove_key(Metadata& metadata, std::string_view key) {
  return std::erase_if(metadata, [&](const auto& element) { return element.first == key; });
}

std::string hex(uint64_t number, unsigned digits) {
  std::string text(digits, '0');
  for (size_t i = digits; i > 0; --i, number >>= 4U) text[i - 1] = "0123456789abcdef"[number & 15U];
  return text;
}

/// RFC 9562, version 4.
std::string make_uuid(const RandomSource& random) {
  const uint64_t high = (random() & ~uint64_t{0xf000}) | 0x4000;
  const uint64_t low = (random() & ~(uint64_t{3} << 62U)) | uint64_t{1} << 63U;
  return hex(high >> 32U, 8) + '-' + hex(high >> 16U, 4) + '-' + hex(high, 4) + '-' +
         hex(low >> 48U, 4) + '-' + hex(low, 12);
}

bool is_lower_hex(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool is_zero(std::string_view text) {
  return text.find_first_not_of('0') == std::string_view::npos;
}

/// W3C Trace Context: version-traceid-parentid-flags. What a later version has behind that is not
/// looked at.
bool is_traceparent(std::string_view text) {
  constexpr size_t kLength = 55;
  if (text.size() < kLength) return false;
  const std::string_view version = text.substr(0, 2), trace = text.substr(3, 32),
                         parent = text.substr(36, 16), flags = text.substr(53, 2);
  if (text[2] != '-' || text[35] != '-' || text[52] != '-') return false;
  if (!is_lower_hex(version) || !is_lower_hex(trace) || !is_lower_hex(parent) ||
      !is_lower_hex(flags))
    return false;
  if (version == "ff" || is_zero(trace) || is_zero(parent)) return false;
  return text.size() == kLength || (version != "00" && text[kLength] == '-');
}

std::string make_traceparent(const RandomSource& random) {
  const uint64_t high = random();
  // All zeros is no id.
  const uint64_t low = std::max<uint64_t>(random(), 1), parent = std::max<uint64_t>(random(), 1);
  return "00-" + hex(high, 16) + hex(low, 16) + '-' + hex(parent, 16) + "-00";
}

class AddMetadata final : public Policy {
 public:
  AddMetadata(std::string key, std::string value, bool replace)
      : key_(std::move(key)), value_(std::move(value)), replace_(replace) {}

  std::optional<Status> admit(PolicyCall& call, AdmissionId, Time, const RandomSource&) override {
    if (replace_) remove_key(call.metadata, key_);
    call.metadata.emplace_back(key_, value_);
    ++applied_;
    return std::nullopt;
  }

 private:
  const std::string key_;
  const std::string value_;
  const bool replace_;
};

class RemoveMetadata final : public Policy {
 public:
  RemoveMetadata(std::string key, bool prefix) : key_(std::move(key)), prefix_(prefix) {}

  std::optional<Status> admit(PolicyCall& call, AdmissionId, Time, const RandomSource&) override {
    const size_t removed = std::erase_if(call.metadata, [&](const auto& element) {
      return prefix_ ? element.first.starts_with(key_) : element.first == key_;
    });
    if (removed > 0) ++applied_;
    return std::nullopt;
  }

 private:
  const std::string key_;
  const bool prefix_;
};

class RequestId final : public Policy {
 public:
  explicit RequestId(std::string key) : key_(std::move(key)) {}

  std::optional<Status> admit(PolicyCall& call, AdmissionId, Time,
                              const RandomSource& random) override {
    const bool has_one = std::ranges::any_of(
        call.metadata, [&](const auto& element) { return element.first == key_; });
    if (!has_one) {
      call.metadata.emplace_back(key_, make_uuid(random));
      ++applied_;
    }
    return std::nullopt;
  }

 private:
  const std::string key_;
};

class Traceparent final : public Policy {
 public:
  std::optional<Status> admit(PolicyCall& call, AdmissionId, Time,
                              const RandomSource& random) override {
    size_t found = 0, valid = 0;
    for (const auto& [key, value] : call.metadata) {
      if (key != kKey) continue;
      ++found;
      if (is_traceparent(value)) ++valid;
    }
    if (found == 1 && valid == 1) return std::nullopt;
    // Two are as good as none. A tracestate belongs to the traceparent it came with.
    remove_key(call.metadata, kKey);
    remove_key(call.metadata, "tracestate");
    call.metadata.emplace_back(kKey, make_traceparent(random));
    ++applied_;
    return std::nullopt;
  }

 private:
  static constexpr std::string_view kKey = "traceparent";
};

// ---- Parsing -----------------------------------------------------------------------------------

std::optional<std::string> parse_base64(std::string_view text) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (text.size() % 4 == 0) {
    for (int i = 0; i < 2 && text.ends_with('='); ++i) text.remove_suffix(1);
  }
  if (text.size() % 4 == 1) return std::nullopt;
  std::string bytes;
  uint32_t bits = 0;
  unsigned count = 0;
  for (const char c : text) {
    const size_t digit = kDigits.find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    bits = bits << 6U | static_cast<uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> count & 0xffU);
  }
  return bytes;
}

ParsedPolicy parse_add(std::string_view text, bool replace) {
  const std::string_view key = take_word(text);
  if (key.empty()) return {};
  std::string value(text);
  if (key.ends_with("-bin")) {
    auto bytes = parse_base64(text);
    if (!bytes) return quoted(text) + " is not base64, which keys that end in \"-bin\" take";
    value = std::move(*bytes);
  }
  if (auto why = refuse_metadata(key, value)) return std::move(*why);
  if (text.empty()) return {};
  return std::make_unique<AddMetadata>(std::string(key), std::move(value), replace);
}

ParsedPolicy parse_add_metadata(std::string_view text) { return parse_add(text, false); }
ParsedPolicy parse_set_metadata(std::string_view text) { return parse_add(text, true); }

ParsedPolicy parse_remove_metadata(std::string_view text) {
  std::string_view key = take_word(text);
  if (key.empty() || !text.empty()) return {};
  const bool prefix = key.ends_with('*');
  if (prefix) {
    key.remove_suffix(1);
    // The beginning of a legal key may look like a reserved one: "te*" for "tenant".
    if (refuse_metadata("x" + std::string(key), ""))
      return "no metadata key begins with " + quoted(key) +
             ": use lower-case letters, digits, '-', '_' and '.' before the '*'";
  } else if (auto why = refuse_metadata(key, "")) {
    return std::move(*why);
  }
  return std::make_unique<RemoveMetadata>(std::string(key), prefix);
}

ParsedPolicy parse_request_id(std::string_view text) {
  std::string_view key = take_word(text);
  if (!text.empty()) return {};
  if (key.empty()) key = "x-request-id";
  if (auto why = refuse_metadata(key, "")) return std::move(*why);
  if (key.ends_with("-bin")) return "the id is text: use a key that does not end in \"-bin\"";
  return std::make_unique<RequestId>(std::string(key));
}

ParsedPolicy parse_traceparent(std::string_view text) {
  if (!text.empty()) return {};
  return std::make_unique<Traceparent>();
}

constexpr PolicyKind kKinds[] = {
    {"add-metadata", "add-metadata KEY VALUE", parse_add_metadata},
    {"set-metadata", "set-metadata KEY VALUE", parse_set_metadata},
    {"remove-metadata", "remove-metadata KEY", parse_remove_metadata},
    {"request-id", "request-id [KEY]", parse_request_id},
    {"traceparent", "traceparent", parse_traceparent},
};

}  // namespace

std::span<const PolicyKind> metadata_policies() { return kKinds; }

}  // namespace legated
