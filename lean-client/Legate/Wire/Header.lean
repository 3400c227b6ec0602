import Legate.Wire.Bytes
import Legate.Wire.Types

/-!
# The 16 bytes before every frame
-/

namespace Legate.Wire.Header

/-- The bytes of a header. -/
def encode (header : Header) : ByteArray :=
  bytes32 header.bodyLength ++ bytes32 header.callId ++ bytes8 header.type ++ bytes8 header.flags ++
    bytes16 header.metaWords ++ bytes32 header.aux

/-- The header at `p`. -/
def decode (b : ByteArray) (p : Nat) (h : p + size ≤ b.size) : Header :=
  have h : p + 16 ≤ b.size := h
  { bodyLength := get32 b p (by omega)
    callId := get32 b (p + 4) (by omega)
    type := get8 b (p + 8) (by omega)
    flags := get8 b (p + 9) (by omega)
    metaWords := get16 b (p + 10) (by omega)
    aux := get32 b (p + 12) (by omega) }

theorem size_encode (header : Header) : header.encode.size = size := by
  simp [encode, size]

/-- A header is decoded to what was encoded, wherever it lies. -/
theorem decode_encode_at (header : Header) {b : ByteArray} {p : Nat} (h : At b p header.encode) (bound) :
    decode b p bound = header := by
  unfold encode at h
  have aux := at_append_right h
  have h := at_append_left h
  have words := at_append_right h
  have h := at_append_left h
  have flags := at_append_right h
  have h := at_append_left h
  have type := at_append_right h
  have h := at_append_left h
  have call := at_append_right h
  have length := at_append_left h
  simp only [ByteArray.size_append, size_bytes32, size_bytes8, size_bytes16, Nat.reduceAdd]
    at aux words flags type call
  simp only [decode, get32_bytes32 length, get32_bytes32 call, get8_bytes8 type, get8_bytes8 flags,
    get16_bytes16 words, get32_bytes32 aux]

/-- Decoding is the inverse of encoding, for every header. -/
theorem decode_encode (header : Header) :
    decode header.encode 0 (by rw [size_encode, Nat.zero_add]; exact Nat.le_refl _) = header :=
  header.decode_encode_at (at_self _) _

end Legate.Wire.Header
