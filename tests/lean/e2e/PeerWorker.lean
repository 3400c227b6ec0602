import Legate
import Peer

/-!
# The Peer of tests/peers/peer.proto as a Lean worker

"/legate.test.v1.Control/Shutdown" has the server drain, and the program end. It answers at once.
-/

namespace PeerWorker
open Legate Peer

/-- How many calls ended while they hung or waited. -/
abbrev Counter := IO.Ref Nat

/-- One call's script, and how far it got. -/
structure Script where
  context : ServerContext
  counter : Counter
  command : Command
  received : IO.Ref Nat
  replied : IO.Ref Nat

def Script.new (context : ServerContext) (counter : Counter) (first : ByteArray) : IO Script := do
  let some command := Command.decode? first | throw (IO.userError "no Command")
  return { context, counter, command, received := ← IO.mkRef 1, replied := ← IO.mkRef 0 }

namespace Script

private def entries (pairs : List (String × ByteArray)) : Metadata :=
  pairs.foldl (init := #[]) fun metadata (key, value) =>
    if Metadata.isBinary key then metadata.addBinary key value
    else metadata.add key ((String.fromUTF8? value).getD "")

def headers (script : Script) : IO Metadata := do
  let mut headers := entries script.command.headers
  if script.command.echoMetadata then
    for (key, value) in script.context.metadata do headers := headers.add s!"x-echo-{key}" value
    headers := headers.add "x-peer" script.context.peer
    if let some left ← script.context.call.deadlineRemainingMs then
      headers := headers.add "x-deadline-ms" (toString left)
  return headers

def trailers (script : Script) : Metadata := entries script.command.trailers

/-- Waits so long, or for ever; whether the call is still wanted then. Does no I/O on the call. -/
def pause (script : Script) (ms : Option Nat) : IO Bool := do
  let start ← IO.monoMsNow
  repeat
    if ms == some 0 then return true
    if ← script.context.call.isCancelled then
      script.counter.modify (· + 1)
      return false
    if let some ms := ms then
      if (← IO.monoMsNow) ≥ start + ms then return true
    IO.sleep 3
  return true

/-- The next reply, or none when the call ended meanwhile. -/
def reply (script : Script) (echo : ByteArray) : IO (Option ByteArray) := do
  unless ← script.pause (some script.command.delayMs) do return none
  let index ← script.replied.modifyGet fun n => (n, n + 1)
  let size := script.command.responseSize
  return some (Reply.encode {
    payload := if size > 0 then pattern size else echo
    index, cancelledSeen := ← script.counter.get, messagesReceived := ← script.received.get })

/-- The status that the script asks for, after what it waits for. -/
def finish (script : Script) (value : Metadata → α) : IO (GrpcResult α) := do
  let c := script.command
  if c.hang then discard <| script.pause none
  else if (← script.replied.get) == 0 then discard <| script.pause (some c.delayMs)
  let headers ← script.headers
  if c.statusCode == 0 then return .ok (value headers)
  script.context.call.sendInitialMetadata headers
  return .error {
    code := .fromNat c.statusCode, message := c.statusMessage, trailers := script.trailers
    details := if c.statusDetails.isEmpty then none else some c.statusDetails }

/-- As the shapes that answer once end. -/
def answer (script : Script) (echo : ByteArray) : IO (GrpcResult (ByteArray × Metadata × Metadata)) := do
  if script.command.headersFirst then script.context.call.sendInitialMetadata (← script.headers)
  let reply ← if script.command.hang || script.command.statusCode != 0 then pure none else script.reply echo
  script.finish fun headers => (reply.getD .empty, headers, script.trailers)

/-- As the shapes that answer many times end. -/
def done (script : Script) : IO (GrpcResult (Metadata × Metadata)) :=
  script.finish fun headers => (headers, script.trailers)

end Script

def unary (counter : Counter) : UnaryHandler := fun context request => do
  let script ← Script.new context counter request
  script.answer script.command.payload

def clientStream (counter : Counter) : ClientStreamingHandler := fun context receive => do
  let some first ← receive | return .error (.simple .invalidArgument "no message")
  let script ← Script.new context counter first
  let mut payload := script.command.payload
  unless script.command.hang do
    repeat
      let some next ← receive | break
      script.received.modify (· + 1)
      payload := payload ++ ((Command.decode? next).getD {}).payload
  script.answer payload

def serverStream (counter : Counter) : ServerStreamingHandler := fun context request send => do
  let script ← Script.new context counter request
  context.call.sendInitialMetadata (← script.headers)
  for _ in [0:script.command.responseCount] do
    let some reply ← script.reply script.command.payload | break
    send reply
  script.done

def bidi (counter : Counter) : BidiStreamingHandler := fun context receive send => do
  let some first ← receive | return .ok (#[], #[])
  let script ← Script.new context counter first
  context.call.sendInitialMetadata (← script.headers)
  let enough : IO Bool := do
    return script.command.statusCode != 0 && (← script.replied.get) ≥ script.command.responseCount
  let mut payload := script.command.payload
  unless script.command.hang || (← enough) do
    repeat
      let some reply ← script.reply payload | break
      send reply
      if ← enough then break
      let some next ← receive | break
      script.received.modify (· + 1)
      payload := ((Command.decode? next).getD {}).payload
  script.done

/-- A server of all that at an address; its port. -/
def serve (address : String) : IO (Server × UInt32) := do
  let counter ← IO.mkRef 0
  let builder ← ServerBuilder.new
  let port ← builder.addInsecurePort address
  builder.registerUnary Peer.unary (unary counter)
  builder.registerClientStreaming Peer.clientStream (clientStream counter)
  builder.registerServerStreaming Peer.serverStream (serverStream counter)
  builder.registerBidiStreaming Peer.bidi (bidi counter)
  builder.registerUnary "/legate.test.v1.Peer/Throw" fun _ _ => throw (IO.userError "as asked")
  let stop ← IO.Promise.new
  builder.registerUnary "/legate.test.v1.Control/Shutdown" fun _ _ => do
    stop.resolve ()
    return .ok (.empty, #[], #[])
  let server ← builder.build
  server.start
  discard <| IO.mapTask (prio := .dedicated) (t := stop.result!) fun () => do
    -- The answer to the call that asked for it is on its way when the server drains.
    server.shutdown
  return (server, port)

end PeerWorker

/-- [ADDRESS] -/
def main (args : List String) : IO UInt32 := do
  let (server, port) ← PeerWorker.serve (args.headD "127.0.0.1:0")
  IO.eprintln s!"listening {port}"
  server.wait
  IO.eprintln "stopped"
  return 0
