import Legate.Wire.Types

/-!
# Violations

A breach of the protocol by the other side.
-/

namespace Legate.Session

/-- A breach of the protocol by the daemon: the connection ends with this ERROR. -/
structure Violation where
  /-- What ERROR names. -/
  code : Wire.ErrorCode
  /-- Names the frame and the reason. -/
  message : String
  deriving Inhabited

end Legate.Session
