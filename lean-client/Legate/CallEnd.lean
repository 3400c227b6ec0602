import Legate.Status

/-!
# The end of a call

What STATUS told of a call: more than the status that the call's functions give.
-/

namespace Legate

/-- How a call ended, with all that is known. -/
structure CallEnd where
  /-- The status. -/
  status : Status
  /-- The trailers that came with it. -/
  trailers : Metadata := #[]
  /-- Who decided. -/
  origin : Origin := .ipc
  /-- Microseconds from the call's arrival at the daemon to its end. -/
  elapsedUs : UInt64 := 0
  /-- How many times the call was sent off, tries and hedges counted; 0: never. -/
  attempts : UInt32 := 0
  deriving Inhabited

namespace CallEnd

/-- An end that this library decides itself. -/
def ofLibrary (code : StatusCode) (message : String) : CallEnd :=
  { status := .make code message }

/-- The end as an error, whatever its code. -/
def toError (ending : CallEnd) (headers : Metadata := #[]) : GrpcError :=
  { ending.status.toError with headers, trailers := ending.trailers, origin := ending.origin }

end CallEnd
end Legate
