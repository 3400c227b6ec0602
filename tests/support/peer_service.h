#pragma once
// The scriptable Peer service of tests/peers/peer.proto as a worker behind legated serves it: the
// counterpart of tests/peers' gRPC servers, so that any gRPC client can drive legated's inbound side.

#include "cpp-client/handler_pool.h"

namespace legated::test {

/// Handlers of Peer's four methods. They share one count of cancelled calls; they may run at once.
legate::client::Handlers peer_handlers();

}  // namespace legated::test
