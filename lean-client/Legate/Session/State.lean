import Legate.ConnectivityState
import Legate.Session.Convert
import Legate.Session.Inbox
import Legate.Session.Outbox
import Legate.Session.Outgoing
import Std.Data.HashMap

/-!
# The state of a session

All that one connection to the daemon knows, as a value, and the steps that change it. A step is pure:
what it wants done to the world (a promise resolved, a handler started) it leaves in `effects`, which
`Session` carries out after it has let its lock go.
-/

namespace Legate.Session

/-- What a connection tells in HELLO. Sizes in bytes. -/
structure Options where
  /-- What the process is called in logs and in legatectl. -/
  name : String := "lean"
  /-- Roles that are asked for. -/
  roles : Wire.Roles := Wire.Roles.client ||| Wire.Roles.worker
  /-- Largest payload taken in one frame. -/
  maxFrame : UInt32 := 65536
  /-- Credit that the daemon starts a call with. -/
  callWindow : UInt32 := 262144
  /-- Credit that the daemon starts with. -/
  connectionWindow : UInt32 := 4194304
  /-- How long to wait for the answer to HELLO, in milliseconds. -/
  helloTimeoutMs : Nat := 5000

/-- What becomes of things outside the session, once the lock is let go. Must not block. -/
abbrev Effect := BaseIO Unit

/-- One call: of this process when its id is odd, a dispatch when it is even. -/
structure Stream where
  /-- The id of START. -/
  id : UInt32
  /-- The channel it was started on; 0 for a dispatch. -/
  channel : UInt32 := 0
  /-- The lease that a dispatch came by. -/
  lease : UInt32 := 0
  /-- What comes in. -/
  inbox : Inbox
  /-- What goes out. -/
  outgoing : Outgoing
  /-- The responder's headers. -/
  headers : Option Metadata := none
  /-- Once set, the call has ended. -/
  ending : Option CallEnd := none
  /-- CANCEL was sent (a call) or has come (a dispatch), with this code. -/
  cancelled : Option StatusCode := none
  /-- The dispatch was taken up. -/
  accepted : Bool := false
  /-- HEADERS were sent. -/
  headersSent : Bool := false
  /-- STATUS that is to follow the messages. -/
  answer : Option Wire.Status := none
  /-- It waits for connection credit, in the session's queue. -/
  starved : Bool := false
  /-- By the monotonic clock, in milliseconds. -/
  deadlineMs : Option Nat := none

namespace Stream

/-- Whether this process serves the call. -/
def isDispatch (stream : Stream) : Bool := stream.id % 2 == 0

/-- Whether nothing more can be sent. -/
def isOver (stream : Stream) : Bool := stream.ending.isSome || stream.cancelled.isSome

end Stream

/-- Somebody who waits for something of a call: given the call it tells whether that is there, what to
do then, and what is left of the call. -/
abbrev Waiter := Stream → Option (Effect × Stream)

/-- A call with those who wait for it. -/
structure Call where
  /-- The call. -/
  stream : Stream
  /-- They are asked after every change, in order. -/
  waiters : Array Waiter := #[]
  /-- Nobody holds the call any more: it is forgotten when it has ended. -/
  orphan : Bool := false

/-- The answer to a request. -/
inductive Answer where
  /-- CHANNEL_OPENED. -/
  | opened (shared : Bool) (state : ConnectivityState)
  /-- LISTENING. -/
  | listening (port : UInt32) (address : String) (shared : Bool)
  /-- LEASE, or a STATUS with code 0. -/
  | done
  /-- Any other STATUS, or the loss of the connection. -/
  | refused (ending : CallEnd)

/-- The frame that grants a request; STATUS refuses any. -/
inductive RequestKind where
  /-- OPEN_CHANNEL → CHANNEL_OPENED. -/
  | channel
  /-- LISTEN → LISTENING. -/
  | server
  /-- REGISTER → LEASE. -/
  | lease
  /-- Any other → STATUS. -/
  | plain
  deriving BEq

