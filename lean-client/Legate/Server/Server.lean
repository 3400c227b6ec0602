import Legate.Server.Builder
import Legate.Server.Pool

/-!
# Server

Serves the handlers of a builder at its ports. The ports live in the daemon: when the connection to it is
lost, the server binds, registers and serves again as soon as there is another.
-/

namespace Legate

namespace Server

/-- Where a server stands. -/
private inductive Phase where
  | new
  | serving
  | leaving  -- calls may still come
  | draining  -- no more calls come
  | stopped
  deriving BEq

private structure State where
  phase : Phase := .new
  key : Nat := 0  -- of `Connection.onOpen`
  leases : Array (Nat × UInt32) := #[]  -- session, id
  running : Nat := 0  -- dispatches
  health : Std.HashMap String Bool := {}  -- what was said of services

end Server

/-- Serves handlers at ports of the daemon. -/
structure Server where
  private mk ::
  /-- The connection to the daemon. -/
  connection : Connection
  /-- The ports. -/
  ports : Array Server.Port
  private handlers : Std.HashMap String Handler
  private worker : WorkerOptions
  private descriptors : ByteArray
  private unary : Server.Pool
  private streams : Server.Pool
  private state : Std.Mutex Server.State
  private stopped : IO.Promise Unit

/-- The server of a builder's ports and handlers; it does not serve yet. -/
def ServerBuilder.build (builder : ServerBuilder) : IO Server := do
  let interceptors ← builder.interceptors.atomically get
  let handlers ← builder.handlers.atomically get
  return {
    connection := builder.connection
    ports := ← builder.ports.atomically get
    handlers := handlers.foldl (fun map (path, handler) => map.insert path (handler.within interceptors)) {}
    worker := builder.worker
    descriptors := ← builder.descriptors.atomically get
    unary := ← Server.Pool.new builder.worker.workers
    streams := ← Server.Pool.new builder.worker.streams
    state := ← Std.Mutex.new {}
    stopped := ← IO.Promise.new }

namespace Server

/-- The last dispatch of a server that drains has ended. -/
private def stop (server : Server) : BaseIO Unit := do
  server.unary.stop
  server.streams.stop
  server.stopped.resolve ()

private def endDispatch (server : Server) : BaseIO Unit := do
  let last ← server.state.atomically do
    modifyGet fun state =>
      let running := state.running - 1
      let last := running == 0 && state.phase == .draining
      (last, { state with running, phase := if last then .stopped else state.phase })
  if last then server.stop

/-- The handler of a method: its own, else its service's, else that of all. -/
private def handlerOf (server : Server) (method : String) : Option Handler :=
  let service := "/".intercalate ((method.splitOn "/").dropLast ++ ["*"])
  server.handlers[method]? <|> server.handlers[service]? <|> server.handlers["*"]?

/-- Takes a dispatch, on the session's reading task: hands it to a pool. -/
private def dispatch (server : Server) (session : Session) (id : UInt32) (start : Wire.Start) :
    BaseIO Unit := do
  let context ← ServerCall.dispatched session id start
  let some handler := server.handlerOf context.method
    | session.act (Session.answer id { code := 12, message := some "Method not implemented" })
  server.state.atomically (modify fun state => { state with running := state.running + 1 })
  let pool := if handler.streams then server.streams else server.unary
  pool.run do
    handler.run context
    server.endDispatch

/-- Registers methods at a port; their calls come to `dispatch`. -/
private def register (server : Server) (session : Session) (portId : UInt32) (methods : Array String)
    (slots : Nat) : BaseIO (Except CallEnd UInt32) := do
  have : Nonempty Session.Answer := ⟨.done⟩
  let answered ← IO.Promise.new
  let { weight, generation, share, .. } := server.worker
  let body := .register {
    server := portId, methods := methods.map (.ofString ·), slots := slots.toUInt32, weight
    generation := Session.text? generation, share }
  let id ← session.act do
    let id ← Session.request { kind := .lease, onAnswer := answered.resolve } body
    -- Within the same step, since dispatches may come right after LEASE.
    modify fun state => { state with leases := state.leases.insert id (server.dispatch session) }
    return id
  match ← IO.wait answered.result! with
  | .refused ending => return .error ending
  | _ => return .ok id

