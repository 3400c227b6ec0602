/-!
# Little-endian bytes

Numbers in and out of byte arrays, padding, and `At`, "these bytes lie there", in which every law of
the codec is stated.
-/

namespace Legate.Wire

/-- `x` lies in `b` at `p`. -/
def At (b : ByteArray) (p : Nat) (x : ByteArray) : Prop :=
  p + x.size ≤ b.size ∧ b.extract p (p + x.size) = x

theorem at_self (b : ByteArray) : At b 0 b := by
  simp [At, ByteArray.extract_zero_size]

theorem extract_beyond (x : ByteArray) (n : Nat) : x.extract x.size n = .empty := by
  rw [ByteArray.extract_eq_empty_iff]; omega

theorem at_append_left {b : ByteArray} {p : Nat} {x y : ByteArray} (h : At b p (x ++ y)) : At b p x := by
  obtain ⟨bound, equal⟩ := h
  rw [ByteArray.size_append] at bound equal
  refine ⟨by omega, ?_⟩
  have := congrArg (fun (a : ByteArray) => a.extract 0 x.size) equal
  simp only [ByteArray.extract_extract, ByteArray.extract_append] at this
  simpa [Nat.min_eq_left, show p + x.size ≤ p + (x.size + y.size) by omega] using this

theorem at_append_right {b : ByteArray} {p : Nat} {x y : ByteArray} (h : At b p (x ++ y)) :
    At b (p + x.size) y := by
  obtain ⟨bound, equal⟩ := h
  rw [ByteArray.size_append] at bound equal
  refine ⟨by omega, ?_⟩
  have := congrArg (fun (a : ByteArray) => a.extract x.size (x.size + y.size)) equal
  simp only [ByteArray.extract_extract, ByteArray.extract_append] at this
  simpa [Nat.add_assoc, extract_beyond] using this

theorem at_middle (pre x post : ByteArray) : At (pre ++ x ++ post) pre.size x := by
  refine ⟨by simp only [ByteArray.size_append]; omega, ?_⟩
  simp [ByteArray.extract_append, extract_beyond]

theorem getElem_of_at {b : ByteArray} {p : Nat} {x : ByteArray} (h : At b p x) (i : Nat)
    (hi : i < x.size) : b[p + i]'(by have := h.1; omega) = x[i] := by
  have equal := h.2
  have : x[i] = (b.extract p (p + x.size))[i]'(by rw [equal]; exact hi) := by
    congr 1; exact equal.symm
  rw [this, ByteArray.getElem_extract]

/-! ## Numbers -/

/-- The byte of an 8-bit number. -/
def bytes8 (v : UInt8) : ByteArray := ⟨#[v]⟩
/-- The bytes of a 16-bit number. -/
def bytes16 (v : UInt16) : ByteArray := ⟨#[v.toUInt8, (v >>> 8).toUInt8]⟩
/-- The bytes of a 32-bit number. -/
def bytes32 (v : UInt32) : ByteArray :=
  ⟨#[v.toUInt8, (v >>> 8).toUInt8, (v >>> 16).toUInt8, (v >>> 24).toUInt8]⟩
/-- The bytes of a 64-bit number. -/
def bytes64 (v : UInt64) : ByteArray :=
  ⟨#[v.toUInt8, (v >>> 8).toUInt8, (v >>> 16).toUInt8, (v >>> 24).toUInt8,
     (v >>> 32).toUInt8, (v >>> 40).toUInt8, (v >>> 48).toUInt8, (v >>> 56).toUInt8]⟩

/-- The 8-bit number at `p`. -/
def get8 (b : ByteArray) (p : Nat) (h : p + 1 ≤ b.size) : UInt8 := b[p]
/-- The 16-bit number at `p`. -/
def get16 (b : ByteArray) (p : Nat) (h : p + 2 ≤ b.size) : UInt16 :=
  b[p].toUInt16 + b[p + 1].toUInt16 <<< 8
/-- The 32-bit number at `p`. -/
def get32 (b : ByteArray) (p : Nat) (h : p + 4 ≤ b.size) : UInt32 :=
  b[p].toUInt32 + b[p + 1].toUInt32 <<< 8 + b[p + 2].toUInt32 <<< 16 + b[p + 3].toUInt32 <<< 24
