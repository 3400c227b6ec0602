import Legate.Transport
import Std.Sync.Mutex

/-!
# A connection within the process

Both ends of a byte stream, for tests that play the daemon.
-/

namespace Legate

/-- One direction of a pair. -/
private structure Pipe where
  bytes : ByteArray := .empty
  closed : Bool := false

private def Pipe.read (mutex : Std.Mutex Pipe) (changed : Std.Condvar) (max : Nat) : BaseIO ByteArray :=
  mutex.atomically do
    while (← get).bytes.isEmpty && !(← get).closed do changed.wait mutex.mutex
    modifyGet fun pipe =>
      if pipe.bytes.size ≤ max then (pipe.bytes, { pipe with bytes := .empty })
      else (pipe.bytes.extract 0 max, { pipe with bytes := pipe.bytes.extract max pipe.bytes.size })

private def Pipe.write (mutex : Std.Mutex Pipe) (changed : Std.Condvar) (pieces : Array ByteArray) :
    IO Unit := do
  let closed ← mutex.atomically (m := BaseIO) do
    modifyGet fun pipe =>
      (pipe.closed, if pipe.closed then pipe else { pipe with bytes := pieces.foldl (· ++ ·) pipe.bytes })
  if closed then throw (IO.userError "the other end is closed")
  changed.notifyAll

/-- Two ends: what one writes the other reads. Either end's `close` closes both. -/
def Transport.pair (name : String := "a pair") : BaseIO (Transport × Transport) := do
  let left ← Std.Mutex.new ({} : Pipe)
  let right ← Std.Mutex.new ({} : Pipe)
  let leftChanged ← Std.Condvar.new
  let rightChanged ← Std.Condvar.new
  let close : IO Unit := do
    for (mutex, changed) in [(left, leftChanged), (right, rightChanged)] do
      mutex.atomically (modify fun pipe => { pipe with closed := true })
      changed.notifyAll
  let ends (input output : Std.Mutex Pipe) (inputChanged outputChanged : Std.Condvar) : Transport :=
    { name, close
      read := fun max => some <$> Pipe.read input inputChanged max
      write := Pipe.write output outputChanged }
  return (ends left right leftChanged rightChanged, ends right left rightChanged leftChanged)

end Legate
