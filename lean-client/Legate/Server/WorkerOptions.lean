/-!
# Worker options

What a process says of itself to the daemon, which shares the calls of a port among all that serve it. The
environment decides, unless the program does.
-/

namespace Legate

/-- What a process says of itself as a worker. -/
structure WorkerOptions where
  /-- Unary calls at once: `LEGATE_SERVER_WORKERS`. -/
  workers : Nat := 8
  /-- Calls at once that stream, which may be long and so are counted apart: `LEGATE_SERVER_STREAMS`. -/
  streams : Nat := 64
  /-- Capacity against the other workers of its generation, at least 1: `LEGATE_SERVER_WEIGHT`. -/
  weight : UInt16 := 100
  /-- Label of the version that it is of; empty: all without one are one: `LEGATE_SERVER_GENERATION`. -/
  generation : String := ""
  /-- Of the calls, against other generations; 0: only those for which no other has room: `LEGATE_SERVER_SHARE`. -/
  share : UInt16 := 100
  deriving Repr, BEq, Inhabited

namespace WorkerOptions

private def number (name : String) (default least most : Nat) : IO Nat := do
  let some text := (← IO.getEnv name).filter (!·.isEmpty) | return default
  match text.toNat? with
  | some number => if least ≤ number && number ≤ most then return number
  | none => pure ()
  throw (IO.userError s!"{name} must be a number from {least} to {most}, it is \"{text}\"")

/-- What the environment says. It throws when a number there is none, or out of range. -/
def ofEnvironment : IO WorkerOptions := return {
  workers := ← number "LEGATE_SERVER_WORKERS" 8 1 65535
  streams := ← number "LEGATE_SERVER_STREAMS" 64 1 65535
  weight := (← number "LEGATE_SERVER_WEIGHT" 100 1 65535).toUInt16
  generation := (← IO.getEnv "LEGATE_SERVER_GENERATION").getD ""
  share := (← number "LEGATE_SERVER_SHARE" 100 0 65535).toUInt16 }

/-- Throws when a number is out of range. -/
def check (options : WorkerOptions) : IO Unit := do
  for (name, number) in [("workers", options.workers), ("streams", options.streams), ("weight", options.weight.toNat)] do
    unless 1 ≤ number && number ≤ 65535 do
      throw (IO.userError s!"WorkerOptions.{name} must be from 1 to 65535, it is {number}")

end WorkerOptions
end Legate
