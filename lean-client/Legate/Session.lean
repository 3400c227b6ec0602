import Legate.Session.Calls
import Legate.Session.Receive
import Legate.Transport
import Std.Sync.Mutex

/-!
# Session

One open connection to the daemon: the state of `Legate.Session.State` behind a lock, a task that reads,
and the writing. Any function may be called from any task.

The lock is never held during I/O. Who has something to send writes it, and takes along what others add
meanwhile, so there is no task for writing.
-/

namespace Legate

/-- One open connection to the daemon. -/
structure Session where
  private mk ::
  /-- The byte stream. -/
  transport : Transport
  /-- Its number among the sessions of its connection. -/
  serial : Nat
  private mutex : Std.BaseMutex
  private state : IO.Ref Session.State  -- guarded by `mutex`

namespace Session

/-- Takes a step, and then does what it asked for. -/
def run {α : Type} (session : Session) (step : Step α) : BaseIO α := do
  session.mutex.lock
  let (result, effects) ← session.state.modifyGet fun state =>
    let (result, state) := step.run state
    ((result, state.effects), { state with effects := #[] })
  session.mutex.unlock
  for effect in effects do effect
  return result

/-- What is to be written next; none when nothing is, or another task writes. -/
private def nextBatch (mine : Bool) : Step (Option (Array ByteArray)) := modifyGet fun state =>
  let outbox := state.outbox
  if outbox.writing && !mine then (none, state)
  else if outbox.isEmpty then (none, { state with outbox := { outbox with writing := false } })
  else
    let (batch, outbox) := outbox.take
    (some batch, { state with outbox := { outbox with writing := true } })

/-- Writes what is queued, unless another task does. -/
def flush (session : Session) : BaseIO Unit := do
  let mut mine := false
  repeat
    let some batch ← session.run (nextBatch mine) | break
    mine := true
    if let .error error ← (session.transport.write batch).toBaseIO then
      -- The reader learns of it by itself, after what the daemon may have said before it closed.
      session.run do modify fun state => { state with outbox := state.outbox.break_ }
      if let .error _ ← session.transport.close.toBaseIO then pure ()
      session.run (lose (toString error))
      break

/-- Takes a step and writes what it queued. -/
def act {α : Type} (session : Session) (step : Step α) : BaseIO α := do
  let result ← session.run step
  session.flush
  return result

/-- A task that gives something of a call as soon as `ready` finds it; `gone` when there is no such call.
`hold` is done last: it may keep alive what the waiting needs. -/
def await {α : Type} (session : Session) (id : UInt32) (ready : Stream → Option (α × Stream)) (gone : α)
    (hold : BaseIO Unit := pure ()) : BaseIO (Task α) := do
  have : Nonempty α := ⟨gone⟩
  let now ← session.act <| withCall id do
    match ready (← get) with
    | some (result, stream) => set stream; return some result
    | none => return none
  match now with
  | none => hold; return .pure gone
  | some (some result) => hold; return .pure result
  | some none =>
    let promise ← IO.Promise.new
    let waiting ← session.act <| addWaiter id fun stream =>
      (ready stream).map fun (result, stream) => (do promise.resolve result; hold, stream)
    return if waiting then promise.result! else .pure gone

/-- A request whose answer is a task. -/
def ask (session : Session) (kind : RequestKind) (body : Wire.Body) (aux : UInt32 := 0)
    (onEnd : CallEnd → BaseIO Unit := fun _ => pure ()) : BaseIO (UInt32 × Task Answer) := do
  have : Nonempty Answer := ⟨.done⟩
  let promise ← IO.Promise.new
  let id ← session.act <| request { kind, onEnd, onAnswer := promise.resolve } body aux
  return (id, promise.result!)

/-- Why the connection takes nothing new any more, if so. -/
def closed? (session : Session) : BaseIO (Option CallEnd) :=
  session.run do return (← get).closed?

/-- What the daemon said in HELLO_ACK. -/
def welcome (session : Session) : BaseIO Wire.HelloAck := session.run do return (← get).welcome

/-- Ends the connection, and every call with it. What was queued is written before, unless the daemon
does not read. Idempotent. -/
def close (session : Session) (cause : String := "closed by this program") : BaseIO Unit := do
  session.flush
  session.run (lose cause)
  if let .error _ ← session.transport.close.toBaseIO then pure ()

/-! ## Reading -/

/-- What one read takes at most, in bytes. -/
private def readSize : Nat := 262144

/-- How long after its deadline a call is left to the daemon, in milliseconds. -/
private def deadlineGrace : Nat := 1000

/-- Asks a silent daemon for a sign of life, and gives it up after three heartbeats. -/
private def checkSilence (session : Session) (silentMs : Nat) (asked : Bool) : BaseIO Bool := do
  let heartbeat := (← session.welcome).heartbeatMs.toNat
  if heartbeat == 0 then return false
  if silentMs > 3 * heartbeat then
    session.close s!"it gave no sign of life for {silentMs} ms"
  else if silentMs > heartbeat && !asked then
    session.run (sendUrgent { body := .ping })
    -- By a task of its own, since a daemon that does not read either would block it.
    let _ ← BaseIO.asTask session.flush (prio := .dedicated)
    return true
  return asked

/-- The reading of a session, which its owner must run, on a dedicated task. -/
structure Reading where
  /-- What is read. -/
  session : Session
  private decoder : Wire.Decoder
  private frames : Array Wire.Frame := #[]  -- came with HELLO_ACK

/-- Reads until the connection is lost. With `untilLeaving` it also returns, with what is left to do,
when the daemon has said that it takes nothing new. -/
def Reading.run (reading : Reading) (untilLeaving : Bool := false) : BaseIO (Option Reading) := do
  let { session, decoder, frames } := reading
  let mut decoder := decoder
  let mut heard ← IO.monoMsNow
  let mut looked := heard
  let mut asked := false
  session.act (receive frames heard)
  while (← session.run do return (← get).lost.isNone) do
    if untilLeaving && (← session.closed?).isSome then return some { session, decoder }
    let bytes ← (session.transport.read readSize).toBaseIO
    let now ← IO.monoMsNow
    if now > looked + deadlineGrace then
      looked := now
      session.act (expire (now - deadlineGrace))
    match bytes with
    | .error error => session.run (lose (toString error))
    | .ok none =>
      asked ← session.checkSilence (now - heard) asked
      if ← IO.checkCanceled then session.run (lose "this program ends")
    | .ok (some bytes) =>
      if bytes.isEmpty then session.run (lose "it closed the connection")
      else
        heard := now
        asked := false
        let (frames, rest) := decoder.feed bytes
        session.run (receive frames now)
        match rest with
        | .ok next => decoder := next
        | .error { code, message, .. } => session.run (breach { code, message })
        session.flush
  if let .error _ ← session.transport.close.toBaseIO then pure ()
  return none

/-! ## Opening -/

private def refuse {α : Type} (transport : Transport) (why : String) : IO α := do
  try transport.close catch _ => pure ()
  throw (IO.userError s!"no connection to {transport.name}: {why}")

/-- Waits for the answer to HELLO; also gives what came after it. -/
private def greet (transport : Transport) (options : Options) :
    IO (Wire.HelloAck × Array Wire.Frame × Wire.Decoder) := do
  let hello : Wire.Hello := {
    roles := options.roles
    name := text? options.name
    instanceName := some (toString (← IO.Process.getPID))
    build := some s!"legate-lean, Lean {Lean.versionString}"
    maxFrame := options.maxFrame
    callWindow := options.callWindow
    connectionWindow := options.connectionWindow }
  match ({ body := .hello hello } : Wire.Frame).encode with
  | .error error => refuse transport error.message
  | .ok bytes => transport.write #[bytes]
  let mut decoder := Wire.Decoder.new { maxFrame := options.maxFrame.toNat }
  let start ← IO.monoMsNow
  repeat
    let bytes? ← transport.read readSize
    if bytes?.isNone && (← IO.monoMsNow) > start + options.helloTimeoutMs then
      refuse transport "it accepted the connection but did not answer HELLO in time; is it legated?"
    let some bytes := bytes? | continue
    if bytes.isEmpty then
      refuse transport "it closed the connection without an answer to HELLO"
    let (frames, next) := decoder.feed bytes
    let first : Option Wire.Body := frames[0]?.map (·.body)
    match first, next with
    | some (.helloAck welcome), .ok next =>
      if welcome.version != 1 then
        refuse transport s!"it chose protocol version {welcome.version}, this library speaks 1"
      return (welcome, frames.extract 1 frames.size, next)
    | some (.error error), _ => refuse transport (describeError error)
    | _, .error error => refuse transport error.message
    | some _, _ => refuse transport "it answered HELLO with another frame"
    | none, .ok next => decoder := next
  refuse transport "unreachable"

/-- Greets the daemon over a byte stream. It throws when the daemon refuses. -/
def «open» (transport : Transport) (options : Options := {})
    (onEvent : Event → BaseIO Unit := fun _ => pure ()) (serial : Nat := 0) : IO Reading := do
  let (welcome, frames, decoder) ← greet transport options
  let state : State := { name := transport.name, options, welcome, onEvent }
  let session : Session := { transport, serial, mutex := ← Std.BaseMutex.new, state := ← IO.mkRef state }
  onEvent (.connected (ofText welcome.epoch) (ofText welcome.build))
  return { session, decoder, frames }

end Session
end Legate