/-- Describes a lease, if there is something to tell. -/
private def describe (server : Server) (session : Session) (lease : UInt32) : BaseIO (Except CallEnd Unit) := do
  if server.descriptors.isEmpty then return .ok ()
  match ← session.act (Session.describe lease server.descriptors) with
  | .error ending => return .error ending
  | .ok id =>
    let ending ← IO.wait (← session.await id Session.theEnd (.ofLibrary .unavailable "the connection was lost"))
    session.act (Session.disown id)
    return if ending.status.code == .ok then .ok () else .error ending

/-- Says how a service of a port is. -/
private def sendHealth (session : Session) (portId : UInt32) (service : String) (serving : Bool) :
    BaseIO (Except CallEnd Unit) := do
  let health := if serving then Wire.Health.serving else Wire.Health.notServing
  let (_, answer) ← session.ask .plain (.setHealth { server := portId, service := Session.text? service, health })
  match ← IO.wait answer with
  | .refused ending => return .error ending
  | _ => return .ok ()

private def addLease (server : Server) (session : Session) (lease : UInt32) : BaseIO Unit :=
  server.state.atomically do
    modify fun state => { state with leases := state.leases.push (session.serial, lease) }

/-- Binds the ports that are not bound in a session, registers the handlers and serves. -/
private def serveIn (server : Server) (session : Session) : BaseIO (Except CallEnd Unit) := ExceptT.run do
  let groups := [(false, server.worker.workers), (true, server.worker.streams)]
  for port in server.ports do
    let (serial, id) ← port.bound.get
    let mut portId := id
    if serial != session.serial then
      let (id, _, _) ← ExceptT.mk (Port.bind session port.listen)
      port.bound.set (session.serial, id)
      portId := id
    for (service, serving) in (← (server.state.atomically (m := BaseIO) get : BaseIO _)).health.toList do
      ExceptT.mk (sendHealth session portId service serving)
    for (streams, slots) in groups do
      let methods := server.handlers.fold (init := #[]) fun methods path handler =>
        if handler.streams == streams then methods.push path else methods
      unless methods.isEmpty do
        let lease ← ExceptT.mk (server.register session portId methods slots)
        server.addLease session lease
        ExceptT.mk (server.describe session lease)
    let (_, answer) ← (session.ask .plain .serve (aux := portId) : BaseIO _)
    if let .refused ending ← (IO.wait answer : BaseIO _) then throw ending

/-- Serves again in a session that has followed another. Tries again while the session lasts: the old
daemon may not have let the ports go yet. -/
private def restore (server : Server) (session : Session) : BaseIO Unit := do
  let mut wait := 100
  repeat
    unless (← server.state.atomically (m := BaseIO) get).phase == .serving do break
    match ← server.serveIn session with
    | .ok () =>
      log .info s!"serving again at {", ".intercalate (server.ports.map (·.address)).toList}"
      break
    | .error ending =>
      if (← session.closed?).isSome || (← IO.checkCanceled) then break
      log .warning s!"can't serve again yet: {ending.status}"
      IO.sleep wait
      wait := min 5000 (wait * 2)

/-- Ends the leases, one after the other. Calls may still come until that is done. -/
private def unregister (server : Server) (leases : Array (Nat × UInt32)) : BaseIO Unit := do
  let some session ← server.connection.current? | return
  for (serial, lease) in leases do
    if serial == session.serial then
      let (_, answer) ← session.ask .plain .unregister (aux := lease)
      discard <| IO.wait answer
      session.run do modify fun state => { state with
        leases := state.leases.erase lease, requests := state.requests.erase lease }

/-- There can be no other session: the server stops with the last handler that runs. -/
private def finish (server : Server) : BaseIO Unit := do
  let idle ← server.state.atomically do
    modifyGet fun state =>
      (state.running == 0, { state with phase := if state.running == 0 then .stopped else .draining })
  if idle then server.stop

/-- Begins to serve. It throws when the daemon refuses, when there is no port, and after `shutdown`. Idempotent
otherwise. -/
def start (server : Server) : IO Unit := do
  if server.ports.isEmpty then throw (IO.userError "can't serve: no port was added to the builder")
  let key ← server.connection.newKey
  let before ← server.state.atomically do
    modifyGet fun state =>
      (state.phase, if state.phase == .new then { state with phase := .serving, key } else state)
  match before with
  | .new => pure ()
  | .serving => return
  | _ => throw (IO.userError "can't serve: the server was shut down")
  let fail (ending : CallEnd) : IO Unit := do
    let { leases, .. } ← server.state.atomically (m := BaseIO) get
    server.unregister leases
    server.state.atomically (modify fun state => { state with phase := .new, leases := #[] })
    throw (IO.userError s!"can't serve: {ending.status}")
  match ← server.connection.session with
  | .error ending => fail ending
  | .ok session =>
    match ← server.serveIn session with
    | .error ending => fail ending
    | .ok () =>
      server.connection.onOpen key (server.restore ·)
      server.connection.onFinish key server.finish

/-- Says whether a service ("package.Service"; "": all of this process) takes calls, to clients that ask
`grpc.health.v1`. It stands until it is said otherwise, also over a loss of the daemon. It throws when the daemon
refuses. -/
def setHealth (server : Server) (service : String) (serving : Bool) : IO Unit := do
  let before ← server.state.atomically do
    modifyGet fun state =>
      (state.health[service]?, { state with health := state.health.insert service serving })
  let some session ← server.connection.current? | return
  for port in server.ports do
    let (serial, id) ← port.bound.get
    if serial == session.serial then
      if let .error ending ← Server.sendHealth session id service serving then
        server.state.atomically (modify fun state => { state with
          health := state.health.alter service fun _ => before })
        throw (IO.userError s!"can't set the health of \"{service}\": {ending.status}")

/-- Waits until the server has stopped: after a shutdown, or when the connection to the daemon is over and can't
be made again. -/
def wait (server : Server) : IO Unit := IO.wait server.stopped.result!

/-- Starts, and waits until the server has stopped. -/
def run (server : Server) : IO Unit := do
  server.start
  server.wait

/-- Takes no more calls. Idempotent. -/
private def leave (server : Server) : BaseIO Unit := do
  let before ← server.state.atomically do
    modifyGet fun state => (state, match state.phase with
      | .serving => { state with phase := .leaving }
      | .new => { state with phase := .stopped }
      | _ => state)
  match before.phase with
  | .new => server.stop
  | .serving =>
    server.connection.forget before.key
    server.unregister before.leases
    let idle ← server.state.atomically do
      modifyGet fun state =>
        (state.running == 0, { state with phase := if state.running == 0 then .stopped else .draining })
    if idle then server.stop
  | _ => pure ()

/-- Takes no more calls, and waits until those that run have ended; so not from a handler: see `beginShutdown`.
Idempotent. -/
def shutdown (server : Server) : IO Unit := do
  server.leave
  server.wait

/-- As `shutdown`, without waiting: a handler may ask for it. `wait` waits. -/
def beginShutdown (server : Server) : IO Unit := do discard <| IO.asTask (prio := .dedicated) server.shutdown

/-- Takes no more calls, and ends those that run: their clients get UNAVAILABLE, their handlers learn that they
are cancelled. `wait` waits for these to return. Idempotent. -/
def shutdownNow (server : Server) : IO Unit := do
  let { leases, .. } ← server.state.atomically (m := BaseIO) get
  server.leave
  let some session ← server.connection.current? | return
  let mine := leases.filterMap fun (serial, lease) => if serial == session.serial then some lease else none
  session.act (Session.endDispatches mine { code := 14, message := some "the server shuts down" })

end Server

/-- Serves at a plaintext port what `setup` registers, until the server is shut down. -/
def runServer (address : String) (setup : ServerBuilder → IO Unit) : IO Unit := do
  let builder ← ServerBuilder.new
  discard <| builder.addInsecurePort address
  setup builder
  (← builder.build).run

/-- Serves at a port with TLS what `setup` registers, until the server is shut down. -/
def runSecureServer (address : String) (credentials : SslServerCredentials) (setup : ServerBuilder → IO Unit) :
    IO Unit := do
  let builder ← ServerBuilder.new
  discard <| builder.addSecurePort address credentials
  setup builder
  (← builder.build).run

end Legate
