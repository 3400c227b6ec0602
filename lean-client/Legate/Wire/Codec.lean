import Legate.Wire.Bytes
import Legate.Wire.Text

/-!
# Reading and writing what FlatBuffers refers to

A `Block` is a codec of what an offset leads to: a string, a vector, a table. It carries its own law:
what `write` gives, wherever it lies in a larger buffer, `read` takes back. So a codec that is put
together from blocks is right by construction.

Readers are total and check all that FlatBuffers' C++ verifier checks: bounds, alignment relative to
the start of the meta, closing zeros, the depth and the number of tables. They copy, the verifier does
not; since many offsets may lead to one string, the bytes copied are bounded as well.
-/

namespace Legate.Wire

/-- What one meta may still make a reader do. -/
structure Budget where
  /-- Tables to visit. -/
  tables : Nat
  /-- Bytes to copy, and 16 for each string and vector. -/
  bytes : Nat

namespace Budget

/-- Nothing. -/
def none : Budget := ⟨0, 0⟩

instance : Add Budget := ⟨fun a b => ⟨a.tables + b.tables, a.bytes + b.bytes⟩⟩

/-- What is left of `m` after `cost`; `none` when that is too much. -/
def spend (m cost : Budget) : Option Budget :=
  if cost.tables ≤ m.tables ∧ cost.bytes ≤ m.bytes then
    some ⟨m.tables - cost.tables, m.bytes - cost.bytes⟩
  else .none

theorem add_def (a b : Budget) : a + b = ⟨a.tables + b.tables, a.bytes + b.bytes⟩ := rfl

theorem spend_add (m cost : Budget) : (m + cost).spend cost = some m := by
  simp [spend, add_def]

theorem add_none (m : Budget) : m + Budget.none = m := rfl

theorem add_assoc (m x y : Budget) : m + x + y = m + (x + y) := by
  simp only [add_def, Budget.mk.injEq]; omega

theorem add_swap (m x y : Budget) : m + (x + y) = m + y + x := by
  simp only [add_def, Budget.mk.injEq]; omega

/-- Whether the budget `m` covers a cost. -/
def within (cost m : Budget) : Prop := cost.tables ≤ m.tables ∧ cost.bytes ≤ m.bytes

instance (cost m : Budget) : Decidable (cost.within m) := inferInstanceAs (Decidable (_ ∧ _))

theorem exists_add_of_within {cost m : Budget} (h : cost.within m) : ∃ rest, m = rest + cost := by
  obtain ⟨tables, bytes⟩ := h
  refine ⟨⟨m.tables - cost.tables, m.bytes - cost.bytes⟩, ?_⟩
  simp only [add_def, Nat.sub_add_cancel tables, Nat.sub_add_cancel bytes]

/-- What the meta of one frame may cost. The largest meta is 512 KiB. -/
def ofMeta : Budget := ⟨4096, 8388608⟩

end Budget

/-- How deep tables may lie in each other. -/
def maxDepth : Nat := 16

/-- The alignment of a block: 8 where it holds 64-bit numbers, else 4. -/
def alignOf (wide : Bool) : Nat := if wide then 8 else 4

/-- Whether `n` bytes at `p` are inside `b`, by the rule of FlatBuffers' verifier. -/
def Holds (b : ByteArray) (p n : Nat) : Prop := n < b.size ∧ p + n ≤ b.size

instance (b : ByteArray) (p n : Nat) : Decidable (Holds b p n) :=
  inferInstanceAs (Decidable (_ ∧ _))

theorem holds_of_le {b : ByteArray} {p n : Nat} (h : p + n ≤ b.size) (hp : 0 < p) : Holds b p n :=
  ⟨by omega, h⟩

/-- The aligned 32-bit number at `p`. -/
def read32 (b : ByteArray) (p : Nat) : Option UInt32 :=
  if h : p % 4 = 0 ∧ Holds b p 4 then some (get32 b p h.2.2) else none

theorem read32_bytes32 {b : ByteArray} {p : Nat} {v : UInt32} (h : At b p (bytes32 v)) (hp : 0 < p)
    (aligned : p % 4 = 0) : read32 b p = some v := by
  have bound : Holds b p 4 := holds_of_le h.1 hp
  simp [read32, aligned, bound, get32_bytes32 h]

/-- Where the offset at `p` leads. -/
def readOffset (b : ByteArray) (p : Nat) : Option Nat :=
  match read32 b p with
  | none => none
  | some o => if o.toNat ≠ 0 ∧ o.toNat < 2 ^ 31 ∧ Holds b (p + o.toNat) 1 then some (p + o.toNat) else none

theorem readOffset_bytes32 {b : ByteArray} {p o : Nat} (h : At b p (bytes32 (.ofNat o))) (hp : 0 < p)
    (aligned : p % 4 = 0) (positive : 0 < o) (inside : p + o < b.size) (small : b.size < 2 ^ 31) :
    readOffset b p = some (p + o) := by
  have value : (UInt32.ofNat o).toNat = o := UInt32.toNat_ofNat_of_lt' (by simp [UInt32.size]; omega)
  have bound : Holds b (p + o) 1 := ⟨by omega, by omega⟩
  simp [readOffset, read32_bytes32 h hp aligned, value, bound]
  omega

