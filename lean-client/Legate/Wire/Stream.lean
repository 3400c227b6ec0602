import Legate.Wire.Decoder

/-!
# A stream may be cut anywhere

What a decoder makes of a stream depends on its bytes alone, not on the pieces in which they come
(`feed_append`); and a stream of encoded frames gives just these frames (`feed_encoded`).
-/

namespace Legate.Wire

/-- All of `b` from `p` on is the beginning of `c` from `q` on. -/
def Begins (b : ByteArray) (p : Nat) (c : ByteArray) (q : Nat) : Prop :=
  ∀ n, p + n ≤ b.size → q + n ≤ c.size ∧ c.extract q (q + n) = b.extract p (p + n)

theorem Begins.extract {b c : ByteArray} {p q : Nat} (h : Begins b p c q) {i j : Nat} (inside : p + j ≤ b.size) :
    c.extract (q + i) (q + j) = b.extract (p + i) (p + j) := by
  have ⟨_, equal⟩ := h j inside
  have := congrArg (fun (a : ByteArray) => a.extract i j) equal
  simpa only [ByteArray.extract_extract, Nat.min_self] using this

theorem Begins.getElem {b c : ByteArray} {p q : Nat} (h : Begins b p c q) (i : Nat) (inside : p + i < b.size) :
    c[q + i]'(by have := (h (i + 1) (by omega)).1; omega) = b[p + i] := by
  have ⟨bound, equal⟩ := h (i + 1) (by omega)
  have size : (b.extract p (p + (i + 1))).size = i + 1 := by rw [ByteArray.size_extract]; omega
  have there : At c q (b.extract p (p + (i + 1))) := ⟨by rw [size]; exact bound, by rw [size]; exact equal⟩
  have := getElem_of_at there i (by omega)
  rw [this, ByteArray.getElem_extract]

theorem Begins.header {b c : ByteArray} {p q : Nat} (h : Begins b p c q) (hb : p + Header.size ≤ b.size) (hc) :
    Header.decode c q hc = Header.decode b p hb := by
  have bound : p + 16 ≤ b.size := hb
  have zero := h.getElem 0 (by omega)
  have one := fun (i : Nat) (hi : i < 16) => h.getElem i (by omega)
  have two := fun (i j : Nat) (hi : i + j < 16) => h.getElem (i + j) (by omega)
  simp only [Nat.add_zero] at zero
  simp only [← Nat.add_assoc] at two
  simp only [Header.decode, get32, get16, get8, zero, one 1 (by decide), one 2 (by decide), one 3 (by decide),
    one 4 (by decide), one 8 (by decide), one 9 (by decide), one 10 (by decide), one 12 (by decide),
    two 4 1 (by decide), two 4 2 (by decide), two 4 3 (by decide), two 10 1 (by decide), two 12 1 (by decide),
    two 12 2 (by decide), two 12 3 (by decide)]

theorem fits_of_check {limits : FrameLimits} {header : Header} (h : header.check limits = .ok ()) :
    header.metaLength ≤ header.bodyLength.toNat := by
  apply Nat.le_of_not_lt
  intro bad
  rw [Header.check, if_pos bad] at h
  cases h

theorem takeBody_begins {b c : ByteArray} {p q : Nat} (h : Begins b p c q) (header : Header)
    (fits : header.metaLength ≤ header.bodyLength.toNat)
    (inside : p + Header.size + header.bodyLength.toNat ≤ b.size) :
    takeBody b p header = takeBody c q header := by
  have inside' : q + Header.size + header.bodyLength.toNat ≤ c.size := by
    have := (h (Header.size + header.bodyLength.toNat) (by omega)).1
    omega
  have body := h.extract (i := Header.size) (j := Header.size + header.metaLength) (by omega)
  have payload := h.extract (i := Header.size + header.metaLength)
    (j := Header.size + header.bodyLength.toNat) (by omega)
  simp only [← Nat.add_assoc] at body payload
  rw [takeBody, takeBody, if_pos inside, if_pos inside', body, payload]

theorem take_short {limits : FrameLimits} {b : ByteArray} {p : Nat} (short : ¬ p + Header.size ≤ b.size) :
    take limits b p = .more Header.size := by
  rw [take, dif_neg short]

theorem take_refused {limits : FrameLimits} {b : ByteArray} {p : Nat} {error : WireError}
    (bound : p + Header.size ≤ b.size) (checked : (Header.decode b p bound).check limits = .error error) :
    take limits b p = .failed error := by
  rw [take, dif_pos bound]
  simp only [checked]

theorem take_body {limits : FrameLimits} {b : ByteArray} {p : Nat} (bound : p + Header.size ≤ b.size)
    (checked : (Header.decode b p bound).check limits = .ok ()) :
    take limits b p = takeBody b p (Header.decode b p bound) := by
  rw [take, dif_pos bound]
  simp only [checked]

/-- More bytes change nothing about a frame that is whole, or about an error. -/
theorem take_begins (limits : FrameLimits) {b c : ByteArray} {p q : Nat} (h : Begins b p c q) :
    take limits b p = take limits c q ∨ ∃ wanted, take limits b p = .more wanted := by
  by_cases bound : p + Header.size ≤ b.size
  case neg => exact .inr ⟨_, take_short bound⟩
  have bound' : q + Header.size ≤ c.size := (h _ bound).1
  have same := h.header bound bound'
  cases checked : (Header.decode b p bound).check limits with
  | error error =>
    have checked' : (Header.decode c q bound').check limits = .error error := by rw [same]; exact checked
    exact .inl ((take_refused bound checked).trans (take_refused bound' checked').symm)
  | ok =>
    have checked' : (Header.decode c q bound').check limits = .ok () := by rw [same]; exact checked
    rw [take_body bound checked, take_body bound' checked', same]
    generalize Header.decode b p bound = header at checked
    by_cases inside : p + Header.size + header.bodyLength.toNat ≤ b.size
    case pos => exact .inl (takeBody_begins h header (fits_of_check checked) inside)
    exact .inr ⟨Header.size + header.bodyLength.toNat, by rw [takeBody, if_neg inside]⟩

