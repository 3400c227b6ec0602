import Legate.Wire.Table
import Legate.Wire.Vector

/-!
# What vectors hold

Tables, which share a vtable where they can, and strings.
-/

namespace Legate.Wire

namespace Table

/-- The bytes of a table in a vector: without a vtable where it has that of the first, `s` bytes before. -/
def writeElement (t : Table α) (shared : ByteArray) (s : Nat) (v : α) : ByteArray :=
  padded (if t.vtable v = shared then t.writeWith (.ofNat s) .empty v else t.write v) (alignOf t.slots.wide)

/-- A table in a vector is read back. -/
theorem read_element (t : Table α) {b shared : ByteArray} {q s : Nat} {v : α} (d : Nat) (m : Budget)
    (small : b.size < 2 ^ 31) (positive : 0 < q) (aligned : q % 4 = 0)
    (element_aligned : (q + s) % alignOf t.slots.wide = 0) (at_shared : At b q shared)
    (h : At b (q + s) (t.writeElement shared s v)) (depth : t.slots.depth + 1 ≤ d) :
    t.read b (q + s) d (m + t.cost v) = some (v, m) := by
  unfold writeElement padded at h
  have h := at_append_left h
  by_cases equal : t.vtable v = shared
  · rw [if_pos equal] at h
    rw [← equal] at at_shared
    have inside := h.1
    have even : q % 2 = 0 := by omega
    have size := t.size_writeWith (.ofNat s) .empty v
    have place := vtablePlace_before q s (by omega)
    exact t.read_writeWith v m small (by omega) element_aligned h place positive even at_shared depth
  · rw [if_neg equal] at h
    exact t.read_write v m small (by omega) element_aligned h depth

theorem size_writeElement (t : Table α) (shared : ByteArray) (s : Nat) (v : α) :
    0 < (t.writeElement shared s v).size := by
  have first := t.size_writeWith (.ofNat s) .empty v
  have second := t.size_writeWith (.ofNat (4294967296 - t.inlineSize)) (t.vtable v) v
  rw [writeElement, size_padded]
  unfold write
  split <;> omega

/-- A table in a vector. Its vtable is that of the first element if the two are equal. -/
def element (t : Table α) : Element α where
  wide := t.slots.wide
  depth := t.slots.depth + 1
  shared := t.vtable
  write := t.writeElement
  cost := t.cost
  read := t.read
  render := t.render
  size_write shared s v := by
    rw [writeElement, size_padded]
    exact Slot.gap_add (by have := alignOf_cases t.slots.wide; omega)
  write_nonempty := t.size_writeElement
  read_write d m small positive aligned element_aligned at_shared h depth :=
    t.read_element d m small positive aligned element_aligned at_shared h depth

end Table

/-- A string in a vector. -/
def Element.text : Element Text where
  wide := false
  depth := 0
  shared _ := .empty
  write _ _ v := padded (Block.text.write v) 4
  cost := Block.text.cost
  read := Block.text.read
  render := Block.text.render
  size_write _ _ v := by
    rw [size_padded]
    exact Slot.gap_add (by simp)
  write_nonempty _ _ v := by
    have := Block.text.write_nonempty v
    rw [size_padded]; omega
  read_write d m small positive _ aligned _ h depth :=
    Block.text.read_write d m small (by omega) aligned (at_append_left h) depth

/-- A vector of offsets as what an offset leads to. -/
def Element.block (e : Element α) : Block (Array α) where
  wide := e.wide
  depth := e.depth
  write := e.writeAll
  cost vs := vs.foldl (fun m v => m + e.cost v) ⟨0, 16⟩
  read := e.readAll
  render vs := "[" ++ ",".intercalate (vs.map e.render).toList ++ "]"
  write_nonempty vs := by
    simp only [writeAll, ByteArray.size_append, size_padded, size_bytes32]; omega
  read_write := by
    intro b p vs d m small positive aligned h depth
    rw [← Array.foldl_toList, e.costs_foldl]
    exact e.readAll_writeAll m small positive aligned h depth

end Legate.Wire
