import Legate.Log
import Legate.Session

/-!
# Connection

A process's connection to the daemon, over all sessions: dialled when it is first needed, and again with
growing, jittered waits after it was lost. Calls that were open when it was lost have ended; channels are
opened again when they are next used, and servers listen and register again by themselves.
-/

namespace Legate

/-- How the daemon is reached. -/
structure Dialer where
  /-- Makes a byte stream to the daemon. -/
  dial : IO Transport
  /-- Whether that can be done more than once. -/
  again : Bool := true

/-- Something that happened to the connection to the daemon. -/
abbrev ConnectionEvent := Session.Event

namespace Connection

/-- Where the connection stands. -/
private inductive Phase where
  | down (cause : String) (nextMs : Nat)
  | dialing (done : IO.Promise Unit)
  | up (session : Session)
  | closed

/-- What the lock of a connection guards. -/
private structure State where
  phase : Phase := .down "" 0
  serial : Nat := 0  -- of the last session
  failures : Nat := 0  -- to dial, in a row
  nextKey : Nat := 1
  onOpen : Array (Nat × (Session → BaseIO Unit)) := #[]
  onFinish : Array (Nat × BaseIO Unit) := #[]
  listeners : Array (ConnectionEvent → BaseIO Unit) := #[]
  told : Task Unit := .pure ()  -- of the last event

end Connection

/-- A process's connection to the daemon. -/
structure Connection where
  private mk ::
  private dialer : Dialer
  private options : Session.Options
  private state : Std.Mutex Connection.State

namespace Connection

/-- A connection that is dialled when it is first needed. -/
def new (dialer : Dialer) (options : Session.Options := {}) : BaseIO Connection :=
  return { dialer, options, state := ← Std.Mutex.new {} }

/-- Has events told, one after the other, by a task that may block. `listener` is never taken back. -/
def onEvent (connection : Connection) (listener : ConnectionEvent → BaseIO Unit) : BaseIO Unit :=
  connection.state.atomically do
    modify fun state => { state with listeners := state.listeners.push listener }

/-- A number that names an object of this connection, over all sessions. -/
def newKey (connection : Connection) : BaseIO Nat :=
  connection.state.atomically do
    modifyGet fun state => (state.nextKey, { state with nextKey := state.nextKey + 1 })

/-- Has something done in every session that is opened from now on, by a task that may block. -/
def onOpen (connection : Connection) (key : Nat) (restore : Session → BaseIO Unit) : BaseIO Unit :=
  connection.state.atomically do
    modify fun state => { state with onOpen := state.onOpen.push (key, restore) }

/-- Has something done once there can be no other session. It must not block. -/
def onFinish (connection : Connection) (key : Nat) (finish : BaseIO Unit) : BaseIO Unit :=
  connection.state.atomically do
    modify fun state => { state with onFinish := state.onFinish.push (key, finish) }

/-- Takes `onOpen` and `onFinish` back. -/
def forget (connection : Connection) (key : Nat) : BaseIO Unit :=
  connection.state.atomically do
    modify fun state => { state with
      onOpen := state.onOpen.filter (·.1 != key), onFinish := state.onFinish.filter (·.1 != key) }

