import Legate.Wire.Codec

/-!
# One field of a table

A `Slot`: a number with its default, or an offset to a block that may be absent or may not.
-/

namespace Legate.Wire

/-- A codec of a number within a table. -/
structure Scalar (α : Type) where
  /-- Its bytes, and its alignment: 1, 2, 4 or 8. -/
  size : Nat
  /-- Its bytes. -/
  put : α → ByteArray
  /-- The number at a place. -/
  get : (b : ByteArray) → (p : Nat) → p + size ≤ b.size → α
  /-- As JSON. -/
  render : α → String
  /-- No other sizes. -/
  size_cases : size = 1 ∨ size = 2 ∨ size = 4 ∨ size = 8
  /-- As many bytes as it says. -/
  size_put : ∀ v, (put v).size = size
  /-- What is put can be got. -/
  get_put : ∀ {b p v} (bound), At b p (put v) → get b p bound = v

/-- A number of 8 bits. -/
def Scalar.u8 : Scalar UInt8 where
  size := 1
  put := bytes8
  get := get8
  render := toString
  size_cases := by simp
  size_put := size_bytes8
  get_put bound h := get8_bytes8 h bound

/-- A truth value; any byte but 0 is true. -/
def Scalar.bool : Scalar Bool where
  size := 1
  put v := bytes8 (if v then 1 else 0)
  get b p h := get8 b p h != 0
  render := toString
  size_cases := by simp
  size_put _ := size_bytes8 _
  get_put := by
    intro b p v bound h
    rw [get8_bytes8 h bound]
    cases v <;> rfl

/-- A number of 16 bits. -/
def Scalar.u16 : Scalar UInt16 where
  size := 2
  put := bytes16
  get := get16
  render := toString
  size_cases := by simp
  size_put := size_bytes16
  get_put bound h := get16_bytes16 h bound

/-- A number of 32 bits. -/
def Scalar.u32 : Scalar UInt32 where
  size := 4
  put := bytes32
  get := get32
  render := toString
  size_cases := by simp
  size_put := size_bytes32
  get_put bound h := get32_bytes32 h bound

/-- A number of 64 bits. -/
def Scalar.u64 : Scalar UInt64 where
  size := 8
  put := bytes64
  get := get64
  render := toString
  size_cases := by simp
  size_put := size_bytes64
  get_put bound h := get64_bytes64 h bound

/-- One field of a table. -/
inductive Slot : Type → Type 1 where
  /-- A number, with the value it has when it is absent. -/
  | scalar (codec : Scalar α) (default : α) : Slot α
  /-- A block that may be absent. -/
  | optional (block : Block α) : Slot (Option α)
  /-- A block that must be there. -/
  | required (block : Block α) : Slot α

namespace Slot

/-- Bytes within the table, and their alignment. -/
def size : Slot α → Nat
  | scalar codec _ => codec.size
  | optional _ | required _ => 4

/-- Whether the table must lie at a multiple of 8. -/
def wide : Slot α → Bool
  | scalar codec _ => codec.size == 8
  | optional block | required block => block.wide

/-- How many tables lie in each other in it. -/
def depth : Slot α → Nat
  | scalar _ _ => 0
  | optional block | required block => block.depth

/-- Whether the table's vtable tells a place for it. -/
def present : Slot α → α → Bool
  | optional _, none => false
  | _, _ => true

/-- What lies in the table, when its block comes `distance` bytes later. -/
def inline : Slot α → α → (distance : Nat) → ByteArray
  | scalar codec _, v, _ => codec.put v
  | optional _, none, _ => bytes32 0
  | optional _, some _, distance | required _, _, distance => bytes32 (.ofNat distance)

/-- The block, up to a multiple of `a` bytes. -/
def block : Slot α → (a : Nat) → α → ByteArray
  | scalar _ _, _, _ | optional _, _, none => .empty
  | optional block, a, some v | required block, a, v => padded (block.write v) a

/-- What reading it costs. -/
def cost : Slot α → α → Budget
  | scalar _ _, _ | optional _, none => .none
  | optional block, some v | required block, v => block.cost v

/-- As JSON, unless it is absent. -/
def render? : Slot α → α → Option String
  | scalar codec _, v => codec.render v
  | optional block, v => v.map block.render
  | required block, v => block.render v

/-- Reads the field that lies at `p + place`; a `place` of 0 says that it is absent. -/
def read (b : ByteArray) (p place d : Nat) (m : Budget) : Slot α → Option (α × Budget)
  | scalar codec default =>
    if place = 0 then some (default, m)
    else if h : (p + place) % codec.size = 0 ∧ Holds b (p + place) codec.size then
      some (codec.get b (p + place) h.2.2, m)
    else none
  | optional block =>
    if place = 0 then some (none, m)
    else match readOffset b (p + place) with
      | none => none
      | some target => (block.read b target d m).map fun (v, m) => (some v, m)
  | required block =>
    if place = 0 then none
    else match readOffset b (p + place) with
      | none => none
      | some target => block.read b target d m

