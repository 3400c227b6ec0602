import Checks
import FakeDaemon

/-! The server side of a session, against a daemon that the test plays. -/

open Legate

/-- A builder whose first port is bound, and the fake that plays its daemon. -/
def newBuilder : IO (ServerBuilder × FakeDaemon × IO.Ref (Array FakeDaemon)) := do
  let (connection, fakes) ← fakeConnection
  let builder ← ServerBuilder.new connection (some { workers := 2, streams := 2 })
  let binding ← IO.asTask (prio := .dedicated) (builder.addInsecurePort "127.0.0.1:0")
  let fake ← greeted fakes
  grantPort fake "127.0.0.1:0"
  equal "port" 4711 (← IO.ofExcept (← IO.wait binding)).toNat
  return (builder, fake, fakes)
where
  /-- Expects LISTEN for an address and grants it. -/
  grantPort (fake : FakeDaemon) (address : String) : IO Unit := do
    let (id, asked) ← fake.expect "LISTEN" fun frame =>
      match frame.body with
      | .listen table => some (frame.callId, table.address.toString)
      | _ => none
    equal "address" address asked
    fake.send [{ body := .listening { port := 4711, address := some "127.0.0.1:4711" }, callId := id }]

/-- Expects REGISTER of one method, and grants it. -/
def grantLease (fake : FakeDaemon) (method : String) : IO UInt32 := do
  let (id, methods) ← fake.expect "REGISTER" fun frame =>
    match frame.body with
    | .register table => some (frame.callId, table.methods.map (·.toString))
    | _ => none
  equal "methods" #[method] methods
  fake.send [{ body := .lease, callId := id }]
  return id

/-- Expects a frame of a type that asks about an object, and answers OK. -/
def grant (fake : FakeDaemon) (what : String) (body : Wire.Body) : IO Unit := do
  let id ← fake.expect what fun frame => if frame.body == body then some frame.callId else none
  fake.send [FakeDaemon.status id]

/-- Starts a server, while the fake plays along. -/
def started (builder : ServerBuilder) (fake : FakeDaemon) (method : String) : IO (Server × UInt32) := do
  let server ← builder.build
  let starting ← IO.asTask (prio := .dedicated) server.start
  let lease ← grantLease fake method
  grant fake "SERVE" .serve
  IO.ofExcept (← IO.wait starting)
  return (server, lease)

