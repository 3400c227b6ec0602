/-!
# Logging

What the library has to say: connections lost and regained, handlers that threw. Never metadata or
messages. Warnings go to stderr unless the program takes them.
-/

namespace Legate

/-- How much a log line matters. -/
inductive LogLevel where
  /-- For who looks for a fault. -/
  | debug
  /-- Normal events. -/
  | info
  /-- Something failed that will be tried again. -/
  | warning
  /-- Something failed for good. -/
  | error
  deriving Repr, BEq, DecidableEq, Ord, Inhabited

/-- "debug", "info", "warning" or "error". -/
def LogLevel.name : LogLevel → String
  | debug => "debug"
  | info => "info"
  | warning => "warning"
  | error => "error"

/-- Takes a line of the log. Must not block. -/
abbrev Logger := LogLevel → String → BaseIO Unit

/-- Warnings and errors, to stderr. -/
def Logger.stderr : Logger := fun level line =>
  unless level matches .debug | .info do
    let written := IO.eprintln s!"legate: {level.name}: {line}"
    discard written.toBaseIO

private initialize theLogger : IO.Ref Logger ← IO.mkRef Logger.stderr

/-- Takes the log of this process. -/
def setLogger (logger : Logger) : BaseIO Unit := theLogger.set logger

/-- Says something in the log. -/
def log (level : LogLevel) (line : String) : BaseIO Unit := do (← theLogger.get) level line

end Legate
