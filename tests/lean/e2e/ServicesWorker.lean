import Legate

/-!
# A worker over TLS, with health and reflection

CERTIFICATE KEY DESCRIPTORS. "/pkg.Echo/Say" answers what it was sent, "/pkg.Echo/Health" makes the service healthy
or not: the request is one byte, 1 or 0.
-/

open Legate

def main (args : List String) : IO UInt32 := do
  let [certificate, key, descriptors] := args | throw (IO.userError "three files are needed")
  let connection ← Connection.default
  connection.onEvent fun
    | .retired _ reason => discard (IO.eprintln s!"retired: {reason}").toBaseIO
    | _ => pure ()
  let builder ← ServerBuilder.new
  let port ← builder.addSecurePort "127.0.0.1:0"
    { serverCert := ← IO.FS.readFile certificate, serverKey := ← IO.FS.readFile key }
  builder.describe (← IO.FS.readBinFile descriptors)
  let itself ← IO.mkRef (none : Option Server)
  builder.registerUnary "/pkg.Echo/Say" fun _ request => return .ok (request, #[], #[])
  builder.registerUnary "/pkg.Echo/Health" fun _ request => do
    let some server ← itself.get | throw (IO.userError "no server yet")
    server.setHealth "pkg.Echo" (request.toList == [1])
    return .ok (.empty, #[], #[])
  let server ← builder.build
  itself.set (some server)
  server.start
  IO.eprintln s!"listening {port}"
  server.wait
  return 0
