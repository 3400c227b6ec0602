import Legate.Wire.Slots

/-!
# Tables

A `Table α` is the list of its `Slots` and the way between a structure `α` and the tuple of their
values.

A table's bytes: the offset of its vtable and the fields, the vtable (unless it lies elsewhere, in a
vector whose elements share one), and what the fields lead to.
-/

namespace Legate.Wire

/-- The codec of a table. -/
structure Table (α : Type) where
  /-- The values of the fields, as a tuple. -/
  {σ : Type}
  /-- The fields. -/
  slots : Slots σ
  /-- From the structure. -/
  to : α → σ
  /-- To the structure. -/
  of : σ → α
  /-- Nothing is lost. -/
  of_to : ∀ v, of (to v) = v := by intro _; rfl
  /-- Places and sizes fit the vtable's numbers, and tables do not lie too deep in each other. -/
  small : slots.inlineEnd 4 < 65528 ∧ slots.count < 32000 ∧ slots.depth < maxDepth := by decide

namespace Table

/-- Bytes of the table alone. -/
def inlineSize (t : Table α) : Nat := t.slots.inlineEnd 4 + gap (t.slots.inlineEnd 4) 4

/-- Where what the fields lead to begins, after a vtable of so many bytes. -/
def base (t : Table α) (vtableSize : Nat) : Nat :=
  let n := t.inlineSize + vtableSize
  n + gap n (alignOf t.slots.wide)

/-- The vtable. -/
def vtable (t : Table α) (v : α) : ByteArray :=
  bytes16 (.ofNat (4 + 2 * t.slots.count)) ++ bytes16 (.ofNat t.inlineSize) ++ t.slots.vtable (t.to v) 4

/-- The table, and after it `vtable` and what the fields lead to. The vtable in use, that one or
another, lies `s` bytes before the table. -/
def writeWith (t : Table α) (s : UInt32) (vtable : ByteArray) (v : α) : ByteArray :=
  let a := alignOf t.slots.wide
  let written := t.slots.write a (t.base vtable.size) (t.to v) (bytes32 s) .empty
  padded (padded written.1 4 ++ vtable) a ++ written.2

/-- The table with its own vtable. -/
def write (t : Table α) (v : α) : ByteArray :=
  t.writeWith (.ofNat (4294967296 - t.inlineSize)) (t.vtable v) v

/-- What reading it costs. -/
def cost (t : Table α) (v : α) : Budget := ⟨1, 0⟩ + t.slots.cost (t.to v)

/-- As JSON. -/
def render (t : Table α) (v : α) : String := "{" ++ t.slots.render (t.to v) "" ++ "}"

/-- Where the vtable of the table at `p` lies, which begins with the signed number `s`. -/
def vtablePlace (p : Nat) (s : UInt32) : Option Nat :=
  if s.toNat < 2147483648 then (if s.toNat ≤ p then some (p - s.toNat) else none)
  else some (p + (4294967296 - s.toNat))

/-- Reads the table at `p` whose vtable is at `q`. -/
def readWith (t : Table α) (b : ByteArray) (p q d : Nat) (m : Budget) : Option (α × Budget) :=
  if h : q % 2 = 0 ∧ Holds b q 2 then
    let vsize := (get16 b q h.2.2).toNat
    if vsize % 2 = 0 ∧ Holds b q vsize then
      match m.spend ⟨1, 0⟩ with
      | none => none
      | some m => (t.slots.read b p q vsize d 0 m).map fun (v, m) => (t.of v, m)
    else none
  else none

/-- Reads the table at `p`. -/
def read (t : Table α) (b : ByteArray) (p : Nat) : (d : Nat) → Budget → Option (α × Budget)
  | 0, _ => none
  | d + 1, m =>
    match read32 b p with
    | none => none
    | some s =>
      match vtablePlace p s with
      | none => none
      | some q => t.readWith b p q d m

theorem size_vtable (t : Table α) (v : α) : (t.vtable v).size = 4 + 2 * t.slots.count := by
  simp only [vtable, ByteArray.size_append, size_bytes16, Slots.size_vtable]

theorem alignOf_cases (wide : Bool) : alignOf wide = 4 ∨ alignOf wide = 8 := by
  cases wide <;> simp [alignOf]

