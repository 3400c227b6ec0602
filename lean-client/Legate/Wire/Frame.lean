import Legate.Wire.Header
import Legate.Wire.Kinds

/-!
# Whole frames

Encoding a frame, and taking one out of bytes. Both hold to the same limits and rules (section 2 of
PROTOCOL.md), and `take_encode` says that they are inverse: what `Frame.encode` gives is taken back as
that frame, wherever in a stream it lies.
-/

namespace Legate.Wire

/-- Refuses what the header alone shows to be wrong. -/
def Header.check (limits : FrameLimits) (header : Header) : Except WireError Unit :=
  let payload := header.bodyLength.toNat - header.metaLength
  let fail (code : ErrorCode) (reason : String) : Except WireError Unit :=
    .error ⟨code, header.type, s!"{Kind.nameOf header.type}: {reason}"⟩
  if header.bodyLength.toNat < header.metaLength then
    fail .malformedFrame s!"meta of {header.metaLength} bytes does not fit a body of {header.bodyLength}"
  else if limits.maxMeta < header.metaLength then
    fail .frameTooLarge s!"meta of {header.metaLength} bytes exceeds max_meta {limits.maxMeta}"
  else if limits.maxFrame < payload then
    fail .frameTooLarge s!"payload of {payload} bytes exceeds max_frame {limits.maxFrame}"
  else match Kind.ofType? header.type with
    | none =>
      if header.flags &&& Flag.critical != 0 then
        fail .unsupported "flagged CRITICAL, and this side does not know the type"
      else .ok ()
    | some kind =>
      if header.flags &&& ~~~(kind.flags ||| Flag.critical) != 0 then
        fail .malformedFrame s!"flags {header.flags} are not allowed on this type"
      else if !kind.payload && payload != 0 then
        fail .malformedFrame "carries a payload, the type has none"
      else if !kind.hasMeta && header.metaWords != 0 then
        fail .malformedFrame "carries a meta table, the type has none"
      else if kind.hasMeta && header.metaWords == 0 then
        fail .malformedFrame "lacks its meta table"
      else .ok ()

/-! ## Encoding -/

/-- The header of a frame. -/
def Frame.header (frame : Frame) (packed : Packed) (payloadLength : Nat) : Header where
  bodyLength := .ofNat (packed.bytes.size + payloadLength)
  callId := frame.callId
  type := packed.type
  flags := frame.flags
  metaWords := .ofNat (packed.bytes.size / 8)
  aux := frame.aux

/-- Header and meta of a frame with so many bytes of payload, which the caller sends after them from
where they lie. An error tells what the other side, with these limits, would not take. -/
def Frame.encodeHead (frame : Frame) (payloadLength : Nat) (limits : FrameLimits := {}) :
    Except WireError ByteArray :=
  let packed := frame.body.pack
  let fail (code : ErrorCode) (reason : String) : Except WireError ByteArray :=
    .error ⟨code, packed.type, s!"{Kind.nameOf packed.type}: {reason}"⟩
  if 65535 * 8 < packed.bytes.size then
    fail .frameTooLarge s!"meta of {packed.bytes.size} bytes exceeds the largest there is, 524280"
  else if 4294967295 < packed.bytes.size + payloadLength then
    fail .frameTooLarge s!"payload of {payloadLength} bytes exceeds what a frame can tell"
  else if ¬ packed.cost.within .ofMeta then
    fail .metaInvalid s!"more than {Budget.ofMeta.tables} tables; send fewer metadata entries"
  else if frame.body = .unknown packed.type ∧ (Kind.ofType? packed.type).isSome then
    fail .internal "encoded as unknown, although the type is known"
  else
    let header := frame.header packed payloadLength
    match header.check limits with
    | .error error => .error error
    | .ok () => .ok (header.encode ++ packed.bytes)

/-- A whole frame. -/
def Frame.encode (frame : Frame) (limits : FrameLimits := {}) : Except WireError ByteArray :=
  match frame.encodeHead frame.payload.size limits with
  | .error error => .error error
  | .ok head => .ok (head ++ frame.payload)

/-! ## Decoding -/

/-- What bytes begin with. -/
inductive Taken where
  /-- A frame, and how many bytes it has. -/
  | frame (frame : Frame) (size : Nat)
  /-- A part of a frame that has, as far as can be told, so many bytes. -/
  | more (wanted : Nat)
  /-- No frame. -/
  | failed (error : WireError)

/-- The body of a frame with a header that is in order. -/
def readBody (header : Header) (bytes : ByteArray) : Except WireError Body :=
  match Kind.ofType? header.type with
  | none => .ok (.unknown header.type)
  | some kind =>
    match kind.read bytes with
    | some body => .ok body
    | none =>
      .error ⟨.metaInvalid, header.type,
        s!"{kind.name}: the meta table of {bytes.size} bytes does not verify"⟩

/-- Takes the frame at `p` whose header is there and in order. -/
def takeBody (b : ByteArray) (p : Nat) (header : Header) : Taken :=
  let body := p + Header.size
  let payload := body + header.metaLength
  let stop := body + header.bodyLength.toNat
  if stop ≤ b.size then
    match readBody header (b.extract body payload) with
    | .error error => .failed error
    | .ok content =>
      let frame :=
        { body := content, callId := header.callId, flags := header.flags, aux := header.aux,
          payload := b.extract payload stop }
      .frame frame (Header.size + header.bodyLength.toNat)
  else .more (Header.size + header.bodyLength.toNat)

