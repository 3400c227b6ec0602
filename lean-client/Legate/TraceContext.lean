import Legate.CallOptions

/-!
# Trace context

The `traceparent` header of W3C Trace Context: which trace a call belongs to, and which span made it.
-/

namespace Legate

/-- Where a call stands in a trace. -/
structure TraceContext where
  /-- 32 hexadecimal digits, not all 0. -/
  traceId : String
  /-- 16 hexadecimal digits, not all 0: the span that makes the call. -/
  spanId : String
  /-- Whether the trace is recorded. -/
  sampled : Bool := true
  deriving Repr, BEq, DecidableEq, Inhabited

namespace TraceContext

/-- The metadata key. -/
def key : String := "traceparent"

private def hexDigits : String := "0123456789abcdef"

/-- Random hexadecimal digits, two for each byte; never all 0. -/
def randomHex (bytes : USize) : IO String := do
  let random ← IO.getRandomBytes bytes
  let digit (n : UInt8) : Char := String.Pos.Raw.get hexDigits ⟨n.toNat⟩
  let text := random.foldl (init := "") fun text byte => text.push (digit (byte >>> 4)) |>.push (digit (byte &&& 15))
  return if text.all (· == '0') then (text.dropEnd 1).toString ++ "1" else text

private def isHexDigit (char : Char) : Bool := char.isDigit || ('a' ≤ char && char ≤ 'f')

private def isHex (text : String) (length : Nat) : Bool :=
  text.length == length && text.all isHexDigit && text.any (· != '0')

/-- Reads a `traceparent`; none when it is malformed. Versions later than 00 are read as far as 00 goes. -/
def ofString? (text : String) : Option TraceContext := do
  match text.splitOn "-" with
  | version :: traceId :: spanId :: flags :: rest =>
    guard (version.length == 2 && version.all isHexDigit && version != "ff")
    guard (version != "00" || rest.isEmpty)
    guard (isHex traceId 32 && isHex spanId 16)
    guard (flags.length == 2 && flags.all isHexDigit)
    -- The lowest bit of the flags.
    return { traceId, spanId, sampled := "13579bdf".contains flags.back }
  | _ => none

instance : ToString TraceContext where
  toString context := s!"00-{context.traceId}-{context.spanId}-{if context.sampled then "01" else "00"}"

/-- A new trace. -/
def new : IO TraceContext := return { traceId := ← randomHex 16, spanId := ← randomHex 8 }

/-- Another span of the same trace. -/
def child (context : TraceContext) : IO TraceContext := return { context with spanId := ← randomHex 8 }

/-- What metadata say of the trace, if they do. -/
def ofMetadata? (metadata : Metadata) : Option TraceContext := do ofString? (← metadata.get? key)

end TraceContext

/-- With the `traceparent` of a context. -/
def CallOptions.withTrace (options : CallOptions) (context : TraceContext) : CallOptions :=
  { options with metadata := (options.metadata.remove TraceContext.key).add TraceContext.key (toString context) }

end Legate
