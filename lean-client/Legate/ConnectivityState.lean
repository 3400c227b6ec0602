/-!
# Connectivity

The state of a channel's connection to the remote side.
-/

namespace Legate

/-- The state of a channel. -/
inductive ConnectivityState where
  /-- Not connected, and not trying to be. -/
  | idle
  /-- Connecting. -/
  | connecting
  /-- Connected. -/
  | ready
  /-- The last attempt failed; the next comes. -/
  | transientFailure
  /-- Closed. -/
  | shutdown
  deriving Repr, BEq, DecidableEq, Inhabited, Hashable

namespace ConnectivityState

/-- The number on the wire. -/
def toNat (state : ConnectivityState) : Nat := state.ctorIdx

/-- The state of a number, if there is one. -/
def ofNat? : Nat → Option ConnectivityState
  | 0 => some idle
  | 1 => some connecting
  | 2 => some ready
  | 3 => some transientFailure
  | 4 => some shutdown
  | _ => none

/-- As gRPC writes it: "TRANSIENT_FAILURE". -/
def name : ConnectivityState → String
  | idle => "IDLE"
  | connecting => "CONNECTING"
  | ready => "READY"
  | transientFailure => "TRANSIENT_FAILURE"
  | shutdown => "SHUTDOWN"

instance : ToString ConnectivityState := ⟨name⟩

theorem ofNat?_toNat (state : ConnectivityState) : ofNat? state.toNat = some state := by
  cases state <;> rfl

end ConnectivityState
end Legate
