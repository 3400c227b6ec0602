/-!
# Transport

The connection's byte stream as a pair of functions. A compiled program has the Unix socket of
`Legate.Transport.Unix`; one that was started with the connection on stdin and stdout has
`Transport.stdio`; tests have `Transport.pair`.
-/

namespace Legate

/-- A byte stream in both directions. One task reads at a time, and one writes. -/
structure Transport where
  /-- The other side, for messages: "legated at PATH". -/
  name : String
  /-- Waits for bytes, at most so many. Empty at the end of the stream; none when nothing came for a
  while: who reads looks around then, and reads again. -/
  read : Nat → IO (Option ByteArray)
  /-- Writes all, in order, and returns when the bytes are taken. -/
  write : Array ByteArray → IO Unit
  /-- Ends both directions; a read that waits returns. Idempotent. -/
  close : IO Unit

/-- The pieces as one. -/
def Transport.join (pieces : Array ByteArray) : ByteArray :=
  if h : pieces.size = 1 then pieces[0]
  else pieces.foldl (· ++ ·) (.emptyWithCapacity (pieces.foldl (fun size piece => size + piece.size) 0))

end Legate
