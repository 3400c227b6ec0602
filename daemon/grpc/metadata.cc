#include "daemon/grpc/metadata.h"

#include <algorithm>

#include "daemon/core/metadata.h"
#include "ipc-schema/cpp/frame.h"

namespace legated {
namespace {

// More would not fit a frame's meta with what a table costs for each.
constexpr size_t kMaxEntries = 2000;

Status check_size(uint64_t bytes, size_t entries, MetadataLimit limit, std::string_view what) {
  std::string excess;
  if (bytes > limit.bytes) {
    excess = std::to_string(bytes) + " bytes exceeds " + limit.name + ", " +
             std::to_string(limit.bytes) + " bytes";
  } else if (entries > kMaxEntries) {
    excess = std::to_string(entries) + " entries exceeds " + std::to_string(kMaxEntries) +
             ", the most there may be";
  } else {
    return {};
  }
  return {StatusCode::resource_exhausted,
          std::string(what) + " of " + excess,
          Origin::daemon,
          {}};
}

flatbuffers::Offset<legate::ipc::Entry> build_entry(flatbuffers::FlatBufferBuilder& builder,
                                                    std::string_view key, std::string_view value) {
  const auto key_offset = builder.CreateString(key.data(), key.size());
  const auto value_offset =
      builder.CreateVector(reinterpret_cast<const uint8_t*>(value.data()), value.size());
  return legate::ipc::CreateEntry(builder, key_offset, value_offset);
}

}  // namespace

flatbuffers::Offset<EntryVector> build_entries(flatbuffers::FlatBufferBuilder& builder,
                                               const MetadataList& list) {
  std::vector<flatbuffers::Offset<legate::ipc::Entry>> entries;
  entries.reserve(list.size());
  for (const auto& [key, value] : list) entries.push_back(build_entry(builder, key, value));
  return entries.empty() ? 0 : builder.CreateVector(entries);
}

Status SendMetadata::assign(const EntryVector* entries, MetadataLimit limit) {
  clear();
  if (entries == nullptr) return {};
  uint64_t bytes = 0;
  for (const legate::ipc::Entry* entry : *entries) {
    bytes += entry->key()->size() + entry->value()->size();
  }
  if (Status status = check_size(bytes, entries->size(), limit, "metadata"); !status.ok()) {
    return status;
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

MetadataList SendMetadata::list() const {
  MetadataList list;
  for (const grpc_metadata& element : elements_)
    list.emplace_back(text_of(element.key), text_of(element.value));
  return list;
}

Status SendMetadata::assign(const MetadataList& list, MetadataLimit limit) {
  clear();
  uint64_t bytes = 0;
  for (const auto& [key, value] : list) bytes += key.size() + value.size();
  Status status = check_size(bytes, list.size(), limit, "metadata");
  if (!status.ok()) return status;
  for (const auto& [key, value] : list) add(key, value);
  return {};
}

void SendMetadata::add(std::string_view key, std::string_view value) {
  grpc_metadata element{};
  element.key = slice_of(key);
  element.value = slice_of(value);
  elements_.push_back(element);
}

bool SendMetadata::has(std::string_view key) const {
  return std::ranges::any_of(elements_, [&](const auto& one) { return text_of(one.key) == key; });
}

void SendMetadata::clear() {
  for (grpc_metadata& element : elements_) {
    grpc_slice_unref(element.key);
    grpc_slice_unref(element.value);
  }
  elements_.clear();
}

std::optional<std::string_view> ReceivedMetadata::find(std::string_view key) const {
  for (size_t i = 0; i < array_.count; ++i) {
    if (text_of(array_.metadata[i].key) == key) return text_of(array_.metadata[i].value);
  }
  return std::nullopt;
}

Status ReceivedMetadata::limit(MetadataLimit limit, std::string_view what) {
  uint64_t bytes = 0;
  size_t entries = 0;
  for (size_t i = 0; i < array_.count; ++i) {
    const grpc_metadata& element = array_.metadata[i];
    if (is_transport_key(text_of(element.key))) continue;
    bytes += GRPC_SLICE_LENGTH(element.key) + GRPC_SLICE_LENGTH(element.value);
    ++entries;
  }
  const Status status = check_size(bytes, entries, limit, what);
  dropped_ = !status.ok();
  return status;
}

bool ReceivedMetadata::empty() const {
  if (dropped_) return true;
  for (size_t i = 0; i < array_.count; ++i) {
    if (!is_transport_key(text_of(array_.metadata[i].key))) return false;
  }
  return true;
}

MetadataList ReceivedMetadata::list() const {
  MetadataList list;
  if (dropped_) return list;
  for (size_t i = 0; i < array_.count; ++i) {
    const std::string_view key = text_of(array_.metadata[i].key);
    if (!is_transport_key(key)) list.emplace_back(key, text_of(array_.metadata[i].value));
  }
  return list;
}

flatbuffers::Offset<EntryVector> ReceivedMetadata::build(
    flatbuffers::FlatBufferBuilder& builder) const {
  if (dropped_) return 0;
  std::vector<flatbuffers::Offset<legate::ipc::Entry>> entries;
  entries.reserve(array_.count);
  for (size_t i = 0; i < array_.count; ++i) {
    const std::string_view key = text_of(array_.metadata[i].key);
    if (is_transport_key(key)) continue;
    entries.push_back(build_entry(builder, key, text_of(array_.metadata[i].value)));
  }
  return entries.empty() ? 0 : builder.CreateVector(entries);
}

}  // namespace legated
