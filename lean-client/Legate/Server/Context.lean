import Legate.CallOptions
import Legate.Session

/-!
# The call that a handler serves
-/

namespace Legate

/-- A call that this process serves, as its handler may influence it. -/
structure ServerCall where
  private mk ::
  /-- The session it came by. -/
  session : Session
  /-- Its id there. -/
  id : UInt32
  /-- When its deadline passes, by the monotonic clock in milliseconds. -/
  deadlineMs : Option Nat

/-- Who the client is, from the certificate that TLS has verified. -/
structure ClientIdentity where
  /-- Distinguished name as RFC 2253 writes it, may be empty. -/
  subject : String
  /-- Subject alternative names: "dns:…", "uri:…", "ip:…", "email:…". -/
  names : Array String
  /-- The certificate itself, PEM. -/
  certificate : String
  deriving Repr, BEq, Inhabited

/-- What a handler knows of its call. -/
structure ServerContext where
  /-- "/package.Service/Method". -/
  method : String
  /-- What the client sent along. -/
  metadata : Metadata
  /-- The call. -/
  call : ServerCall
  /-- The address of the client, as gRPC spells it. -/
  peer : String
  /-- The `:authority` that the client called. -/
  authority : String := ""
  /-- How long the call waited in the daemon for a free worker, in microseconds. -/
  queuedUs : UInt64 := 0
  /-- Who the client is; none: it showed no certificate, or the port asks for none. -/
  identity : Option ClientIdentity := none

namespace ServerCall

/-- What a handler is told that sends after the end. -/
private def overText : String := "the call was cancelled or is over"

/-- Whether the client has cancelled or gone, the deadline has passed, or the connection is lost. -/
def isCancelled (call : ServerCall) : IO Bool :=
  call.session.run do
    return ((← get).calls[call.id]?.map (·.stream.isOver)).getD true

/-- A task that is done when `isCancelled` becomes true, or the call is over. -/
def cancelled (call : ServerCall) : IO (Task Unit) :=
  call.session.await call.id (gone := ()) fun stream => if stream.isOver then some ((), stream) else none

/-- Sends the initial metadata now: once, before the first message. Later ones, and those that the handler
returns, are dropped then. `compression` is that of the answers of this call; `.inherit` is the port's. It throws
when a binary value is not Base64; any other key or value that can't be sent ends the call INTERNAL. -/
def sendInitialMetadata (call : ServerCall) (metadata : Metadata) (compression : Compression := .inherit) :
    IO Unit := do
  match Session.toEntries metadata with
  | .error what => throw (IO.userError what)
  | .ok entries =>
    let headers := { metadata := some entries, compression := Session.toCompression compression }
    discard <| call.session.act (Session.sendHeaders call.id headers)

/-- Milliseconds until the deadline, 0 once it has passed; none when there is no deadline. -/
def deadlineRemainingMs (call : ServerCall) : IO (Option UInt64) := do
  let now ← IO.monoMsNow
  return call.deadlineMs.map fun deadline => (deadline - now).toUInt64

/-- A task that gives the next message; none once the client has half-closed, or the call is over. -/
def receiveTask (call : ServerCall) : IO (Task (Option ByteArray)) :=
  call.session.await call.id Session.nextMessage none

/-- Waits for the next message; none once the client has half-closed, or the call is over. -/
def receive (call : ServerCall) : IO (Option ByteArray) := do IO.wait (← call.receiveTask)

/-- Sends a message, and waits until it is on its way. It throws when the call is over. -/
def send (call : ServerCall) (message : ByteArray) : IO Unit := do
  if ← call.isCancelled then throw (IO.userError overText)
  match ← call.session.act (Session.post call.id message) with
  | .error _ => throw (IO.userError overText)
  | .ok number =>
    let written : Session.Stream → Option (Bool × Session.Stream) := fun stream =>
      if stream.outgoing.sent ≥ number then some (true, stream)
      else if stream.isOver then some (false, stream)
      else none
    unless ← IO.wait (← call.session.await call.id written false) do throw (IO.userError overText)

/-- The context of a dispatch that has just come. -/
def dispatched (session : Session) (id : UInt32) (start : Wire.Start) : BaseIO ServerContext := do
  let now ← IO.monoMsNow
  let deadlineMs :=
    if start.timeoutUs == 0 then none else some (now + (start.timeoutUs.toNat + 999) / 1000)
  return {
    method := start.method.toString
    metadata := Session.ofEntries start.metadata
    call := { session, id, deadlineMs }
    peer := Session.ofText start.peer
    authority := Session.ofText start.authority
    queuedUs := start.queuedUs
    identity := start.identity.map fun { subject, names, certificate } => {
      subject := Session.ofText subject
      names := (names.getD #[]).map (·.toString)
      certificate := Session.ofText certificate } }

end ServerCall
end Legate
