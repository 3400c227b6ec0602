import Greeting

/-!
# Calls to a greeter, in all four shapes

    GreeterClient [TARGET]

Prints a line for each call. Its exit status is 1 when one of them failed.
-/

open Legate Greeting

def request (name : String) (count : Nat := 0) : ByteArray := Message.encode ({ name, count } : HelloRequest)

def greeting (bytes : ByteArray) : IO String := return (← decode (α := HelloReply) bytes).message

/-- The options of every call. -/
def options : CallOptions := { timeoutMs := 20000 }

def names : Array String := #["Ada", "Grace", "Lovis"]

def callUnary (channel : Channel) : IO (Array String) := do
  let answer ← GrpcResult.get (← unaryCall channel sayHello (request "Ada") options)
  return #[← greeting answer.data]

def callClientStreaming (channel : Channel) : IO (Array String) := do
  let writer ← GrpcResult.get (← clientStreamingCall channel collectHellos options)
  GrpcResult.get (← writer.writeAll (names.map (request ·)))
  return #[← greeting (← GrpcResult.get (← writer.finish)).data]

def callServerStreaming (channel : Channel) : IO (Array String) := do
  let reader ← GrpcResult.get (← serverStreamingCall channel listHellos (request "Ada" 3) options)
  (← GrpcResult.get (← reader.readAll)).mapM greeting

/-- Each request is answered before the next one is sent. -/
def callBidiStreaming (channel : Channel) : IO (Array String) := do
  let stream ← GrpcResult.get (← bidiStreamingCall channel chat options)
  let mut greetings := #[]
  for name in names do
    GrpcResult.get (← stream.write (request name))
    let some bytes ← GrpcResult.get (← stream.read) | break
    greetings := greetings.push (← greeting bytes)
  let status ← stream.getStatus
  if status.isError then throw (IO.userError (toString status))
  return greetings

def main (args : List String) : IO UInt32 := do
  let channel ← Channel.createInsecure (args.headD "127.0.0.1:50051")
  let mut failed := false
  for (shape, method, call) in [("unary", sayHello, callUnary), ("client-streaming", collectHellos, callClientStreaming),
      ("server-streaming", listHellos, callServerStreaming), ("bidi", chat, callBidiStreaming)] do
    try
      let greetings ← call channel
      IO.eprintln s!"ok lean {shape} {method.method}{String.join (greetings.toList.map fun g => s!" \"{g}\"")}"
    catch error =>
      failed := true
      IO.eprintln s!"FAILED lean {shape} {method.method}: {error}"
  channel.close
  return if failed then 1 else 0
