/-!
# Messages

The bytes of a message are opaque to this library. Typed stubs and handlers speak to types with an
instance of `Message`; one instance makes the types of a protobuf library usable.
-/

namespace Legate

/-- A type whose values travel as messages. -/
class Message (α : Type) where
  /-- The bytes of a value. -/
  encode : α → ByteArray
  /-- The value of bytes, or why there is none. -/
  decode : ByteArray → Except String α

/-- Bytes as they are. -/
instance : Message ByteArray where
  encode := id
  decode := .ok

end Legate
