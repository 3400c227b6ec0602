import Init.Data.Queue

/-!
# Outbox

The frames that wait to be written. Those that are ready together leave in one write; urgent ones (PING,
PONG, WINDOW, ERROR) go ahead of the others. Pure.
-/

namespace Legate.Session

/-- Frames, encoded, that wait to be written. -/
structure Outbox where
  /-- They go first. -/
  urgent : Array ByteArray := #[]
  /-- The others, in order, each in pieces. -/
  frames : Std.Queue (Array ByteArray) := .empty
  /-- Somebody is writing, and takes along what comes meanwhile. -/
  writing : Bool := false
  /-- Nothing can be written any more: what comes is dropped. -/
  broken : Bool := false

namespace Outbox

/-- A write takes no more than about so many bytes: it is also how far an urgent frame can lie behind. -/
def batchSize : Nat := 65536

/-- Adds the pieces of one frame. -/
def add (outbox : Outbox) (pieces : Array ByteArray) : Outbox :=
  if outbox.broken then outbox
  else { outbox with frames := outbox.frames.enqueue pieces }

/-- Adds a frame that goes ahead. -/
def addUrgent (outbox : Outbox) (frame : ByteArray) : Outbox :=
  if outbox.broken then outbox else { outbox with urgent := outbox.urgent.push frame }

/-- Whether nothing waits. -/
def isEmpty (outbox : Outbox) : Bool := outbox.urgent.isEmpty && outbox.frames.isEmpty

/-- What one write takes. -/
def take (outbox : Outbox) : Array ByteArray × Outbox := Id.run do
  let mut batch := outbox.urgent
  let mut frames := outbox.frames
  let mut size := 0
  while size < batchSize do
    match frames.dequeue? with
    | some (pieces, rest) =>
      batch := batch ++ pieces
      frames := rest
      size := pieces.foldl (fun size piece => size + piece.size) size
    | none => break
  return (batch, { outbox with urgent := #[], frames })

/-- The connection is broken: drops everything, for ever. -/
def break_ (_ : Outbox) : Outbox := { broken := true }

end Outbox
end Legate.Session
