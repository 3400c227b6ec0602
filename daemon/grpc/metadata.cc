#include "daemon/grpc/metadata.h"

#include "daemon/core/metadata.h"
#include "ipc-schema/cpp/frame.h"

namespace legated {

Status SendMetadata::assign(const EntryVector* entries, uint32_t max_bytes) {
  clear();
  if (entries == nullptr) return {};
  uint64_t bytes = 0;
  for (const legate::ipc::Entry* entry : *entries) {
    bytes += entry->key()->size() + entry->value()->size();
  }
  if (bytes > max_bytes) {
    return {StatusCode::resource_exhausted,
            "metadata of " + std::to_string(bytes) + " bytes exceeds limits.max_metadata, " +
                std::to_string(max_bytes) + " bytes",
            Origin::daemon,
            {}};
  }
  for (const legate::ipc::Entry* entry : *entries) {
    if (auto why =
            refuse_metadata(legate::ipc::view(entry->key()), legate::ipc::view(entry->value()))) {
      return {StatusCode::invalid_argument, std::move(*why), Origin::daemon, {}};
    }
  }
  elements_.reserve(entries->size());
  for (const legate::ipc::Entry* entry : *entries) {
    add(legate::ipc::view(entry->key()), legate::ipc::view(entry->value()));
  }
  return {};
}

void SendMetadata::add(std::string_view key, std::string_view value) {
  grpc_metadata element{};
  element.key = slice_of(key);
  element.value = slice_of(value);
  elements_.push_back(element);
}

void SendMetadata::clear() {
  for (grpc_metadata& element : elements_) {
    grpc_slice_unref(element.key);
    grpc_slice_unref(element.value);
  }
  elements_.clear();
}

bool ReceivedMetadata::empty() const {
  for (size_t i = 0; i < array_.count; ++i) {
    if (!is_transport_key(text_of(array_.metadata[i].key))) return false;
  }
  return true;
}

flatbuffers::Offset<EntryVector> ReceivedMetadata::build(
    flatbuffers::FlatBufferBuilder& builder) const {
  std::vector<flatbuffers::Offset<legate::ipc::Entry>> entries;
  entries.reserve(array_.count);
  for (size_t i = 0; i < array_.count; ++i) {
    const std::string_view key = text_of(array_.metadata[i].key);
    if (is_transport_key(key)) continue;
    const std::string_view value = text_of(array_.metadata[i].value);
    const auto key_offset = builder.CreateString(key.data(), key.size());
    const auto value_offset =
        builder.CreateVector(reinterpret_cast<const uint8_t*>(value.data()), value.size());
    entries.push_back(legate::ipc::CreateEntry(builder, key_offset, value_offset));
  }
  return entries.empty() ? 0 : builder.CreateVector(entries);
}

}  // namespace legated