/-- What is written for a table is read back, wherever its vtable lies. -/
theorem read_writeWith (t : Table α) (v : α) {b : ByteArray} {p q d : Nat} {s : UInt32} {own : ByteArray}
    (m : Budget) (small : b.size < 2 ^ 31) (positive : 0 < p) (aligned : p % alignOf t.slots.wide = 0)
    (table : At b p (t.writeWith s own v)) (place : vtablePlace p s = some q) (q_positive : 0 < q)
    (q_aligned : q % 2 = 0) (vtable : At b q (t.vtable v)) (depth : t.slots.depth + 1 ≤ d) :
    t.read b p d (m + t.cost v) = some (v, m) := by
  obtain ⟨d, rfl⟩ : ∃ d', d = d' + 1 := ⟨d - 1, by omega⟩
  have fits := t.small
  have a_cases := alignOf_cases t.slots.wide
  have vsize := t.size_vtable v
  have vinside := vtable.1
  rw [vsize] at vinside
  -- pieces of the table
  unfold writeWith at table
  dsimp only at table
  have inline := at_append_left (at_append_left (at_append_left (at_append_left table)))
  have blocks := at_append_right table
  have inline_size := t.slots.size_write (alignOf t.slots.wide) (t.base own.size) (t.to v) (bytes32 s) .empty
  rw [size_bytes32] at inline_size
  have base_size : (padded (padded (t.slots.write (alignOf t.slots.wide) (t.base own.size) (t.to v)
      (bytes32 s) .empty).1 4 ++ own) (alignOf t.slots.wide)).size = t.base own.size := by
    rw [size_padded, ByteArray.size_append, size_padded, inline_size]
    rfl
  rw [base_size] at blocks
  obtain ⟨x, y, pieces⟩ := t.slots.write_prefix (alignOf t.slots.wide) (t.base own.size) (t.to v) (bytes32 s) .empty
  have soffset := inline
  rw [pieces] at soffset
  have soffset := at_append_left soffset
  have p_aligned : p % 4 = 0 := by
    revert aligned; unfold alignOf; split <;> omega
  -- pieces of the vtable
  have fields := at_append_right (x := bytes16 _ ++ bytes16 _) vtable
  have length := at_append_left (at_append_left vtable)
  simp only [ByteArray.size_append, size_bytes16] at fields
  have value : (UInt16.ofNat (4 + 2 * t.slots.count)).toNat = 4 + 2 * t.slots.count :=
    UInt16.toNat_ofNat_of_lt' (by simp only [UInt16.size]; omega)
  have holds2 : Holds b q 2 := holds_of_le (by omega) q_positive
  have holds : Holds b q (4 + 2 * t.slots.count) := holds_of_le vinside q_positive
  have even : (4 + 2 * t.slots.count) % 2 = 0 := by omega
  have fields_read := t.slots.read_write (q := q) (vsize := 4 + 2 * t.slots.count) (d := d)
    (base := t.base own.size) m small positive a_cases aligned
    (by unfold base gap; dsimp only; rcases a_cases with h | h <;> rw [h] <;> omega) vinside (t.to v)
    (bytes32 s) .empty 0 (by intro h; rw [h]; rfl) (by omega) (by simp)
    (by rw [size_bytes32]; unfold base inlineSize; dsimp only; omega)
    (by rw [size_bytes32]; omega) (by simp) (by omega) inline blocks fields
  simp only [read, read32_bytes32 soffset positive p_aligned, place, readWith, q_aligned, holds2, and_self,
    dite_true, get16_bytes16 length, value, even, holds, if_true, cost, Budget.add_swap m ⟨1, 0⟩,
    Budget.spend_add, fields_read, Option.map_some, t.of_to]

theorem inlineSize_bounds (t : Table α) : 4 ≤ t.inlineSize ∧ t.inlineSize < 65536 ∧ t.inlineSize % 4 = 0 := by
  have := t.slots.le_inlineEnd 4
  have := t.small
  unfold inlineSize gap
  omega

theorem vtablePlace_own (t : Table α) (p : Nat) :
    vtablePlace p (.ofNat (4294967296 - t.inlineSize)) = some (p + t.inlineSize) := by
  have bounds := t.inlineSize_bounds
  have value : (UInt32.ofNat (4294967296 - t.inlineSize)).toNat = 4294967296 - t.inlineSize :=
    UInt32.toNat_ofNat_of_lt' (by simp only [UInt32.size]; omega)
  have big : ¬ (4294967296 - t.inlineSize < 2147483648) := by omega
  simp only [vtablePlace, value, big, if_false, Option.some.injEq]
  omega

theorem vtablePlace_before (q s : Nat) (h : q + s < 2147483648) :
    vtablePlace (q + s) (.ofNat s) = some q := by
  have value : (UInt32.ofNat s).toNat = s :=
    UInt32.toNat_ofNat_of_lt' (by simp only [UInt32.size]; omega)
  have before : s < 2147483648 := by omega
  simp only [vtablePlace, value, before, if_true, Nat.le_add_left, Option.some.injEq]
  omega

