import Legate.Channel

/-!
# Starting calls

What the four shapes have in common.
-/

namespace Legate

/-- A call that this process makes. It is cancelled when nobody holds it any more, and nobody waits for
something of it. -/
structure ClientCall where
  private mk ::
  /-- The session it was started in; it ends with it. -/
  session : Session
  /-- Its id there. -/
  id : UInt32
  private alive : IO.Promise Unit

namespace ClientCall

/-- What `Session.await` gives for a call that is not there, which can't be while somebody holds it. -/
private def gone : CallEnd := .ofLibrary .internal "the call is not known to its session"

/-- `Session.await`, during which the call is held: the waiting may be the last use of it. -/
def await {α : Type} (call : ClientCall) (ready : Session.Stream → Option (α × Session.Stream)) (gone : α) :
    BaseIO (Task α) :=
  call.session.await call.id ready gone (hold := discard call.alive.isResolved)

/-- A task that gives how the call ended, which comes after its messages: somebody must read them. -/
def getEndTask (call : ClientCall) : BaseIO (Task CallEnd) := call.await Session.theEnd gone

/-- Waits for the end of the call; unread messages don't hold it up. -/
def getEnd (call : ClientCall) : BaseIO CallEnd := do
  call.session.act (Session.drain call.id)
  IO.wait (← call.getEndTask)

/-- A task that gives the headers, empty when the call ends without any. -/
def getHeadersTask (call : ClientCall) : BaseIO (Task Metadata) :=
  call.await Session.theHeaders #[]

/-- What a reader is told whose messages were dropped. -/
private def droppedText : String :=
  "messages are missing: the status was waited for while more than 16 MiB of them were unread"

/-- A task that gives the next message, or none once no more come. -/
def readTask (call : ClientCall) : BaseIO (Task (GrpcResult (Option ByteArray))) :=
  call.await (gone := .ok none) fun stream =>
    (Session.nextMessage stream).map fun (message, stream) =>
      if message.isNone && stream.inbox.dropped then (.error (.simple .resourceExhausted droppedText), stream)
      else (.ok message, stream)

/-- A task that is done when a message was sent, or could not be. -/
def writeTask (call : ClientCall) (message : ByteArray) : BaseIO (Task (GrpcResult Unit)) := do
  match ← call.session.act (Session.post call.id message) with
  | .error error => return .pure (.error error)
  | .ok number => call.await (Session.written number) (.error gone.toError)

/-- No message follows. Idempotent. -/
def writesDone (call : ClientCall) : BaseIO Unit := call.session.act (Session.halfClose call.id)

/-- Asks for the end; the status tells how it came. Idempotent. -/
def cancel (call : ClientCall) : BaseIO Unit := call.session.act (Session.cancel call.id)

end ClientCall

namespace Channel

/-- What a call needs that has gone through the interceptors. -/
private structure Ready where
  session : Session
  launch : Session.Launch
  ended : CallEnd → BaseIO Unit

private def toShape : CallShape → Wire.Shape
  | .unary => Wire.Shape.unary
  | .clientStreaming => Wire.Shape.clientStreaming
  | .serverStreaming => Wire.Shape.serverStreaming
  | .bidiStreaming => Wire.Shape.bidi

/-- Milliseconds until a deadline, as the microseconds of START: a deadline that has passed is 1. -/
private def timeoutUs (deadlineMs : Option Nat) (nowMs : Nat) : UInt64 :=
  match deadlineMs with
  | none => 0
  | some deadline => (max 1 (min ((deadline - nowMs) * 1000) (2 ^ 63))).toUInt64

/-- Readies a call: interceptors, connection, metadata. -/
private def ready (channel : Channel) (method : String) (shape : CallShape) (options : CallOptions)
    (message : Option ByteArray) : BaseIO (Except (GrpcResult UnaryResponse) Ready) := do
  let start ← IO.monoMsNow
  let info := { method, options, shape, target := channel.target }
  let (options, ended) ← match ← ClientInterceptor.runAll channel.interceptors info with
    | .over result => return .error result
    | .proceed options ended => pure (options, ended)
  let fail (ending : CallEnd) : BaseIO (Except (GrpcResult UnaryResponse) Ready) := do
    ended ending
    return .error (.error ending.toError)
  if ← channel.isClosed then
    return ← fail { status := .make .failedPrecondition s!"the channel to {channel.target} is closed",
                    origin := .app }
  let metadata ← match Session.toEntries options.metadata with
    | .ok metadata => pure metadata
    | .error what => return ← fail { status := .make .invalidArgument what, origin := .app }
  let deadlineMs := if options.timeoutMs == 0 then none else some (start + options.timeoutMs.toNat)
  match ← channel.connection.session options.waitForReady deadlineMs with
  | .error ending => fail ending
  | .ok session =>
    let start : Wire.Start := {
      method := .ofString method
      metadata := if metadata.isEmpty then none else some metadata
      timeoutUs := timeoutUs deadlineMs (← IO.monoMsNow)
      shape := toShape shape
      waitForReady := options.waitForReady
      compression := Session.toCompression options.compression
      maxSendMessage := options.maxSendMessage
      maxReceiveMessage := options.maxReceiveMessage
      idempotent := options.idempotent }
    let launch := { channelKey := channel.key, channel := channel.spec, start, message, deadlineMs,
                    halfClose := message.isSome }
    return .ok { session, launch, ended }

/-- Starts a call that streams. -/
def startStream (channel : Channel) (method : String) (shape : CallShape) (options : CallOptions)
    (message : Option ByteArray := none) : BaseIO (GrpcResult ClientCall) := do
  match ← channel.ready method shape options message with
  | .error (.error error) => return .error error
  | .error (.ok _) => return .error (.simple .internal "a call that streams has one answer")
  | .ok { session, launch, ended } =>
    let started ← session.act (Session.startCall launch)
    channel.hold
    match started with
    | .error ending =>
      ended ending
      return .error ending.toError
    | .ok id =>
      let alive ← IO.Promise.new
      BaseIO.chainTask alive.result? fun _ => session.act (Session.abandon id)
      if !channel.interceptors.isEmpty then
        BaseIO.chainTask (← session.await id Session.theEnd ClientCall.gone) ended
      return .ok { session, id, alive }

/-- A task that gives the answer to a unary call. -/
def unaryTask (channel : Channel) (method : String) (message : ByteArray) (options : CallOptions) :
    BaseIO (Task (GrpcResult UnaryResponse)) := do
  match ← channel.ready method .unary options (some message) with
  | .error result => return .pure result
  | .ok { session, launch, ended } =>
    let answered ← IO.Promise.new
    let answer : Session.Stream → Option (BaseIO Unit × Session.Stream) := fun stream =>
      stream.ending.map fun ending =>
        (answered.resolve (ending, stream.headers.getD #[], stream.inbox.peek?), stream)
    let started ← session.act do
      match ← Session.startCall launch with
      | .error ending => return some ending
      | .ok id =>
        -- Nobody else holds the call: it is forgotten with its end.
        discard <| Session.addWaiter id answer
        Session.disown id
        return none
    channel.hold
    match started with
    | some ending =>
      ended ending
      return .pure (.error ending.toError)
    | none =>
      BaseIO.mapTask (sync := channel.interceptors.isEmpty) (t := answered.result!) fun (ending, headers, data?) => do
        ended ending
        if ending.status.isError then return .error (ending.toError headers)
        let some data := data?
          | return .error { code := .internal, message := "the call ended OK without an answer", headers }
        return .ok { data, headers, trailers := ending.trailers }

end Channel
end Legate
