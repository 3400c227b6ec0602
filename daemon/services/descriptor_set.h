#pragma once
// The descriptors that a worker registers with DESCRIBE: a google.protobuf.FileDescriptorSet,
// checked by protobuf's own DescriptorPool, and of each file its bytes and what it declares. Pure,
// any thread.

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/core/status.h"

namespace google::protobuf {
class FileDescriptor;
}

namespace legated {

/// One .proto file, as reflection hands it out. Immutable.
struct DescribedFile {
  struct Extension {
    std::string extendee;
    int32_t number;
  };

  std::string name;
  std::string bytes;  // a FileDescriptorProto
  std::vector<std::string> imports;
  std::vector<std::string> symbols;   // full names of all it declares
  std::vector<std::string> messages;  // those of messages
  std::vector<Extension> extensions;
};
using DescribedFiles = std::vector<std::shared_ptr<const DescribedFile>>;

struct DescribedSet {
  Status status;  // INVALID_ARGUMENT: why it is refused; nothing else is filled in then
  DescribedFiles files{};
  std::set<std::string> services{};
};

DescribedSet read_descriptor_set(std::string_view bytes);

/// A file that this program is linked with, and those it imports, appended to `files`.
void describe_linked(const google::protobuf::FileDescriptor& file, DescribedFiles& files);

}  // namespace legated
