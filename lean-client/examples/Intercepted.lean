import Legate

/-!
# Interceptors

What a program does around every call, once for all methods: here a token that the server asks for, an id that both
sides log, and how long calls take.
-/

open Legate

def whoAmI : UnaryHandler := fun context _ =>
  return .ok (((context.metadata.get? "x-correlation-id").getD "nobody").toUTF8, #[], #[])

def main : IO UInt32 := do
  let builder ← ServerBuilder.new
  let port ← builder.addInsecurePort "127.0.0.1:0"
  builder.registerUnary "/example.Who/AmI" whoAmI
  builder.addInterceptor <| .timing fun context status _ =>
    IO.eprintln s!"served {context.method}: {status.code}"
  builder.addInterceptor <| .authorization fun token => return token == "secret"
  builder.addInterceptor .correlationId
  let server ← builder.build
  server.start

  let plain ← Channel.createInsecure s!"127.0.0.1:{port}"
  let channel := plain.withInterceptors #[
    .timing fun info ending _ => IO.eprintln s!"called {info.method}: {ending.status.code}",
    .authorization (return "secret"),
    .correlationId]
  let mut failed := false
  match ← unaryCall channel "/example.Who/AmI" .empty { timeoutMs := 20000 } with
  | .ok answer => IO.eprintln s!"an id of {answer.data.size} letters arrived"
  | .error error =>
    IO.eprintln (toString error)
    failed := true
  match ← unaryCall plain "/example.Who/AmI" .empty { timeoutMs := 20000 } with
  | .ok _ =>
    IO.eprintln "a call without a token was served"
    failed := true
  | .error error => IO.eprintln s!"without a token: {error.code}"
  plain.close
  server.shutdown
  return if failed then 1 else 0
