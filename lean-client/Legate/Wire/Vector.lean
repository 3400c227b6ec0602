import Legate.Wire.Codec

/-!
# Vectors of offsets

A vector of strings or of tables: its length, an offset for each element, and the elements in the
same order. What is common to the elements (`shared`, the vtable of tables) comes between.
-/

namespace Legate.Wire

/-- How the elements of a vector are coded. `shared` and `s`: what comes before the elements, and how
far before one it begins. -/
structure Element (α : Type) where
  /-- Whether they must lie at multiples of 8. -/
  wide : Bool
  /-- How many tables lie in each other in one. -/
  depth : Nat
  /-- What the elements share, as the first has it. -/
  shared : α → ByteArray
  /-- Bytes of one: a multiple of its alignment. -/
  write : (shared : ByteArray) → (s : Nat) → α → ByteArray
  /-- What reading one costs. -/
  cost : α → Budget
  /-- Reads the one at a place. -/
  read : ByteArray → Nat → Nat → Budget → Option (α × Budget)
  /-- As JSON. -/
  render : α → String
  /-- The next one lies aligned as well. -/
  size_write : ∀ shared s v, (write shared s v).size % alignOf wide = 0
  /-- None is empty. -/
  write_nonempty : ∀ shared s v, 0 < (write shared s v).size
  /-- What is written is read back. -/
  read_write : ∀ {b q s v shared} (d m), b.size < 2 ^ 31 → 0 < q → q % 4 = 0 →
    (q + s) % alignOf wide = 0 → At b q shared → At b (q + s) (write shared s v) →
    depth ≤ d → read b (q + s) d (m + cost v) = some (v, m)

namespace Element

/-- The offsets and the elements `v…`: the next offset lies at `at_`, the next element at
`base + elements.size`, what they share at `q`, all counted from the beginning of the vector. -/
def pieces (e : Element α) (shared : ByteArray) (q base : Nat) (offsets elements : ByteArray) (v : α) :
    ByteArray × ByteArray :=
  let p := base + elements.size
  (offsets ++ bytes32 (.ofNat (p - (4 + offsets.size))), elements ++ e.write shared (p - q) v)

/-- Where the elements begin. -/
def base (e : Element α) (count : Nat) (shared : ByteArray) : Nat :=
  let n := 4 + 4 * count + shared.size
  n + gap n (alignOf e.wide)

/-- What the elements of a vector share. -/
def sharedOf (e : Element α) (vs : Array α) : ByteArray :=
  match vs[0]? with
  | some v => e.shared v
  | none => .empty

/-- The bytes of a vector. -/
def writeAll (e : Element α) (vs : Array α) : ByteArray :=
  let shared := e.sharedOf vs
  let q := 4 + 4 * vs.size
  let base := e.base vs.size shared
  let written := vs.foldl (init := (ByteArray.empty, ByteArray.empty))
    fun s v => e.pieces shared q base s.1 s.2 v
  padded (bytes32 (.ofNat vs.size) ++ written.1 ++ shared) (alignOf e.wide) ++ written.2

/-- Reads `count` elements, whose offsets begin at `at_`. -/
def readFrom (e : Element α) (b : ByteArray) (d : Nat) :
    (count at_ : Nat) → Array α → Budget → Option (Array α × Budget)
  | 0, _, vs, m => some (vs, m)
  | count + 1, at_, vs, m =>
    if h : at_ + 4 ≤ b.size then
      match e.read b (at_ + (get32 b at_ h).toNat) d m with
      | none => none
      | some (v, m) => e.readFrom b d count (at_ + 4) (vs.push v) m
    else none

/-- Reads the vector at `p`. -/
def readAll (e : Element α) (b : ByteArray) (p d : Nat) (m : Budget) : Option (Array α × Budget) :=
  match read32 b p with
  | none => none
  | some n =>
    if Holds b p (4 + 4 * n.toNat) then
      match m.spend ⟨0, 16⟩ with
      | none => none
      | some m => e.readFrom b d n.toNat (p + 4) (.emptyWithCapacity n.toNat) m
    else none