/-- There can be no other session. -/
private def finish (connection : Connection) : BaseIO Unit := do
  let finishers ← connection.state.atomically do
    modifyGet fun state => (state.onFinish, { state with onFinish := #[] })
  for (_, finish) in finishers do finish

/-! ## Events -/

private def describe : ConnectionEvent → LogLevel × String
  | .connected epoch build => (.debug, s!"connected to legated {build}, epoch {epoch}")
  | .goingAway reason grace => (.info, s!"legated will leave within {grace} ms: {reason}")
  | .goneAway reason => (.info, s!"legated takes nothing new: {reason}")
  | .lost cause => (.warning, cause)
  | .objectEnded message => (.warning, s!"ended by legated: {message}")
  | .retired _ reason => (.info, s!"legated wants this worker to leave: {reason}")
  | .unsupported type => (.debug, s!"legated does not know frame type {type}")

/-- The wait before the next attempt: doubled each time, with jitter, in milliseconds. -/
private def backoff (failures : Nat) : BaseIO Nat := do
  let most := min 5000 (50 * 2 ^ min failures 8)
  IO.rand (most / 2) most

/-- The session `serial` takes nothing new any more. -/
private def drop (connection : Connection) (serial : Nat) (cause : String) : BaseIO Unit := do
  let next := (← IO.monoMsNow) + (← backoff 0)
  connection.state.atomically do
    modify fun state => match state.phase with
      | .up session => if session.serial == serial then { state with phase := .down cause next } else state
      | _ => state

private def handle (connection : Connection) (serial : Nat) (event : ConnectionEvent) : BaseIO Unit := do
  match event with
  | .lost cause | .goneAway cause => connection.drop serial cause
  | _ => pure ()
  let (level, line) := describe event
  log level line
  connection.state.atomically (m := BaseIO) do
    let state ← get
    unless state.listeners.isEmpty do
      -- Not on the task that reads: a listener may wait for what only that brings.
      let tell : BaseIO Unit := for listener in state.listeners do listener event
      set { state with told := ← BaseIO.mapTask (fun () => tell) state.told (prio := .dedicated) }

/-! ## Dialling -/

private inductive Turn where
  | use (session : Session)
  | dial (done : IO.Promise Unit)
  | wait (dialed : Task (Option Unit))
  | fail (cause : String) (nextMs : Option Nat)

/-- What is to be done by somebody who needs a session. -/
private def turn (connection : Connection) : BaseIO Turn := do
  let now ← IO.monoMsNow
  let promise ← IO.Promise.new
  connection.state.atomically do
    match (← get).phase with
    | .up session => return .use session
    | .dialing done => return .wait done.result?
    | .closed => return .fail "the connection was closed by this program" none
    | .down cause next =>
      if !connection.dialer.again && (← get).serial > 0 then return .fail cause none
      if now < next then return .fail cause (some next)
      modify fun state => { state with phase := .dialing promise }
      return .dial promise

/-- One attempt, which `turn` gave the turn for; gives the reading of the session. -/
private def attempt (connection : Connection) (done : IO.Promise Unit) :
    BaseIO (Option Session.Reading) := do
  let serial ← connection.state.atomically do
    modifyGet fun state => (state.serial + 1, { state with serial := state.serial + 1 })
  let opened ← EIO.toBaseIO do
    Session.open (← connection.dialer.dial) connection.options (connection.handle serial) serial
  let next := (← IO.monoMsNow) +
    (← backoff (← connection.state.atomically do return (← get).failures))
  let (reading, restorers) ← connection.state.atomically do
    modifyGet fun state => match state.phase, opened with
      | .dialing _, .ok reading =>
        ((some reading, state.onOpen),
          { state with phase := .up reading.session, failures := 0 })
      | .dialing _, .error error =>
        ((none, #[]),
          { state with phase := .down (toString error) next, failures := state.failures + 1 })
      | _, _ => ((none, #[]), state)
  if let (.ok { session, .. }, none) := (opened, reading) then session.close  -- closed meanwhile
  done.resolve ()
  if let some { session, .. } := reading then
    unless restorers.isEmpty do
      discard <| BaseIO.asTask (prio := .dedicated) do
        for (_, restore) in restorers do restore session
  return reading

/-- How long is slept at once, so that the end of the program or of the connection is seen. -/
private def napMs : Nat := 100

private def sleepUntil (timeMs : Nat) : BaseIO Unit := do
  let now ← IO.monoMsNow
  IO.sleep (min napMs (timeMs - now)).toUInt32

/-- After a session: dials until there is another, or somebody else has one. -/
private def redial (connection : Connection) : BaseIO (Option Session.Reading) := do
  repeat
    if ← IO.checkCanceled then return none
    match ← connection.turn with
    | .use _ => return none
    | .wait dialed => discard <| IO.wait dialed
    | .fail _ none => do connection.finish; return none
    | .fail _ (some next) => sleepUntil next
    | .dial done =>
      if let some reading ← connection.attempt done then return some reading
  return none

/-- The reading task's whole life: reads one session after the other. -/
private def keep (connection : Connection) (first : Session.Reading) : BaseIO Unit := do
  let mut current := some first
  while current.isSome do
    let some reading := current | break
    -- A daemon that leaves still answers what is open: that is read beside the next session.
    if let some rest ← reading.run (untilLeaving := true) then
      discard <| BaseIO.asTask (prio := .dedicated) (discard rest.run)
    current ← connection.redial

/-- The session that is open, dialled if need be. Without `wait` it gives up when an attempt fails; with
it, when `deadlineMs` of the monotonic clock is over. -/
def session (connection : Connection) (wait : Bool := false) (deadlineMs : Option Nat := none) :
    BaseIO (Except CallEnd Session) := do
  let mut dialed := false
  repeat
    match ← connection.turn with
    | .use session =>
      match ← session.closed? with
      | none => return .ok session
      | some ending => connection.drop session.serial ending.status.message
    | .wait done => discard <| IO.wait done
    | .dial done =>
      dialed := true
      if let some reading ← connection.attempt done then
        discard <| BaseIO.asTask (connection.keep reading) (prio := .dedicated)
        return .ok reading.session
    | .fail cause next =>
      let some next := if wait then next else none
        | return .error (.ofLibrary .unavailable
            (if dialed || next.isNone then cause else s!"{cause}; the next attempt to connect comes soon"))
      let now ← IO.monoMsNow
      if let some deadline := deadlineMs then
        if now ≥ deadline then
          return .error (.ofLibrary .deadlineExceeded s!"Deadline Exceeded while waiting for legated: {cause}")
      sleepUntil (min next (deadlineMs.getD next))
  return .error (.ofLibrary .internal "unreachable")

/-- The session that is open, if one is. -/
def current? (connection : Connection) : BaseIO (Option Session) :=
  connection.state.atomically do
    match (← get).phase with
    | .up session => return some session
    | _ => return none

/-- Ends the connection for good, and every call and server with it. Idempotent. -/
def close (connection : Connection) : BaseIO Unit := do
  let session ← connection.state.atomically do
    modifyGet fun state =>
      let session := match state.phase with
        | .up session => some session
        | _ => none
      (session, { state with phase := .closed, onOpen := #[] })
  if let some session := session then session.close
  connection.finish

end Connection
end Legate
