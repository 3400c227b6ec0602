import Checks
import Legate.Session.Inbox
import Legate.Session.Outbox
import Legate.Session.Outgoing

/-! What comes in and goes out of one call: framing and credit. -/

open Legate Session

def data (flags : UInt8) (size : Nat) (length : Nat := 0) : Wire.Frame :=
  { body := .data, callId := 1, flags, aux := length.toUInt32, payload := ⟨.replicate size 7⟩ }

def begin_ := Wire.Flag.msgBegin
def end_ := Wire.Flag.msgEnd
def whole := Wire.Flag.wholeMessage
def last := Wire.Flag.endStream

/-- Files frames, which must be fine. -/
def filed (inbox : Inbox) (frames : List Wire.Frame) : IO Inbox :=
  frames.foldlM (init := inbox) fun inbox frame =>
    match inbox.add frame with
    | .ok inbox => pure inbox
    | .error violation => throw (IO.userError violation.message)

def sizes (inbox : Inbox) : List Nat := (inbox.whole.toArray.map (·.1.size)).toList

def inboxes : Checks Unit := do
  case "a message in parts" do
    let inbox ← filed (.new 100) [data begin_ 10 25, data 0 10]
    ensure (!inbox.hasMessage) "too early"
    let inbox ← filed inbox [data end_ 5, data whole 0, data (whole ||| last) 3 3]
    equal "sizes" [25, 0, 3] (sizes inbox)
    ensure inbox.ended "ended"
  case "what breaks the framing is named" do
    let broken (frames : List Wire.Frame) (part : String) : IO Unit := do
      match frames.foldlM (init := Inbox.new 100) Inbox.add with
      | .ok _ => throw (IO.userError s!"accepted: {part}")
      | .error violation => ensure ((violation.message.splitOn part).length > 1) violation.message
    broken [data begin_ 1 2, data begin_ 1 2] "begins inside"
    broken [data end_ 1] "did not begin"
    broken [data whole 5 4] "more bytes"
    broken [data whole 3 4] "short of aux"
    broken [data begin_ 2 4, data 0 2] "lacks MSG_END"
    broken [data begin_ 2 4, data 0 0] "an empty part"
    broken [data 0 0] "neither"
    broken [data (begin_ ||| last) 2 4] "END_STREAM inside"
    broken [data last 0, data whole 0] "after END_STREAM"
    broken [data whole 101 101] "exceed its credit"
  case "credit comes back as messages are taken, half a window at a time" do
    let inbox ← filed (.new 100) [data whole 30 30, data whole 30 30, data whole 30 30]
    equal "before" 0 inbox.takeCredit.1
    let some (_, inbox) := inbox.take? | throw (IO.userError "no message")
    equal "a third" 0 inbox.takeCredit.1
    let some (_, inbox) := inbox.take? | throw (IO.userError "no message")
    let (credit, inbox) := inbox.takeCredit
    equal "two thirds" 60 credit
    equal "what may still come" 70 inbox.credit
  case "a message longer than the window is paid for as it comes" do
    let mut inbox ← filed (.new 100) [data begin_ 100 350]
    let mut returned := 0
    for _ in [0:2] do
      let (credit, next) := inbox.takeCredit
      returned := returned + credit
      inbox ← filed next [data 0 100]
    let (credit, next) := inbox.takeCredit
    inbox ← filed next [data end_ 50]
    let some (message, next) := inbox.take? | throw (IO.userError "no message")
    equal "size" 350 message.size
    equal "all returned but what is below half a window" 350 (returned + credit + next.due)
  case "a message that fits the window is never waited for in vain" do
    let inbox ← filed (.new 100) [data whole 40 40, data begin_ 10 90]
    let some (_, inbox) := inbox.take? | throw (IO.userError "no message")
    equal "at once, though below half a window" 40 inbox.takeCredit.1
  case "nobody reads: all is dropped and paid for, but one message that may be kept" do
    let inbox ← filed (.new 100) [data whole 20 20, data whole 20 20, data begin_ 10 30]
    let inbox := inbox.discard (keep := 1)
    equal "kept" [20] (sizes inbox)
    equal "due" 30 inbox.due
    let inbox ← filed inbox [data end_ 20, data whole 1 1]
    equal "kept" [20] (sizes inbox)
    equal "due" 51 inbox.due
  case "somebody waits for the end: all is kept and paid for" do
    let mut inbox := (← filed (.new 100) [data whole 60 60]).drain
    for _ in [0:50] do
      inbox ← filed inbox.takeCredit.2 [data whole 60 60]
    equal "kept" 51 (sizes inbox).length
    equal "nothing is left to pay when it is taken" (inbox.due) ((inbox.take?.map (·.2.due)).getD 0)
    equal "held" (51 * 60) inbox.held
  case "somebody waits for the end, and there is too much: what is dropped is known" do
    let size := 1 <<< 20
    let mut inbox := (Inbox.new (2 * size)).drain
    for _ in [0:20] do inbox ← filed inbox.takeCredit.2 [data whole size size]
    equal "kept" 17 (sizes inbox).length
    ensure inbox.dropped "dropped"
    equal "all is paid for" (2 * size) (inbox.due + inbox.credit)

