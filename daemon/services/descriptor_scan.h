#pragma once
// A first look at the bytes of a google.protobuf.FileDescriptorSet that a peer has sent, before
// protobuf makes objects of them: of a few bytes it makes hundreds, and it recurses and compares
// without bounds of its own. Pure functions, any thread.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace google::protobuf {
class FileDescriptorProto;
}

namespace legated {

/// Why the set is refused, nullopt when it is not; `files` are then the bytes of each file in it.
std::optional<std::string> scan_descriptor_set(std::string_view set,
                                               std::vector<std::string_view>& files);

/// The bytes of the full names of all that the file declares.
size_t bytes_of_names(const google::protobuf::FileDescriptorProto& file);

inline constexpr size_t kMostElements = 300'000;    // messages and strings in a set
inline constexpr int kMostNesting = 40;             // of messages
inline constexpr size_t kLongestName = 1000;        // bytes of a name as it is written
inline constexpr size_t kMostRanges = 1000;         // reserved or for extensions, of one message
inline constexpr size_t kMostNames = 8 * 1024 * 1024;  // bytes of all full names of a set

}  // namespace legated
