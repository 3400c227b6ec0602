import Legate.Client.Interceptor
import Legate.Log
import Legate.TraceContext

/-!
# Ready-made client interceptors
-/

namespace Legate.ClientInterceptor

/-- Adds a metadata entry to calls that have none of that key. -/
private def adding (name key : String) (value : IO String) : ClientInterceptor where
  name
  intercept info := do
    if info.options.metadata.contains key then return .proceed info.options
    return .proceed (info.options.addMetadata key (← value))

/-- Sends `authorization: Bearer TOKEN`; `token` is asked for each call, so that it may change. -/
def authorization (token : IO String) : ClientInterceptor :=
  adding "authorization" "authorization" (return s!"Bearer {← token}")

/-- Gives each call an id of its own, unless it has one. -/
def correlationId (key : String := "x-correlation-id") : ClientInterceptor :=
  adding "correlation id" key (TraceContext.randomHex 16)

/-- Makes each call a span: of the trace that its metadata name, or of a new one. -/
def traceContext : ClientInterceptor where
  name := "trace context"
  intercept info := do
    let context ← match TraceContext.ofMetadata? info.options.metadata with
      | some context => context.child
      | none => TraceContext.new
    return .proceed (info.options.withTrace context)

/-- Tells how long each call took, in milliseconds, and how it ended. -/
def timing (tell : CallInfo → CallEnd → Nat → IO Unit) : ClientInterceptor where
  name := "timing"
  intercept info := do
    let start ← IO.monoMsNow
    return .proceed info.options fun ending => do tell info ending ((← IO.monoMsNow) - start)

/-- Says in the log how each call ended; failures at `failed`, others at `level`. -/
def logging (level : LogLevel := .info) (failed : LogLevel := .warning) : ClientInterceptor :=
  { timing (fun info ending ms =>
      log (if ending.status.isOk then level else failed)
        s!"{info.method} to {info.target}: {ending.status} ({ending.origin}) after {ms} ms") with
    name := "logging" }

end Legate.ClientInterceptor