/-- A dispatch. -/
def dispatch (id lease : UInt32) (method text : String) (timeoutUs : UInt64 := 0) (flags : UInt8 := 0) : Wire.Frame :=
  let start : Wire.Start := {
    method := .ofString method, lease, timeoutUs, peer := some "ipv4:1.2.3.4:5"
    metadata := some #[{ key := "k", value := "v".toUTF8 }] }
  { body := .start start, callId := id, flags := Wire.Flag.wholeMessage ||| Wire.Flag.endStream ||| flags
    aux := text.utf8ByteSize.toUInt32, payload := text.toUTF8 }

/-- Shuts a server down, while the fake plays along. -/
def stopped (server : Server) (fake : FakeDaemon) : IO Unit := do
  let stopping ← IO.asTask (prio := .dedicated) server.shutdown
  grant fake "UNREGISTER" .unregister
  IO.ofExcept (← IO.wait stopping)

/-- Expects the ACCEPT of a dispatch. -/
def accepted (fake : FakeDaemon) (id : UInt32) : IO Unit :=
  fake.expect "ACCEPT" fun frame => if frame.body matches .accept && frame.callId == id then some () else none

/-- Expects STATUS. -/
def statusOf (fake : FakeDaemon) : IO Wire.Status :=
  fake.expect "STATUS" fun frame =>
    match frame.body with
    | .status table => some table
    | _ => none

def unary : Checks Unit := do
  case "a unary call: ACCEPT, HEADERS, DATA, STATUS" do
    let (builder, fake, _) ← newBuilder
    builder.registerUnary "/a.B/C" fun context request => do
      ensure (context.method == "/a.B/C" && context.peer == "ipv4:1.2.3.4:5") "context"
      ensure (context.metadata == #[("k", "v")]) "metadata"
      let left := (← context.call.deadlineRemainingMs).getD 0
      ensure (left > 0 && left ≤ 5000) s!"{left} ms left"
      return .ok (request ++ "!".toUTF8, #[("h", "1")], #[("t", "2")])
    builder.registerUnary "/a.B/C" fun _ _ => throw (IO.userError "the second registration counts for nothing")
    let (server, lease) ← started builder fake "/a.B/C"
    fake.send [dispatch 2 lease "/a.B/C" "hi" 5000000]
    accepted fake 2
    let headers ← fake.expect "HEADERS" fun frame =>
      match frame.body with
      | .headers table => table.metadata
      | _ => none
    ensure (headers == #[{ key := "h", value := "1".toUTF8 }]) "headers"
    ensure ((← fake.next).payload == "hi!".toUTF8) "answer"
    let status ← statusOf fake
    ensure (status.code == 0 && status.trailers == some #[{ key := "t", value := "2".toUTF8 }]) "status"
    stopped server fake
    server.wait
  case "errors, and what is thrown" do
    let (builder, fake, _) ← newBuilder
    builder.registerUnary "/a.B/C" fun _ request =>
      if request == "throw".toUTF8 then throw (IO.userError "boom")
      else return .error { code := .notFound, message := "gone", details := some ⟨#[1]⟩, trailers := #[("t", "2")] }
    let (server, lease) ← started builder fake "/a.B/C"
    fake.send [dispatch 2 lease "/a.B/C" "error"]
    accepted fake 2
    let status ← statusOf fake
    ensure (status.code == 5 && status.details == some ⟨#[1]⟩ && status.trailers.isSome) "error"
    fake.send [dispatch 4 lease "/a.B/C" "throw"]
    accepted fake 4
    let status ← statusOf fake
    equal "thrown" "IO error in unary handler: boom" (Session.ofText status.message)
    equal "code" 13 status.code.toNat
    fake.send [dispatch 6 lease "/a.B/Unknown" ""]
    let status ← statusOf fake
    equal "unknown method" "Method not implemented" (Session.ofText status.message)
    fake.send [dispatch 8 (lease + 100) "/a.B/C" ""]
    discard <| fake.expect "REJECT" fun frame => if frame.body matches .reject then some () else none
    stopped server fake
  case "interceptors are around the handler, the first one outermost" do
    let (builder, fake, _) ← newBuilder
    let marking (name : String) : ServerInterceptor := {
      name
      around := fun context next => do
        let result ← next { context with metadata := context.metadata.add name "1" }
        return result.map fun reply => { reply with trailers := reply.trailers.add name "1" } }
    builder.addInterceptor (marking "a")
    builder.addInterceptor (marking "b")
    builder.registerUnary "/a.B/C" fun context _ =>
      return .ok (" ".intercalate (context.metadata.map (·.1)).toList |>.toUTF8, #[], #[])
    let (server, lease) ← started builder fake "/a.B/C"
    fake.send [dispatch 2 lease "/a.B/C" ""]
    accepted fake 2
    ensure ((← fake.next).payload == "k a b".toUTF8) "context"
    ensure (((← statusOf fake).trailers.getD #[]).map (·.key.toString) == #["b", "a"]) "trailers"
    stopped server fake

def streams : Checks Unit := do
  case "a cancelled handler learns it, and its slot is free with STATUS" do
    let (builder, fake, _) ← newBuilder
    let told ← IO.Promise.new (α := Bool)
    builder.registerBidiStreaming "/a.B/C" fun context recv send => do
      send "ready".toUTF8
      while (← recv).isSome do pure ()
      IO.wait (← context.call.cancelled)
      told.resolve (← context.call.isCancelled)
      send "into the void".toUTF8
      return .ok (#[], #[])
    let (server, lease) ← started builder fake "/a.B/C"
    fake.send [{ dispatch 2 lease "/a.B/C" "x" with flags := Wire.Flag.wholeMessage }]
    accepted fake 2
    ensure ((← fake.next).payload == "ready".toUTF8) "message"
    fake.send [{ body := .cancel, callId := 2, aux := 1 }]
    ensure ((← IO.wait told.result?) == some true) "told"
    discard <| statusOf fake
    stopped server fake
  case "a call that was cancelled before its handler began is answered, not begun" do
    let (builder, fake, _) ← newBuilder
    let release ← IO.Promise.new (α := Unit)
    let begun ← IO.mkRef 0
    builder.registerUnary "/a.B/C" fun _ _ => do
      begun.modify (· + 1)
      discard <| IO.wait release.result?
      return .ok (.empty, #[], #[])
    let (server, lease) ← started builder fake "/a.B/C"
    fake.send [dispatch 2 lease "/a.B/C" "", dispatch 4 lease "/a.B/C" "", dispatch 6 lease "/a.B/C" ""]
    discard fake.next  -- two ACCEPTs: there are two workers
    discard fake.next
    fake.send [{ body := .cancel, callId := 6, aux := 4 }, { body := .ping, aux := 1 }]
    ensure ((← fake.next).body matches .pong) "PONG"
    release.resolve ()
    let mut codes := #[]
    for _ in [0:5] do
      let frame ← fake.next
      if let .status table := frame.body then codes := codes.push (frame.callId, table.code)
    ensure ((codes.contains (2, 0)) && codes.contains (4, 0)) s!"{codes}"
    ensure (codes.contains (6, 1)) s!"{codes}"
    equal "begun" 2 (← begun.get)
    stopped server fake
  case "shutdown waits for what runs, and takes nothing more" do
    let (builder, fake, _) ← newBuilder
    let release ← IO.Promise.new (α := Unit)
    builder.registerUnary "/a.B/C" fun _ _ => do
      discard <| IO.wait release.result?
      return .ok ("done".toUTF8, #[], #[])
    let (server, lease) ← started builder fake "/a.B/C"
    fake.send [dispatch 2 lease "/a.B/C" ""]
    accepted fake 2
    let stopping ← IO.asTask (prio := .dedicated) server.shutdown
    grant fake "UNREGISTER" .unregister
    -- PING, so that the STATUS before it has been seen.
    fake.send [{ body := .ping, aux := 1 }]
    ensure ((← fake.next).body matches .pong) "PONG"
    ensure (!(← IO.hasFinished stopping)) "it did not wait"
    release.resolve ()
    ensure ((← fake.next).payload == "done".toUTF8) "answer"
    discard <| statusOf fake
    IO.ofExcept (← IO.wait stopping)
  case "shutdownNow ends what runs" do
    let (builder, fake, _) ← newBuilder
    builder.registerBidiStreaming "/a.B/C" fun _ recv _ => do
      while (← recv).isSome do pure ()
      return .ok (#[], #[])
    let (server, lease) ← started builder fake "/a.B/C"
    fake.send [{ dispatch 2 lease "/a.B/C" "x" with flags := Wire.Flag.wholeMessage }]
    accepted fake 2
    let stopping ← IO.asTask (prio := .dedicated) server.shutdownNow
    grant fake "UNREGISTER" .unregister
    equal "code" 14 (← statusOf fake).code.toNat
    IO.ofExcept (← IO.wait stopping)
    server.wait

def restarts : Checks Unit := do
  case "the daemon is lost: the server binds, registers and serves again" do
    let (builder, fake, fakes) ← newBuilder
    builder.registerUnary "/a.B/C" fun _ request => return .ok (request, #[], #[])
    let (server, _) ← started builder fake "/a.B/C"
    fake.transport.close
    let second ← greeted fakes 1
    newBuilder.grantPort second "127.0.0.1:4711"
    let lease ← grantLease second "/a.B/C"
    grant second "SERVE" .serve
    second.send [dispatch 2 lease "/a.B/C" "again"]
    accepted second 2
    ensure ((← second.next).payload == "again".toUTF8) "answer"
    discard <| statusOf second
    stopped server second

def main : IO UInt32 := do
  setLogger fun _ _ => pure ()
  runChecks do
    unary
    streams
    restarts
