#pragma once
// The golden vectors of ipc-schema/golden/: one table of frames, right and wrong, and the text form
// in which the folder keeps them (its README.md). Pure.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ipc-schema/cpp/frame.h"

namespace legate::ipc {

struct GoldenVector {
  std::string name;   // of the file, without ".txt"
  std::string about;  // one line
  std::vector<uint8_t> bytes;
  std::optional<ErrorCode> error;  // what a decoder with the default limits must answer
};

/// By name, sorted.
const std::vector<GoldenVector>& golden_vectors();

/// The whole file of a vector. What it says of the frame is what the decoder made of the bytes.
std::string to_text(const GoldenVector& vector);

/// The lines from `frame:` to before `bytes:`, which tell what the decoder makes of `bytes`.
std::string describe(const std::vector<uint8_t>& bytes);

/// The bytes of a file's hex lines; throws std::runtime_error when the file is not in the form of
/// to_text().
std::vector<uint8_t> bytes_of_text(std::string_view text);

/// The meta table of a decoded frame as JSON, see the README; "-" for a type without.
std::string meta_json(const Frame& frame);

std::string to_hex(std::span<const uint8_t> bytes);

}  // namespace legate::ipc
