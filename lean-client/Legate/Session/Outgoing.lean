import Legate.Wire.Types
import Init.Data.Queue

/-!
# Outgoing

What one call has still to send, and how it is cut into frames within credit (PROTOCOL.md, sections 6
and 7). Pure.
-/

namespace Legate.Session

/-- A message that was not handed over whole yet. -/
structure Unsent where
  /-- All of it. -/
  bytes : ByteArray
  /-- How much of it was handed over. -/
  offset : Nat := 0

/-- What one call has still to send. -/
structure Outgoing where
  /-- What the other side still takes for this call, in bytes. -/
  credit : Nat
  /-- The message being cut into frames. -/
  current : Option Unsent := none
  /-- The messages after it. -/
  queue : Std.Queue ByteArray := .empty
  /-- Messages ever put in. -/
  posted : Nat := 0
  /-- Messages handed over whole. -/
  sent : Nat := 0
  /-- END_STREAM is to follow the messages. -/
  halfClose : Bool := false
  /-- END_STREAM was handed over. -/
  halfClosed : Bool := false

/-- What `Outgoing.next` found to do. -/
inductive Next where
  /-- A DATA frame, without its id. -/
  | frame (flags : UInt8) (aux : UInt32) (payload : ByteArray)
  /-- Nothing to send. -/
  | idle
  /-- The call's credit is used up. -/
  | noCallCredit
  /-- The connection's credit is used up. -/
  | noConnectionCredit

namespace Outgoing

/-- Puts a message in. -/
def post (outgoing : Outgoing) (bytes : ByteArray) : Outgoing :=
  let outgoing := { outgoing with posted := outgoing.posted + 1 }
  if outgoing.current.isNone then { outgoing with current := some { bytes } }
  else { outgoing with queue := outgoing.queue.enqueue bytes }

/-- Drops what was not handed over. -/
def clear (outgoing : Outgoing) : Outgoing := { outgoing with current := none, queue := .empty }

/-- Whether nothing is left but perhaps the half-close. -/
def isEmpty (outgoing : Outgoing) : Bool := outgoing.current.isNone

/-- Goes to the next message. -/
private def advance (outgoing : Outgoing) : Outgoing :=
  let outgoing := { outgoing with sent := outgoing.sent + 1 }
  match outgoing.queue.dequeue? with
  | some (bytes, queue) => { outgoing with current := some { bytes }, queue }
  | none => { outgoing with current := none }

/-- The next frame, of at most `room` payload bytes by the connection's credit and `maxFrame` by the
other side's limit. -/
def next (outgoing : Outgoing) (room maxFrame : Nat) : Next × Outgoing :=
  match outgoing.current with
  | some { bytes, offset } =>
    let left := bytes.size - offset
    let size := min (min left maxFrame) (min outgoing.credit room)
    if size == 0 && left > 0 then
      (if outgoing.credit == 0 then .noCallCredit else .noConnectionCredit, outgoing)
    else
      let first := offset == 0
      let last := size == left
      let outgoing := { outgoing with credit := outgoing.credit - size }
      let outgoing := if last then outgoing.advance
        else { outgoing with current := some { bytes, offset := offset + size } }
      let ends := last && outgoing.halfClose && outgoing.current.isNone
      let flag (on : Bool) (bit : UInt8) : UInt8 := if on then bit else 0
      let flags := flag first Wire.Flag.msgBegin ||| flag last Wire.Flag.msgEnd |||
        flag ends Wire.Flag.endStream
      let payload := if first && last then bytes else bytes.extract offset (offset + size)
      (.frame flags (if first then bytes.size.toUInt32 else 0) payload,
        if ends then { outgoing with halfClosed := true } else outgoing)
  | none =>
    if outgoing.halfClose && !outgoing.halfClosed then
      (.frame Wire.Flag.endStream 0 .empty, { outgoing with halfClosed := true })
    else (.idle, outgoing)

end Outgoing
end Legate.Session
