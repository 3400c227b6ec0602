#pragma once
// Metadata between frames and gRPC. Everything from a peer is checked here; gRPC would abort the
// process on what it forbids.

#include <flatbuffers/flatbuffers.h>
#include <grpc/grpc.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "daemon/core/status.h"
#include "legate_generated.h"

namespace legated {

using EntryVector = flatbuffers::Vector<flatbuffers::Offset<legate::ipc::Entry>>;
using MetadataList = std::vector<std::pair<std::string, std::string>>;

/// As a peer gets it. 0 when there is nothing.
flatbuffers::Offset<EntryVector> build_entries(flatbuffers::FlatBufferBuilder& builder,
                                               const MetadataList& list);

/// Bytes that the keys and values of one list may have in sum.
struct MetadataLimit {
  // Implicit: most callers have no other than the daemon's.
  MetadataLimit(uint32_t most, const char* setter = "limits.max_metadata")
      : bytes(most), name(setter) {}

  uint32_t bytes;
  const char* name;  // who set it, for the error; static text
};

/// Metadata for gRPC. Owns its slices; must outlive the batch that sends it.
class SendMetadata {
 public:
  SendMetadata() = default;
  ~SendMetadata() { clear(); }
  SendMetadata(const SendMetadata&) = delete;
  SendMetadata& operator=(const SendMetadata&) = delete;

  /// Copies entries of a peer. `entries` may be null. Not OK: INVALID_ARGUMENT naming the key, or RESOURCE_EXHAUSTED; nothing is kept then.
  [[nodiscard]] Status assign(const EntryVector* entries, MetadataLimit limit);

  /// The elements as text, and back; those of `list` must be fit to be sent. RESOURCE_EXHAUSTED when
  /// they are too much.
  MetadataList list() const;
  [[nodiscard]] Status assign(const MetadataList& list, MetadataLimit limit);

  /// Appends an element the daemon itself makes; it is not checked.
  void add(std::string_view key, std::string_view value);

  bool has(std::string_view key) const;

  void clear();
  grpc_metadata* data() { return elements_.data(); }
  size_t size() const { return elements_.size(); }

 private:
  std::vector<grpc_metadata> elements_;
};

/// Metadata received from gRPC.
class ReceivedMetadata {
 public:
  ReceivedMetadata() { grpc_metadata_array_init(&array_); }
  ~ReceivedMetadata() { grpc_metadata_array_destroy(&array_); }
  ReceivedMetadata(const ReceivedMetadata&) = delete;
  ReceivedMetadata& operator=(const ReceivedMetadata&) = delete;

  void swap(ReceivedMetadata& other) {
    std::swap(array_, other.array_);
    std::swap(dropped_, other.dropped_);
  }

  /// For gRPC to fill in.
  grpc_metadata_array* array() { return &array_; }
  const grpc_metadata_array* array() const { return &array_; }

  /// Whether there is anything for a peer in it.
  bool empty() const;

  /// The first value of the key.
  std::optional<std::string_view> find(std::string_view key) const;

  /// Drops everything when keys and values for a peer are more than `limit` in sum, or too many:
  /// RESOURCE_EXHAUSTED then, which says so of `what`.
  [[nodiscard]] Status limit(MetadataLimit limit, std::string_view what);

  /// The elements for a peer: without transport keys, order kept.
  MetadataList list() const;

  /// The same as the peer gets it. 0 when there is nothing.
  flatbuffers::Offset<EntryVector> build(flatbuffers::FlatBufferBuilder& builder) const;

 private:
  grpc_metadata_array array_;
  bool dropped_ = false;
};

inline std::string_view text_of(const grpc_slice& slice) {
  return {reinterpret_cast<const char*>(GRPC_SLICE_START_PTR(slice)), GRPC_SLICE_LENGTH(slice)};
}

inline grpc_slice slice_of(std::string_view text) {
  return grpc_slice_from_copied_buffer(text.data(), text.size());
}

}  // namespace legated
