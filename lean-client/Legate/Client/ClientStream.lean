import Legate.Client.Start

/-!
# Client streaming

Any number of requests, one answer.
-/

namespace Legate

/-- What a client-streaming call gives. -/
structure ClientStreamResponse where
  /-- The message. -/
  data : ByteArray
  /-- The headers. -/
  headers : Metadata
  /-- The trailers. -/
  trailers : Metadata
  /-- The status, which is OK. -/
  status : Status
  deriving Inhabited

/-- A call that sends any number of messages for one answer. Any function may be called from any task. -/
structure ClientStreamWriter where
  private mk ::
  /-- The call. -/
  call : ClientCall

/-- Starts a client-streaming call. -/
def clientStreamingCall (channel : Channel) (method : String) (options : CallOptions := {}) :
    IO (GrpcResult ClientStreamWriter) := do
  return (← channel.startStream method .clientStreaming options).map (⟨·⟩)

namespace ClientStreamWriter

/-- Sends a message; the task is done when it is on its way. -/
def writeTask (writer : ClientStreamWriter) (message : ByteArray) : IO (Task (GrpcResult Unit)) :=
  writer.call.writeTask message

/-- Sends a message, and waits until it is on its way. Fails with the call's status once that has ended. -/
def write (writer : ClientStreamWriter) (message : ByteArray) : IO (GrpcResult Unit) := do
  IO.wait (← writer.writeTask message)

/-- No message follows. Idempotent. -/
def writesDone (writer : ClientStreamWriter) : IO (GrpcResult Unit) := do
  writer.call.writesDone
  return .ok ()

/-- A task that gives the headers, empty when the call ends without any. -/
def getHeadersTask (writer : ClientStreamWriter) : IO (Task Metadata) := writer.call.getHeadersTask

/-- Waits for the headers, which are empty when the call ends without any. -/
def getHeaders (writer : ClientStreamWriter) : IO Metadata := do IO.wait (← writer.getHeadersTask)

/-- Half-closes; the task gives the answer. -/
def finishTask (writer : ClientStreamWriter) : IO (Task (GrpcResult ClientStreamResponse)) := do
  let call := writer.call
  call.writesDone
  call.session.act (Session.drain call.id)
  call.await (gone := .error (.simple .internal "the call is not known to its session")) fun stream =>
    stream.ending.map fun ending =>
      let headers := stream.headers.getD #[]
      if ending.status.isError then (.error (ending.toError headers), stream)
      else match stream.inbox.peek? with
        | some data =>
          (.ok { data, headers, trailers := ending.trailers, status := ending.status }, stream)
        | none =>
          (.error { code := .internal, message := "the call ended OK without an answer", headers }, stream)

/-- Half-closes and waits for the answer. May be called again. -/
def finish (writer : ClientStreamWriter) : IO (GrpcResult ClientStreamResponse) := do
  IO.wait (← writer.finishTask)

/-- Asks for the end of the call. Idempotent. -/
def cancel (writer : ClientStreamWriter) : IO Unit := writer.call.cancel

/-- Sends messages, up to the first that fails. -/
def writeAll (writer : ClientStreamWriter) (messages : Array ByteArray) : IO (GrpcResult Unit) := do
  for message in messages do
    if let .error error ← writer.write message then return .error error
  return .ok ()

end ClientStreamWriter
end Legate
