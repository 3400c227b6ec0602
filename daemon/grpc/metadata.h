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

/// Metadata for gRPC. Owns its slices; must outlive the batch that sends it.
class SendMetadata {
 public:
  SendMetadata() = default;
  ~SendMetadata() { clear(); }
  SendMetadata(const SendMetadata&) = delete;
  SendMetadata& operator=(const SendMetadata&) = delete;

  /// Copies entries of a peer. `entries` may be null. `max_bytes` bounds the sum of keys and
  /// values. Not OK: INVALID_ARGUMENT naming the key, or RESOURCE_EXHAUSTED; nothing is kept then.
  [[nodiscard]] Status assign(const EntryVector* entries, uint32_t max_bytes);

  /// The elements as text, and back; those of `list` must be fit to be sent. RESOURCE_EXHAUSTED when
  /// they are too much.
  using List = std::vector<std::pair<std::string, std::string>>;
  List list() const;
  [[nodiscard]] Status assign(const List& list, uint32_t max_bytes);

  /// Appends an element the daemon itself makes; it is not checked.
  void add(std::string_view key, std::string_view value);

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

  /// For gRPC to fill in.
  grpc_metadata_array* array() { return &array_; }

  /// Whether there is anything for a peer in it.
  bool empty() const;

  /// The first value of the key.
  std::optional<std::string_view> find(std::string_view key) const;

  /// Drops everything when keys and values for a peer are more than `max_bytes` in sum, or too many:
  /// RESOURCE_EXHAUSTED then, which says so of `what`.
  [[nodiscard]] Status limit(uint32_t max_bytes, std::string_view what);

  /// As the peer gets it: without transport keys, order kept. 0 when there is nothing.
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
