// ipc-schema/golden against the codec: what each file says is what decoding its bytes gives, and
// encoding gives its bytes.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "tests/unit/golden_vectors.h"

namespace legate::ipc {
namespace {

const std::filesystem::path kFolder =
    std::filesystem::path(LEGATED_SOURCE_DIR) / "ipc-schema/golden";

std::string read(const std::string& name) {
  std::ifstream file(kFolder / (name + ".txt"));
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(Golden, FilesSayWhatDecodingTheirBytesGives) {
  for (const GoldenVector& vector : golden_vectors()) {
    const std::string text = read(vector.name);
    const std::string described = describe(bytes_of_text(text));
    EXPECT_NE(text.find('\n' + described + "bytes:\n"), std::string::npos) << text << "decoded as\n"
                                                                           << described;
  }
}

TEST(Golden, EncodingGivesTheBytesOfTheFiles) {
  for (const GoldenVector& vector : golden_vectors()) {
    EXPECT_EQ(to_hex(bytes_of_text(read(vector.name))), to_hex(vector.bytes)) << vector.name;
  }
}

TEST(Golden, FilesAreInCanonicalForm) {
  for (const GoldenVector& vector : golden_vectors()) {
    EXPECT_EQ(read(vector.name), to_text(vector));
  }
}

TEST(Golden, OnlyTheErrorsOfTheTableOccur) {
  for (const GoldenVector& vector : golden_vectors()) {
    SCOPED_TRACE(vector.name);
    const std::string described = describe(vector.bytes);
    EXPECT_EQ(vector.error.has_value(), described.starts_with("error: "));
    EXPECT_EQ(vector.error.has_value(), vector.name.starts_with("bad-"));
    EXPECT_EQ(vector.name.starts_with("cut-"), described.starts_with("incomplete: "));
    if (!vector.error) continue;
    const std::string expected =
        std::string("error: ") + EnumNameErrorCode(*vector.error) + " frame ";
    EXPECT_TRUE(described.starts_with(expected)) << described;
  }
}

TEST(Golden, EveryFileHasARowAndEveryRowAFile) {
  std::set<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder)) {
    if (entry.path().extension() == ".txt") files.insert(entry.path().stem());
  }
  std::set<std::string> rows;
  for (const GoldenVector& vector : golden_vectors()) {
    EXPECT_TRUE(rows.insert(vector.name).second) << vector.name << " twice";
  }
  EXPECT_EQ(files, rows);
}

TEST(Golden, EveryFrameTypeHasAVector) {
  std::set<uint8_t> types;
  for (const GoldenVector& vector : golden_vectors()) {
    if (vector.bytes.size() >= kHeaderSize && !vector.error) types.insert(vector.bytes[8]);
  }
  for (int type = 0; type < 256; ++type) {
    if (is_known(static_cast<FrameType>(type))) {
      EXPECT_TRUE(types.contains(static_cast<uint8_t>(type))) << name(static_cast<FrameType>(type));
    }
  }
}

}  // namespace
}  // namespace legate::ipc
