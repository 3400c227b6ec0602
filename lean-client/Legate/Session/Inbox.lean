import Legate.Session.Violation

import Init.Data.Queue

/-!
# Inbox

Where the messages of one call arrive, and the credit they are worth (PROTOCOL.md, sections 6 and 7).
Pure.
-/

namespace Legate.Session

/-- A message of which a part has come. -/
structure Partial where
  /-- Its whole length. -/
  length : Nat
  /-- How much of it has come. -/
  received : Nat := 0
  /-- How much of that was returned as credit already. -/
  returned : Nat := 0
  /-- What has come. -/
  bytes : ByteArray

/-- The messages that have come for one call. -/
structure Inbox where
  /-- The credit that the sender starts with, in bytes. -/
  window : Nat
  /-- What the sender may still send. -/
  credit : Nat
  /-- To be returned with the next WINDOW. -/
  due : Nat := 0
  /-- Whole messages, the oldest first, each with what was returned of its credit. -/
  whole : Std.Queue (ByteArray × Nat) := .empty
  /-- The bytes of `whole`. -/
  held : Nat := 0
  /-- The message that is under way. -/
  part : Option Partial := none
  /-- Nobody reads: what comes is dropped. -/
  discarding : Bool := false
  /-- Somebody waits for the end rather than for messages: they are kept, up to `drainLimit` bytes, and
  their credit is returned as they come. -/
  draining : Bool := false
  /-- There were more than that: messages are missing. -/
  dropped : Bool := false
  /-- END_STREAM has come. -/
  ended : Bool := false

namespace Inbox

/-- An empty inbox whose sender starts with `window` bytes of credit. -/
def new (window : Nat) : Inbox := { window, credit := window }

/-- A message's length is the sender's claim: no more than this is reserved before bytes come. -/
def reserve : Nat := 1 <<< 20

/-- What is kept for later reads while somebody waits for the end, in bytes. -/
def drainLimit : Nat := 16 <<< 20

/-- Whether a message can be taken. -/
def hasMessage (inbox : Inbox) : Bool := !inbox.whole.isEmpty

private def framing (message : String) : Violation :=
  { code := .messageFraming, message := "DATA: " ++ message }

/-- Counts as due what the rules let go while a message is under way: all of it when nobody reads, and
the bytes of an oldest message that could never fit the window. -/
private def settle (inbox : Inbox) : Inbox :=
  match inbox.part with
  | some part =>
    if inbox.discarding || inbox.draining || (inbox.whole.isEmpty && part.length > inbox.window) then
      { inbox with
        due := inbox.due + (part.received - part.returned)
        part := some { part with returned := part.received } }
    else inbox
  | none => inbox

/-- Somebody waits for the end: returns the credit of all messages, without dropping any before there are
too many. Idempotent. -/
def drain (inbox : Inbox) : Inbox :=
  if inbox.discarding || inbox.draining then inbox else
  let messages := inbox.whole.toArray
  let due := messages.foldl (fun due (bytes, returned) => due + (bytes.size - returned)) inbox.due
  let whole := messages.foldl (fun whole (bytes, _) => whole.enqueue (bytes, bytes.size)) .empty
  settle { inbox with draining := true, discarding := inbox.held > drainLimit, due, whole }

/-- Files a part, and the message once it is whole. -/
private def append (inbox : Inbox) (part : Partial) (payload : ByteArray) (last : Bool) :
    Except Violation Inbox := do
  let received := part.received + payload.size
  if received > part.length then throw (framing "more bytes than aux")
  if (received == part.length) != last then
    throw (framing (if last then "the message ends short of aux" else "the last part lacks MSG_END"))
  let bytes :=
    if inbox.discarding then part.bytes
    else if part.bytes.isEmpty then payload
    else part.bytes ++ payload
  if !last then return { inbox with part := some { part with received, bytes } }
  let returned := if inbox.discarding || inbox.draining then received else part.returned
  let inbox := { inbox with part := none, due := inbox.due + (returned - part.returned) }
  if inbox.discarding then return { inbox with dropped := inbox.dropped || inbox.draining }
  return { inbox with
    whole := inbox.whole.enqueue (bytes, returned)
    held := inbox.held + received
    discarding := inbox.draining && inbox.held + received > drainLimit }

