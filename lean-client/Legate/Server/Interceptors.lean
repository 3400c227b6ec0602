import Legate.Server.Handler
import Legate.TraceContext

/-!
# Ready-made server interceptors
-/

namespace Legate.ServerInterceptor

/-- Lets only calls pass whose bearer token `check` accepts; others end UNAUTHENTICATED. -/
def authorization (check : String → IO Bool) : ServerInterceptor where
  name := "authorization"
  around context next := do
    let value := (context.metadata.get? "authorization").getD ""
    let scheme := (value.take 7).toString
    if scheme.toLower == "bearer " && (← check (value.drop 7).toString) then next context
    else return .error (.simple .unauthenticated "a valid bearer token is needed in \"authorization\"")

/-- Gives each call an id, unless the client sent one, and sends it back with the trailers. -/
def correlationId (key : String := "x-correlation-id") : ServerInterceptor where
  name := "correlation id"
  around context next := do
    let id ← match context.metadata.get? key with
      | some id => pure id
      | none => TraceContext.randomHex 16
    let metadata := (context.metadata.remove key).add key id
    match ← next { context with metadata } with
    | .ok reply => return .ok { reply with trailers := reply.trailers.add key id }
    | .error error => return .error { error with trailers := error.trailers.add key id }

/-- Makes each call a span: of the client's trace, or of a new one. The handler finds it in the context's
metadata (`TraceContext.ofMetadata?`) and hands it on with `CallOptions.withTrace`. -/
def traceContext : ServerInterceptor where
  name := "trace context"
  around context next := do
    let trace ← match TraceContext.ofMetadata? context.metadata with
      | some trace => trace.child
      | none => TraceContext.new
    let metadata := (context.metadata.remove TraceContext.key).add TraceContext.key (toString trace)
    next { context with metadata }

/-- The status that a handler's result becomes. -/
private def statusOf : GrpcResult HandlerReply → Status
  | .ok _ => .ok
  | .error { code, message, details, .. } => { code, message, details }

/-- Tells how long each handler took, in milliseconds, and how its call ends. -/
def timing (tell : ServerContext → Status → Nat → IO Unit) : ServerInterceptor where
  name := "timing"
  around context next := do
    let start ← IO.monoMsNow
    try
      let result ← next context
      tell context (statusOf result) ((← IO.monoMsNow) - start)
      return result
    catch thrown =>
      tell context (.make .internal (toString thrown)) ((← IO.monoMsNow) - start)
      throw thrown

/-- Says in the log how each call ended; failures at `failed`, others at `level`. -/
def logging (level : LogLevel := .info) (failed : LogLevel := .warning) : ServerInterceptor :=
  { timing (fun context status ms =>
      log (if status.isOk then level else failed)
        s!"{context.method} from {context.peer}: {status} after {ms} ms") with
    name := "logging" }

end Legate.ServerInterceptor
