import Legate

/-!
# A daemon that a test plays

The other end of `Transport.pair`. HELLO_ACK is written before HELLO has come, so nothing waits for anything.
-/

open Legate

structure FakeDaemon where
  transport : Transport
  decoder : IO.Ref Wire.Decoder
  frames : IO.Ref (Array Wire.Frame)

namespace FakeDaemon

def limits : Wire.Limits := {
  maxFrame := 65536, maxMeta := 131072, callWindow := 65536, connectionWindow := 100000
  maxMessage := 4194304, maxMetadata := 65536, maxCalls := 100, memoryBudget := 67108864 }

/-- Sends frames in one write. -/
def send (fake : FakeDaemon) (frames : List Wire.Frame) : IO Unit := do
  let pieces ← frames.toArray.mapM fun frame =>
    match frame.encode with
    | .ok bytes => pure bytes
    | .error error => throw (IO.userError error.message)
  fake.transport.write pieces

/-- The next frame that the library has sent. -/
def nextOfAny (fake : FakeDaemon) : IO Wire.Frame := do
  while (← fake.frames.get).isEmpty do
    let some bytes ← fake.transport.read 65536 | continue
    if bytes.isEmpty then throw (IO.userError "the library has closed the connection")
    let (frames, decoder) := (← fake.decoder.get).feed bytes
    match decoder with
    | .ok decoder => fake.decoder.set decoder
    | .error error => throw (IO.userError error.message)
    fake.frames.modify (· ++ frames)
  fake.frames.modifyGet fun frames => (frames[0]!, frames.extract 1 frames.size)

/-- The next frame but for CLOSE_CHANNEL, which comes when a test has no more use of its channel. -/
def next (fake : FakeDaemon) : IO Wire.Frame := do
  let mut frame ← fake.nextOfAny
  while frame.body matches .closeChannel do frame ← fake.nextOfAny
  return frame

/-- The next frame of a type, which `pick` recognises; others are an error. -/
def expect {α : Type} (fake : FakeDaemon) (what : String) (pick : Wire.Frame → Option α) : IO α := do
  let frame ← fake.next
  match pick frame with
  | some value => return value
  | none => throw (IO.userError s!"expected {what}; the frame has id {frame.callId}, aux {frame.aux}")

/-- Expects OPEN_CHANNEL and grants it. -/
def grantChannel (fake : FakeDaemon) : IO UInt32 := do
  let id ← fake.expect "OPEN_CHANNEL" fun frame =>
    if frame.body matches .openChannel _ then some frame.callId else none
  fake.send [{ body := .channelOpened { state := 2 }, callId := id }]
  return id

/-- Expects START. -/
def start (fake : FakeDaemon) : IO (UInt32 × Wire.Start × ByteArray) :=
  fake.expect "START" fun frame =>
    match frame.body with
    | .start table => some (frame.callId, table, frame.payload)
    | _ => none

def status (id : UInt32) (code : UInt16 := 0) (message : String := "") : Wire.Frame :=
  { body := .status { code, message := some (.ofString message), origin := 1 }, callId := id }

def message (id : UInt32) (text : String) : Wire.Frame :=
  { body := .data, callId := id, flags := Wire.Flag.wholeMessage, aux := text.utf8ByteSize.toUInt32
    payload := text.toUTF8 }

end FakeDaemon

/-- A connection whose sessions end at fakes: the one that was dialled last is in the reference. -/
def fakeConnection (options : Session.Options := {}) (limits : Wire.Limits := FakeDaemon.limits) :
    IO (Connection × IO.Ref (Array FakeDaemon)) := do
  let fakes ← IO.mkRef #[]
  let dial : IO Transport := do
    let (mine, theirs) ← Transport.pair "a fake daemon"
    let fake : FakeDaemon :=
      { transport := theirs, decoder := ← IO.mkRef .new, frames := ← IO.mkRef #[] }
    fake.send [{ body := .helloAck { version := 1, roles := 3, session := 1, epoch := some "e", limits } }]
    fakes.modify (·.push fake)
    return mine
  return (← Connection.new { dial } options, fakes)

/-- The fake of the session that was dialled last, once HELLO has come. -/
def greeted (fakes : IO.Ref (Array FakeDaemon)) (number : Nat := 0) : IO FakeDaemon := do
  repeat
    if let some fake := (← fakes.get)[number]? then
      fake.expect "HELLO" fun frame => if frame.body matches .hello _ then some () else none
      return fake
    IO.sleep 5
  throw (IO.userError "unreachable")
