import Checks
import Legate

/-! The values: metadata, Base64, method paths, trace contexts, results. -/

open Legate

def bytes (values : List UInt8) : ByteArray := ⟨values.toArray⟩

def base64 : Checks Unit := do
  case "Base64 gives back the bytes of every length" do
    for size in [0:70] do
      let data := bytes ((List.range size).map fun i => (i * 37 + size).toUInt8)
      ensure (Base64.decode? (Base64.encode data) == some data) s!"{size} bytes"
  case "Base64 is the RFC's" do
    for (text, code) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] do
      equal text code (Base64.encode text.toUTF8)
  case "padding may be left out, but not be wrong" do
    for good in ["Zg", "Zg==", "Zm8", "Zm8="] do ensure (Base64.decode? good).isSome good
    for bad in ["Z", "Zg=", "Zg===", "Zh==", "Z g=", "=Zg=", "Zm9v=", "Zm8*"] do
      ensure (Base64.decode? bad).isNone bad

def metadata : Checks Unit := do
  case "duplicates are kept, in order" do
    let m := Metadata.empty.add "a" "1" |>.add "b" "2" |>.add "a" "3"
    ensure (m.get? "a" == some "1") "first"
    ensure (m.getAll "a" == #["1", "3"]) "all"
    ensure ((m.remove "a").toListPairs == [("b", "2")]) "removed"
    equal "text" "[a: 1, b: 2, a: 3]" (toString m)
  case "binary values are bytes to who asks for bytes" do
    let value := bytes [0, 255, 10, 128]
    let m := Metadata.empty.addBinary "x" value
    ensure (m.contains "x-bin") "key"
    ensure (m.getBinary "x" == some value && m.getBinary "x-bin" == some value) "value"
    ensure ((m.addBinary "x-bin" .empty).getAllBinary "x" == #[value, .empty]) "all"
  case "on the wire they are bytes, and text stays text" do
    let m := Metadata.empty.add "k" "v" |>.addBinary "b" (bytes [1, 2])
    match Session.toEntries m with
    | .ok entries =>
      ensure (entries.map (·.value) == #["v".toUTF8, bytes [1, 2]]) "entries"
      ensure (Session.ofEntries entries == m) "back"
    | .error what => throw (IO.userError what)
  case "a binary value that is not Base64 is refused, and its key named" do
    match Session.toEntries (Metadata.empty.add "odd-bin" "?") with
    | .ok _ => throw (IO.userError "accepted")
    | .error what => ensure ((what.splitOn "odd-bin").length > 1) what

def paths : Checks Unit := do
  case "method paths" do
    equal "written" "/pkg.Svc/Do" (method!"/pkg.Svc/Do" : String)
    ensure ((MethodPath.ofString? "/pkg.Svc/Do") == some (method!"/pkg.Svc/Do")) "read"
    for bad in ["", "/", "pkg.Svc/Do", "/pkg.Svc", "/pkg.Svc/", "//Do", "/a/b/c", "/a b/c", "/a/ü"] do
      ensure (MethodPath.ofString? bad).isNone bad

def traces : Checks Unit := do
  case "a trace context is what W3C says" do
    let text := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    match TraceContext.ofString? text with
    | some context =>
      equal "back" text (toString context)
      let child ← context.child
      ensure (child.traceId == context.traceId && child.spanId != context.spanId) "child"
    | none => throw (IO.userError "refused")
    ensure ((TraceContext.ofString? (text.replace "-01" "-00")).map (·.sampled) == some false) "not sampled"
    ensure (TraceContext.ofString? (text.replace "00-" "cc-" ++ "-later")).isSome "a later version"
    for bad in ["", "00", text ++ "-x", text.replace "0af" "0AF", text.replace "00-0" "ff-0",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", text.replace "-01" "-0"] do
      ensure (TraceContext.ofString? bad).isNone bad
  case "a new one is valid" do
    ensure (TraceContext.ofString? (toString (← TraceContext.new))).isSome "new"

def interceptors : Checks Unit := do
  let info : CallInfo := { method := "/a.B/C", options := {}, shape := .unary, target := "t" }
  let noting (order : IO.Ref (Array String)) (name : String) : ClientInterceptor := {
    name
    intercept info := do
      order.modify (·.push s!"{name} sees {info.options.metadata.size}")
      return .proceed (info.options.addMetadata name "1") fun ending =>
        order.modify (·.push s!"{name} ends {ending.status.code}") }
  case "the first interceptor is the outermost" do
    let order ← IO.mkRef #[]
    match ← ClientInterceptor.runAll #[noting order "a", noting order "b"] info with
    | .over _ => throw (IO.userError "over")
    | .proceed options ended =>
      ensure (options.metadata.map (·.1) == #["a", "b"]) "metadata"
      ended (.ofLibrary .aborted "x")
      equal "order" "#[a sees 0, b sees 1, b ends Aborted, a ends Aborted]" (toString (← order.get))
  case "one that refuses a call ends it for those around it" do
    let order ← IO.mkRef #[]
    let refusing : ClientInterceptor :=
      { name := "no", intercept := fun _ => return .refuse (.simple .permissionDenied "no") }
    match ← ClientInterceptor.runAll #[noting order "a", refusing, noting order "b"] info with
    | .over (.error error) =>
      ensure (error.code == .permissionDenied) "code"
      equal "order" "#[a sees 0, a ends Permission Denied]" (toString (← order.get))
    | _ => throw (IO.userError "it went on")
  case "one may answer a unary call, and what it throws is INTERNAL" do
    let answering : ClientInterceptor :=
      { name := "cache", intercept := fun _ => return .respond ⟨"cached".toUTF8, #[], #[]⟩ }
    match ← ClientInterceptor.runAll #[answering] info with
    | .over (.ok response) => ensure (response.data == "cached".toUTF8) "data"
    | _ => throw (IO.userError "not answered")
    match ← ClientInterceptor.runAll #[answering] { info with shape := .bidiStreaming } with
    | .over (.error error) => ensure (error.code == .internal) "streams"
    | _ => throw (IO.userError "a stream was answered")
    let throwing : ClientInterceptor := { name := "bad", intercept := fun _ => throw (IO.userError "oh") }
    match ← ClientInterceptor.runAll #[throwing] info with
    | .over (.error error) => equal "text" "GrpcError(Internal: interceptor bad: oh)" (toString error)
    | _ => throw (IO.userError "it went on")
  case "ready-made ones add what is not there" do
    let all := #[ClientInterceptor.authorization (return "t0k"), .correlationId, .traceContext]
    match ← ClientInterceptor.runAll all { info with options := { metadata := #[("x-correlation-id", "mine")] } } with
    | .proceed options _ =>
      ensure (options.metadata.get? "authorization" == some "Bearer t0k") "token"
      ensure (options.metadata.getAll "x-correlation-id" == #["mine"]) "id"
      ensure (TraceContext.ofMetadata? options.metadata).isSome "trace"
    | .over _ => throw (IO.userError "over")

def main : IO UInt32 := runChecks do
  base64
  metadata
  paths
  traces
  interceptors
