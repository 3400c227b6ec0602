import Legate.Session.State

/-!
# Losing the connection

Every open call and request ends at once, UNAVAILABLE with origin ipc. Pure.
-/

namespace Legate.Session

/-- Ends the calls and requests whose id is in question. -/
def endAll (isMeant : UInt32 → Bool) (ending : CallEnd) : Step Unit := do
  for id in (← get).calls.keys do
    if isMeant id then
      discard <| withCall id do
        modify fun stream => { stream with cancelled := stream.cancelled <|> some ending.status.code }
        endStream ending
  for (id, request) in (← get).requests.toList do
    if isMeant id then
      if !request.answered then
        emit (request.onAnswer (.refused ending))
        modify fun state => { state with requests := state.requests.erase id }

/-- The connection is over. Idempotent. -/
def lose (cause : String) : Step Unit := do
  if (← get).lost.isSome then return
  let ending := CallEnd.ofLibrary .unavailable s!"connection to {(← get).name} lost: {cause}"
  modify fun state => { state with lost := some ending, outbox := state.outbox.break_, leases := {} }
  tell (.lost ending.status.message)
  endAll (fun _ => true) ending
  modify fun state => { state with requests := {}, channels := {} }

end Legate.Session
