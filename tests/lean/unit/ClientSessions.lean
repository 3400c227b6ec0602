import Checks
import FakeDaemon

/-! The client side of a session, against a daemon that the test plays. -/

open Legate

/-- A channel, and the fake that its connection ends at. -/
def newChannel (options : Session.Options := {}) (limits : Wire.Limits := FakeDaemon.limits) :
    IO (Channel × FakeDaemon × IO.Ref (Array FakeDaemon)) := do
  let (connection, fakes) ← fakeConnection options limits
  let channel ← Channel.create "target:1" {} connection
  -- It dials with the first thing that is done.
  let state ← channel.getState
  ensure (state matches .idle) s!"{state}"
  let fake ← greeted fakes
  discard fake.grantChannel
  return (channel, fake, fakes)

def get {α : Type} (result : GrpcResult α) : IO α := result.get

def ended {α : Type} (result : GrpcResult α) (code : StatusCode) (message : String) : IO Unit :=
  match result with
  | .ok _ => throw (IO.userError s!"ended OK, not {code}")
  | .error error => do
    equal "code" code error.code
    ensure (message.isEmpty || (error.message.splitOn message).length > 1) error.message

def calls : Checks Unit := do
  case "a unary call is one frame, and its answer may come in one write" do
    let (channel, fake, _) ← newChannel
    let options : CallOptions := { timeoutMs := 2000, metadata := #[("k", "v"), ("b-bin", "AAE=")] }
    let answer ← unaryCallTask channel "/a.B/C" "hello".toUTF8 options
    let (id, start, payload) ← fake.start
    equal "method" "/a.B/C" start.method.toString
    ensure (start.shape == Wire.Shape.unary && payload == "hello".toUTF8) "message"
    ensure (start.timeoutUs > 1000000 && start.timeoutUs ≤ 2000000) s!"timeout {start.timeoutUs}"
    ensure (((start.metadata.getD #[]).map (·.value)) == #["v".toUTF8, ⟨#[0, 1]⟩]) "metadata"
    fake.send [{ body := .headers { metadata := some #[{ key := "h", value := "1".toUTF8 }] }, callId := id },
      FakeDaemon.message id "world", FakeDaemon.status id]
    let response ← get (← IO.wait answer)
    ensure (response.data == "world".toUTF8 && response.headers == #[("h", "1")]) "answer"
  case "an error brings its headers and trailers" do
    let (channel, fake, _) ← newChannel
    let answer ← unaryCallTask channel "/a.B/C" .empty
    let (id, _) ← fake.start
    fake.send [{ body := .headers { metadata := some #[{ key := "h", value := "1".toUTF8 }] }, callId := id },
      { body := .status { code := 5, message := some "gone", details := some ⟨#[9]⟩, origin := 1,
                          trailers := some #[{ key := "t", value := "2".toUTF8 }] }, callId := id }]
    match ← IO.wait answer with
    | .ok _ => throw (IO.userError "OK")
    | .error error =>
      let expected : GrpcError := {
        code := .notFound, message := "gone", details := some ⟨#[9]⟩
        headers := #[("h", "1")], trailers := #[("t", "2")], origin := .remote }
      ensure (error == expected) (toString error)
  case "a channel that is refused ends its calls with the reason, and is tried again" do
    let (connection, fakes) ← fakeConnection
    let channel ← Channel.named "nowhere" connection
    let refuse (fake : FakeDaemon) : IO Unit := do
      let id ← fake.expect "OPEN_CHANNEL" fun frame =>
        if frame.body matches .openChannel _ then some frame.callId else none
      let (call, _) ← fake.start
      fake.send [FakeDaemon.status id 5 "no channel nowhere", FakeDaemon.status call 9 "no such channel"]
    let first ← unaryCallTask channel "/a.B/C" .empty
    let fake ← greeted fakes
    refuse fake
    ended (← IO.wait first) .notFound "nowhere"
    let second ← unaryCallTask channel "/a.B/C" .empty
    refuse fake
    ended (← IO.wait second) .notFound "nowhere"
  case "a metadata value that can't be sent ends the call here" do
    let (channel, _, _) ← newChannel
    ended (← unaryCall channel "/a.B/C" .empty { metadata := #[("x-bin", "?")] }) .invalidArgument "x-bin"
  case "a closed channel takes no calls" do
    let (channel, fake, _) ← newChannel
    channel.close
    channel.close
    ensure ((← fake.nextOfAny).body matches .closeChannel) "CLOSE_CHANNEL"
    ended (← unaryCall channel "/a.B/C" .empty) .failedPrecondition "closed"
    ensure ((← channel.getState) matches .shutdown) "state"

def streams : Checks Unit := do
  case "a stream's end is none and stays so; the status tells why" do
    let (channel, fake, _) ← newChannel
    let reader ← get (← serverStreamingCall channel "/a.B/C" .empty)
    let (id, _) ← fake.start
    fake.send [FakeDaemon.message id "1", FakeDaemon.message id "", FakeDaemon.status id 10 "half way"]
    ensure ((← get (← reader.read)) == some "1".toUTF8) "first"
    ensure ((← get (← reader.read)) == some .empty) "second"
    for _ in [0:2] do ensure (← get (← reader.read)).isNone "end"
    equal "status" "Aborted: half way" (toString (← reader.getStatus))
  case "a writer waits for credit, and each write that returned is on its way" do
    let (channel, fake, _) ← newChannel
    let writer ← get (← clientStreamingCall channel "/a.B/C")
    let (id, _) ← fake.start
    let block : ByteArray := ⟨.replicate 65536 1⟩
    get (← writer.write block)
    let second ← writer.writeTask block  -- the call's window is used up
    for _ in [0:1] do
      let frame ← fake.next
      equal "bytes" 65536 frame.payload.size
    ensure (!(← IO.hasFinished second)) "it did not wait"
    fake.send [{ body := .window, callId := id, aux := 65536 }]
    -- The connection's window has 34,464 bytes left.
    equal "what the connection lets through" 34464 (← fake.next).payload.size
    fake.send [{ body := .window, aux := 100000 }]
    equal "the rest" (65536 - 34464) (← fake.next).payload.size
    get (← IO.wait second)
    get (← writer.writesDone)
    ended (← writer.write block) .failedPrecondition "Stream writes already done"
    let frame ← fake.next
    ensure (frame.has Wire.Flag.endStream) "half-close"
    let finished ← writer.finishTask
    fake.send [FakeDaemon.message id "sum", FakeDaemon.status id]
    ensure ((← get (← IO.wait finished)).data == "sum".toUTF8) "answer"
  case "credit goes back as messages are read" do
    let (channel, fake, _) ← newChannel { callWindow := 65536 }
    let reader ← get (← serverStreamingCall channel "/a.B/C" .empty)
    let (id, _) ← fake.start
    let text := String.ofList (.replicate 32768 'x')
    fake.send [FakeDaemon.message id text, FakeDaemon.message id text]
    discard <| get (← reader.read)
    let frame ← fake.next
    ensure (frame.body matches .window && frame.callId == id) "WINDOW"
    equal "credit" 32768 frame.aux.toNat
  case "the status does not wait for who does not read, and what came can be read later" do
    let (channel, fake, _) ← newChannel { callWindow := 65536 }
    let reader ← get (← serverStreamingCall channel "/a.B/C" .empty)
    let (id, _) ← fake.start
    let status ← IO.asTask (prio := .dedicated) reader.getStatus
    let text := String.ofList (.replicate 40000 'x')
    for _ in [0:5] do
      fake.send [FakeDaemon.message id text]
      equal "credit" 40000 (← fake.next).aux.toNat
    fake.send [FakeDaemon.status id]
    equal "status" "OK" (toString (← IO.ofExcept (← IO.wait status)))
    equal "messages" 5 (← get (← reader.readAll)).size
  case "cancel is sent once, and lets one message through" do
    let (channel, fake, _) ← newChannel
    let stream ← get (← bidiStreamingCall channel "/a.B/C")
    let (id, _) ← fake.start
    fake.send [FakeDaemon.message id "1", FakeDaemon.message id "2", FakeDaemon.message id "3",
      { body := .ping, aux := 7 }]
    equal "PONG: the messages are there" 7 (← fake.next).aux.toNat
    stream.cancel
    stream.cancel
    let frame ← fake.next
    ensure (frame.body matches .cancel && frame.callId == id) "CANCEL"
    fake.send [FakeDaemon.status id 1 "Cancelled", { body := .ping, aux := 8 }]
    equal "PONG, and no second CANCEL" 8 (← fake.next).aux.toNat
    let mut count := 0
    for _ in stream do count := count + 1
    ensure (count ≤ 1) s!"{count} messages"
    ended (← stream.write "x".toUTF8) .cancelled ""
    equal "status" "Cancelled: Cancelled" (toString (← stream.getStatus))
  case "a call that nobody holds any more is cancelled" do
    let (channel, fake, _) ← newChannel
    let open_ : IO Unit := do
      let stream ← get (← bidiStreamingCall channel "/a.B/C")
      get (← stream.write "1".toUTF8)
    open_
    let (id, _) ← fake.start
    discard fake.next
    let frame ← fake.next
    ensure (frame.body matches .cancel && frame.callId == id) "CANCEL"

def endings : Checks Unit := do
  case "the daemon is lost: everything ends UNAVAILABLE at once, and the next call finds the next session" do
    let (channel, fake, fakes) ← newChannel
    let stream ← get (← bidiStreamingCall channel "/a.B/C")
    let read ← stream.readTask
    let unary ← unaryCallTask channel "/a.B/C" .empty
    fake.transport.close
    ended (← IO.wait unary) .unavailable "lost"
    ensure (← get (← IO.wait read)).isNone "the read's end"
    ensure ((← stream.getStatus).code == .unavailable) "the stream's status"
    ended (← stream.write "x".toUTF8) .unavailable "lost"
    -- Waits until the library has dialled again.
    let second ← greeted fakes 1
    let answer ← unaryCallTask channel "/a.B/C" .empty { waitForReady := true }
    discard second.grantChannel
    let (id, _) ← second.start
    second.send [FakeDaemon.message id "back", FakeDaemon.status id]
    ensure ((← get (← IO.wait answer)).data == "back".toUTF8) "answer"
  case "GOAWAY ends what was not taken, and the rest goes on beside the next session" do
    let (channel, fake, fakes) ← newChannel
    let first ← unaryCallTask channel "/a.B/C" .empty
    let (id, _) ← fake.start
    let second ← unaryCallTask channel "/a.B/C" .empty
    discard fake.start
    fake.send [{ body := .goaway { final := true, lastId := id, graceMs := 1000, reason := some "upgrade" } }]
    ended (← IO.wait second) .unavailable "upgrade"
    discard <| greeted fakes 1
    fake.send [FakeDaemon.message id "done", FakeDaemon.status id]
    ensure ((← get (← IO.wait first)).data == "done".toUTF8) "answer"
  case "a daemon that breaks the protocol is told, and left" do
    let (channel, fake, _) ← newChannel
    let answer ← unaryCallTask channel "/a.B/C" .empty
    discard fake.start
    fake.send [FakeDaemon.message 9999 "?"]
    let error ← fake.expect "ERROR" fun frame =>
      match frame.body with
      | .error error => some error
      | _ => none
    ensure (error.code == Wire.ErrorCode.callId) error.message.toString
    ended (← IO.wait answer) .unavailable "never opened"
  case "frames of ended calls are late, not wrong; unknown types are answered" do
    let (channel, fake, _) ← newChannel
    let answer ← unaryCallTask channel "/a.B/C" .empty
    let (id, _) ← fake.start
    fake.send [FakeDaemon.message id "1", FakeDaemon.status id]
    discard <| get (← IO.wait answer)
    fake.send [FakeDaemon.message id "late", FakeDaemon.status id, { body := .unknown 200, callId := id }]
    let frame ← fake.next
    ensure (frame.body matches .unsupported && frame.aux == 200) "UNSUPPORTED"
  case "no daemon: UNAVAILABLE at once, or a wait up to the deadline" do
    let connection ← Connection.new { dial := throw (IO.userError "nobody listens") }
    let channel ← Channel.create "target:1" {} connection
    ended (← unaryCall channel "/a.B/C" .empty) .unavailable "nobody listens"
    ended (← unaryCall channel "/a.B/C" .empty { timeoutMs := 200, waitForReady := true }) .deadlineExceeded ""
    ensure ((← channel.getState) matches .transientFailure) "state"

def main : IO UInt32 := do
  setLogger fun _ _ => pure ()
  runChecks do
    calls
    streams
    endings