/-- The 64-bit number at `p`. -/
def get64 (b : ByteArray) (p : Nat) (h : p + 8 ≤ b.size) : UInt64 :=
  (get32 b p (by omega)).toUInt64 + (get32 b (p + 4) (by omega)).toUInt64 <<< 32

@[simp] theorem size_bytes8 (v : UInt8) : (bytes8 v).size = 1 := rfl
@[simp] theorem size_bytes16 (v : UInt16) : (bytes16 v).size = 2 := rfl
@[simp] theorem size_bytes32 (v : UInt32) : (bytes32 v).size = 4 := rfl
@[simp] theorem size_bytes64 (v : UInt64) : (bytes64 v).size = 8 := rfl

theorem get8_bytes8 {b : ByteArray} {p : Nat} {v : UInt8} (h : At b p (bytes8 v)) (bound) :
    get8 b p bound = v := getElem_of_at h 0 (by simp)

theorem get16_bytes16 {b : ByteArray} {p : Nat} {v : UInt16} (h : At b p (bytes16 v)) (bound) :
    get16 b p bound = v := by
  have h0 : b[p] = v.toUInt8 := getElem_of_at h 0 (by simp)
  have h1 : b[p + 1] = (v >>> 8).toUInt8 := getElem_of_at h 1 (by simp)
  simp only [get16, h0, h1]
  apply UInt16.toNat_inj.mp
  have := v.toNat_lt
  simp [Nat.shiftLeft_eq, Nat.shiftRight_eq_div_pow]
  omega

theorem get32_bytes32 {b : ByteArray} {p : Nat} {v : UInt32} (h : At b p (bytes32 v)) (bound) :
    get32 b p bound = v := by
  have h0 : b[p] = v.toUInt8 := getElem_of_at h 0 (by simp)
  have h1 : b[p + 1] = (v >>> 8).toUInt8 := getElem_of_at h 1 (by simp)
  have h2 : b[p + 2] = (v >>> 16).toUInt8 := getElem_of_at h 2 (by simp)
  have h3 : b[p + 3] = (v >>> 24).toUInt8 := getElem_of_at h 3 (by simp)
  simp only [get32, h0, h1, h2, h3]
  apply UInt32.toNat_inj.mp
  have := v.toNat_lt
  simp [Nat.shiftLeft_eq, Nat.shiftRight_eq_div_pow]
  omega

theorem get64_bytes64 {b : ByteArray} {p : Nat} {v : UInt64} (h : At b p (bytes64 v)) (bound) :
    get64 b p bound = v := by
  have halves : bytes64 v = bytes32 v.toUInt32 ++ bytes32 (v >>> 32).toUInt32 := by
    apply ByteArray.ext
    have := v.toNat_lt
    simp [bytes64, bytes32, ← UInt8.toNat_inj, Nat.shiftRight_eq_div_pow]
    omega
  rw [halves] at h
  have low := at_append_left h
  have high := at_append_right h
  simp only [get64, get32_bytes32 low, get32_bytes32 (p := p + 4) high]
  apply UInt64.toNat_inj.mp
  have := v.toNat_lt
  simp [Nat.shiftLeft_eq, Nat.shiftRight_eq_div_pow]
  omega

/-! ## Padding -/

/-- How many bytes are missing from `n` to a multiple of `a`. -/
def gap (n a : Nat) : Nat := (a - n % a) % a

/-- `n` zero bytes. -/
def zeros (n : Nat) : ByteArray := ⟨Array.replicate n 0⟩

/-- `b`, with zero bytes after it up to a multiple of `a`. -/
def padded (b : ByteArray) (a : Nat) : ByteArray := b ++ zeros (gap b.size a)

@[simp] theorem size_zeros (n : Nat) : (zeros n).size = n := by simp [zeros, ByteArray.size]

@[simp] theorem size_padded (b : ByteArray) (a : Nat) : (padded b a).size = b.size + gap b.size a := by
  simp [padded]

end Legate.Wire