theorem Begins.later {b c : ByteArray} {p q : Nat} (h : Begins b p c q) (k : Nat) :
    Begins b (p + k) c (q + k) := by
  intro n bound
  have := h.extract (i := k) (j := k + n) (by omega)
  have bound' := (h (k + n) (by omega)).1
  simp only [← Nat.add_assoc] at this bound'
  exact ⟨bound', this⟩

theorem begins_append (b x : ByteArray) (p : Nat) : Begins b p (b ++ x) p := by
  intro n bound
  refine ⟨by rw [ByteArray.size_append]; omega, ?_⟩
  have nothing : x.extract (p - b.size) (p + n - b.size) = .empty := by
    rw [ByteArray.extract_eq_empty_iff]; omega
  rw [ByteArray.extract_append, nothing, ByteArray.append_empty]

theorem begins_behind (pre b : ByteArray) : Begins b 0 (pre ++ b) pre.size := by
  intro n bound
  refine ⟨by rw [ByteArray.size_append]; omega, ?_⟩
  have nothing : pre.extract pre.size (pre.size + n) = .empty := extract_beyond _ _
  rw [ByteArray.extract_append, nothing, ByteArray.empty_append]
  congr 1 <;> omega

theorem begins_before (pre b : ByteArray) : Begins (pre ++ b) pre.size b 0 := by
  intro n bound
  rw [ByteArray.size_append] at bound
  have := begins_behind pre b n (by omega)
  exact ⟨by omega, this.2.symm⟩

namespace Decoder

theorem drain_frame {limits : FrameLimits} {b : ByteArray} {p size : Nat} {frame : Frame} (frames : Array Frame)
    (h : take limits b p = .frame frame size) :
    drain limits b p frames = drain limits b (p + size) (frames.push frame) := by
  rw [drain.eq_def]; split <;> simp_all

theorem drain_more {limits : FrameLimits} {b : ByteArray} {p wanted : Nat} (frames : Array Frame)
    (h : take limits b p = .more wanted) : drain limits b p frames = (frames, .ok p) := by
  rw [drain.eq_def]; split <;> simp_all

theorem drain_failed {limits : FrameLimits} {b : ByteArray} {p : Nat} {error : WireError} (frames : Array Frame)
    (h : take limits b p = .failed error) : drain limits b p frames = (frames, .error error) := by
  rw [drain.eq_def]; split <;> simp_all

