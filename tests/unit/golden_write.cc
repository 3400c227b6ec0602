// golden_write FOLDER [CORPUS]: writes the golden vectors that FOLDER (ipc-schema/golden) lacks,
// and with CORPUS (tests/fuzz/corpus/frame) their bytes as inputs of the fuzzer. Files that are
// there stay as they are, since released vectors do not change; to change one before its release,
// remove it first.
#include <filesystem>
#include <fstream>
#include <iostream>

#include "tests/unit/golden_vectors.h"

namespace {

void write_missing(const std::filesystem::path& path, const std::string& content) {
  if (std::filesystem::exists(path)) return;
  std::ofstream file(path, std::ios::binary);
  file << content;
  if (!file.flush()) throw std::runtime_error(path.string() + " can't be written");
  std::cout << "wrote " << path.string() << '\n';
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 && argc != 3) {
    std::cerr << "usage: golden_write FOLDER [CORPUS]\n";
    return 2;
  }
  try {
    for (const auto& vector : legate::ipc::golden_vectors()) {
      write_missing(std::filesystem::path(argv[1]) / (vector.name + ".txt"),
                    legate::ipc::to_text(vector));
      if (argc == 3) {
        write_missing(std::filesystem::path(argv[2]) / vector.name,
                      {vector.bytes.begin(), vector.bytes.end()});
      }
    }
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
  return 0;
}
