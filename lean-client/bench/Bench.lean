import Legate

/-!
# What calls cost

    Bench [--calls N] [--size BYTES] [--outstanding N] [--messages N]

A server and a client in one program, so that each call goes through the daemon and a gRPC connection and back. Prints

* latency: unary calls one after another, in microseconds;
* throughput: unary calls with so many under way, a second;
* streaming: messages of a server stream, a second, and megabytes a second.

Numbers of an interpreted run say nothing of the compiled program; `lake exe bench` measures.
-/

open Legate

/-- What is measured. -/
structure Plan where
  calls : Nat := 10000
  size : Nat := 64
  outstanding : Nat := 64
  messages : Nat := 100000

def Plan.parse : List String → Plan → Except String Plan
  | [], plan => .ok plan
  | option :: value :: rest, plan => do
    let some n := value.toNat? | throw s!"{option} {value}: want a number"
    match option with
    | "--calls" => parse rest { plan with calls := max n 1 }
    | "--size" => parse rest { plan with size := n }
    | "--outstanding" => parse rest { plan with outstanding := max n 1 }
    | "--messages" => parse rest { plan with messages := max n 1 }
    | _ => throw s!"unknown option {option}"
  | [option], _ => .error s!"{option} needs a value"

def serve (plan : Plan) : IO (Server × UInt32) := do
  let builder ← ServerBuilder.new
  let port ← builder.addInsecurePort "127.0.0.1:0"
  builder.registerUnary "/legate.bench.Echo/Unary" fun _ message => return .ok (message, #[], #[])
  builder.registerServerStreaming "/legate.bench.Echo/Stream" fun _ message send => do
    for _ in [0:plan.messages] do send message
    return .ok (#[], #[])
  let server ← builder.build
  server.start
  return (server, port)

/-- Nanoseconds that an action takes. -/
def timed (action : IO Unit) : IO Nat := do
  let start ← IO.monoNanosNow
  action
  return max 1 ((← IO.monoNanosNow) - start)

def perSecond (count nanoseconds : Nat) : Nat := count * 1000000000 / nanoseconds

def latency (channel : Channel) (plan : Plan) (message : ByteArray) : IO Unit := do
  let mut times := #[]
  for _ in [0:plan.calls] do
    times := times.push (← timed do discard <| GrpcResult.get (← unaryCallData channel "/legate.bench.Echo/Unary" message))
  let sorted := times.qsort (· < ·)
  let at_ (percent : Nat) : Nat := sorted[(sorted.size - 1) * percent / 100]! / 1000
  IO.eprintln s!"latency: median {at_ 50} us, 90% {at_ 90} us, 99% {at_ 99} us, of {plan.calls} calls"

def throughput (channel : Channel) (plan : Plan) (message : ByteArray) : IO Unit := do
  let call := unaryCallTask channel "/legate.bench.Echo/Unary" message
  let time ← timed do
    let mut under : Std.Queue (Task (GrpcResult UnaryResponse)) := .empty
    for i in [0:plan.calls] do
      if i ≥ plan.outstanding then
        if let some (first, rest) := under.dequeue? then
          under := rest
          discard <| GrpcResult.get (← IO.wait first)
      under := under.enqueue (← call)
    for task in under.toArray do discard <| GrpcResult.get (← IO.wait task)
  IO.eprintln s!"throughput: {perSecond plan.calls time} calls/s, {plan.outstanding} under way"

def streaming (channel : Channel) (plan : Plan) (message : ByteArray) : IO Unit := do
  let time ← timed do
    let reader ← GrpcResult.get (← serverStreamingCall channel "/legate.bench.Echo/Stream" message)
    let count ← GrpcResult.get (← reader.fold 0 fun n _ => return n + 1)
    unless count == plan.messages do throw (IO.userError s!"{count} messages of {plan.messages} came")
  let rate := perSecond plan.messages time
  IO.eprintln s!"streaming: {rate} messages/s, {rate * plan.size / 1000000} MB/s"

def main (args : List String) : IO UInt32 := do
  match Plan.parse args {} with
  | .error what =>
    IO.eprintln what
    return 2
  | .ok plan =>
    let (server, port) ← serve plan
    let channel ← Channel.createInsecure s!"127.0.0.1:{port}"
    let message := ByteArray.mk (Array.replicate plan.size 0)
    discard <| GrpcResult.get (← unaryCallData channel "/legate.bench.Echo/Unary" message)
    latency channel plan message
    throughput channel plan message
    streaming channel plan message
    channel.close
    server.shutdown
    return 0
