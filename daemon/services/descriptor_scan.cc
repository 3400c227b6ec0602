#include "daemon/services/descriptor_scan.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

namespace legated {
namespace {

namespace pb = google::protobuf;

constexpr char kCut[] = "its bytes end too early or are no protobuf";

/// Reads protobuf's wire format; every read says whether there was enough.
class Wire {
 public:
  explicit Wire(std::string_view bytes) : rest_(bytes) {}

  bool done() const { return rest_.empty(); }

  bool varint(uint64_t& value) {
    value = 0;
    for (unsigned shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<uint8_t>(rest_.front());
      rest_.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7FU) << shift;
      if ((byte & 0x80U) == 0) return true;
    }
    return false;
  }

  bool delimited(std::string_view& bytes) {
    uint64_t length = 0;
    if (!varint(length) || length > rest_.size()) return false;
    bytes = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return true;
  }

  /// Passes over a value that is not delimited. Groups, which no descriptor has, may be in options.
  bool skip(uint64_t tag) {
    size_t groups = 0;
    do {
      uint64_t number = 0;
      std::string_view bytes;
      switch (tag & 7U) {
        case 0:
          if (!varint(number)) return false;
          break;
        case 1:
          if (!drop(8)) return false;
          break;
        case 2:
          if (!delimited(bytes)) return false;
          break;
        case 3: ++groups; break;
        case 4:
          if (groups-- == 0) return false;
          break;
        case 5:
          if (!drop(4)) return false;
          break;
        default: return false;
      }
      if (groups > 0 && !varint(tag)) return false;
    } while (groups > 0);
    return true;
  }

 private:
  bool drop(size_t bytes) {
    if (rest_.size() < bytes) return false;
    rest_.remove_prefix(bytes);
    return true;
  }

  std::string_view rest_;
};

class Scan {
 public:
  explicit Scan(std::vector<std::string_view>& files) : files_(files) {}

  std::optional<std::string> message(std::string_view bytes, const pb::Descriptor& type,
                                     int depth) {
    if (depth > kMostNesting) {
      return "messages are nested deeper than " + std::to_string(kMostNesting);
    }
    size_t ranges = 0;
    for (Wire wire(bytes); !wire.done();) {
      uint64_t tag = 0;
      if (!wire.varint(tag) || tag > UINT32_MAX) return kCut;
      if ((tag & 7U) != 2) {
        if (!wire.skip(tag)) return kCut;
        continue;
      }
      std::string_view value;
      if (!wire.delimited(value)) return kCut;
      const pb::FieldDescriptor* const field = type.FindFieldByNumber(static_cast<int>(tag >> 3U));
      if (field == nullptr) continue;
      if (++elements_ > kMostElements) {
        return "it has more than " + std::to_string(kMostElements) +
               " elements; leave out source info, or what the services do not need";
      }
      if (is_range(*field) && ++ranges > kMostRanges) {
        return "a message has more than " + std::to_string(kMostRanges) + " " + field->name() + "s";
      }
      if (auto why = element(value, *field, depth)) return why;
    }
    return std::nullopt;
  }

 private:
  static bool is_range(const pb::FieldDescriptor& field) {
    return field.name() == "extension_range" || field.name().starts_with("reserved_");
  }

  std::optional<std::string> element(std::string_view value, const pb::FieldDescriptor& field,
                                     int depth) {
    if (field.type() == pb::FieldDescriptor::TYPE_STRING) {
      const bool prose = field.name() == "default_value" || field.name().ends_with("_comments") ||
                         field.name() == "leading_detached_comments";
      if (prose || value.size() <= kLongestName) return std::nullopt;
      return "a " + field.name() + " is longer than " + std::to_string(kLongestName) + " bytes";
    }
    const pb::Descriptor* const type = field.message_type();
    if (type == nullptr) return std::nullopt;
    if (type == pb::UninterpretedOption::descriptor()) {
      return "it has options that are not interpreted; protoc writes sets without";
    }
    if (type == pb::FileDescriptorProto::descriptor()) files_.push_back(value);
    return message(value, *type, depth + 1);
  }

  std::vector<std::string_view>& files_;
  size_t elements_ = 0;
};

/// `scope` is the length of the names around it, with the dot.
template <class Elements>
size_t names(const Elements& elements, size_t scope) {
  size_t bytes = 0;
  for (const auto& element : elements) bytes += scope + element.name().size();
  return bytes;
}

size_t names_within(const pb::EnumDescriptorProto& declared, size_t scope) {
  return names(declared.value(), scope);
}

size_t names_within(const pb::ServiceDescriptorProto& declared, size_t scope) {
  return names(declared.method(), scope + declared.name().size() + 1);
}

size_t names_within(const pb::DescriptorProto& declared, size_t scope) {
  const size_t inner = scope + declared.name().size() + 1;
  size_t bytes = names(declared.field(), inner) + names(declared.oneof_decl(), inner) +
                 names(declared.extension(), inner) + names(declared.nested_type(), inner) +
                 names(declared.enum_type(), inner);
  for (const auto& nested : declared.nested_type()) bytes += names_within(nested, inner);
  for (const auto& nested : declared.enum_type()) bytes += names_within(nested, inner);
  return bytes;
}

}  // namespace

std::optional<std::string> scan_descriptor_set(std::string_view set,
                                               std::vector<std::string_view>& files) {
  return Scan(files).message(set, *pb::FileDescriptorSet::descriptor(), 0);
}

size_t bytes_of_names(const pb::FileDescriptorProto& file) {
  const size_t scope = file.package().size() + 1;
  size_t bytes = names(file.message_type(), scope) + names(file.enum_type(), scope) +
                 names(file.service(), scope) + names(file.extension(), scope);
  for (const auto& declared : file.message_type()) bytes += names_within(declared, scope);
  for (const auto& declared : file.enum_type()) bytes += names_within(declared, scope);
  for (const auto& declared : file.service()) bytes += names_within(declared, scope);
  return bytes;
}

}  // namespace legated