/-- A control exchange; that of a channel, server or lease stays for as long as the object does. -/
structure Request where
  /-- What was asked. -/
  kind : RequestKind
  /-- Called once. -/
  onAnswer : Answer → Effect
  /-- Called when the daemon ends the object. -/
  onEnd : CallEnd → Effect := fun _ => pure ()
  /-- The answer has come. -/
  answered : Bool := false
  /-- Of a channel. -/
  state : ConnectivityState := .idle
  /-- Which of the process's channels it is. -/
  key : Nat := 0

/-- Something that happened to the connection rather than to one call. -/
inductive Event where
  /-- A connection to the daemon stands. `epoch` changes with every start of the daemon. -/
  | connected (epoch : String) (build : String)
  /-- The daemon will leave; calls may go on for so many milliseconds. -/
  | goingAway (reason : String) (graceMs : UInt32)
  /-- The daemon takes nothing new from this connection. -/
  | goneAway (reason : String)
  /-- The connection is over; comes once. -/
  | lost (cause : String)
  /-- The daemon has ended a channel, a server or a lease. -/
  | objectEnded (message : String)
  /-- The daemon wants a lease given up: it has served long enough, or gets no more calls. -/
  | retired (lease : UInt32) (reason : String)
  /-- The daemon does not know a frame type that was sent. -/
  | unsupported (frameType : UInt32)

/-- All that a connection knows. -/
structure State where
  /-- The other side, for messages. -/
  name : String
  /-- What this side said. -/
  options : Options
  /-- What the daemon said. -/
  welcome : Wire.HelloAck
  /-- Where events go. -/
  onEvent : Event → Effect := fun _ => pure ()
  /-- What is to be written. -/
  outbox : Outbox := {}
  /-- Calls that are open, or that somebody still holds. -/
  calls : Std.HashMap UInt32 Call := {}
  /-- Requests without an answer, and objects. -/
  requests : Std.HashMap UInt32 Request := {}
  /-- By the process's number of a channel: the id it has here. -/
  channels : Std.HashMap Nat UInt32 := {}
  /-- Who takes the dispatches of a lease. -/
  leases : Std.HashMap UInt32 (UInt32 → Wire.Start → Effect) := {}
  /-- The next id of this side, odd. -/
  nextId : UInt32 := 1
  /-- The last id of a dispatch. -/
  lastDispatch : UInt32 := 0
  /-- Payload bytes that the daemon takes. -/
  sendCredit : Nat := welcome.limits.connectionWindow.toNat
  /-- Payload bytes that the daemon may send. -/
  receiveCredit : Nat := options.connectionWindow.toNat
  /-- Payload bytes to be returned with the next WINDOW of the connection. -/
  receiveDue : Nat := 0
  /-- Calls that have DATA and call credit, but no connection credit. -/
  starved : Std.Queue UInt32 := .empty
  /-- Why the connection is over, once it is. -/
  lost : Option CallEnd := none
  /-- Why nothing new is taken, once the final GOAWAY has come. -/
  leaving : Option CallEnd := none
  /-- To be carried out when the lock is let go. -/
  effects : Array Effect := #[]

/-- A step: reads and changes the state of a session. -/
abbrev Step := StateM State

/-- A step about one call, which is out of `calls` meanwhile. -/
abbrev CallStep := StateT Stream Step

/-- The daemon's largest credit. -/
def maxWindow : Nat := 2 ^ 31 - 1

/-- Has something done once the lock is let go. -/
def emit (effect : Effect) : Step Unit :=
  modify fun state => { state with effects := state.effects.push effect }

/-- Tells an event. -/
def tell (event : Event) : Step Unit := do emit ((← get).onEvent event)

/-- Up to this size a payload is copied next to its header, instead of travelling as a piece of its own. -/
def copyLimit : Nat := 4096

