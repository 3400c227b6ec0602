import Legate.Session.Lose
import Legate.Session.Send

/-!
# Receiving

What a session does with each frame that comes (PROTOCOL.md, sections 4 to 7 and 10). Pure.
-/

namespace Legate.Session

/-- A step that a breach of the protocol ends. -/
private abbrev Received := ExceptT Violation Step Unit

private def isOurs (id : UInt32) : Bool := id % 2 == 1

private def unexpected (what : String) (id : UInt32) (why : String) : Violation :=
  { code := .unexpectedFrame, message := s!"{what} for id {id}: {why}" }

/-- Does something with the call a frame is about; a late frame is dropped. -/
private def withOpen (what : String) (id : UInt32) (step : CallStep (Except Violation Unit)) :
    Received := do
  if id == 0 then throw (unexpected what id "it needs the id of a call")
  let state ← getThe State
  match state.calls[id]?, state.requests.contains id with
  | some call, _ =>
    if call.stream.ending.isSome then return
    if let some result ← (withCall id step : Step _) then ExceptT.mk (pure result)
  | none, _ =>
    let wasOpen := if isOurs id then id < state.nextId else id ≤ state.lastDispatch
    unless wasOpen do
      throw { code := .callId, message := s!"{what}: id {id} was never opened" }

/-- Counts payload against the connection's credit and returns that: it is filed at once, or dropped. -/
private def receivePayload (what : String) (size : Nat) : Received := do
  let { receiveCredit, receiveDue, options, .. } ← getThe State
  if size > receiveCredit then
    throw { code := .flowControl, message :=
      s!"{what}: {size} bytes exceed the connection's credit of {receiveCredit}" }
  let credit := receiveCredit - size
  let due := receiveDue + size
  if due ≥ options.connectionWindow.toNat / 2 then
    sendUrgent { body := .window, aux := due.toUInt32 }
    modifyThe State fun state => { state with receiveCredit := credit + due, receiveDue := 0 }
  else
    modifyThe State fun state => { state with receiveCredit := credit, receiveDue := due }

private def fileMessage (frame : Wire.Frame) : CallStep (Except Violation Unit) := do
  -- The inbox is taken out of the call, so that it can be changed in place.
  let inbox ← modifyGet fun stream => (stream.inbox, { stream with inbox := .new 0 })
  match inbox.add frame with
  | .ok inbox => modify fun stream => { stream with inbox }; return .ok ()
  | .error violation => return .error violation

private def receiveStart (frame : Wire.Frame) (start : Wire.Start) (nowMs : Nat) : Received := do
  let id := frame.callId
  let { lastDispatch, options, welcome, leases, .. } ← getThe State
  if id == 0 || isOurs id || id ≤ lastDispatch then
    throw { code := .callId, message := s!"START: id {id} is odd or not above {lastDispatch}" }
  modifyThe State fun state => { state with lastDispatch := id }
  receivePayload "START" frame.payload.size
  let some dispatched := leases[start.lease]?
    | sendSmall { body := .reject, callId := id }  -- unregistered meanwhile
  let inbox ← ExceptT.mk (pure ((Inbox.new options.callWindow.toNat).add frame))
  addCall {
    id, inbox, lease := start.lease
    outgoing := { credit := welcome.limits.callWindow.toNat }
    deadlineMs := if start.timeoutUs == 0 then none
      else some (nowMs + (start.timeoutUs.toNat + 999) / 1000) }
  emit (dispatched id start)

private def receiveStatus (id : UInt32) (status : Wire.Status) : Received := do
  if !isOurs id then throw (unexpected "STATUS" id "only a responder sends it")
  let state ← getThe State
  let some request := state.requests[id]?
    | withOpen "STATUS" id do endStream (ofStatus status); return .ok ()
  let ending := ofStatus status
  if request.answered then  -- the daemon has ended the object
    tell (.objectEnded ending.status.message)
    emit (request.onEnd ending)
  else
    emit (request.onAnswer (if ending.status.isOk then .done else .refused ending))
  modifyThe State fun state => { state with
    requests := state.requests.erase id
    leases := state.leases.erase id
    channels := if state.channels[request.key]? == some id then state.channels.erase request.key
      else state.channels }
  -- What was started on a channel that could not be opened ends for that reason.
  if request.kind == .channel && !request.answered then
    for (callId, call) in (← getThe State).calls.toList do
      if call.stream.channel == id then
        discard <| (withCall callId (endStream ending) : Step _)

private def receiveSuccess (what : String) (id : UInt32) (kind : RequestKind) (answer : Answer) :
    Received := do
  let state ← getThe State
  match state.requests[id]? with
  | none =>
    unless isOurs id && id < state.nextId do throw (unexpected what id "no request waits for it")
  | some request =>
    if request.answered || request.kind != kind then
      throw (unexpected what id "no request waits for it")
    let channel := match answer with
      | .opened _ state => state
      | _ => request.state
    let closed := kind == .channel && state.channels[request.key]? != some id
    modifyThe State fun state => { state with
      requests := if closed then state.requests.erase id
        else state.requests.insert id { request with answered := true, state := channel } }
    emit (request.onAnswer answer)

