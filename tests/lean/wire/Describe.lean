import Legate.Wire

/-!
# Frames in words

What `ipc-schema/golden/README.md` says of a frame, an error or a part of a frame; and bytes from and
to hexadecimal digits.
-/

open Legate.Wire

/-- The bytes of hexadecimal digits; anything else between them is skipped. -/
def ofHex (text : String) : ByteArray :=
  let digit (c : Char) : Option Nat :=
    if c.isDigit then some (c.toNat - '0'.toNat)
    else if 'a' ≤ c && c ≤ 'f' then some (c.toNat - 'a'.toNat + 10) else none
  let (bytes, _) := text.foldl (init := (ByteArray.empty, (none : Option Nat))) fun (bytes, high) c =>
    match digit c, high with
    | none, _ => (bytes, high)
    | some low, some high => (bytes.push (high * 16 + low).toUInt8, none)
    | some high, none => (bytes, some high)
  bytes

def typeName (type : UInt8) : String :=
  match Kind.ofType? type with
  | some kind => kind.name
  | none => toString type

def flagNames (flags : UInt8) : String :=
  let names := #[(Flag.endStream, "END_STREAM"), (Flag.msgBegin, "MSG_BEGIN"), (Flag.msgEnd, "MSG_END"),
    (Flag.noCompress, "NO_COMPRESS"), (Flag.critical, "CRITICAL")]
  let set := names.filterMap fun (bit, name) => if flags &&& bit != 0 then some name else none
  if set.isEmpty then "-" else "+".intercalate set.toList

/-- A frame whose meta had so many words. -/
def describeFrame (frame : Frame) (metaWords : Nat) : String :=
  s!"frame: type={typeName frame.body.type} flags={flagNames frame.flags} call_id={frame.callId} " ++
  s!"aux={frame.aux} meta_words={metaWords} payload={frame.payload.size}\nmeta: {frame.body.pack.json ()}\n" ++
  s!"payload: {if frame.payload.isEmpty then "-" else hex frame.payload}\n"

/-- What a decoder with the default limits makes of bytes. -/
def describe (bytes : ByteArray) : String :=
  match take {} bytes 0 with
  | .more wanted => s!"incomplete: {wanted} bytes wanted\n"
  | .failed error => s!"error: {error.code.name} frame {typeName error.frameType}\n"
  | .frame frame _ =>
    describeFrame frame (if h : 0 + Header.size ≤ bytes.size then (Header.decode bytes 0 h).metaWords.toNat else 0)
