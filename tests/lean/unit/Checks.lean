/-!
# Checks

What the unit tests have in common: named cases, and a count of them. A program ends with
"N passed, N failed".
-/

/-- What has run so far. -/
structure Count where
  passed : Nat := 0
  failed : Nat := 0

/-- Runs cases and counts them. -/
abbrev Checks := StateT Count IO

/-- A case: it fails when it throws. -/
def case (name : String) (body : IO Unit) : Checks Unit := do
  match ← body.toBaseIO with
  | .ok () => modify fun count => { count with passed := count.passed + 1 }
  | .error error =>
    IO.println s!"FAILED {name}: {error}"
    modify fun count => { count with failed := count.failed + 1 }

/-- Fails the case unless it holds. -/
def ensure (claim : Bool) (what : String) : IO Unit := unless claim do throw (IO.userError what)

/-- Fails the case unless the two are equal. -/
def equal {α : Type} [BEq α] [ToString α] (what : String) (expected actual : α) : IO Unit :=
  ensure (expected == actual) s!"{what}: expected {expected}, was {actual}"

/-- Runs all, and gives the exit status. -/
def runChecks (checks : Checks Unit) : IO UInt32 := do
  let ((), count) ← checks.run {}
  IO.println s!"{count.passed} passed, {count.failed} failed"
  return if count.failed == 0 && count.passed > 0 then 0 else 1