private def receiveChannelState (id aux : UInt32) : Received := do
  let state ← getThe State
  match state.requests[id]?, ConnectivityState.ofNat? aux.toNat with
  | some request, some connectivity =>
    if request.kind != .channel || !request.answered then
      throw (unexpected "CHANNEL_STATE" id "no open channel has that id")
    modifyThe State fun state => { state with
      requests := state.requests.insert id { request with state := connectivity } }
  | some _, none => pure ()  -- a state of a later version
  | none, _ =>  -- closed meanwhile
    unless isOurs id && id < state.nextId do
      throw (unexpected "CHANNEL_STATE" id "no open channel has that id")

private def receiveCancel (id aux : UInt32) : Received := do
  if isOurs id then throw (unexpected "CANCEL" id "only an initiator sends it")
  withOpen "CANCEL" id do
    if (← get).cancelled.isNone then
      let code := if aux == 0 then .cancelled else StatusCode.fromNat aux.toNat
      modify fun stream => { stream with
        cancelled := some code, outgoing := stream.outgoing.clear, inbox := stream.inbox.discard }
      pump  -- a STATUS that waited for its DATA goes now
    return .ok ()

private def receiveWindow (id aux : UInt32) : Received := do
  let check (window : Nat) : Except Violation Unit :=
    if aux == 0 || window > maxWindow then
      .error { code := .flowControl, message := s!"WINDOW: {aux} bytes give a window of {window}" }
    else .ok ()
  if id == 0 then
    let window := (← getThe State).sendCredit + aux.toNat
    ExceptT.mk (pure (check window))
    modifyThe State fun state => { state with sendCredit := window }
    pumpStarved
  else withOpen "WINDOW" id do
    let window := (← get).outgoing.credit + aux.toNat
    match check window with
    | .error violation => return .error violation
    | .ok () =>
      modify fun stream => { stream with outgoing := { stream.outgoing with credit := window } }
      pump
      return .ok ()

private def receiveGoaway (goaway : Wire.Goaway) : Received := do
  let reason := ofText goaway.reason
  unless goaway.final do return ← tell (.goingAway reason goaway.graceMs)
  tell (.goneAway reason)
  let ending := CallEnd.ofLibrary .unavailable
    s!"{(← getThe State).name} is leaving and did not take this: {reason}"
  modifyThe State fun state => { state with leaving := some (.ofLibrary .unavailable
    s!"{state.name} is leaving and takes nothing new: {reason}") }
  endAll (fun id => isOurs id && id > goaway.lastId) ending

private def receiveHeaders (id : UInt32) (headers : Wire.Headers) : Received := do
  if !isOurs id then throw (unexpected "HEADERS" id "only a responder sends it")
  withOpen "HEADERS" id do
    if (← get).headers.isSome then
      return .error (unexpected "HEADERS" id "the headers are already there")
    modify fun stream => { stream with headers := some (ofEntries headers.metadata) }
    return .ok ()

private def receiveData (frame : Wire.Frame) : Received := do
  receivePayload "DATA" frame.payload.size
  if isOurs frame.callId && frame.has Wire.Flag.endStream then
    throw { code := .messageFraming, message := "DATA: only an initiator sends END_STREAM" }
  withOpen "DATA" frame.callId (fileMessage frame)

/-- What ERROR said, for people. -/
def describeError (error : Wire.Error) : String :=
  s!"legated says: {error.code.name}: {error.message.toString}"

private def receiveFrame (frame : Wire.Frame) (nowMs : Nat) : Received := do
  let { body, callId := id, aux, .. } := frame
  let aboutConnection (what : String) : Received :=
    if id == 0 then pure () else throw (unexpected what id "it is about the connection, id 0")
  match body with
  | .error error => do aboutConnection "ERROR"; lose (describeError error)
  | .ping => do aboutConnection "PING"; sendUrgent { body := .pong, aux }
  | .pong => aboutConnection "PONG"
  | .goaway goaway => do aboutConnection "GOAWAY"; receiveGoaway goaway
  | .window => receiveWindow id aux
  | .unsupported => tell (.unsupported aux)
  | .start start => receiveStart frame start nowMs
  | .headers headers => receiveHeaders id headers
  | .data => receiveData frame
  | .status status => receiveStatus id status
  | .cancel => receiveCancel id aux
  | .channelOpened { shared, state } =>
    receiveSuccess "CHANNEL_OPENED" id .channel (.opened shared ((ConnectivityState.ofNat? state.toNat).getD .idle))
  | .listening { port, address, shared } =>
    receiveSuccess "LISTENING" id .server (.listening port (ofText address) shared)
  | .lease => receiveSuccess "LEASE" id .lease .done
  | .channelState => receiveChannelState id aux
  | .retire { message, .. } => tell (.retired id (ofText message))
  | .unknown type => sendSmall { body := .unsupported, callId := id, aux := type.toUInt32 }
  | _ => throw (unexpected "a frame" id "the daemon may not send that type now")

/-- The daemon broke the protocol: says so, and ends the connection. -/
def breach (violation : Violation) : Step Unit := do
  sendUrgent { body := .error { code := violation.code, message := violation.message } }
  let last := (← get).outbox
  lose s!"it broke the protocol: {violation.message}"
  modify fun state => { state with outbox := { last with frames := .empty } }

/-- Does what frames ask for; `nowMs` is the monotonic clock. -/
def receive (frames : Array Wire.Frame) (nowMs : Nat) : Step Unit := do
  for frame in frames do
    if (← get).lost.isSome then break
    if let .error violation ← (receiveFrame frame nowMs).run then breach violation

end Legate.Session
