import Legate.Wire.Slot

/-!
# The fields of a table

`Slots` is the list of a table's fields, in the order of the schema; its values are tuples
`(v₀, v₁, …, ())`.

The canonical layout: every field has a fixed place in the table, whether it is present or not.
Scalars are always written, even if they have their default. The blocks that offsets lead to follow
the table in the order of the fields.
-/

namespace Legate.Wire

/-- The fields of a table, with the names that `legate.fbs` gives them. -/
inductive Slots : Type → Type 1 where
  /-- No more fields. -/
  | done : Slots Unit
  /-- One field, and those after it. -/
  | field (name : String) (slot : Slot α) (rest : Slots β) : Slots (α × β)

namespace Slots

/-- How many there are. -/
def count : Slots σ → Nat
  | done => 0
  | field _ _ rest => rest.count + 1

/-- Whether one needs the table at a multiple of 8. -/
def wide : Slots σ → Bool
  | done => false
  | field _ slot rest => slot.wide || rest.wide

/-- How many tables lie in each other in them. -/
def depth : Slots σ → Nat
  | done => 0
  | field _ slot rest => max slot.depth rest.depth

/-- Where the table's own bytes end, when these fields begin at `at_`. -/
def inlineEnd : Slots σ → (at_ : Nat) → Nat
  | done, at_ => at_
  | field _ slot rest, at_ => rest.inlineEnd (at_ + gap at_ slot.size + slot.size)

/-- Appends the fields to the table's bytes `out`, and what they lead to to `blocks`, which begins
`base` bytes after the table. -/
def write (a base : Nat) : Slots σ → σ → (out blocks : ByteArray) → ByteArray × ByteArray
  | done, _, out, blocks => (out, blocks)
  | field _ slot rest, (v, vs), out, blocks =>
    let out := padded out slot.size
    let inline := slot.inline v (base + blocks.size - out.size)
    rest.write a base vs (out ++ inline) (blocks ++ slot.block a v)

/-- The places of the fields, as the vtable holds them. -/
def vtable : Slots σ → σ → (at_ : Nat) → ByteArray
  | done, _, _ => .empty
  | field _ slot rest, (v, vs), at_ =>
    let at_ := at_ + gap at_ slot.size
    bytes16 (.ofNat (slot.place v at_)) ++ rest.vtable vs (at_ + slot.size)

/-- What reading them costs. -/
def cost : Slots σ → σ → Budget
  | done, _ => .none
  | field _ slot rest, (v, vs) => slot.cost v + rest.cost vs

/-- The members of a JSON object, each but the first after a comma. -/
def render : Slots σ → σ → (out : String) → String
  | done, _, out => out
  | field name slot rest, (v, vs), out =>
    rest.render vs <| match slot.render? v with
      | none => out
      | some value => (if out.isEmpty then out else out ++ ",") ++ quoted name ++ ":" ++ value

/-- The place that the vtable of `vsize` bytes at `q` tells for field `k`. -/
def placeAt (b : ByteArray) (q vsize k : Nat) : Nat :=
  if h : 4 + 2 * k + 2 ≤ vsize ∧ q + vsize ≤ b.size then
    (get16 b (q + (4 + 2 * k)) (by omega)).toNat
  else 0

/-- Reads the fields from number `k` on of the table at `p`. -/
def read (b : ByteArray) (p q vsize d : Nat) : Slots σ → (k : Nat) → Budget → Option (σ × Budget)
  | done, _, m => some ((), m)
  | field _ slot rest, k, m =>
    match slot.read b p (placeAt b q vsize k) d m with
    | none => none
    | some (v, m) =>
      match rest.read b p q vsize d (k + 1) m with
      | none => none
      | some (vs, m) => some ((v, vs), m)

theorem write_prefix (slots : Slots σ) (a base : Nat) : ∀ (v : σ) (out blocks : ByteArray),
    ∃ x y, slots.write a base v out blocks = (out ++ x, blocks ++ y) := by
  induction slots with
  | done => intro v out blocks; exact ⟨.empty, .empty, by simp [write]⟩
  | field name slot rest ih =>
    intro (v, vs) out blocks
    obtain ⟨x, y, h⟩ := ih vs (padded out slot.size ++
      slot.inline v (base + blocks.size - (padded out slot.size).size)) (blocks ++ slot.block a v)
    refine ⟨zeros (gap out.size slot.size) ++
      slot.inline v (base + blocks.size - (padded out slot.size).size) ++ x, slot.block a v ++ y, ?_⟩
    simp only [write, h]
    simp only [padded, ByteArray.append_assoc]

theorem size_write (slots : Slots σ) (a base : Nat) : ∀ (v : σ) (out blocks : ByteArray),
    (slots.write a base v out blocks).1.size = slots.inlineEnd out.size := by
  induction slots with
  | done => intro v out blocks; rfl
  | field name slot rest ih =>
    intro (v, vs) out blocks
    simp only [write, ih, inlineEnd, ByteArray.size_append, size_padded, Slot.size_inline]

