import Legate

/-!
# A worker with a TLS port and a bounded one, health and reflection

CERTIFICATE KEY AUTHORITY DESCRIPTORS. "/pkg.Echo/Say" answers what it was sent, "/pkg.Echo/Squeeze" does so by gzip,
"/pkg.Echo/Who" answers who the client is, "/pkg.Echo/Health" makes the service healthy or not: the request is one
byte, 1 or 0. "/pkg.Other/*" answers the method. It ends when it is retired.
-/

open Legate

def main (args : List String) : IO UInt32 := do
  let [certificate, key, authority, descriptors] := args | throw (IO.userError "four files are needed")
  let itself ← IO.mkRef (none : Option Server)
  let connection ← Connection.default
  connection.onEvent fun
    | .retired _ reason => discard <| EIO.toBaseIO do
      IO.eprintln s!"retired: {reason}"
      if let some server ← itself.get then server.shutdown
    | _ => pure ()
  let builder ← ServerBuilder.new
  let port ← builder.addSecurePort "127.0.0.1:0" {
    serverCert := ← IO.FS.readFile certificate, serverKey := ← IO.FS.readFile key
    rootCerts := ← IO.FS.readFile authority, clientAuth := .request }
  let bounded ← builder.addPort "127.0.0.1:0" { maxReceiveMessage := 1000, reflection := some false }
  builder.describe (← IO.FS.readBinFile descriptors)
  builder.registerUnary "/pkg.Other/*" fun context _ => return .ok (context.method.toUTF8, #[], #[])
  builder.registerUnary method!"/pkg.Echo/Say" fun _ request => return .ok (request, #[], #[])
  builder.registerUnary "/pkg.Echo/Squeeze" fun context request => do
    context.call.sendInitialMetadata #[] .gzip
    return .ok (request, #[], #[])
  builder.registerUnary "/pkg.Echo/Who" fun context _ => do
    let some who := context.identity | return .ok ("nobody".toUTF8, #[], #[])
    let pem := if who.certificate.startsWith "-----BEGIN CERTIFICATE-----" then "with" else "without"
    return .ok (s!"{who.subject} {who.names} {pem} certificate".toUTF8, #[], #[])
  builder.registerUnary "/pkg.Echo/Health" fun _ request => do
    let some server ← itself.get | throw (IO.userError "no server yet")
    server.setHealth "pkg.Echo" (request.toList == [1])
    return .ok (.empty, #[], #[])
  let server ← builder.build
  itself.set (some server)
  server.start
  if (← (server.setHealth "ä" false).toBaseIO) matches .ok _ then throw (IO.userError "no service has that name")
  IO.eprintln s!"listening {port} {bounded}"
  server.wait
  IO.eprintln "stopped"
  return 0
