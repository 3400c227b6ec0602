#pragma once
// Who is at the other end of a connection, and what roles it may have. Stateless; the loop's
// thread.

#include "daemon/config/config.h"
#include "daemon/ipc/session.h"

namespace legated {

/// The process that dialled, from the kernel, with the roles the rules allow it. Not OK: the kernel
/// does not tell. Without rules for a role, root and the daemon's own user have it.
[[nodiscard]] Status identify(int fd, const Config::Access& rules, Session::Peer& peer);

}  // namespace legated