theorem size_writeWith (t : Table α) (s : UInt32) (own : ByteArray) (v : α) :
    4 ≤ (t.writeWith s own v).size := by
  have size := t.slots.size_write (alignOf t.slots.wide) (t.base own.size) (t.to v) (bytes32 s) .empty
  have := t.slots.le_inlineEnd 4
  rw [size_bytes32] at size
  simp only [writeWith, ByteArray.size_append, size_padded, size]
  omega

/-- A table with its own vtable is read back. -/
theorem read_write (t : Table α) (v : α) {b : ByteArray} {p d : Nat} (m : Budget) (small : b.size < 2 ^ 31)
    (positive : 0 < p) (aligned : p % alignOf t.slots.wide = 0) (h : At b p (t.write v))
    (depth : t.slots.depth + 1 ≤ d) : t.read b p d (m + t.cost v) = some (v, m) := by
  have bounds := t.inlineSize_bounds
  have p_aligned : p % 4 = 0 := by
    revert aligned; unfold alignOf; split <;> omega
  have own := at_append_right (at_append_left (at_append_left h))
  have size := t.slots.size_write (alignOf t.slots.wide) (t.base (t.vtable v).size) (t.to v)
    (bytes32 (.ofNat (4294967296 - t.inlineSize))) .empty
  rw [size_bytes32] at size
  have inline_size : (padded (t.slots.write (alignOf t.slots.wide) (t.base (t.vtable v).size) (t.to v)
      (bytes32 (.ofNat (4294967296 - t.inlineSize))) .empty).1 4).size = t.inlineSize := by
    rw [size_padded, size]; rfl
  rw [inline_size] at own
  exact t.read_writeWith v m small positive aligned h (t.vtablePlace_own p) (by omega) (by omega) own depth

/-- A table as what an offset leads to. -/
def block (t : Table α) : Block α where
  wide := t.slots.wide
  depth := t.slots.depth + 1
  write := t.write
  cost := t.cost
  read := t.read
  render := t.render
  write_nonempty v := by
    have := t.size_writeWith (.ofNat (4294967296 - t.inlineSize)) (t.vtable v) v
    unfold write; omega
  read_write d m small positive aligned h depth := t.read_write _ m small positive aligned h depth

/-! ## The root of a meta -/

/-- A whole meta: the offset of the table, the table, zeros up to a multiple of 8. -/
def writeRoot (t : Table α) (v : α) : ByteArray := padded (bytes32 8 ++ bytes32 0 ++ t.write v) 8

/-- Reads a whole meta. -/
def readRoot (t : Table α) (b : ByteArray) : Option α :=
  match readOffset b 0 with
  | none => none
  | some p => (t.read b p maxDepth .ofMeta).map Prod.fst

/-- A meta is read back. -/
theorem readRoot_writeRoot (t : Table α) (v : α) (small : (t.writeRoot v).size < 2 ^ 31)
    (cost : (t.cost v).within .ofMeta) : t.readRoot (t.writeRoot v) = some v := by
  have nonempty := t.size_writeWith (.ofNat (4294967296 - t.inlineSize)) (t.vtable v) v
  have size : 12 ≤ (t.writeRoot v).size := by
    simp only [writeRoot, write, size_padded, ByteArray.size_append, size_bytes32]; omega
  have body := at_append_left (at_self (t.writeRoot v))
  have offset := at_append_left (at_append_left body)
  have table := at_append_right body
  simp only [ByteArray.size_append, size_bytes32, Nat.zero_add] at table
  have first : Holds (t.writeRoot v) 0 4 := ⟨by omega, by omega⟩
  have eight : Holds (t.writeRoot v) 8 1 := ⟨by omega, by omega⟩
  have root : readOffset (t.writeRoot v) 0 = some 8 := by
    have value : (8 : UInt32).toNat = 8 := rfl
    simp [readOffset, read32, first, get32_bytes32 offset, value, eight]
  obtain ⟨m, budget⟩ := Budget.exists_add_of_within cost
  have read := t.read_write v (d := maxDepth) m small (by omega)
    (by have := alignOf_cases t.slots.wide; rcases this with h | h <;> rw [h]) table
    (by have := t.small; omega)
  simp only [readRoot, root, budget, read, Option.map_some]

theorem size_writeRoot (t : Table α) (v : α) : 0 < (t.writeRoot v).size ∧ (t.writeRoot v).size % 8 = 0 := by
  have := @Slot.gap_add (bytes32 8 ++ bytes32 0 ++ t.write v).size 8 (by simp)
  constructor
  · simp only [writeRoot, size_padded, ByteArray.size_append, size_bytes32]; omega
  · rw [writeRoot, size_padded]; exact this

end Table

end Legate.Wire
