import Legate.Session.State

/-!
# Sending

How a session sends what its calls have to say, within credit (PROTOCOL.md, sections 7 and 8). Pure.
-/

namespace Legate.Session

/-- Sends the STATUS that waits for the messages before it, which ends a dispatch. -/
private def sendAnswer (answer : Wire.Status) : CallStep Unit := do
  let { id, .. } ← get
  let sent ← (send { body := .status answer, callId := id } : Step _)
  if sent matches .error _ then
    let message := "the status with its trailers is longer than the daemon takes"
    sendSmall { body := .status { code := 13, message := some message }, callId := id }
  modify fun stream => { stream with answer := none }
  endStream (ofStatus answer)

/-- Sends the next frame that the call has ready. False when it has none, or no credit. -/
def sendOne : CallStep Bool := do
  let { sendCredit, welcome, .. } ← getThe State
  let next ← modifyGet fun stream =>
    let (next, outgoing) := stream.outgoing.next sendCredit welcome.limits.maxFrame.toNat
    (next, { stream with outgoing })
  let { id, starved, .. } ← get
  match next with
  | .frame flags aux payload =>
    modifyThe State fun state => { state with sendCredit := state.sendCredit - payload.size }
    sendSmall { body := .data, callId := id, flags, aux, payload }
    return true
  | .noConnectionCredit =>
    unless starved do
      modify fun stream => { stream with starved := true }
      modifyThe State fun state => { state with starved := state.starved.enqueue id }
    return false
  | .noCallCredit => return false
  | .idle =>
    if let some answer := (← get).answer then sendAnswer answer
    return false

/-- Queues what credit allows of what the call has to send. -/
def pump : CallStep Unit := do
  while (← get).ending.isNone do
    unless ← sendOne do break

/-- The first of the calls that wait for connection credit. -/
private def takeStarved : Step (Option UInt32) := modifyGet fun state =>
  match state.starved.dequeue? with
  | some (id, starved) => (some id, { state with starved })
  | none => (none, state)

/-- New connection credit goes round those who waited for it, a frame each. -/
def pumpStarved : Step Unit := do
  while (← get).sendCredit > 0 do
    let some id ← takeStarved | break
    discard <| withCall id do
      modify fun stream => { stream with starved := false }
      if ← sendOne then
        let { outgoing, .. } ← get
        if (← getThe State).sendCredit > 0 && outgoing.credit > 0 && !outgoing.isEmpty then
          modify fun stream => { stream with starved := true }
          modifyThe State fun state => { state with starved := state.starved.enqueue id }
        else pump  -- queues it again if need be, or ends it

end Legate.Session
