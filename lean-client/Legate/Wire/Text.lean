/-!
# Text as it travels

Strings of the protocol are UTF-8 where this library writes them, but a status message, a method or
an address of a remote side is passed on as it came. `Text` keeps the bytes.
-/

namespace Legate.Wire

/-- Text as it travels: UTF-8 when this side wrote it, any bytes when a remote side did. -/
structure Text where
  /-- The bytes, without FlatBuffers' closing zero. -/
  bytes : ByteArray
  deriving BEq, DecidableEq, Hashable, Inhabited

namespace Text

/-- The text of a `String`. -/
def ofString (string : String) : Text := ⟨string.toUTF8⟩

/-- `acc` and the characters of `bytes` from `i` on, each byte that belongs to none as U+FFFD. -/
def lossy (bytes : ByteArray) (i : Nat) (acc : String) : String :=
  if _ : i < bytes.size then
    match bytes.utf8DecodeChar? i with
    | some c => lossy bytes (i + c.utf8Size) (acc.push c)
    | none => lossy bytes (i + 1) (acc.push '\uFFFD')
  else acc
termination_by bytes.size - i
decreasing_by
  · have := c.utf8Size_pos; omega
  · omega

/-- The text for people and for comparison: U+FFFD stands for what is not UTF-8. -/
def toString (text : Text) : String :=
  match String.fromUTF8? text.bytes with
  | some string => string
  | none => lossy text.bytes 0 ""

end Text

instance : Coe String Text := ⟨Text.ofString⟩
instance : ToString Text := ⟨Text.toString⟩

#guard (Text.ofString "héllo").toString == "héllo"
#guard (Text.mk ⟨#[0x61, 0xff, 0xe2, 0x82, 0x62]⟩).toString == "a\uFFFD\uFFFD\uFFFDb"

end Legate.Wire
