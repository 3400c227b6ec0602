import Legate.Session.Send

/-!
# Calls

What callers and handlers do with a call, as steps of the session. Pure.
-/

namespace Legate.Session

/-- A call to be started. -/
structure Launch where
  /-- The process's number of the channel. -/
  channelKey : Nat
  /-- How the channel is opened, if it is not open in this session. -/
  channel : Wire.OpenChannel
  /-- START, without the channel. -/
  start : Wire.Start
  /-- The first message. -/
  message : Option ByteArray := none
  /-- No message follows. -/
  halfClose : Bool := false
  /-- When the call ends here if the daemon does not end it, by the monotonic clock. -/
  deadlineMs : Option Nat := none

/-- The id of a channel, which is opened when it is not open in this session. -/
def channelId (key : Nat) (channel : Wire.OpenChannel) : Step UInt32 := do
  if let some id := (← get).channels[key]? then return id
  let id ← request { kind := .channel, onAnswer := fun _ => pure (), key } (.openChannel channel)
  if id != 0 then modify fun state => { state with channels := state.channels.insert key id }
  return id

/-- Lets go of a channel; one that is not opened yet stays known until it is, since its calls may have to be
told why it could not be. -/
def closeChannel (key : Nat) : Step Unit := do
  let some id := (← get).channels[key]? | return
  let answered := ((← get).requests[id]?.map (·.answered)).getD true
  modify fun state => { state with
    channels := state.channels.erase key
    requests := if answered then state.requests.erase id else state.requests }
  discard <| request { kind := .plain, onAnswer := fun _ => pure () } .closeChannel (aux := id)

/-- Starts a call. The first message leaves with it as far as credit allows. -/
def startCall (launch : Launch) : Step (Except CallEnd UInt32) := do
  if let some ending := (← get).closed? then return .error ending
  let channel ← channelId launch.channelKey launch.channel
  if channel == 0 then
    return .error (.ofLibrary .invalidArgument "the options of the channel are longer than the daemon takes")
  let { sendCredit, welcome, options, .. } ← get
  let outgoing : Outgoing :=
    { credit := welcome.limits.callWindow.toNat, halfClose := launch.halfClose }
  let outgoing := launch.message.elim outgoing outgoing.post
  let (next, outgoing) := outgoing.next sendCredit welcome.limits.maxFrame.toNat
  let (flags, aux, payload) := match next with
    | .frame flags aux payload => (flags, aux, payload)
    | _ => (0, 0, .empty)
  let id ← newId
  let sent ← send { body := .start { launch.start with channel }, callId := id, flags, aux, payload }
  if sent matches .error _ then
    return .error (.ofLibrary .resourceExhausted
      s!"the metadata of the call to {launch.start.method.toString} is longer than the daemon takes")
  modify fun state => { state with sendCredit := state.sendCredit - payload.size }
  addCall {
    id, channel, outgoing
    inbox := .new options.callWindow.toNat
    deadlineMs := launch.deadlineMs }
  discard <| withCall id pump
  return .ok id

/-- Describes what a lease offers by a serialized `google.protobuf.FileDescriptorSet`; ends as a call does. -/
def describe (lease : UInt32) (descriptors : ByteArray) : Step (Except CallEnd UInt32) := do
  if let some ending := (← get).closed? then return .error ending
  let { welcome, options, .. } ← get
  let id ← newId
  sendSmall { body := .describe, callId := id, aux := lease }
  let outgoing : Outgoing := { credit := welcome.limits.callWindow.toNat, halfClose := true }
  addCall { id, channel := 0, outgoing := outgoing.post descriptors, inbox := .new options.callWindow.toNat }
  discard <| withCall id pump
  return .ok id

