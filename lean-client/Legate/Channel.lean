import Legate.Client.Interceptor
import Legate.Daemon

/-!
# Channel

What calls are made on: a target and how to reach it. Equal channels of all processes share one gRPC channel
in the daemon. Making one never waits; a channel that nobody holds any more is closed.
-/

namespace Legate

/-- What calls are made on. -/
structure Channel where
  private mk ::
  /-- The gRPC target, or "legated:///NAME". -/
  target : String
  /-- The connection to the daemon. -/
  connection : Connection
  /-- What a program does around every call, the outermost first. -/
  interceptors : Array ClientInterceptor := #[]
  /-- The connection's number of the channel, over all sessions. -/
  key : Nat
  /-- How it is opened in a session. -/
  spec : Wire.OpenChannel
  private closed : IO.Ref Bool
  private alive : IO.Promise Unit

namespace Channel

/-- Closes a channel in the session that is open, if one is. -/
private def closeKey (connection : Connection) (key : Nat) : BaseIO Unit := do
  let some session ← connection.current? | return
  session.act (Session.closeChannel key)

private def make (target : String) (options : Option ChannelOptions) (connection : Option Connection) :
    IO Channel := do
  let connection ← match connection with
    | some connection => pure connection
    | none => Connection.default
  let key ← connection.newKey
  let alive ← IO.Promise.new
  BaseIO.chainTask alive.result? fun _ => closeKey connection key
  let spec := { target, options := options.map Session.toChannelOptions, watch := true }
  return { target, connection, key, spec, alive, closed := ← IO.mkRef false }

/-- A channel with options. Options that the daemon refuses end the calls with the reason. -/
def create (target : String) (options : ChannelOptions := {}) (connection : Option Connection := none) :
    IO Channel :=
  make target (if options == {} then none else some options) connection

/-- A plaintext channel. -/
def createInsecure (target : String) : IO Channel := create target

/-- A channel with TLS. -/
def createSecure (target : String) (creds : SslCredentials := {}) : IO Channel :=
  create target { credentials := some creds }

/-- The channel of that name in the daemon's configuration, with all that is set there. -/
def named (name : String) (connection : Option Connection := none) : IO Channel :=
  make s!"legated:///{name}" none connection

/-- The same channel with more interceptors, inside of those it has. -/
def withInterceptors (channel : Channel) (interceptors : Array ClientInterceptor) : Channel :=
  { channel with interceptors := channel.interceptors ++ interceptors }

/-- Keeps the channel open up to here, where the caller may have no other use of it. -/
def hold (channel : Channel) : BaseIO Unit := discard channel.alive.isResolved

/-- Whether the channel was closed. -/
def isClosed (channel : Channel) : BaseIO Bool := channel.closed.get

/-- Closes the channel: its calls go on to their end, new ones end FAILED_PRECONDITION. Idempotent. -/
def close (channel : Channel) : IO Unit := do
  channel.closed.set true
  closeKey channel.connection channel.key

/-- Closes the channel when `f` is done with it. -/
def withChannel {α : Type} (channel : Channel) (f : Channel → IO α) : IO α := do
  try f channel finally channel.close

/-- The session, and the id that the channel has there. -/
private def opened (channel : Channel) : BaseIO (Except CallEnd (Session × UInt32)) := do
  match ← channel.connection.session with
  | .error ending => return .error ending
  | .ok session =>
    let id ← session.act (Session.channelId channel.key channel.spec)
    if id == 0 then
      return .error ((← session.closed?).getD (.ofLibrary .internal "the channel can't be opened"))
    return .ok (session, id)

/-- The state of the channel. With `tryToConnect` an idle channel begins to connect. A channel whose daemon
can't be reached is in transient failure. -/
def getState (channel : Channel) (tryToConnect : Bool := false) : IO ConnectivityState := do
  if ← channel.isClosed then return .shutdown
  match ← channel.opened with
  | .error _ => return .transientFailure
  | .ok (session, id) =>
    if tryToConnect then
      let (_, answer) ← session.ask .plain .connect (aux := id)
      discard <| IO.wait answer
    let request? ← session.run do return (← get).requests[id]?
    channel.hold
    -- A channel that the daemon could not open is forgotten there.
    return (request?.map (·.state)).getD .transientFailure

/-- Whether the channel is connected. -/
def isReady (channel : Channel) : IO Bool := return (← channel.getState) == .ready

/-- Has the channel connect, and waits for it at most so long. -/
def waitForReady (channel : Channel) (timeoutMs : UInt64 := 5000) : IO Bool := do
  let deadline := (← IO.monoMsNow) + timeoutMs.toNat
  let mut nap := 1
  repeat
    let state ← channel.getState (tryToConnect := true)
    if state == .ready then return true
    if state == .shutdown || (← IO.monoMsNow) ≥ deadline then return false
    -- The state is pushed to this process: looking costs no frame but CONNECT's, and there are few of those.
    IO.sleep nap
    nap := min 50 (nap * 2)
  return false

end Channel
end Legate
