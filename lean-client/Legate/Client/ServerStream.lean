import Legate.Client.Reading

/-!
# Server streaming

One request, any number of answers.
-/

namespace Legate

/-- A call that gives any number of messages. Any function may be called from any task;
`for message in reader do` reads to the end. -/
structure ServerStreamReader where
  private mk ::
  /-- The call. -/
  call : ClientCall

/-- Starts a server-streaming call. -/
def serverStreamingCall (channel : Channel) (method : String) (message : ByteArray)
    (options : CallOptions := {}) : IO (GrpcResult ServerStreamReader) := do
  return (← channel.startStream method .serverStreaming options message).map (⟨·⟩)

namespace ServerStreamReader

/-- A task that gives the next message; none once no more come. -/
def readTask (reader : ServerStreamReader) : IO (Task (GrpcResult (Option ByteArray))) :=
  reader.call.readTask

/-- Waits for the next message; none once no more come. -/
def read (reader : ServerStreamReader) : IO (GrpcResult (Option ByteArray)) := reader.call.read

/-- A task that gives the headers, empty when the call ends without any. -/
def getHeadersTask (reader : ServerStreamReader) : IO (Task Metadata) := reader.call.getHeadersTask

/-- Waits for the headers, which are empty when the call ends without any. -/
def getHeaders (reader : ServerStreamReader) : IO Metadata := do IO.wait (← reader.getHeadersTask)

/-- Waits for the end of the call as `getStatus` does, and gives the trailers. -/
def getTrailers (reader : ServerStreamReader) : IO Metadata := return (← reader.call.getEnd).trailers

/-- A task that gives the status, which comes after the messages: somebody must read them. -/
def getStatusTask (reader : ServerStreamReader) : IO (Task Status) := do
  return (← reader.call.getEndTask).map (sync := true) (·.status)

/-- Waits for the end of the call, and gives the status. Unread messages don't hold it up. They can be read
afterwards, unless they are more than 16 MiB: then the rest is dropped, and who reads up to there gets
RESOURCE_EXHAUSTED. -/
def getStatus (reader : ServerStreamReader) : IO Status := return (← reader.call.getEnd).status

/-- All messages; fails with the status when that is an error. -/
def readAll (reader : ServerStreamReader) : IO (GrpcResult (Array ByteArray)) :=
  reader.call.fold #[] fun messages message => return messages.push message

/-- Does something with each message; fails with the status when that is an error. -/
def forEach (reader : ServerStreamReader) (f : ByteArray → IO Unit) : IO (GrpcResult Unit) :=
  reader.call.fold () fun _ message => f message

/-- Folds the messages; fails with the status when that is an error. -/
def fold {β : Type} (reader : ServerStreamReader) (init : β) (f : β → ByteArray → IO β) :
    IO (GrpcResult β) :=
  reader.call.fold init f

/-- Asks for the end of the call; at most one message that has come already is still read. Idempotent. -/
def cancel (reader : ServerStreamReader) : IO Unit := reader.call.cancel

instance {m : Type → Type} [Monad m] [MonadLiftT BaseIO m] : ForIn m ServerStreamReader ByteArray where
  forIn reader := reader.call.forIn

end ServerStreamReader
end Legate
