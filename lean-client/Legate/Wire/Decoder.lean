import Legate.Wire.Frame

/-!
# Frames out of a stream

Pieces of a stream go in as they are read, whole frames come out. A frame that has come in part stays
until the rest is there; it is then appended to, not copied again for each piece (as long as the
decoder is used linearly: the old one is not needed after `feed`).
-/

namespace Legate.Wire

/-- What one side of a connection has to keep between two pieces of its input. -/
structure Decoder where
  /-- What the other side is held to. -/
  limits : FrameLimits
  /-- The beginning of a frame. -/
  rest : ByteArray

namespace Decoder

/-- At the beginning of a stream. -/
def new (limits : FrameLimits := {}) : Decoder := ⟨limits, .empty⟩

/-- Takes frames from `p` on: all that are whole, and where the rest begins or why it is no frame. -/
def drain (limits : FrameLimits) (b : ByteArray) (p : Nat) (frames : Array Frame) :
    Array Frame × Except WireError Nat :=
  match _ : take limits b p with
  | .frame frame size => drain limits b (p + size) (frames.push frame)
  | .more _ => (frames, .ok p)
  | .failed error => (frames, .error error)
termination_by b.size - p
decreasing_by
  have := take_frame ‹_›
  omega

/-- Takes a piece of the stream: the frames that it completes, in order, and the decoder for the next
piece, or why the connection must end after these frames. -/
def feed (decoder : Decoder) (input : ByteArray) : Array Frame × Except WireError Decoder :=
  let ⟨limits, rest⟩ := decoder
  let bytes := if rest.isEmpty then input else rest ++ input
  match drain limits bytes 0 #[] with
  | (frames, .error error) => (frames, .error error)
  | (frames, .ok 0) => (frames, .ok ⟨limits, bytes⟩)
  | (frames, .ok p) => (frames, .ok ⟨limits, bytes.extract p bytes.size⟩)

/-- How many bytes the frame under way has in all, as far as can be told. -/
def wanted (decoder : Decoder) : Nat :=
  match take decoder.limits decoder.rest 0 with
  | .more wanted => wanted
  | _ => Header.size

/-- Whether the stream may end here: no frame is under way. -/
def isIdle (decoder : Decoder) : Bool := decoder.rest.isEmpty

end Decoder

end Legate.Wire
