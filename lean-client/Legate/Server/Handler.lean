import Legate.Log
import Legate.Server.Context

/-!
# Handlers

The four shapes, and the one form in which they are run. What a handler returns as `.error` becomes the
status, with message, details, headers and trailers; what it throws becomes INTERNAL.
-/

namespace Legate

/-- Serves a unary method: gives the answer with headers and trailers. -/
abbrev UnaryHandler :=
  ServerContext → ByteArray → IO (GrpcResult (ByteArray × Metadata × Metadata))

/-- Serves a client-streaming method: the second argument waits for the next message. -/
abbrev ClientStreamingHandler :=
  ServerContext → IO (Option ByteArray) → IO (GrpcResult (ByteArray × Metadata × Metadata))

/-- Serves a server-streaming method: the third argument sends a message. -/
abbrev ServerStreamingHandler :=
  ServerContext → ByteArray → (ByteArray → IO Unit) → IO (GrpcResult (Metadata × Metadata))

/-- Serves a bidirectional method: the second argument waits for the next message, the third sends one. -/
abbrev BidiStreamingHandler :=
  ServerContext → IO (Option ByteArray) → (ByteArray → IO Unit) → IO (GrpcResult (Metadata × Metadata))

/-- What a handler of any shape gives back. -/
structure HandlerReply where
  /-- The answer, of methods that have one. -/
  message : Option ByteArray := none
  /-- Sent before it, unless headers were sent already. -/
  headers : Metadata := #[]
  /-- Sent with the status. -/
  trailers : Metadata := #[]
  deriving Inhabited

/-- A handler of any shape. -/
structure Handler where
  /-- "unary", "client-streaming", "server-streaming" or "bidi". -/
  shape : String
  /-- Serves one call. -/
  serve : ServerContext → IO (GrpcResult HandlerReply)

namespace Handler

/-- Whether calls may be long. -/
def streams (handler : Handler) : Bool := handler.shape != "unary"

/-- The request of a method that has one. -/
private def request (context : ServerContext) (serve : ByteArray → IO (GrpcResult HandlerReply)) :
    IO (GrpcResult HandlerReply) := do
  match ← context.call.receive with
  | some message => serve message
  | none => return .error (.simple .cancelled "the call was cancelled before its request had come")

private def withMessage (result : GrpcResult (ByteArray × Metadata × Metadata)) : GrpcResult HandlerReply :=
  result.map fun (message, headers, trailers) => { message := some message, headers, trailers }

private def withoutMessage (result : GrpcResult (Metadata × Metadata)) : GrpcResult HandlerReply :=
  result.map fun (headers, trailers) => { headers, trailers }

/-- A unary handler. -/
def ofUnary (handler : UnaryHandler) : Handler where
  shape := "unary"
  serve context := request context fun message => return withMessage (← handler context message)

/-- A client-streaming handler. -/
def ofClientStreaming (handler : ClientStreamingHandler) : Handler where
  shape := "client-streaming"
  serve context := return withMessage (← handler context context.call.receive)

/-- A server-streaming handler. -/
def ofServerStreaming (handler : ServerStreamingHandler) : Handler where
  shape := "server-streaming"
  serve context := request context fun message =>
    return withoutMessage (← handler context message context.call.send)

/-- A bidirectional handler. -/
def ofBidiStreaming (handler : BidiStreamingHandler) : Handler where
  shape := "bidi"
  serve context := return withoutMessage (← handler context context.call.receive context.call.send)

end Handler

/-- What a program does around the handlers of a server. The first interceptor is the outermost. It may change
the context, call `next` or not, and sees and changes what comes back: the reply with its trailers, or the
error. -/
structure ServerInterceptor where
  /-- For the log. -/
  name : String
  /-- Called instead of the handler; `next` is the handler, with the interceptors inside of this one. -/
  around : ServerContext → (next : ServerContext → IO (GrpcResult HandlerReply)) →
    IO (GrpcResult HandlerReply)

/-- The handler with interceptors around it. -/
def Handler.within (handler : Handler) (interceptors : Array ServerInterceptor) : Handler :=
  interceptors.foldr (fun outer inner => { inner with serve := fun context => outer.around context inner.serve })
    handler

/-! ## Running one call -/

/-- Ends a call with what its handler gave. HEADERS, DATA and STATUS leave in one write. -/
private def finish (call : ServerCall) (result : GrpcResult HandlerReply) : BaseIO Unit := do
  let (status, headers, trailers, message) : Status × Metadata × Metadata × Option ByteArray :=
    match result with
    | .ok { message, headers, trailers } => (.ok, headers, trailers, message)
    | .error { code, message, details, headers, trailers, .. } =>
      ({ code, message, details }, headers, trailers, none)
  let refused (what : String) : Wire.Status := { code := 13, message := some (.ofString what) }
  match Session.toEntries headers, Session.toStatus status trailers with
  | .error what, _ | _, .error what => call.session.act (Session.answer call.id (refused what))
  | .ok headers, .ok status =>
    call.session.act do
      unless headers.isEmpty do discard <| Session.sendHeaders call.id { metadata := some headers }
      if let some message := message then discard <| Session.post call.id message
      Session.answer call.id status

/-- Serves one dispatch, from its acceptance to its status. -/
def Handler.run (handler : Handler) (context : ServerContext) : BaseIO Unit := do
  let call := context.call
  unless ← call.session.act (Session.acceptDispatch call.id) do
    -- It was cancelled while it waited for a free worker: the slot is free with its STATUS.
    return ← finish call (.error (.simple .cancelled "ended before its handler began"))
  let result ← match ← (handler.serve context).toBaseIO with
    | .ok result => pure result
    | .error thrown =>
      let what := s!"IO error in {handler.shape} handler: {thrown}"
      log .debug s!"{context.method}: {what}"
      pure (.error (.simple .internal what))
  finish call result

end Legate