/-- Sends a message as credit comes; gives its number among the call's. -/
def post (id : UInt32) (message : ByteArray) : Step (Except GrpcError Nat) := do
  let result ← withCall id do
    let stream ← get
    if stream.outgoing.halfClose && stream.cancelled.isNone then
      return .error (.simple .failedPrecondition "Stream writes already done")
    match stream.ending with
    | some ending => return .error (ending.toError (stream.headers.getD #[]))
    | none =>
      if stream.cancelled.isNone then
        modify fun stream => { stream with accepted := true, outgoing := stream.outgoing.post message }
        pump
      -- After a cancel the number is never reached: the status tells what became of the call.
      return .ok (stream.outgoing.posted + 1)
  return result.getD (.error (.simple .cancelled "the call is over"))

/-- What a writer waits for: that its message was handed over whole, or the end of the call. -/
def written (number : Nat) : Stream → Option (GrpcResult Unit × Stream) := fun stream =>
  if stream.outgoing.sent ≥ number then some (.ok (), stream)
  else stream.ending.map fun ending => (.error (ending.toError (stream.headers.getD #[])), stream)

/-- No message follows. Idempotent. -/
def halfClose (id : UInt32) : Step Unit := do
  discard <| withCall id do
    let stream ← get
    if stream.ending.isNone && !stream.outgoing.halfClose then
      modify fun stream => { stream with outgoing := { stream.outgoing with halfClose := true } }
      pump

/-- What a reader waits for: a message, or that none comes any more. -/
def nextMessage : Stream → Option (Option ByteArray × Stream) := fun stream =>
  if stream.isDispatch && stream.isOver then some (none, stream)
  else match stream.inbox.take? with
  | some (message, inbox) => some (some message, { stream with inbox })
  | none => if stream.ending.isSome || stream.inbox.ended then some (none, stream) else none

/-- Asks for the end. Idempotent. One message that has come already can still be read. -/
def cancel (id : UInt32) : Step Unit := do
  discard <| withCall id do
    if (← get).isOver then return
    modify fun stream => { stream with
      cancelled := some .cancelled
      inbox := stream.inbox.discard (keep := 1)
      outgoing := { stream.outgoing.clear with halfClosed := true } }
    sendSmall { body := .cancel, callId := id }

/-- Somebody waits for the end: unread messages don't hold it up. -/
def drain (id : UInt32) : Step Unit := do
  discard <| withCall id do modify fun stream => { stream with inbox := stream.inbox.drain }

/-- What somebody waits for who wants the end. -/
def theEnd : Stream → Option (CallEnd × Stream) := fun stream => stream.ending.map (·, stream)

/-- What somebody waits for who wants the headers; none come any more once the call has ended. -/
def theHeaders : Stream → Option (Metadata × Stream) := fun stream =>
  if stream.headers.isSome || stream.ending.isSome then some (stream.headers.getD #[], stream) else none

/-- Nobody holds the call: it is forgotten with its end. -/
def disown (id : UInt32) : Step Unit :=
  modify fun state => { state with
    calls := state.calls.alter id fun call? => call?.bind fun call =>
      if call.stream.ending.isSome then none else some { call with orphan := true } }

/-- Nobody holds the call any more, which ends it. -/
def abandon (id : UInt32) : Step Unit := do
  cancel id
  disown id

/-- Ends the calls whose deadline has passed without the daemon's answer. -/
def expire (nowMs : Nat) : Step Unit := do
  for (id, call) in (← get).calls.toList do
    let some deadline := call.stream.deadlineMs | continue
    if deadline < nowMs && !call.stream.isDispatch && call.stream.ending.isNone then
      cancel id
      discard <| withCall id <| endStream <|
        .ofLibrary .deadlineExceeded s!"Deadline Exceeded; {(← get).name} did not say so in time"

/-! ## Dispatches -/

/-- Takes a dispatch up: it goes to no other worker. False when it is over before. -/
def acceptDispatch (id : UInt32) : Step Bool := do
  let accepted ← withCall id do
    let stream ← get
    if stream.isOver then return false
    unless stream.accepted do
      modify fun stream => { stream with accepted := true }
      sendSmall { body := .accept, callId := id }
    return true
  return accepted.getD false

/-- Sends initial metadata: once, and before the first message. False when that is not so any more. -/
def sendHeaders (id : UInt32) (headers : Wire.Headers) : Step Bool := do
  let sent ← withCall id do
    let stream ← get
    if stream.isOver || stream.answer.isSome || stream.headersSent || stream.outgoing.posted > 0 then
      return false
    match ← (send { body := .headers headers, callId := id } : Step _) with
    | .error _ => return false
    | .ok () =>
      modify fun stream => { stream with headersSent := true, accepted := true }
      return true
  return sent.getD false

/-- Ends a dispatch, after its messages. The first answer counts. -/
def answer (id : UInt32) (status : Wire.Status) : Step Unit := do
  discard <| withCall id do
    let stream ← get
    if stream.ending.isSome || stream.answer.isSome then return
    modify fun stream => { stream with accepted := true, answer := some status }
    pump

/-- Ends the dispatches of some leases at once; their handlers learn that they are cancelled. -/
def endDispatches (leases : Array UInt32) (status : Wire.Status) : Step Unit := do
  for (id, call) in (← get).calls.toList do
    if call.stream.isDispatch && leases.contains call.stream.lease then
      discard <| withCall id do
        modify fun stream => { stream with
          cancelled := stream.cancelled <|> some .unavailable
          outgoing := stream.outgoing.clear, answer := some status }
        pump

end Legate.Session
