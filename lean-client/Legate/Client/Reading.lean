import Legate.Client.Start

/-!
# Reading streams

What server-streaming and bidirectional calls have in common. The end of a stream is `none`, and stays so;
the status says why it ended.
-/

namespace Legate.ClientCall

/-- Waits for the next message; none once no more come. -/
def read (call : ClientCall) : BaseIO (GrpcResult (Option ByteArray)) := do IO.wait (← call.readTask)

/-- Does something with each message until the end, or until it says so. -/
def forIn {m : Type → Type} {β : Type} [Monad m] [MonadLiftT BaseIO m] (call : ClientCall) (init : β)
    (f : ByteArray → β → m (ForInStep β)) : m β := do
  let mut acc := init
  repeat
    let .ok (some message) ← (call.read : BaseIO _) | break
    match ← f message acc with
    | .yield next => acc := next
    | .done last => return last
  return acc

/-- Folds the messages up to the end; fails with the status when that is an error. -/
def fold {β : Type} (call : ClientCall) (init : β) (f : β → ByteArray → IO β) : IO (GrpcResult β) := do
  let result ← call.forIn init fun message acc => return ForInStep.yield (← f acc message)
  let ending ← call.getEnd
  if ending.status.isError then return .error (ending.toError (← IO.wait (← call.getHeadersTask)))
  return (← call.read).map fun _ => result  -- fails when messages are missing

end Legate.ClientCall
