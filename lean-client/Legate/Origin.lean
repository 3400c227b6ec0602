/-!
# Origin

Which side decided how a call ended.
-/

namespace Legate

/-- Who decided how a call, or a request to the daemon, ended. -/
inductive Origin where
  /-- The handler, or the calling program. -/
  | app
  /-- The gRPC peer, or gRPC on the way to it. -/
  | remote
  /-- The daemon itself: a limit, a rule, a lost worker. -/
  | daemon
  /-- The connection between this process and the daemon. -/
  | ipc
  deriving Repr, BEq, DecidableEq, Inhabited, Hashable

/-- "app", "remote", "daemon" or "ipc". -/
def Origin.name : Origin → String
  | app => "app"
  | remote => "remote"
  | daemon => "daemon"
  | ipc => "ipc"

instance : ToString Origin := ⟨Origin.name⟩

end Legate
