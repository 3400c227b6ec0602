import Describe

/-!
# The golden vectors

Each file of `ipc-schema/golden` both ways: its bytes are decoded to what it says, and what is decoded
is encoded to an equal frame. And all frames as one stream, cut in every way.
-/

open Legate.Wire

structure Golden where
  name : String
  expected : String
  bytes : ByteArray

def readVector (path : System.FilePath) : IO Golden := do
  let lines := (← IO.FS.readFile path).splitOn "\n"
  let says := (lines.drop 2).takeWhile (· != "bytes:")
  let rows := (lines.dropWhile (· != "bytes:")).drop 1
  let digits := rows.map fun row => ((row.splitOn ": ").drop 1).headD ""
  return { name := path.fileStem.getD "", expected := String.join (says.map (· ++ "\n"))
           bytes := ofHex ("".intercalate digits) }

/-- The frame of a vector that is one. -/
def Golden.frame? (vector : Golden) : Option Frame :=
  match take {} vector.bytes 0 with
  | .frame frame _ => some frame
  | _ => none

/-- Encoding what was decoded gives an equal frame, though not the same layout. -/
def checkEncode (vector : Golden) (frame : Frame) : Except String Unit := do
  let bytes ← frame.encode.mapError WireError.message
  let head ← (frame.encodeHead frame.payload.size).mapError WireError.message
  unless head ++ frame.payload == bytes do throw "encodeHead is not the head of encode"
  match take {} bytes 0 with
  | .frame again size =>
    unless size == bytes.size do throw s!"{bytes.size} bytes, {size} decoded"
    let words := (vector.bytes.size - Header.size - frame.payload.size) / 8
    unless describeFrame again words == vector.expected do throw (describeFrame again words)
    unless again == frame do throw "describes itself alike, but is not equal"
  | _ => throw s!"is not decoded: {describe bytes}"

/-- Feeds a stream in pieces of so many bytes. -/
def feedPieces (stream : ByteArray) (piece : Nat) : Except String (Array Frame) := do
  let mut decoder := Decoder.new
  let mut frames := #[]
  for i in [0 : (stream.size + piece - 1) / piece] do
    let (more, next) := decoder.feed (stream.extract (i * piece) ((i + 1) * piece))
    frames := frames ++ more
    decoder ← next.mapError WireError.message
  unless decoder.isIdle do throw "something is left of the stream"
  return frames

def main (args : List String) : IO UInt32 := do
  let folder : System.FilePath := args.headD "ipc-schema/golden"
  let files := (← folder.readDir).map (·.path) |>.filter (·.extension == some "txt")
  let vectors ← files.mapM readVector
  let mut passed := 0
  let mut failed := 0
  let mut frames := #[]
  let mut stream := ByteArray.empty
  for vector in vectors do
    let mut checks := #[("decode", if describe vector.bytes == vector.expected then .ok ()
      else .error s!"was {describe vector.bytes}")]
    if let some frame := vector.frame? then
      checks := checks.push ("encode", checkEncode vector frame)
      frames := frames.push frame
      stream := stream ++ vector.bytes
    for (what, result) in checks do
      match result with
      | .ok () => passed := passed + 1
      | .error problem =>
        failed := failed + 1
        IO.println s!"FAILED {vector.name} {what}: {problem}"
  for piece in [1, 2, 7, 16, 333, stream.size] do
    match feedPieces stream piece with
    | .ok again =>
      if again == frames then passed := passed + 1
      else failed := failed + 1; IO.println s!"FAILED stream in pieces of {piece}: {again.size} frames"
    | .error problem => failed := failed + 1; IO.println s!"FAILED stream in pieces of {piece}: {problem}"
  IO.println s!"{vectors.size} vectors, {frames.size} of them frames"
  IO.println s!"{passed} passed, {failed} failed"
  return if failed == 0 && frames.size > 30 then 0 else 1
