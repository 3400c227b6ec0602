import Legate

/-!
# A call over TLS

    TlsClient TARGET METHOD CA.PEM [NAME]

The certificate is verified by the daemon against the authorities in CA.PEM; NAME is expected in it instead of the
target's host. Sends the bytes "hello" and prints the answer.
-/

open Legate

def main (args : List String) : IO UInt32 := do
  let target :: method :: authorities :: rest := args
    | IO.eprintln "usage: TlsClient TARGET METHOD CA.PEM [NAME]"
      return 2
  let channel ← Channel.createSecure target {
    rootCerts := ← IO.FS.readFile authorities
    sslTargetNameOverride := rest.headD "" }
  match ← unaryCallData channel method "hello".toUTF8 { timeoutMs := 20000 } with
  | .ok bytes =>
    IO.eprintln s!"answer: {(String.fromUTF8? bytes).getD "(not UTF-8)"}"
    return 0
  | .error error =>
    IO.eprintln (toString error)
    return 1
