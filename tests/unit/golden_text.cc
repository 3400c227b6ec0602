// The text form of golden vectors.
#include <array>
#include <cstdio>
#include <stdexcept>

#include "tests/unit/golden_vectors.h"

namespace legate::ipc {
namespace {

constexpr size_t kBytesPerLine = 16;

std::string flag_names(uint8_t flags) {
  constexpr std::array<std::pair<uint8_t, const char*>, 5> kNames = {{
      {flag::end_stream, "END_STREAM"},
      {flag::msg_begin, "MSG_BEGIN"},
      {flag::msg_end, "MSG_END"},
      {flag::no_compress, "NO_COMPRESS"},
      {flag::critical, "CRITICAL"},
  }};
  std::string names;
  for (const auto& [bit, name] : kNames) {
    if ((flags & bit) != 0) names += (names.empty() ? "" : "+") + std::string(name);
  }
  return names.empty() ? "-" : names;
}

std::string type_name(FrameType type) {
  return is_known(type) ? name(type) : std::to_string(static_cast<unsigned>(type));
}

std::string hex_lines(std::span<const uint8_t> bytes) {
  std::string text;
  for (size_t at = 0; at < bytes.size(); at += kBytesPerLine) {
    std::array<char, 24> offset{};
    std::snprintf(offset.data(), offset.size(), "%04zx:", at);
    text += offset.data();
    for (const uint8_t byte : bytes.subspan(at, std::min(kBytesPerLine, bytes.size() - at))) {
      text += ' ' + to_hex({&byte, 1});
    }
    text += '\n';
  }
  return text;
}

}  // namespace

std::string to_hex(std::span<const uint8_t> bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string hex;
  for (const uint8_t byte : bytes) {
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return hex;
}

std::string describe(const std::vector<uint8_t>& bytes) {
  FrameDecoder decoder(kDefaultMaxFrame, kDefaultMaxMeta);
  std::span<const uint8_t> input = bytes;
  Frame frame;
  switch (decoder.next(input, frame)) {
    case FrameDecoder::Result::need_more:
      return "incomplete: " + std::to_string(decoder.wanted()) + " bytes wanted\n";
    case FrameDecoder::Result::error:
      return "error: " + std::string(EnumNameErrorCode(decoder.error().code)) + " frame " +
             type_name(decoder.error().type) + '\n';
    case FrameDecoder::Result::frame: break;
  }
  const Header& header = frame.header;
  return "frame: type=" + type_name(header.type) + " flags=" + flag_names(header.flags) +
         " call_id=" + std::to_string(header.call_id) + " aux=" + std::to_string(header.aux) +
         " meta_words=" + std::to_string(header.meta_words) +
         " payload=" + std::to_string(frame.payload.size()) + "\nmeta: " + meta_json(frame) +
         "\npayload: " + (frame.payload.empty() ? "-" : to_hex(frame.payload)) + '\n';
}

std::string to_text(const GoldenVector& vector) {
  return "name: " + vector.name + "\nabout: " + vector.about + '\n' + describe(vector.bytes) +
         "bytes:\n" + hex_lines(vector.bytes);
}

std::vector<uint8_t> bytes_of_text(std::string_view text) {
  constexpr std::string_view kMark = "\nbytes:\n";
  const size_t mark = text.find(kMark);
  if (mark == std::string_view::npos) throw std::runtime_error("no line `bytes:`");
  std::vector<uint8_t> bytes;
  std::string_view rest = text.substr(mark + kMark.size());
  while (!rest.empty()) {
    const std::string line(rest.substr(0, rest.find('\n')));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    for (size_t at = line.find(':') + 1; at < line.size(); at += 3) {
      bytes.push_back(static_cast<uint8_t>(std::stoul(line.substr(at, 3), nullptr, 16)));
    }
  }
  return bytes;
}

}  // namespace legate::ipc