/-- Queues a frame. It fails when the frame is above the daemon's limits. -/
def send (frame : Wire.Frame) : Step (Except Wire.WireError Unit) := do
  let { maxFrame, maxMeta, .. } := (← get).welcome.limits
  let limits : Wire.FrameLimits := { maxFrame := maxFrame.toNat, maxMeta := maxMeta.toNat }
  let pieces :=
    if frame.payload.size ≤ copyLimit then (#[·]) <$> frame.encode limits
    else do return #[← frame.encodeHead frame.payload.size limits, frame.payload]
  match pieces with
  | .error error => return .error error
  | .ok pieces =>
    modify fun state => { state with outbox := state.outbox.add pieces }
    return .ok ()

/-- Queues a frame that can't be above the limits. -/
def sendSmall (frame : Wire.Frame) : Step Unit := discard (send frame)

/-- Queues a frame ahead of the others. -/
def sendUrgent (frame : Wire.Frame) : Step Unit := do
  if let .ok bytes := frame.encode then
    modify fun state => { state with outbox := state.outbox.addUrgent bytes }

/-- Why nothing new can be sent, if so. -/
def State.closed? (state : State) : Option CallEnd :=
  state.lost <|> state.leaving <|>
    if state.nextId > 0xfffffffd then
      some (.ofLibrary .unavailable "the ids of this connection are used up")
    else none

/-- The next id of this side. Its frame must be queued within the same step, so that ids rise. -/
def newId : Step UInt32 := modifyGet fun state =>
  (state.nextId, { state with nextId := state.nextId + 2 })

/-- Sends a request; `onAnswer` is called once, whatever happens. The id is 0 when it can't be sent. -/
def request (request : Request) (body : Wire.Body) (aux : UInt32 := 0) : Step UInt32 := do
  if let some ending := (← get).closed? then
    emit (request.onAnswer (.refused ending))
    return 0
  let id ← newId
  match ← send { body, callId := id, aux } with
  | .ok () =>
    modify fun state => { state with requests := state.requests.insert id request }
    return id
  | .error error =>
    emit (request.onAnswer (.refused (.ofLibrary .resourceExhausted
      s!"the request is longer than {(← get).name} takes: {error.message}")))
    return 0

/-- Asks those who wait, after a change of the call. -/
private def wake (call : Call) : Step Call := do
  if call.waiters.isEmpty then return call
  let mut stream := call.stream
  let mut left := #[]
  for waiter in call.waiters do
    match waiter stream with
    | some (effect, changed) =>
      stream := changed
      emit effect
    | none => left := left.push waiter
  return { call with stream, waiters := left }

/-- Returns the credit that the call's inbox has earned. -/
private def returnCredit (stream : Stream) : Step Stream := do
  if stream.ending.isSome then return stream
  let (credit, inbox) := stream.inbox.takeCredit
  if credit > 0 then
    sendUrgent { body := .window, callId := stream.id, aux := credit.toUInt32 }
  return { stream with inbox }

/-- Files a call after a change: wakes who waits, returns credit, forgets it when it is done with. -/
private def settle (call : Call) : Step Unit := do
  let call ← wake call
  let stream ← returnCredit call.stream
  if stream.ending.isSome && (call.orphan || stream.isDispatch) then return
  modify fun state => { state with calls := state.calls.insert stream.id { call with stream } }

/-- Takes a call out of the state, so that it can be changed in place. -/
private def takeCall (id : UInt32) : Step (Option Call) := modifyGet fun state =>
  match state.calls[id]? with
  | some call => (some call, { state with calls := state.calls.erase id })
  | none => (none, state)

/-- A step about one call; none when there is no such call (any more). -/
def withCall {α : Type} (id : UInt32) (step : CallStep α) : Step (Option α) := do
  let some call ← takeCall id | return none
  let (result, stream) ← step.run call.stream
  settle { call with stream }
  return some result

/-- Files a new call. -/
def addCall (stream : Stream) : Step Unit := settle { stream }

/-- Has a waiter asked now and after every change. -/
def addWaiter (id : UInt32) (waiter : Waiter) : Step Bool := do
  let some call ← takeCall id | return false
  settle { call with waiters := call.waiters.push waiter }
  return true

/-- The call is over. -/
def endStream (ending : CallEnd) : CallStep Unit := do
  let stream ← get
  if stream.ending.isSome then return
  set { stream with ending := some ending, outgoing := stream.outgoing.clear }

end Legate.Session