theorem le_inlineEnd (slots : Slots σ) : ∀ at_, at_ ≤ slots.inlineEnd at_ := by
  induction slots with
  | done => intro at_; exact Nat.le_refl _
  | field name slot rest ih =>
    intro at_
    have := ih (at_ + gap at_ slot.size + slot.size)
    simp only [inlineEnd]
    omega

theorem size_vtable (slots : Slots σ) : ∀ (v : σ) at_, (slots.vtable v at_).size = 2 * slots.count := by
  induction slots with
  | done => intro v at_; rfl
  | field name slot rest ih =>
    intro (v, vs) at_
    simp only [vtable, ByteArray.size_append, size_bytes16, ih, count]
    omega

/-- What is written for the fields of a table is read back. -/
theorem read_write (slots : Slots σ) {b : ByteArray} {p q vsize d a base : Nat} (m : Budget)
    (small : b.size < 2 ^ 31) (positive : 0 < p) (ha : a = 4 ∨ a = 8) (aligned : p % a = 0)
    (base_aligned : base % a = 0) (vtable_inside : q + vsize ≤ b.size) :
    ∀ (v : σ) (out blocks : ByteArray) (k : Nat), (slots.wide = true → a = 8) → slots.depth ≤ d →
    0 < out.size → slots.inlineEnd out.size ≤ base → slots.inlineEnd out.size < 65536 →
    blocks.size % a = 0 → 4 + 2 * (k + slots.count) ≤ vsize →
    At b p (slots.write a base v out blocks).1 → At b (p + base) (slots.write a base v out blocks).2 →
    At b (q + (4 + 2 * k)) (slots.vtable v out.size) →
    slots.read b p q vsize d k (m + slots.cost v) = some (v, m) := by
  induction slots generalizing m with
  | done => intros; rfl
  | field name slot rest ih =>
    intro (v, vs) out blocks k wide depth out_positive end_base end_small blocks_aligned count inline block vtable
    simp only [Slots.wide, Bool.or_eq_true] at wide
    simp only [Slots.depth] at depth
    simp only [inlineEnd] at end_base end_small
    simp only [Slots.count] at count
    simp only [write] at inline block
    simp only [Slots.vtable] at vtable
    have after := rest.le_inlineEnd (out.size + gap out.size slot.size + slot.size)
    have size := slot.size_cases
    have out_size : (padded out slot.size).size = out.size + gap out.size slot.size := size_padded _ _
    have inline_size := slot.size_inline v (base + blocks.size - (padded out slot.size).size)
    have block_size := slot.size_block v ha
    -- the field's own pieces
    obtain ⟨x, y, pieces⟩ := rest.write_prefix a base vs (padded out slot.size ++
      slot.inline v (base + blocks.size - (padded out slot.size).size)) (blocks ++ slot.block a v)
    have own_inline := inline
    have own_block := block
    rw [pieces] at own_inline own_block
    have own_inline := at_append_right (at_append_left own_inline)
    have own_block := at_append_right (at_append_left own_block)
    have own_place := at_append_left vtable
    have place_bound : slot.place v (out.size + gap out.size slot.size) < 65536 := by
      unfold Slot.place; split <;> omega
    have place : placeAt b q vsize k = slot.place v (out.size + gap out.size slot.size) := by
      have fits : 4 + 2 * k + 2 ≤ vsize ∧ q + vsize ≤ b.size := ⟨by omega, vtable_inside⟩
      simp only [placeAt, fits, and_self, dite_true, get16_bytes16 own_place]
      exact UInt16.toNat_ofNat_of_lt' (by simp [UInt16.size]; omega)
    have first : slot.read b p (placeAt b q vsize k) d (m + rest.cost vs + slot.cost v)
        = some (v, m + rest.cost vs) := by
      rw [place]
      refine slot.read_write v (distance := base + blocks.size - (padded out slot.size).size) (a := a) _
        small positive ?_ ha (fun h => wide (.inl h)) aligned (Slot.gap_add size) ?_ ?_ (by omega) ?_ ?_
      · omega
      · rw [out_size]
        rcases ha with h | h <;> subst h <;> omega
      · rw [out_size]; omega
      · rw [← out_size]; exact own_inline
      · have : p + (out.size + gap out.size slot.size) + (base + blocks.size - (padded out slot.size).size)
            = p + base + blocks.size := by rw [out_size]; omega
        rw [this]; exact own_block
    have later := ih (m := m) vs _ _ (k + 1) (fun h => wide (.inr h)) (by omega)
      (by rw [ByteArray.size_append, inline_size, out_size]; omega)
      (by rw [ByteArray.size_append, inline_size, out_size]; exact end_base)
      (by rw [ByteArray.size_append, inline_size, out_size]; exact end_small)
      (by rw [ByteArray.size_append]; rcases ha with h | h <;> subst h <;> omega)
      (by omega) inline block
      (by
        rw [ByteArray.size_append, inline_size, out_size]
        have := at_append_right vtable
        rw [size_bytes16] at this
        have shift : q + (4 + 2 * (k + 1)) = q + (4 + 2 * k) + 2 := by omega
        rw [shift]; exact this)
    simp only [Slots.read, Slots.cost, Budget.add_swap, first, later]

end Slots

end Legate.Wire