private def file (inbox : Inbox) (frame : Wire.Frame) : Except Violation Inbox := do
  let first := frame.has Wire.Flag.msgBegin
  let last := frame.has Wire.Flag.msgEnd
  let ends := frame.has Wire.Flag.endStream
  let size := frame.payload.size
  if inbox.ended then throw (framing "a frame after END_STREAM")
  if !first && !last && size == 0 then  -- a bare half-close, or a START without a message
    let mayBeEmpty := ends || frame.body matches .start _
    if mayBeEmpty && inbox.part.isNone then return inbox
    throw (framing (if inbox.part.isSome then "an empty part" else "neither a message nor END_STREAM"))
  if ends && !last then throw (framing "END_STREAM inside a message")
  if size == 0 && !(first && last) then throw (framing "an empty part")
  match inbox.part, first with
  | some _, true => throw (framing "a message begins inside another")
  | none, false => throw (framing "a part of a message that did not begin")
  | some part, false => ({ inbox with part := none } : Inbox).append part frame.payload last
  | none, true =>
    let length := frame.aux.toNat
    let room := if last || inbox.discarding then 0 else min length reserve
    inbox.append { length, bytes := .emptyWithCapacity room } frame.payload last

/-- Files the payload of one START or DATA frame. -/
def add (inbox : Inbox) (frame : Wire.Frame) : Except Violation Inbox := do
  let size := frame.payload.size
  if size > inbox.credit then
    throw { code := .flowControl, message :=
      s!"DATA: {size} bytes for call {frame.callId} exceed its credit of {inbox.credit}" }
  let inbox ← ({ inbox with credit := inbox.credit - size } : Inbox).file frame
  let inbox := if frame.has Wire.Flag.endStream then { inbox with ended := true } else inbox
  return settle inbox

/-- The oldest whole message, if any. Taking it earns the sender its credit back. -/
def take? (inbox : Inbox) : Option (ByteArray × Inbox) :=
  match inbox.whole.dequeue? with
  | some ((bytes, returned), whole) =>
    some (bytes, settle { inbox with
      whole, held := inbox.held - bytes.size, due := inbox.due + (bytes.size - returned) })
  | none => none

/-- The oldest whole message, which stays. -/
def peek? (inbox : Inbox) : Option ByteArray := inbox.take?.map (·.1)

/-- Drops what is here, but for the oldest `keep` messages, and all that still comes. -/
def discard (inbox : Inbox) (keep : Nat := 0) : Inbox :=
  let messages := inbox.whole.toArray
  let kept := messages.extract 0 keep
  let dropped := messages.extract keep messages.size
  settle { inbox with
    discarding := true
    draining := false
    whole := kept.foldl (·.enqueue ·) .empty
    held := kept.foldl (fun held (bytes, _) => held + bytes.size) 0
    due := dropped.foldl (fun due (bytes, returned) => due + (bytes.size - returned)) inbox.due
    part := inbox.part.map ({ · with bytes := .empty }) }

/-- Credit to return now, in bytes; 0 while it can wait. Who asks must send it. -/
def takeCredit (inbox : Inbox) : Nat × Inbox :=
  -- Half a window at a time, but never so late that a message which fits the window can't finish.
  let starving := match inbox.part with
    | some part => inbox.whole.isEmpty && part.length ≤ inbox.window &&
        inbox.credit < part.length - part.received
    | none => false
  if inbox.due == 0 || (inbox.due < inbox.window / 2 && !starving) then (0, inbox)
  else (inbox.due, { inbox with credit := inbox.credit + inbox.due, due := 0 })

end Inbox
end Legate.Session