def outgoings : Checks Unit := do
  let all (outgoing : Outgoing) (room maxFrame : Nat) : List (UInt8 × Nat) × Outgoing := Id.run do
    let mut outgoing := outgoing
    let mut room := room
    let mut frames := #[]
    repeat
      let (next, left) := outgoing.next room maxFrame
      outgoing := left
      match next with
      | .frame flags _ payload =>
        frames := frames.push (flags, payload.size)
        room := room - payload.size
      | _ => break
    return (frames.toList, outgoing)
  let message (size : Nat) : ByteArray := ⟨.replicate size 1⟩
  case "messages are cut at the frame's limit, and half-close travels along" do
    let outgoing := ({ credit := 1000, halfClose := true } : Outgoing).post (message 25) |>.post (message 0)
    let (frames, left) := all outgoing 1000 10
    ensure (frames == [(begin_, 10), (0, 10), (end_, 5), (whole ||| last, 0)]) s!"{frames}"
    equal "sent" 2 left.sent
    ensure left.halfClosed "half-closed"
  case "credit of the call and of the connection hold messages back" do
    let outgoing := ({ credit := 15 } : Outgoing).post (message 25)
    let (frames, left) := all outgoing 1000 100
    ensure (frames == [(begin_, 15)]) s!"{frames}"
    ensure ((left.next 1000 100).1 matches .noCallCredit) "call"
    let (frames, left) := all { left with credit := 100 } 4 100
    ensure (frames == [(0, 4)]) s!"{frames}"
    ensure ((left.next 0 100).1 matches .noConnectionCredit) "connection"
    equal "sent" 0 left.sent
    let (frames, left) := all left 100 100
    ensure (frames == [(end_, 6)]) s!"{frames}"
    equal "sent" 1 left.sent
  case "a bare half-close needs no credit, and comes once" do
    let (frames, left) := all { credit := 0, halfClose := true } 0 10
    ensure (frames == [(last, 0)]) s!"{frames}"
    ensure ((left.next 0 10).1 matches .idle) "again"

def outboxes : Checks Unit := do
  case "urgent frames go ahead, and a frame is never torn" do
    let piece (size : Nat) : ByteArray := ⟨.replicate size 0⟩
    let outbox := ({} : Outbox).add #[piece 1, piece 65536] |>.add #[piece 2, piece 3] |>.addUrgent (piece 9)
    let (batch, outbox) := outbox.take
    equal "first" [9, 1, 65536] (batch.map (·.size)).toList
    let (batch, outbox) := (outbox.addUrgent (piece 8)).take
    equal "then" [8, 2, 3] (batch.map (·.size)).toList
    ensure outbox.isEmpty "empty"
    ensure (outbox.break_.add #[piece 1]).isEmpty "broken"

def main : IO UInt32 := runChecks do
  inboxes
  outgoings
  outboxes
