import Legate.Transport

/-!
# The Unix socket

The only declarations of the package that are not Lean: `c/legate_shim.c` defines them. A program that is
interpreted can't call them; it is given its connection on stdin and stdout (`Transport.stdio`).
-/

namespace Legate.Unix

private opaque SocketPointed : NonemptyType

/-- A connected Unix socket; closed when the last reference goes. -/
def Socket : Type := SocketPointed.type

instance : Nonempty Socket := SocketPointed.property

/-- Connects to the listener at a path, which may be busy for so many milliseconds. -/
@[extern "legate_socket_connect"]
opaque Socket.connect (path : @& String) (timeoutMs : UInt32) : IO Socket

/-- Waits for bytes: none when the time is over, empty at the end of the stream. -/
@[extern "legate_socket_read"]
opaque Socket.read (socket : @& Socket) (max : USize) (timeoutMs : UInt32) : IO (Option ByteArray)

/-- Writes all pieces, in order, and waits until they are taken. -/
@[extern "legate_socket_write"]
opaque Socket.write (socket : @& Socket) (pieces : @& Array ByteArray) : IO Unit

/-- Ends both directions; a read or write that waits returns. Idempotent. -/
@[extern "legate_socket_shutdown"]
opaque Socket.shutdown (socket : @& Socket) : IO Unit

end Legate.Unix

namespace Legate

/-- How long a read waits before it lets its task look around, in milliseconds: at deadlines, at a daemon
that has fallen silent, and at the end of the program. -/
private def Transport.tickMs : UInt32 := 250

/-- Connects to the daemon's socket. -/
def Transport.unix (path : String) (timeoutMs : UInt32 := 5000) : IO Transport := do
  let socket ← try Unix.Socket.connect path timeoutMs
    catch error => throw (IO.userError s!"no connection to legated at {path}: {error}")
  return {
    name := s!"legated at {path}"
    read := fun max => socket.read max.toUSize tickMs
    write := fun pieces => socket.write pieces
    close := socket.shutdown }

end Legate
