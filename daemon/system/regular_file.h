#pragma once
// Reading of small files whose paths an operator names.

#include <cstddef>
#include <string>

namespace legated {

struct FileText {
  std::string text;
  std::string problem;  // "can't be read: …", "is not a regular file", "is longer than …"; empty: none
};

/// Never waits, as opening a pipe would, and reads no more than `most` bytes.
FileText read_regular_file(const std::string& path, size_t most);

}  // namespace legated