/-- The cost of a list of elements. -/
def costs (e : Element α) : List α → Budget
  | [] => .none
  | v :: vs => e.cost v + e.costs vs

theorem costs_foldl (e : Element α) : ∀ (vs : List α) (m : Budget),
    vs.foldl (fun m v => m + e.cost v) m = m + e.costs vs := by
  intro vs
  induction vs with
  | nil => intro m; rfl
  | cons v vs ih =>
    intro m
    rw [List.foldl_cons, ih, costs, Budget.add_assoc]

theorem pieces_prefix (e : Element α) (shared : ByteArray) (q base : Nat) : ∀ (vs : List α) (o l : ByteArray),
    ∃ x y, vs.foldl (fun s v => e.pieces shared q base s.1 s.2 v) (o, l) = (o ++ x, l ++ y) := by
  intro vs
  induction vs with
  | nil => intro o l; exact ⟨.empty, .empty, by simp⟩
  | cons v vs ih =>
    intro o l
    obtain ⟨x, y, h⟩ := ih (e.pieces shared q base o l v).1 (e.pieces shared q base o l v).2
    refine ⟨bytes32 (.ofNat (base + l.size - (4 + o.size))) ++ x,
      e.write shared (base + l.size - q) v ++ y, ?_⟩
    rw [List.foldl_cons, h]
    simp only [pieces, ByteArray.append_assoc]

theorem size_pieces (e : Element α) (shared : ByteArray) (q base : Nat) : ∀ (vs : List α) (o l : ByteArray),
    (vs.foldl (fun s v => e.pieces shared q base s.1 s.2 v) (o, l)).1.size = o.size + 4 * vs.length := by
  intro vs
  induction vs with
  | nil => intro o l; rfl
  | cons v vs ih =>
    intro o l
    rw [List.foldl_cons, ih]
    simp only [pieces, ByteArray.size_append, size_bytes32, List.length_cons]
    omega

theorem readFrom_pieces (e : Element α) {b : ByteArray} {p q base d : Nat} {shared : ByteArray} (m : Budget)
    (small : b.size < 2 ^ 31) (positive : 0 < p) (depth : e.depth ≤ d) (aligned : p % alignOf e.wide = 0)
    (base_aligned : base % alignOf e.wide = 0) (q_aligned : q % 4 = 0) (q_base : q ≤ base)
    (at_shared : At b (p + q) shared) : ∀ (vs : List α) (o l : ByteArray) (acc : Array α),
    l.size % alignOf e.wide = 0 → 4 + o.size + 4 * vs.length ≤ base →
    At b (p + 4) (vs.foldl (fun s v => e.pieces shared q base s.1 s.2 v) (o, l)).1 →
    At b (p + base) (vs.foldl (fun s v => e.pieces shared q base s.1 s.2 v) (o, l)).2 →
    e.readFrom b d vs.length (p + 4 + o.size) acc (m + e.costs vs) = some (acc ++ vs.toArray, m) := by
  intro vs
  induction vs with
  | nil => intros; simp [readFrom, costs, Budget.add_none]
  | cons v vs ih =>
    intro o l acc l_aligned fits offsets elements
    rw [List.foldl_cons] at offsets elements
    obtain ⟨x, y, pieces⟩ := e.pieces_prefix shared q base vs (e.pieces shared q base o l v).1
      (e.pieces shared q base o l v).2
    have own_offset := offsets
    have own_element := elements
    rw [pieces] at own_offset own_element
    have own_offset := at_append_right (at_append_left own_offset)
    have own_element := at_append_right (at_append_left own_element)
    have inside := own_element.1
    have nonempty := e.write_nonempty shared (base + l.size - q) v
    have size := e.size_write shared (base + l.size - q) v
    rw [List.length_cons] at fits
    have bound : p + 4 + o.size + 4 ≤ b.size := own_offset.1
    have value : (UInt32.ofNat (base + l.size - (4 + o.size))).toNat = base + l.size - (4 + o.size) :=
      UInt32.toNat_ofNat_of_lt' (by simp only [UInt32.size]; omega)
    have where_ : p + 4 + o.size + (base + l.size - (4 + o.size)) = p + q + (base + l.size - q) := by omega
    have there : p + base + l.size = p + q + (base + l.size - q) := by omega
    rw [there] at own_element
    have p_aligned : p % 4 = 0 := by
      revert aligned; unfold alignOf; split <;> omega
    have element_aligned : (p + q + (base + l.size - q)) % alignOf e.wide = 0 := by
      rw [← there]
      revert aligned base_aligned l_aligned; unfold alignOf; split <;> omega
    have first := e.read_write (v := v) d (m + e.costs vs) small (by omega) (by omega)
      element_aligned at_shared own_element depth
    have rest := ih (o ++ bytes32 (.ofNat (base + l.size - (4 + o.size))))
      (l ++ e.write shared (base + l.size - q) v) (acc.push v)
      (by
        rw [ByteArray.size_append]
        revert l_aligned size; unfold alignOf; split <;> omega)
      (by simp only [ByteArray.size_append, size_bytes32]; omega) offsets elements
    simp only [ByteArray.size_append, size_bytes32, ← Nat.add_assoc] at rest
    simp only [List.length_cons, readFrom, bound, dite_true, get32_bytes32 own_offset, value, where_, costs,
      Budget.add_swap, first, rest]
    simp