/-- How many bytes the byte vector at `p` has. -/
def readLength (b : ByteArray) (p : Nat) : Option Nat :=
  match read32 b p with
  | none => none
  | some n => if Holds b p (4 + n.toNat) then some n.toNat else none

theorem readLength_bytes32 {b : ByteArray} {p n : Nat} (h : At b p (bytes32 (.ofNat n))) (hp : 0 < p)
    (aligned : p % 4 = 0) (inside : p + 4 + n ≤ b.size) (small : b.size < 2 ^ 31) :
    readLength b p = some n := by
  have value : (UInt32.ofNat n).toNat = n := UInt32.toNat_ofNat_of_lt' (by simp [UInt32.size]; omega)
  have bound : Holds b p (4 + n) := ⟨by omega, by omega⟩
  simp [readLength, read32_bytes32 h hp aligned, value, bound]

/-- A codec of something an offset leads to. -/
structure Block (α : Type) where
  /-- Whether it must lie at a multiple of 8 rather than of 4. -/
  wide : Bool
  /-- How many tables lie in each other in it. -/
  depth : Nat
  /-- Its bytes. -/
  write : α → ByteArray
  /-- What reading it costs. -/
  cost : α → Budget
  /-- Reads what lies at a place, with tables to a depth. -/
  read : ByteArray → Nat → Nat → Budget → Option (α × Budget)
  /-- As JSON. -/
  render : α → String
  /-- No block is empty. -/
  write_nonempty : ∀ v, 0 < (write v).size
  /-- What is written is read back. -/
  read_write : ∀ {b p v} (d m), b.size < 2 ^ 31 → 0 < p → p % alignOf wide = 0 → At b p (write v) →
    depth ≤ d → read b p d (m + cost v) = some (v, m)

/-! ## Byte vectors and strings -/

/-- Two hexadecimal digits for each byte. -/
def hex (bytes : ByteArray) : String :=
  bytes.foldl (init := "") fun text byte =>
    (text.push (Nat.digitChar (byte.toNat / 16))).push (Nat.digitChar (byte.toNat % 16))

/-- A JSON string. -/
def quoted (text : String) : String :=
  (text.foldl (init := "\"") fun out c =>
    if c == '"' || c == '\\' then (out.push '\\').push c
    else if c.val < 0x20 then out ++ "\\u00" ++ hex ⟨#[c.val.toUInt8]⟩
    else out.push c).push '"'

/-- A byte vector. -/
def Block.bytes : Block ByteArray where
  wide := false
  depth := 0
  write v := bytes32 (.ofNat v.size) ++ v
  cost v := ⟨0, v.size + 16⟩
  read b p _ m :=
    match readLength b p with
    | none => none
    | some n =>
      match m.spend ⟨0, n + 16⟩ with
      | none => none
      | some m => some (b.extract (p + 4) (p + 4 + n), m)
  render v := "\"" ++ hex v ++ "\""
  write_nonempty v := by simp only [ByteArray.size_append, size_bytes32]; omega
  read_write := by
    intro b p v d m small positive aligned h _
    have head := at_append_left h
    have tail := at_append_right h
    rw [size_bytes32] at tail
    simp only [readLength_bytes32 head positive aligned tail.1 small, Budget.spend_add, tail.2]

/-- A string: a byte vector, and a zero that its length does not count. -/
def Block.text : Block Text where
  wide := false
  depth := 0
  write v := bytes32 (.ofNat v.bytes.size) ++ v.bytes ++ bytes8 0
  cost v := ⟨0, v.bytes.size + 16⟩
  read b p _ m :=
    match readLength b p with
    | none => none
    | some n =>
      if h : Holds b (p + 4 + n) 1 then
        if get8 b (p + 4 + n) h.2 = 0 then
          match m.spend ⟨0, n + 16⟩ with
          | none => none
          | some m => some (⟨b.extract (p + 4) (p + 4 + n)⟩, m)
        else none
      else none
  render v := quoted v.toString
  write_nonempty v := by simp only [ByteArray.size_append, size_bytes32]; omega
  read_write := by
    intro b p v d m small positive aligned h _
    have head := at_append_left (at_append_left h)
    have middle := at_append_right (at_append_left h)
    have zero := at_append_right h
    rw [ByteArray.size_append, size_bytes32, ← Nat.add_assoc] at zero
    rw [size_bytes32] at middle
    have holds : Holds b (p + 4 + v.bytes.size) 1 := holds_of_le zero.1 (by omega)
    simp [readLength_bytes32 head positive aligned middle.1 small, Budget.spend_add, middle.2, holds,
      get8_bytes8 zero]

end Legate.Wire
