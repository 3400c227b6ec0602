import Check
import Legate
import Peer

/-!
# A Lean client against any server of tests/peers/peer.proto

It is the same program whether that server is C++, Go, or a Lean worker.
-/

namespace ClientCases
open Legate Peer

/-- No call here may take longer. -/
def patient : CallOptions := { timeoutMs := 60000 }

def reply (bytes : ByteArray) : IO Reply :=
  match Reply.decode? bytes with
  | some reply => pure reply
  | none => Check.fail s!"no Reply in {bytes.size} bytes"

/-- The bytes of a command. -/
def ask (command : Command) : ByteArray := command.encode

def say (text : String) (command : Command := {}) : ByteArray :=
  { command with payload := text.toUTF8 }.encode

def text (bytes : ByteArray) : IO String := do
  return ((String.fromUTF8? (← reply bytes).payload)).getD "(not UTF-8)"

/-- The error of a call that must fail with this code. -/
def failure {α : Type} (code : StatusCode) : GrpcResult α → IO GrpcError
  | .ok _ => Check.fail s!"ended OK, not {code}"
  | .error error => do
    Check.equal code error.code error.message
    return error

/-! ## Unary -/

def unaryCases (channel : Channel) : Check.Cases Unit := do
  Check.case "a unary call brings its answer" do
    let answer ← GrpcResult.get (← unaryCall channel unary (say "hello") patient)
    Check.equal "hello" (← text answer.data)
    Check.equal 1 (← reply answer.data).messagesReceived
    Check.equal "again" (← text (← GrpcResult.get (← unaryCallData channel unary (say "again") patient)))

  Check.case "an empty message is a message" do
    let answer ← GrpcResult.get (← unaryCallData channel unary .empty patient)
    Check.equal 1 (← reply answer).messagesReceived

  Check.case "metadata keeps order, duplicates, empty values and bytes, both ways" do
    let sent := Metadata.empty.add "x-a" "1" |>.add "x-empty" "" |>.add "x-a" "2"
      |>.addBinary "x-b-bin" (.mk #[0, 255, 10, 44])
    let command : Command := {
      echoMetadata := true, headers := [("x-own", "h".toUTF8)]
      trailers := [("x-t", "1".toUTF8), ("x-t-bin", .mk #[0, 128]), ("x-t", "2".toUTF8)] }
    let answer ← GrpcResult.get (← unaryCall channel unary command.encode (patient.withMetadata sent))
    Check.equal #["1", "2"] (answer.headers.getAll "x-echo-x-a")
    Check.equal (some "") (answer.headers.get? "x-echo-x-empty")
    Check.equal (some [0, 255, 10, 44]) ((answer.headers.getBinary "x-echo-x-b-bin").map (·.toList))
    Check.equal (some "h") (answer.headers.get? "x-own")
    Check.equal #["1", "2"] (answer.trailers.getAll "x-t")
    Check.equal (some [0, 128]) ((answer.trailers.getBinary "x-t").map (·.toList))

  Check.case "an error keeps code, message, details and trailers" do
    let command : Command := {
      statusCode := 5, statusMessage := "no such thing: hé"
      statusDetails := .mk #[8, 5], trailers := [("x-why", "gone".toUTF8)] }
    let error ← failure .notFound (← unaryCall channel unary command.encode patient)
    Check.equal "no such thing: hé" error.message
    Check.equal (some [8, 5]) (error.details.map (·.toList))
    Check.equal (some "gone") (error.trailers.get? "x-why")

  Check.case "every status code arrives" do
    for number in [1:17] do
      discard <| failure (.fromNat number) (← unaryCall channel unary (ask { statusCode := number }) patient)

  Check.case "an unknown method is UNIMPLEMENTED" do
    discard <| failure .unimplemented (← unaryCall channel "/legate.test.v1.Peer/Nothing" .empty patient)

  Check.case "illegal metadata is refused by its name" do
    let error ← failure .invalidArgument (← unaryCall channel unary .empty (patient.addMetadata "X-Upper" "1"))
    Check.contains error.message "X-Upper"
    discard <| failure .invalidArgument (← unaryCall channel unary .empty (patient.addMetadata "te" "trailers"))

  Check.case "a deadline travels, and ends the call" do
    let command : Command := { echoMetadata := true }
    let answer ← GrpcResult.get (← unaryCall channel unary command.encode { timeoutMs := 40000 })
    let left := ((answer.headers.get? "x-deadline-ms").bind String.toNat?).getD 0
    Check.that (0 < left && left ≤ 40400) s!"the server saw {left} ms of 40,000"
    let start ← IO.monoMsNow
    discard <| failure .deadlineExceeded (← unaryCall channel unary (ask { hang := true }) { timeoutMs := 300 })
    Check.that ((← IO.monoMsNow) - start ≥ 290) "it ended before its deadline"

  Check.case "large messages pass whole" do
    for size in [1048576, 4089446] do
      let answer ← GrpcResult.get (← unaryCallData channel unary (ask { payload := pattern size }) patient)
      Check.that ((← reply answer).payload == pattern size) s!"{size} bytes did not come back as they went"

  Check.case "a message over the limit is RESOURCE_EXHAUSTED" do
    let payload := pattern 4300000
    discard <| failure .resourceExhausted (← unaryCall channel unary (ask { payload }) patient)

def loadCases (channel : Channel) : Check.Cases Unit := do
  Check.case "1,000 calls one after another" do
    for i in [0:1000] do
      Check.equal s!"{i}" (← text (← GrpcResult.get (← unaryCallData channel unary (say s!"{i}") patient)))

  Check.case "200 calls at once" do
    let tasks ← (List.range 200).mapM fun i => unaryCallTask channel unary (say s!"{i}") patient
    for (task, i) in tasks.zipIdx do
      Check.equal s!"{i}" (← text (← GrpcResult.get (← Check.await task)).data)

/-! ## Streams -/

def clientStreamCases (channel : Channel) : Check.Cases Unit := do
  Check.case "a client stream is answered once it is done" do
    let writer ← GrpcResult.get (← clientStreamingCall channel clientStream patient)
    GrpcResult.get (← writer.write (say "a" { trailers := [("x-t", "1".toUTF8)] }))
    GrpcResult.get (← writer.writeAll #[say "b", say "c"])
    let answer ← GrpcResult.get (← writer.finish)
    Check.equal "abc" (← text answer.data)
    Check.equal 3 (← reply answer.data).messagesReceived
    Check.equal (some "1") (answer.trailers.get? "x-t")
    Check.equal Status.ok answer.status
    Check.equal "abc" (← text (← GrpcResult.get (← writer.finish)).data)

  Check.case "a write after half-close is FAILED_PRECONDITION" do
    let writer ← GrpcResult.get (← clientStreamingCall channel clientStream patient)
    GrpcResult.get (← writer.write (say "a"))
    GrpcResult.get (← writer.writesDone)
    GrpcResult.get (← writer.writesDone)
    let error ← failure .failedPrecondition (← writer.write (say "b"))
    Check.equal "Stream writes already done" error.message
    Check.equal "a" (← text (← GrpcResult.get (← writer.finish)).data)

  Check.case "a slow reader stops the writer, and cancel frees it" do
    let writer ← GrpcResult.get (← clientStreamingCall channel clientStream patient)
    GrpcResult.get (← writer.write (ask { hang := true }))
    let message := (ask { payload := pattern 65536 })
    let mut written := 0
    let mut blocked := none
    while blocked.isNone do
      let task ← writer.writeTask message
      let start ← IO.monoMsNow
      while !(← IO.hasFinished task) && (← IO.monoMsNow) < start + 2000 do IO.sleep 5
      if ← IO.hasFinished task then
        GrpcResult.get (← IO.wait task)
        written := written + message.size
        Check.that (written < 64000000) s!"{written} bytes went to a server that reads nothing"
      else blocked := some task
    writer.cancel
    writer.cancel
    if let some task := blocked then discard <| failure .cancelled (← Check.await task)
    discard <| failure .cancelled (← writer.finish)

def serverStreamCases (channel : Channel) : Check.Cases Unit := do
  let list (count : Nat) (more : Command := {}) : IO ServerStreamReader := do
    GrpcResult.get (← serverStreamingCall channel serverStream
      (ask { more with payload := "x".toUTF8, responseCount := count }) patient)

  Check.case "a server stream comes to its end, and stays there" do
    let reader ← list 3 { headers := [("x-h", "1".toUTF8)], trailers := [("x-t", "2".toUTF8)] }
    for i in [0:3] do
      let some message ← GrpcResult.get (← reader.read) | Check.fail s!"no message {i}"
      Check.equal i (← reply message).index
    Check.equal (some "1") ((← reader.getHeaders).get? "x-h")
    for _ in [0:2] do Check.that ((← GrpcResult.get (← reader.read)).isNone) "a message after the last"
    Check.equal Status.ok (← reader.getStatus)
    Check.equal (some "2") ((← reader.getTrailers).get? "x-t")

  Check.case "for, fold, forEach and readAll see every message" do
    let mut seen := 0
    for message in ← list 4 do
      Check.equal seen (← reply message).index
      seen := seen + 1
    Check.equal 4 seen
    Check.equal 4 (← GrpcResult.get (← (← list 4).fold 0 fun n _ => return n + 1))
    Check.equal 4 (← GrpcResult.get (← (← list 4).readAll)).size
    let count ← IO.mkRef 0
    GrpcResult.get (← (← list 4).forEach fun _ => count.modify (· + 1))
    Check.equal 4 (← count.get)

  Check.case "a stream without messages is empty" do
    Check.equal 0 (← GrpcResult.get (← (← list 0).readAll)).size

  Check.case "an error at the end of a stream is in its status" do
    let broken : Command := { statusCode := 10, statusMessage := "half way", statusDetails := .mk #[1] }
    let reader ← list 2 broken
    for _ in [0:2] do Check.that ((← GrpcResult.get (← reader.read)).isSome) "no message"
    Check.that ((← GrpcResult.get (← reader.read)).isNone) "a message after the last"
    Check.equal (Status.mk .aborted "half way" (some (.mk #[1]))) (← reader.getStatus)
    discard <| failure .aborted (← (← list 2 broken).readAll)

  Check.case "the status does not wait for a reader" do
    let reader ← list 100 { responseSize := 10000 }
    Check.equal Status.ok (← reader.getStatus)
    Check.equal 100 (← GrpcResult.get (← reader.readAll)).size

  Check.case "the status of many small messages comes soon, and they can be read then" do
    let reader ← list 3000 { responseSize := 8 }
    Check.equal Status.ok (← reader.getStatus)
    Check.equal 3000 (← GrpcResult.get (← reader.readAll)).size

  Check.case "who waits for the status before it reads too much is told that messages are missing" do
    let reader ← list 400 { responseSize := 65536 }
    Check.equal Status.ok (← reader.getStatus)
    discard <| failure .resourceExhausted (← reader.readAll)

  Check.case "a task that waits for the status holds up no reader, and loses nothing" do
    let reader ← list 400 { responseSize := 65536 }
    let status ← reader.getStatusTask
    Check.equal 400 (← GrpcResult.get (← reader.fold 0 fun n _ => return n + 1))
    Check.equal Status.ok (← Check.await status)

  Check.case "a slow reader loses nothing" do
    let reader ← list 300 { responseSize := 65536 }
    IO.sleep 300
    Check.equal 300 (← GrpcResult.get (← reader.fold 0 fun n _ => return n + 1))

  Check.case "cancel ends a stream, and the server sees it" do
    let before := (← reply (← GrpcResult.get (← unaryCallData channel unary .empty patient))).cancelledSeen
    let reader ← list 1 { hang := true }
    Check.that ((← GrpcResult.get (← reader.read)).isSome) "no message"
    reader.cancel
    reader.cancel
    Check.equal StatusCode.cancelled (← reader.getStatus).code
    Check.that ((← GrpcResult.get (← reader.read)).isNone) "a message after the cancel"
    Check.eventually "the server counts it" do
      let now := (← reply (← GrpcResult.get (← unaryCallData channel unary .empty patient))).cancelledSeen
      return now > before

def bidiCases (channel : Channel) : Check.Cases Unit := do
  Check.case "write and read in turn" do
    let stream ← GrpcResult.get (← bidiStreamingCall channel bidi patient)
    for i in [0:50] do
      GrpcResult.get (← stream.write (say s!"{i}"))
      let some message ← GrpcResult.get (← stream.read) | Check.fail s!"no answer to {i}"
      Check.equal s!"{i}" (← text message)
    GrpcResult.get (← stream.writesDone)
    Check.that ((← GrpcResult.get (← stream.read)).isNone) "a message after the last"
    Check.equal Status.ok (← stream.getStatus)

  Check.case "both directions at once" do
    let stream ← GrpcResult.get (← bidiStreamingCall channel bidi patient)
    let writing ← IO.asTask (prio := .dedicated) do
      GrpcResult.get (← stream.writeAll ((Array.range 200).map fun i => say s!"{i}"))
      GrpcResult.get (← stream.writesDone)
    let mut next := 0
    for message in stream do
      Check.equal s!"{next}" (← text message)
      next := next + 1
    Check.equal 200 next
    IO.ofExcept (← IO.wait writing)

  Check.case "getStatus half-closes by itself" do
    let stream ← GrpcResult.get (← bidiStreamingCall channel bidi patient)
    GrpcResult.get (← stream.write (say "a" { trailers := [("x-t", "1".toUTF8)] }))
    Check.equal Status.ok (← stream.getStatus)
    Check.equal (some "1") ((← stream.getTrailers).get? "x-t")

  Check.case "a write to a call that has ended carries its status" do
    let stream ← GrpcResult.get (← bidiStreamingCall channel bidi patient)
    GrpcResult.get (← stream.write (say "" { statusCode := 9, statusMessage := "enough" }))
    Check.that ((← GrpcResult.get (← stream.read)).isNone) "a message before the status"
    let error ← failure .failedPrecondition (← stream.write (say "more"))
    Check.equal "enough" error.message

  Check.case "headers come before the first message" do
    let stream ← GrpcResult.get (← bidiStreamingCall channel bidi patient)
    GrpcResult.get (← stream.write (say "" { headers := [("x-h", "early".toUTF8)], headersFirst := true, delayMs := 50 }))
    Check.equal (some "early") ((← stream.getHeaders).get? "x-h")
    Check.equal 1 (← GrpcResult.get (← stream.readAll)).size

/-! ## Channels -/

def channelCases (target : String) : Check.Cases Unit := do
  Check.case "a channel connects, is ready, and closes" do
    let channel ← Channel.createInsecure target
    Check.that (← channel.waitForReady 30000) "not ready within 30 s"
    Check.that (← channel.isReady) "not ready after it was"
    Check.equal ConnectivityState.ready (← channel.getState)
    channel.close
    channel.close
    discard <| failure .failedPrecondition (← unaryCall channel unary .empty patient)

  Check.case "nobody listens: UNAVAILABLE at once, or wait for ready" do
    let channel ← Channel.createInsecure "unix:/nonexistent/legate.sock"
    discard <| failure .unavailable (← unaryCall channel unary .empty patient)
    let waiting := { timeoutMs := 300 : CallOptions }.withWaitForReady
    discard <| failure .deadlineExceeded (← unaryCall channel unary .empty waiting)
    Check.that (!(← channel.waitForReady 100)) "ready for nobody"

  Check.case "an idempotent call is hedged, and its attempts are counted" do
    let ended ← IO.Promise.new
    let tell : ClientInterceptor := .timing fun _ ending _ => ended.resolve ending.attempts
    let channel := (← Channel.create target { hedging := some { attempts := 2 } }).withInterceptors #[tell]
    let slow := say "twice" { delayMs := 50 }
    let answer ← unaryCallData channel unary slow { patient with idempotent := true }
    Check.equal "twice" (← text (← GrpcResult.get answer))
    Check.equal (some 2) (← IO.wait ended.result?)

  Check.case "a channel the daemon does not know is NOT_FOUND" do
    let error ← failure .notFound (← unaryCall (← Channel.named "nowhere") unary .empty patient)
    Check.contains error.message "nowhere"

def all (target : String) (load : Bool) : Check.Cases Unit := do
  let channel ← Channel.createInsecure target
  unaryCases channel
  clientStreamCases channel
  serverStreamCases channel
  bidiCases channel
  channelCases target
  if load then loadCases channel

end ClientCases

