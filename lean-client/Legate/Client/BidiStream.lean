import Legate.Client.Reading

/-!
# Bidirectional streaming

Any number of messages each way, independently.
-/

namespace Legate

/-- A call with any number of messages each way. Any function may be called from any task;
`for message in stream do` reads to the end. -/
structure BidiStream where
  private mk ::
  /-- The call. -/
  call : ClientCall

/-- Starts a bidirectional call. -/
def bidiStreamingCall (channel : Channel) (method : String) (options : CallOptions := {}) :
    IO (GrpcResult BidiStream) := do
  return (← channel.startStream method .bidiStreaming options).map (⟨·⟩)

namespace BidiStream

/-- Sends a message; the task is done when it is on its way. -/
def writeTask (stream : BidiStream) (message : ByteArray) : IO (Task (GrpcResult Unit)) :=
  stream.call.writeTask message

/-- Sends a message, and waits until it is on its way. Fails with the call's status once that has ended. -/
def write (stream : BidiStream) (message : ByteArray) : IO (GrpcResult Unit) := do
  IO.wait (← stream.writeTask message)

/-- No message follows. Idempotent. -/
def writesDone (stream : BidiStream) : IO (GrpcResult Unit) := do
  stream.call.writesDone
  return .ok ()

/-- A task that gives the next message; none once no more come. -/
def readTask (stream : BidiStream) : IO (Task (GrpcResult (Option ByteArray))) := stream.call.readTask

/-- Waits for the next message; none once no more come. -/
def read (stream : BidiStream) : IO (GrpcResult (Option ByteArray)) := stream.call.read

/-- A task that gives the headers, empty when the call ends without any. -/
def getHeadersTask (stream : BidiStream) : IO (Task Metadata) := stream.call.getHeadersTask

/-- Waits for the headers, which are empty when the call ends without any. -/
def getHeaders (stream : BidiStream) : IO Metadata := do IO.wait (← stream.getHeadersTask)

/-- Half-closes, waits for the end of the call as `getStatus` does, and gives the trailers. -/
def getTrailers (stream : BidiStream) : IO Metadata := do
  stream.call.writesDone
  return (← stream.call.getEnd).trailers

/-- Half-closes; the task gives the status, which comes after the messages: somebody must read them. -/
def getStatusTask (stream : BidiStream) : IO (Task Status) := do
  stream.call.writesDone
  return (← stream.call.getEndTask).map (sync := true) (·.status)

/-- Half-closes, waits for the end of the call, and gives the status. Unread messages don't hold it up. They
can be read afterwards, unless they are more than 16 MiB: then the rest is dropped, and who reads up to there
gets RESOURCE_EXHAUSTED. -/
def getStatus (stream : BidiStream) : IO Status := do
  stream.call.writesDone
  return (← stream.call.getEnd).status

/-- Sends messages, up to the first that fails. -/
def writeAll (stream : BidiStream) (messages : Array ByteArray) : IO (GrpcResult Unit) := do
  for message in messages do
    if let .error error ← stream.write message then return .error error
  return .ok ()

/-- Half-closes and gives all messages; fails with the status when that is an error. -/
def readAll (stream : BidiStream) : IO (GrpcResult (Array ByteArray)) := do
  stream.call.writesDone
  stream.call.fold #[] fun messages message => return messages.push message

/-- Asks for the end of the call; at most one message that has come already is still read. Idempotent. -/
def cancel (stream : BidiStream) : IO Unit := stream.call.cancel

instance {m : Type → Type} [Monad m] [MonadLiftT BaseIO m] : ForIn m BidiStream ByteArray where
  forIn stream := stream.call.forIn

end BidiStream
end Legate