theorem size_cases (slot : Slot α) : slot.size = 1 ∨ slot.size = 2 ∨ slot.size = 4 ∨ slot.size = 8 := by
  cases slot with
  | scalar codec _ => exact codec.size_cases
  | _ => simp [size]

theorem size_inline (slot : Slot α) (v : α) (distance : Nat) : (slot.inline v distance).size = slot.size := by
  cases slot with
  | scalar codec _ => exact codec.size_put v
  | optional _ => cases v <;> rfl
  | required _ => rfl

theorem gap_add {n a : Nat} (h : a = 1 ∨ a = 2 ∨ a = 4 ∨ a = 8) : (n + gap n a) % a = 0 := by
  unfold gap
  rcases h with h | h | h | h <;> subst h <;> omega

theorem size_block (slot : Slot α) (v : α) {a : Nat} (h : a = 4 ∨ a = 8) :
    (slot.block a v).size % a = 0 := by
  have all : ∀ x : ByteArray, (padded x a).size % a = 0 := by
    intro x
    rw [size_padded]
    exact gap_add (by omega)
  cases slot with
  | scalar _ _ => simp [block]
  | optional _ => cases v <;> simp only [block, all]; simp
  | required _ => exact all _

/-- The place of a field in its table, as the vtable tells it. -/
def place (slot : Slot α) (v : α) (at_ : Nat) : Nat := if slot.present v then at_ else 0

/-- What is written for a field is read back. -/
theorem read_write (slot : Slot α) (v : α) {b : ByteArray} {p at_ distance a d : Nat} (m : Budget)
    (small : b.size < 2 ^ 31) (positive : 0 < p) (at_positive : 0 < at_)
    (ha : a = 4 ∨ a = 8) (wide : slot.wide = true → a = 8) (aligned : p % a = 0)
    (at_aligned : at_ % slot.size = 0) (block_aligned : (at_ + distance) % a = 0)
    (distance_positive : 0 < distance) (depth : slot.depth ≤ d)
    (inline : At b (p + at_) (slot.inline v distance))
    (block : At b (p + at_ + distance) (slot.block a v)) :
    slot.read b p (slot.place v at_) d (m + slot.cost v) = some (v, m) := by
  have jump : ∀ {β : Type} (target : Block β) (w : β), target.wide = slot.wide → target.depth = slot.depth →
      slot.size = 4 → At b (p + at_) (bytes32 (.ofNat distance)) →
      At b (p + at_ + distance) (padded (target.write w) a) →
      readOffset b (p + at_) = some (p + at_ + distance) ∧
        target.read b (p + at_ + distance) d (m + target.cost w) = some (w, m) := by
    intro β target w same_wide same_depth size offset content
    have content := at_append_left content
    have inside := content.1
    have nonempty := target.write_nonempty w
    rw [size] at at_aligned
    have aligned_four : (p + at_) % 4 = 0 := by rcases ha with h | h <;> subst h <;> omega
    have aligned_all : (p + at_ + distance) % a = 0 := by rcases ha with h | h <;> subst h <;> omega
    constructor
    · exact readOffset_bytes32 offset (by omega) aligned_four distance_positive (by omega) small
    · refine target.read_write d m small (by omega) ?_ content (by omega)
      rw [same_wide]
      unfold alignOf
      split
      · have := wide ‹_›; subst this; exact aligned_all
      · rcases ha with h | h <;> subst h <;> omega
  cases slot with
  | scalar codec default =>
    have bound := inline.1
    have size : (codec.put v).size = codec.size := codec.size_put v
    simp only [Slot.inline] at bound inline
    rw [size] at bound
    have field_aligned : (p + at_) % codec.size = 0 := by
      simp only [Slot.size, Slot.wide, beq_iff_eq] at at_aligned wide
      rcases codec.size_cases with h | h | h | h <;> rw [h] at at_aligned ⊢ <;>
        rcases ha with h' | h' <;> subst h' <;> first | omega | (have := wide h; omega)
    have holds : Holds b (p + at_) codec.size := holds_of_le bound (by omega)
    have nonzero : at_ ≠ 0 := by omega
    simp [read, place, present, nonzero, field_aligned, holds, cost, Budget.add_none,
      codec.get_put bound inline]
  | optional target =>
    cases v with
    | none => simp [read, place, present, cost, Budget.add_none]
    | some w =>
      have ⟨offset, content⟩ := jump target w rfl rfl rfl inline block
      have nonzero : at_ ≠ 0 := by omega
      simp [read, place, present, nonzero, offset, cost, content]
  | required target =>
    have ⟨offset, content⟩ := jump target v rfl rfl rfl inline block
    have nonzero : at_ ≠ 0 := by omega
    simp [read, place, present, nonzero, offset, cost, content]

end Slot

end Legate.Wire