/-- Takes the frame that begins at `p`. A header that is wrong is told before the rest is there. -/
def take (limits : FrameLimits) (b : ByteArray) (p : Nat) : Taken :=
  if h : p + Header.size ≤ b.size then
    let header := Header.decode b p h
    match header.check limits with
    | .error error => .failed error
    | .ok () => takeBody b p header
  else .more Header.size

theorem take_frame {limits : FrameLimits} {b : ByteArray} {p n : Nat} {frame : Frame}
    (h : take limits b p = .frame frame n) : 0 < n ∧ p + n ≤ b.size := by
  unfold take at h
  split at h
  · dsimp only at h
    split at h
    · cases h
    · unfold takeBody at h
      dsimp only at h
      split at h
      · split at h
        · cases h
        · cases h
          simp only [Header.size] at *
          omega
      · cases h
  · cases h

theorem metaLength_header (frame : Frame) {packed : Packed} (n : Nat) (words : packed.bytes.size % 8 = 0)
    (small : ¬ 65535 * 8 < packed.bytes.size) :
    (frame.header packed n).metaLength = packed.bytes.size := by
  have value : (UInt16.ofNat (packed.bytes.size / 8)).toNat = packed.bytes.size / 8 :=
    UInt16.toNat_ofNat_of_lt' (by simp only [UInt16.size]; omega)
  simp only [Header.metaLength, Frame.header, value]
  omega

theorem bodyLength_header (frame : Frame) {packed : Packed} (n : Nat)
    (small : ¬ 4294967295 < packed.bytes.size + n) :
    (frame.header packed n).bodyLength.toNat = packed.bytes.size + n :=
  UInt32.toNat_ofNat_of_lt' (by simp only [UInt32.size]; omega)

theorem words_pack (body : Body) : body.pack.bytes.size % 8 = 0 := by
  by_cases known : ∃ type, body = .unknown type
  · obtain ⟨type, rfl⟩ := known; rfl
  · obtain ⟨kind, _, lawful⟩ := body.pack_lawful fun type equal => known ⟨type, equal⟩
    exact lawful.words

/-- The meta of a frame that can be encoded is read back. -/
theorem readBody_pack (frame : Frame) (n : Nat) (small : ¬ 65535 * 8 < frame.body.pack.bytes.size)
    (cost : frame.body.pack.cost.within .ofMeta)
    (known : ¬ (frame.body = .unknown frame.body.pack.type ∧ (Kind.ofType? frame.body.pack.type).isSome)) :
    readBody (frame.header frame.body.pack n) frame.body.pack.bytes = .ok frame.body := by
  by_cases unknown : ∃ type, frame.body = .unknown type
  · obtain ⟨type, equal⟩ := unknown
    rw [equal] at known ⊢
    have absent : Kind.ofType? type = none := by
      simpa [Body.pack, Option.isSome_iff_ne_none] using known
    simp only [readBody, Frame.header, Body.pack, absent]
  · obtain ⟨kind, found, lawful⟩ := frame.body.pack_lawful fun type equal => unknown ⟨type, equal⟩
    simp only [readBody, Frame.header, found, lawful.read (by omega) cost]

/-- A frame that could be encoded is taken back, wherever in a stream it lies. -/
theorem take_encode_at {limits : FrameLimits} {frame : Frame} {bytes : ByteArray}
    (h : frame.encode limits = .ok bytes) {b : ByteArray} {p : Nat} (lies : At b p bytes) :
    take limits b p = .frame frame bytes.size := by
  unfold Frame.encode at h
  split at h
  · cases h
  case h_2 head head_ok =>
  cases h
  unfold Frame.encodeHead at head_ok
  dsimp only at head_ok
  split at head_ok; · cases head_ok
  case isFalse meta_small =>
  split at head_ok; · cases head_ok
  case isFalse body_small =>
  split at head_ok; · cases head_ok
  case isFalse cost =>
  split at head_ok; · cases head_ok
  case isFalse known =>
  split at head_ok; · cases head_ok
  case h_2 checked =>
  cases head_ok
  have cost := Decidable.not_not.mp cost
  have words := words_pack frame.body
  have meta_length := metaLength_header frame frame.payload.size words meta_small
  have body_length := bodyLength_header frame frame.payload.size body_small
  have head := at_append_left (at_append_left lies)
  have meta_at := at_append_right (at_append_left lies)
  have payload_at := at_append_right lies
  have head_size := Header.size_encode (frame.header frame.body.pack frame.payload.size)
  rw [ByteArray.size_append, head_size] at payload_at
  rw [head_size] at meta_at
  have bound := head.1
  rw [head_size] at bound
  have inside := payload_at.1
  have stop : p + Header.size + (frame.body.pack.bytes.size + frame.payload.size) ≤ b.size := by omega
  have content : b.extract (p + Header.size) (p + Header.size + frame.body.pack.bytes.size)
      = frame.body.pack.bytes := meta_at.2
  have payload : b.extract (p + Header.size + frame.body.pack.bytes.size)
      (p + Header.size + (frame.body.pack.bytes.size + frame.payload.size)) = frame.payload := by
    have := payload_at.2
    simpa only [Nat.add_assoc] using this
  simp only [take, takeBody, bound, dite_true, Header.decode_encode_at _ head, checked, meta_length, body_length, stop, if_true,
    content, payload, readBody_pack frame frame.payload.size meta_small cost known, ByteArray.size_append,
    head_size]
  simp only [Frame.header, Nat.add_assoc]

/-- A frame that could be encoded is decoded to itself. -/
theorem take_encode {limits : FrameLimits} {frame : Frame} {bytes : ByteArray}
    (h : frame.encode limits = .ok bytes) : take limits bytes 0 = .frame frame bytes.size :=
  take_encode_at h (at_self bytes)

end Legate.Wire