/-- Draining the beginning of a stream, and going on where it ends, is draining the whole. -/
theorem drain_append (limits : FrameLimits) (b x : ByteArray) (n : Nat) : ∀ (p : Nat) (frames : Array Frame),
    b.size - p ≤ n → drain limits (b ++ x) p frames = match drain limits b p frames with
      | (got, .ok stop) => drain limits (b ++ x) stop got
      | (got, .error error) => (got, .error error) := by
  induction n with
  | zero =>
    intro p frames left
    have bound : ¬ p + Header.size ≤ b.size := by simp only [Header.size]; omega
    have more : take limits b p = .more Header.size := take_short bound
    rw [drain_more frames more]
  | succ n ih =>
    intro p frames left
    have same := take_begins limits (begins_append b x p)
    cases taken : take limits b p with
    | more wanted => rw [drain_more frames taken]
    | failed error =>
      have taken' : take limits (b ++ x) p = .failed error := by simpa [taken, eq_comm] using same
      rw [drain_failed frames taken, drain_failed frames taken']
    | frame frame size =>
      have taken' : take limits (b ++ x) p = .frame frame size := by simpa [taken, eq_comm] using same
      have bounds := take_frame taken
      rw [drain_frame frames taken, drain_frame frames taken', ih _ _ (by omega)]

/-- Where a stream begins does not matter, nor what was found before. -/
theorem drain_shift (limits : FrameLimits) {b c : ByteArray} (k n : Nat) : ∀ (p : Nat) (frames more : Array Frame),
    b.size - p ≤ n → Begins b p c (k + p) → Begins c (k + p) b p →
    drain limits c (k + p) (frames ++ more) =
      (frames ++ (drain limits b p more).1, (drain limits b p more).2.map (k + ·)) := by
  induction n with
  | zero =>
    intro p frames more left forth back
    have bound : ¬ p + Header.size ≤ b.size := by simp only [Header.size]; omega
    have bound' : ¬ k + p + Header.size ≤ c.size := fun inside => bound (back _ inside).1
    have taken : take limits b p = .more Header.size := take_short bound
    have taken' : take limits c (k + p) = .more Header.size := take_short bound'
    rw [drain_more _ taken, drain_more _ taken']
    rfl
  | succ n ih =>
    intro p frames more left forth back
    have same := take_begins limits forth
    have same' := take_begins limits back
    cases taken : take limits b p with
    | more wanted =>
      have taken' : ∃ wanted, take limits c (k + p) = .more wanted := by
        rcases same' with equal | other
        · exact ⟨wanted, equal.trans taken⟩
        · exact other
      obtain ⟨wanted', taken'⟩ := taken'
      rw [drain_more _ taken, drain_more _ taken']
      rfl
    | failed error =>
      have taken' : take limits c (k + p) = .failed error := by simpa [taken, eq_comm] using same
      rw [drain_failed _ taken, drain_failed _ taken']
      rfl
    | frame frame size =>
      have taken' : take limits c (k + p) = .frame frame size := by simpa [taken, eq_comm] using same
      have bounds := take_frame taken
      have push : (frames ++ more).push frame = frames ++ more.push frame := by
        apply Array.ext'; simp
      rw [drain_frame _ taken, drain_frame _ taken', push, Nat.add_assoc]
      exact ih _ _ _ (by omega) (by rw [← Nat.add_assoc]; exact forth.later _)
        (by rw [← Nat.add_assoc]; exact back.later _)

theorem drain_stop {limits : FrameLimits} {b : ByteArray} (n : Nat) : ∀ {p stop : Nat} {frames got : Array Frame},
    b.size - p ≤ n → p ≤ b.size → drain limits b p frames = (got, .ok stop) → stop ≤ b.size := by
  induction n with
  | zero =>
    intro p stop frames got left inside h
    have bound : ¬ p + Header.size ≤ b.size := by simp only [Header.size]; omega
    have taken : take limits b p = .more Header.size := take_short bound
    rw [drain_more _ taken] at h
    cases h
    exact inside
  | succ n ih =>
    intro p stop frames got left inside h
    cases taken : take limits b p with
    | more wanted => rw [drain_more _ taken] at h; cases h; exact inside
    | failed error => rw [drain_failed _ taken] at h; cases h
    | frame frame size =>
      have bounds := take_frame taken
      rw [drain_frame _ taken] at h
      exact ih (by omega) bounds.2 h

theorem feed_def (limits : FrameLimits) (rest input : ByteArray) :
    feed ⟨limits, rest⟩ input = match drain limits (rest ++ input) 0 #[] with
      | (frames, .error error) => (frames, .error error)
      | (frames, .ok p) => (frames, .ok ⟨limits, (rest ++ input).extract p (rest ++ input).size⟩) := by
  have bytes : (if rest.isEmpty then input else rest ++ input) = rest ++ input := by
    split
    case isTrue empty =>
      have : rest = .empty := by
        rw [← ByteArray.size_eq_zero_iff]; simpa [ByteArray.isEmpty] using empty
      rw [this, ByteArray.empty_append]
    case isFalse => rfl
  simp only [feed, bytes]
  cases drain limits (rest ++ input) 0 #[] with
  | mk frames result =>
    cases result with
    | error error => rfl
    | ok p => cases p with
      | zero => simp only [ByteArray.extract_zero_size]
      | succ p => rfl

/-- A stream may be cut anywhere: feeding its pieces is feeding the whole. -/
theorem feed_append (decoder : Decoder) (x y : ByteArray) :
    decoder.feed (x ++ y) = match decoder.feed x with
      | (frames, .error error) => (frames, .error error)
      | (frames, .ok next) => (frames ++ (next.feed y).1, (next.feed y).2) := by
  obtain ⟨limits, rest⟩ := decoder
  rw [feed_def, feed_def, ← ByteArray.append_assoc, drain_append limits (rest ++ x) y _ 0 #[] (Nat.le_refl _)]
  cases drained : drain limits (rest ++ x) 0 #[] with
  | mk frames result =>
    cases result with
    | error error => rfl
    | ok stop =>
      have inside := drain_stop _ (Nat.le_refl _) (Nat.zero_le _) drained
      have whole : rest ++ x ++ y = (rest ++ x).extract 0 stop ++ ((rest ++ x).extract stop (rest ++ x).size ++ y) := by
        rw [← ByteArray.append_assoc, ByteArray.extract_append_extract, Nat.min_eq_left (Nat.zero_le _),
          Nat.max_eq_right inside, ByteArray.extract_zero_size]
      have size : ((rest ++ x).extract 0 stop).size = stop := by rw [ByteArray.size_extract]; omega
      have forth := begins_behind ((rest ++ x).extract 0 stop) ((rest ++ x).extract stop (rest ++ x).size ++ y)
      have back := begins_before ((rest ++ x).extract 0 stop) ((rest ++ x).extract stop (rest ++ x).size ++ y)
      rw [size, ← whole] at forth back
      have shifted := drain_shift limits (k := stop) _ 0 frames #[] (Nat.le_refl _) forth back
      simp only [Nat.add_zero, Array.append_empty] at shifted
      simp only [shifted, feed_def]
      cases drained' : drain limits ((rest ++ x).extract stop (rest ++ x).size ++ y) 0 #[] with
      | mk more result =>
        cases result with
        | error error => rfl
        | ok p =>
          have inside' := drain_stop _ (Nat.le_refl _) (Nat.zero_le _) drained'
          have tail := forth.extract (i := p) (j := ((rest ++ x).extract stop (rest ++ x).size ++ y).size) (by omega)
          have sizes : stop + ((rest ++ x).extract stop (rest ++ x).size ++ y).size = (rest ++ x ++ y).size := by
            simp only [ByteArray.size_append, ByteArray.size_extract] at inside ⊢; omega
          simp only [Nat.zero_add, sizes] at tail
          simp only [Except.map, tail]

/-- The bytes of frames, one after the other. -/
def streamOf (frames : List (Frame × ByteArray)) (before : ByteArray) : ByteArray :=
  frames.foldl (fun stream frame => stream ++ frame.2) before

theorem streamOf_prefix (frames : List (Frame × ByteArray)) : ∀ before,
    ∃ after, streamOf frames before = before ++ after := by
  induction frames with
  | nil => intro before; exact ⟨.empty, by simp [streamOf]⟩
  | cons frame frames ih =>
    intro before
    obtain ⟨after, h⟩ := ih (before ++ frame.2)
    exact ⟨frame.2 ++ after, by
      rw [← ByteArray.append_assoc]; exact h⟩

theorem drain_encoded {limits : FrameLimits} (frames : List (Frame × ByteArray)) :
    (∀ frame ∈ frames, frame.1.encode limits = .ok frame.2) → ∀ (before : ByteArray) (got : Array Frame),
    drain limits (streamOf frames before) before.size got =
      (got ++ (frames.map (·.1)).toArray, .ok (streamOf frames before).size) := by
  induction frames with
  | nil =>
    intro _ before got
    have bound : ¬ before.size + Header.size ≤ before.size := by simp only [Header.size]; omega
    have taken : take limits before before.size = .more Header.size := take_short bound
    simp only [streamOf, List.foldl_nil, drain_more got taken]
    simp
  | cons frame frames ih =>
    intro encoded before got
    obtain ⟨after, whole⟩ := streamOf_prefix frames (before ++ frame.2)
    have there : At (streamOf (frame :: frames) before) before.size frame.2 := by
      have : streamOf (frame :: frames) before = before ++ frame.2 ++ after := whole
      rw [this]
      exact at_middle _ _ _
    have taken := take_encode_at (encoded frame (by simp)) there
    have later := ih (fun other h => encoded other (by simp [h])) (before ++ frame.2) (got.push frame.1)
    rw [ByteArray.size_append] at later
    rw [drain_frame got taken]
    have same : streamOf (frame :: frames) before = streamOf frames (before ++ frame.2) := rfl
    rw [same, later]
    simp

/-- A stream of encoded frames gives these frames, and nothing is left of it. -/
theorem feed_encoded {limits : FrameLimits} (frames : List (Frame × ByteArray))
    (encoded : ∀ frame ∈ frames, frame.1.encode limits = .ok frame.2) :
    (new limits).feed (streamOf frames .empty) = ((frames.map (·.1)).toArray, .ok (new limits)) := by
  have drained := drain_encoded frames encoded .empty #[]
  simp only [ByteArray.size_empty] at drained
  rw [new, feed_def, ByteArray.empty_append, drained]
  simp

end Decoder

end Legate.Wire
