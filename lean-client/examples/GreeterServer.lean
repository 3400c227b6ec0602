import Greeting

/-!
# A greeter in all four shapes

    GreeterServer [ADDRESS [DESCRIPTORS]]

It says where it listens and serves until it is killed. DESCRIPTORS is what reflection shows, as
`protoc --include_imports --descriptor_set_out=DESCRIPTORS` writes it. Like all examples it prints to stderr, since stdout is
its connection when `legatectl attach` has started it.
-/

open Legate Greeting

/-- Gives a message that does not decode its status. -/
def decoded {α : Type} [Message α] (bytes : ByteArray) : GrpcResult α :=
  match Message.decode bytes with
  | .ok value => .ok value
  | .error what => .error (.simple .invalidArgument what)

def greet (name : String) : HelloReply := { message := s!"Hello, {name}!" }

def main (args : List String) : IO UInt32 := do
  let builder ← ServerBuilder.new
  let port ← builder.addInsecurePort (args.headD "127.0.0.1:50051")
  if let some file := (args[1]? : Option String) then builder.describe (← IO.FS.readBinFile file)

  builder.registerUnary sayHello fun _ bytes => return do
    let request : HelloRequest ← decoded bytes
    return (Message.encode (greet request.name), #[], #[])

  builder.registerClientStreaming collectHellos fun _ receive => do
    let mut names := #[]
    repeat
      let some bytes ← receive | break
      match (decoded bytes : GrpcResult HelloRequest) with
      | .ok request => names := names.push request.name
      | .error error => return .error error
    return .ok (Message.encode (greet (", ".intercalate names.toList)), #[], #[])

  builder.registerServerStreaming listHellos fun _ bytes send => do
    match (decoded bytes : GrpcResult HelloRequest) with
    | .error error => return .error error
    | .ok { name, count } =>
      for i in [1:count + 1] do
        send (Message.encode ({ message := s!"Hello, {name}! ({i}/{count})" } : HelloReply))
      return .ok (#[], #[])

  builder.registerBidiStreaming chat fun _ receive send => do
    repeat
      let some bytes ← receive | break
      match (decoded bytes : GrpcResult HelloRequest) with
      | .ok request => send (Message.encode (greet request.name))
      | .error error => return .error error
    return .ok (#[], #[])

  let server ← builder.build
  server.start
  IO.eprintln s!"listening {port}"
  server.wait
  return 0
