// PROGRAM FOLDER: runs a fuzz target's function on every file of a corpus, then on all of them
// joined, and on each cut short; so that the corpus is a test for every compiler and sanitizer.
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: " << argv[0] << " FOLDER\n";
    return 2;
  }
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1]))
    paths.push_back(entry.path());
  // Backwards: well-formed frames come first, and those named bad- and cut- last.
  std::ranges::sort(paths, std::greater());
  std::vector<uint8_t> joined;
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    const std::vector<uint8_t> bytes(std::istreambuf_iterator<char>(file), {});
    for (size_t length = 0; length <= bytes.size(); ++length) {
      // A copy of its own, so that a sanitizer sees a read past the end.
      const std::vector<uint8_t> input(bytes.begin(),
                                       bytes.begin() + static_cast<std::ptrdiff_t>(length));
      LLVMFuzzerTestOneInput(input.data(), input.size());
    }
    joined.insert(joined.end(), bytes.begin(), bytes.end());
    LLVMFuzzerTestOneInput(joined.data(), joined.size());
  }
  std::cout << paths.size() << " inputs passed\n";
  return paths.empty() ? 1 : 0;
}
