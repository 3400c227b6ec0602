import ClientCases

/-!
# A Lean client whose daemon is killed

Prints "hanging" once its calls are under way, and expects what is to become of them then.
-/

namespace KilledCases
open Legate Peer ClientCases

def all (target : String) : Check.Cases Unit := do
  let channel ← Channel.createInsecure target
  let hang := ask { hang := true }
  let unaryTask ← unaryCallTask channel unary hang patient
  let writer ← GrpcResult.get (← clientStreamingCall channel clientStream patient)
  GrpcResult.get (← writer.write hang)
  let reader ← GrpcResult.get (← serverStreamingCall channel serverStream (ask { hang := true, responseCount := 1 }) patient)
  Check.that ((← GrpcResult.get (← reader.read)).isSome) "no message before the kill"
  let stream ← GrpcResult.get (← bidiStreamingCall channel bidi patient)
  GrpcResult.get (← stream.write (say "a"))
  Check.that ((← GrpcResult.get (← stream.read)).isSome) "no message before the kill"
  let builder ← ServerBuilder.new
  discard <| builder.addInsecurePort "127.0.0.1:0"
  builder.registerUnary "/pkg.Echo/Say" fun _ request => return .ok (request, #[], #[])
  let server ← builder.build
  server.start
  let served ← IO.asTask (prio := .dedicated) server.wait
  IO.eprintln "hanging"

  Check.case "a unary call ends UNAVAILABLE" do
    discard <| failure .unavailable (← Check.await unaryTask)
  Check.case "a client stream ends UNAVAILABLE" do
    discard <| failure .unavailable (← writer.finish)
  Check.case "a server stream ends, and its status is UNAVAILABLE" do
    Check.that ((← GrpcResult.get (← reader.read)).isNone) "a message after the kill"
    Check.equal StatusCode.unavailable (← reader.getStatus).code
  Check.case "a bidirectional stream ends, and its writes tell why" do
    Check.that ((← GrpcResult.get (← stream.read)).isNone) "a message after the kill"
    discard <| failure .unavailable (← stream.write (say "b"))
    Check.equal StatusCode.unavailable (← stream.getStatus).code
  -- The connection is the standard input and output of this program: there can be no other.
  Check.case "a server that can't be served again stops" do
    IO.ofExcept (← Check.await served)
  Check.case "a new call fails at once, and says why" do
    let start ← IO.monoMsNow
    let error ← failure .unavailable (← unaryCall channel unary .empty patient)
    Check.contains error.message "legated"
    Check.that ((← IO.monoMsNow) - start < 10000) "it took over 10 s"

end KilledCases

/-- TARGET -/
def main (args : List String) : IO UInt32 := Check.main (KilledCases.all (args.headD ""))
