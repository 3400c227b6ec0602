// ipc-schema/PROTOCOL.md against the codec and the golden vectors, so that the page can't go stale.
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <regex>
#include <sstream>

#include "daemon/config/config.h"
#include "tests/unit/golden_vectors.h"

namespace legate::ipc {
namespace {

std::string page() {
  std::ifstream file(std::string(LEGATED_SOURCE_DIR) + "/ipc-schema/PROTOCOL.md");
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream input(text);
  for (std::string line; std::getline(input, line);) lines.push_back(line);
  return lines;
}

// The cells of a Markdown table's row, trimmed; none when the line is no row.
std::vector<std::string> cells_of(const std::string& line) {
  std::vector<std::string> cells;
  if (!line.starts_with('|')) return cells;
  std::istringstream input(line.substr(1));
  for (std::string cell; std::getline(input, cell, '|');) {
    const size_t begin = cell.find_first_not_of(' ');
    const size_t end = cell.find_last_not_of(' ');
    cells.push_back(begin == std::string::npos ? "" : cell.substr(begin, end - begin + 1));
  }
  return cells;
}

// The rows of the first table after the line `heading`, without its head.
std::vector<std::vector<std::string>> table_after(const std::string& heading) {
  std::vector<std::vector<std::string>> rows;
  bool found = false;
  for (const std::string& line : lines_of(page())) {
    found = found || line == heading;
    if (!found) continue;
    if (auto cells = cells_of(line); !cells.empty()) {
      rows.push_back(std::move(cells));
    } else if (!rows.empty()) {
      break;
    }
  }
  if (rows.size() < 2) return {};
  rows.erase(rows.begin(), rows.begin() + 2);
  return rows;
}

// What the codec says of a frame of this type; empty when it takes it.
std::string complaint(FrameType type, uint8_t flags, uint32_t meta_words, uint32_t payload) {
  const auto head = encode({.body_length = meta_words * 8 + payload,
                            .call_id = 0,
                            .type = type,
                            .flags = flags,
                            .meta_words = static_cast<uint16_t>(meta_words),
                            .aux = 0});
  std::vector<uint8_t> bytes(head.begin(), head.end());
  bytes.resize(bytes.size() + meta_words * 8 + payload);
  FrameDecoder decoder(kDefaultMaxFrame, kDefaultMaxMeta);
  std::span<const uint8_t> input = bytes;
  Frame frame;
  return decoder.next(input, frame) == FrameDecoder::Result::error ? decoder.error().message : "";
}

bool mentions(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(ProtocolPage, FrameTypesAreThoseOfTheCodec) {
  std::map<int, std::string> listed;
  for (const auto& cells : table_after("## 4. Frame types")) {
    ASSERT_GE(cells.size(), 7u);
    const auto type = static_cast<FrameType>(std::stoi(cells[0]));
    listed[std::stoi(cells[0])] = cells[1];
    const bool has_meta = !mentions(complaint(type, 0, 1, 0), "the type has none");
    const bool has_payload = !mentions(complaint(type, 0, 0, 1), "carries a payload");
    EXPECT_EQ(has_meta, !cells[5].empty()) << cells[1];
    EXPECT_EQ(has_payload, !cells[6].empty()) << cells[1];
  }
  std::map<int, std::string> known;
  for (int type = 0; type < 256; ++type) {
    const auto frame_type = static_cast<FrameType>(type);
    if (is_known(frame_type)) known[type] = name(frame_type);
  }
  EXPECT_EQ(listed, known);
}

TEST(ProtocolPage, FlagsAreThoseOfTheCodec) {
  const std::map<std::string, uint8_t> known = {{"END_STREAM", flag::end_stream},
                                                {"MSG_BEGIN", flag::msg_begin},
                                                {"MSG_END", flag::msg_end},
                                                {"NO_COMPRESS", flag::no_compress},
                                                {"CRITICAL", flag::critical}};
  std::map<std::string, uint8_t> listed;
  for (const auto& cells : table_after("## 2. Frames")) {
    ASSERT_GE(cells.size(), 3u);
    const auto bit = static_cast<uint8_t>(std::stoi(cells[1], nullptr, 16));
    listed[cells[0]] = bit;
    for (int type = 0; type < 256; ++type) {
      const auto frame_type = static_cast<FrameType>(type);
      if (!is_known(frame_type)) continue;
      const bool allowed = !mentions(complaint(frame_type, bit, 0, 0), "not allowed on this type");
      const bool named = cells[2] == "any" ||
                         std::regex_search(cells[2], std::regex("\\b" + name(frame_type) + "\\b"));
      EXPECT_EQ(allowed, named) << cells[0] << " on " << name(frame_type);
    }
  }
  EXPECT_EQ(listed, known);
}

TEST(ProtocolPage, LimitsAreTheDefaults) {
  const legated::Config config;
  const std::map<std::string, uint64_t> known = {
      {"payload of one frame", config.ipc.max_frame},
      {"meta of one frame", kDefaultMaxMeta},
      {"one message", config.limits.max_message},
      {"one metadata list", config.limits.max_metadata},
      {"credit per call", config.ipc.call_window},
      {"credit per connection", config.ipc.connection_window},
      {"calls open at once", config.ipc.max_calls},
      {"message bytes held", config.ipc.memory_budget}};
  const auto rows = table_after("### Limits");
  for (const auto& [limit, value] : known) {
    const auto row = std::ranges::find_if(
        rows, [&limit](const auto& cells) { return cells.at(0).starts_with(limit); });
    ASSERT_NE(row, rows.end()) << limit;
    std::string digits = row->at(1);
    std::erase(digits, ',');
    EXPECT_EQ(digits, std::to_string(value)) << limit;
  }
  EXPECT_EQ(kDefaultMaxFrame, config.ipc.max_frame);
  EXPECT_EQ(kDefaultCallWindow, config.ipc.call_window);
  EXPECT_EQ(kDefaultConnectionWindow, config.ipc.connection_window);
}

// The bytes of an annotated dump: after "offset: ", up to two spaces. Lines with # are comments.
std::vector<uint8_t> bytes_of_dump(const std::vector<std::string>& lines) {
  std::vector<uint8_t> bytes;
  for (const std::string& line : lines) {
    if (line.starts_with('#')) continue;
    const size_t colon = line.find(": ");
    EXPECT_EQ(std::stoul(line.substr(0, colon), nullptr, 16), bytes.size()) << line;
    std::istringstream hex(line.substr(colon + 2, line.find("  ", colon) - colon - 2));
    for (std::string byte; hex >> byte;)
      bytes.push_back(static_cast<uint8_t>(std::stoul(byte, nullptr, 16)));
  }
  return bytes;
}

TEST(ProtocolPage, HexDumpsAreTheGoldenBytes) {
  const std::regex marker("<!-- golden:(.*) -->");
  const auto lines = lines_of(page());
  size_t blocks = 0;
  for (size_t i = 0; i < lines.size(); ++i) {
    std::smatch match;
    if (!std::regex_match(lines[i], match, marker)) continue;
    const auto vector = std::ranges::find(golden_vectors(), match[1].str(), &GoldenVector::name);
    ASSERT_NE(vector, golden_vectors().end()) << lines[i];
    size_t at = i + 1;
    while (at < lines.size() && lines[at].empty()) ++at;
    ASSERT_EQ(lines.at(at), "```text") << lines[i];
    std::vector<std::string> block;
    while (lines.at(++at) != "```") block.push_back(lines[at]);
    EXPECT_EQ(to_hex(bytes_of_dump(block)), to_hex(vector->bytes)) << lines[i];
    ++blocks;
  }
  EXPECT_EQ(blocks, 4u);
}

}  // namespace
}  // namespace legate::ipc
