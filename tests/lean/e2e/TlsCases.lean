import Check
import Legate

/-!
# A Lean client over TLS

TARGET AUTHORITY. The target is the Echo of tests/python/harness.py.
-/

namespace TlsCases
open Legate

def all (target authority : String) : Check.Cases Unit := do
  let credentials := some { rootCerts := authority : SslCredentials }
  let call (options : ChannelOptions) : IO (GrpcResult UnaryResponse) := do
    unaryCall (← Channel.create target options) "/test.Echo/Unary" "hello".toUTF8 { timeoutMs := 60000 }

  Check.case "a channel's token goes with its calls" do
    for token in ["one", "two"] do
      let answer ← GrpcResult.get (← call { credentials, token })
      Check.equal (some s!"Bearer {token}") (answer.headers.get? "x-token")

  Check.case "a token without TLS is refused" do
    let .error error ← call { token := "one" } | Check.fail "the call ended OK"
    Check.equal StatusCode.invalidArgument error.code error.message
    Check.contains error.message "token"

  Check.case "a server of an unknown authority is UNAVAILABLE, and the reason is told" do
    let .error error ← call { credentials := some {} } | Check.fail "the call ended OK"
    Check.equal StatusCode.unavailable error.code error.message
    Check.contains error.message "none of the trusted authorities"

end TlsCases

def main (args : List String) : IO UInt32 := do
  let [target, authority] := args | throw (IO.userError "a target and a file are needed")
  Check.main (TlsCases.all target (← IO.FS.readFile authority))
