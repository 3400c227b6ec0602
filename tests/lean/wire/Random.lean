import Describe
import Sample

/-!
# Random frames there and back

Without arguments: what is encoded is decoded to the same, in streams cut anywhere, and no byte that
is changed makes the decoder do worse than refuse. For `test_wire.py`, which compares with the C++ codec:

    write COUNT SEED FILE   a frame in hexadecimal digits a line
    describe FILE           what the decoder makes of each line
-/

open Legate.Wire

/-- Encodes random frames. -/
def encoded (count : Nat) : Sample (Except String (Array (Frame × ByteArray))) := do
  let mut frames := #[]
  for _ in [0 : count] do
    let frame ← Sample.frame
    match frame.encode with
    | .ok bytes => frames := frames.push (frame, bytes)
    | .error error => return .error s!"{error.message}, encoding {frame.body.pack.json ()}"
  return .ok frames

def checkRoundTrip (frames : Array (Frame × ByteArray)) : Except String Unit := do
  for (frame, bytes) in frames do
    match take {} bytes 0 with
    | .frame again size =>
      unless again == frame && size == bytes.size do
        throw s!"was {describeFrame again 0}instead of {describeFrame frame 0}"
    | _ => throw s!"{describe bytes}instead of {describeFrame frame 0}"

/-- The stream of all frames, in pieces of random sizes. -/
def checkStream (frames : Array (Frame × ByteArray)) : Sample (Except String Unit) := do
  let stream := frames.foldl (init := ByteArray.empty) fun stream (_, bytes) => stream ++ bytes
  let mut decoder := Decoder.new
  let mut got := #[]
  let mut at_ := 0
  while at_ < stream.size do
    let piece := 1 + (← Sample.below (← Sample.pick #[1, 20, 300, 5000]))
    let (more, next) := decoder.feed (stream.extract at_ (at_ + piece))
    got := got ++ more
    at_ := at_ + piece
    match next with
    | .ok next => decoder := next
    | .error error => return .error error.message
  if got == frames.map (·.1) && decoder.isIdle then return .ok ()
  return .error s!"{got.size} frames of {frames.size}, {decoder.rest.size} bytes left"

/-- Frames before an error are given, and the error after them. -/
def checkErrorAfterFrames : Except String Unit := do
  let frame : Frame := { body := .ping, aux := 7 }
  let bytes ← frame.encode.mapError WireError.message
  let bad := ByteArray.mk #[0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0]
  match Decoder.new.feed (bytes ++ bytes ++ bad ++ bytes) with
  | (frames, .error error) =>
    unless frames == #[frame, frame] do throw s!"{frames.size} frames"
    unless error.code == ErrorCode.malformedFrame && error.frameType == 4 do throw error.message
  | (_, .ok _) => throw "no error"

/-- What can't be sent is refused, and said why. -/
def checkRefused : Except String Unit := do
  let entries (count : Nat) : Array Entry := (Array.range count).map fun _ => { key := "k", value := .empty }
  let huge : Frame := { body := .query { what := ⟨⟨Array.replicate 200000 97⟩⟩ } }
  let refused : List (String × Frame × ErrorCode × FrameLimits) := [
    ("meta above max_meta", huge, ErrorCode.frameTooLarge, {}),
    ("meta above 65,535 words", { huge with body := .query { what := ⟨⟨Array.replicate 600000 97⟩⟩ } },
      ErrorCode.frameTooLarge, { maxMeta := 1000000 }),
    ("payload above max_frame", { body := .data, payload := ⟨Array.replicate 65537 0⟩ }, ErrorCode.frameTooLarge, {}),
    ("more than 4,096 tables", { body := .headers { metadata := some (entries 4096) } }, ErrorCode.metaInvalid,
      { maxMeta := 500000 }),
    ("payload where there is none", { body := .ping, payload := ⟨#[1]⟩ }, ErrorCode.malformedFrame, {}),
    ("flag where it is not allowed", { body := .ping, flags := Flag.endStream }, ErrorCode.malformedFrame, {}),
    ("known type as unknown", { body := .unknown 4 }, ErrorCode.internal, {})]
  for (what, frame, code, limits) in refused do
    match frame.encode limits with
    | .ok _ => throw s!"{what} was encoded"
    | .error error => unless error.code == code do throw s!"{what}: {error.message}"
  -- The largest list of metadata that the daemon takes fits with the default limits.
  let list := (Array.range 2000).map fun i : Nat => { key := "x-01", value := ⟨Array.replicate (28 + i % 2) 7⟩ : Entry }
  let largest : Frame := { body := .start { method := "/pkg.Service/Method", metadata := some list } }
  let bytes ← largest.encode.mapError WireError.message
  match take {} bytes 0 with
  | .frame again _ => unless again == largest do throw "the largest list changed"
  | _ => throw (describe bytes)

/-- Changed bytes give a frame or an error, never anything but an answer. -/
def checkMutations (frames : Array (Frame × ByteArray)) : Sample (Except String Unit) := do
  let mut refused := 0
  for (_, bytes) in frames do
    let mut bytes := bytes
    for _ in [0 : 1 + (← Sample.below 3)] do
      bytes := bytes.set! (← Sample.below bytes.size) (← Sample.u8)
    if let .failed _ := take {} bytes 0 then refused := refused + 1
  if refused * 20 < frames.size then return .error s!"only {refused} of {frames.size} were refused"
  return .ok ()

def test (count : Nat) : IO UInt32 := do
  let (frames, seed) := (encoded count).run 1
  let results : Array (String × Except String Unit) := match frames with
    | .error problem => #[("encode", .error problem)]
    | .ok frames => #[("round trip", checkRoundTrip frames), ("stream", (checkStream frames).run' seed),
        ("error after frames", checkErrorAfterFrames), ("refused", checkRefused),
        ("mutations", (checkMutations frames).run' seed)]
  let mut failed := 0
  for (name, result) in results do
    if let .error problem := result then
      failed := failed + 1
      IO.println s!"FAILED {name}: {problem}"
  IO.println s!"{count} random frames"
  IO.println s!"{results.size - failed} passed, {failed} failed"
  return if failed == 0 && results.size > 1 then 0 else 1

def main (args : List String) : IO UInt32 := do
  match args with
  | [] => test 3000
  | ["write", count, seed, file] =>
    match (encoded count.toNat!).run' seed.toNat!.toUInt64 with
    | .error problem => IO.eprintln problem; return 1
    | .ok frames =>
      IO.FS.writeFile file (frames.foldl (init := "") fun text (_, bytes) => (text ++ hex bytes).push '\n')
      return 0
  | ["describe", file] =>
    let out ← IO.getStdout
    for line in (← IO.FS.lines file) do out.putStr (describe (ofHex line))
    return 0
  | _ => IO.eprintln "usage: Random [write COUNT SEED FILE | describe FILE]"; return 2