theorem readAll_writeAll (e : Element α) {b : ByteArray} {p d : Nat} {vs : Array α} (m : Budget)
    (small : b.size < 2 ^ 31) (positive : 0 < p) (aligned : p % alignOf e.wide = 0)
    (h : At b p (e.writeAll vs)) (depth : e.depth ≤ d) :
    e.readAll b p d (m + (⟨0, 16⟩ + e.costs vs.toList)) = some (vs, m) := by
  simp only [writeAll, ← Array.foldl_toList] at h
  have head := at_append_left (at_append_left h)
  have at_elements := at_append_right h
  have at_length := at_append_left (at_append_left head)
  have at_offsets := at_append_right (at_append_left head)
  have at_shared := at_append_right head
  have offsets_size := e.size_pieces (e.sharedOf vs) (4 + 4 * vs.size) (e.base vs.size (e.sharedOf vs))
    vs.toList .empty .empty
  simp only [ByteArray.size_append, size_bytes32, size_padded, offsets_size, Array.length_toList,
    ByteArray.size_empty, Nat.zero_add] at at_elements at_shared at_offsets
  have inside := at_shared.1
  have value : (UInt32.ofNat vs.size).toNat = vs.size :=
    UInt32.toNat_ofNat_of_lt' (by simp only [UInt32.size]; omega)
  have holds : Holds b p (4 + 4 * vs.size) := ⟨by omega, by omega⟩
  have p_aligned : p % 4 = 0 := by
    revert aligned; unfold alignOf; split <;> omega
  have base_aligned : e.base vs.size (e.sharedOf vs) % alignOf e.wide = 0 := by
    unfold base gap alignOf; dsimp only; split <;> omega
  have base_ge : 4 + 4 * vs.size ≤ e.base vs.size (e.sharedOf vs) := by
    unfold base; dsimp only; omega
  simp only [readAll, read32_bytes32 at_length positive p_aligned, value, holds, if_true]
  have cost : m + ((⟨0, 16⟩ : Budget) + e.costs vs.toList) = m + e.costs vs.toList + ⟨0, 16⟩ := Budget.add_swap _ _ _
  rw [cost, Budget.spend_add]
  have read := e.readFrom_pieces (q := 4 + 4 * vs.size) (base := e.base vs.size (e.sharedOf vs)) m small
    positive depth aligned base_aligned (by omega) base_ge at_shared vs.toList .empty .empty #[]
    (by simp) (by simp; omega) at_offsets at_elements
  simpa using read

end Element

end Legate.Wire
