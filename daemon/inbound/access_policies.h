#pragma once
// The policies that a server has besides those of a channel: who may call (docs/policies.md). They
// read the files they name, again when those have changed. The loop's thread.

#include "daemon/core/policies.h"

namespace legated {

/// The kinds that a server of the configuration can have.
const Policies::Kinds& incoming_policies();

/// Those that a process may ask for in LISTEN: none that reads a file.
const Policies::Kinds& peers_policies();

}  // namespace legated
