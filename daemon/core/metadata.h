#pragma once
// Rules for metadata that a peer hands in (PROTOCOL.md, section 9). gRPC aborts the process on
// illegal metadata, so nothing reaches it that has not passed here. Pure functions, any thread.

#include <optional>
#include <string>
#include <string_view>

namespace legated {

/// Why this element may not be sent, naming the key; nullopt when it may.
std::optional<std::string> refuse_metadata(std::string_view key, std::string_view value);

/// Whether an element that came from the remote side belongs to the transport and is not shown to
/// the peer.
bool is_transport_key(std::string_view key);

/// What someone wrote, for a message: bytes outside printable ASCII as \xNN, cut at 100.
std::string printable(std::string_view text);

}  // namespace legated
