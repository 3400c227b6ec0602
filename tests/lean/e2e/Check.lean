/-!
# Cases

A program of the end-to-end tests runs cases one after another and says of each how it went, on stderr as
stdout may be its connection. Its exit status is 0 when none failed.
-/

namespace Check

/-- What has run so far. -/
structure Run where
  passed : Nat := 0
  failed : Nat := 0

/-- Runs cases and keeps count. -/
abbrev Cases := StateT Run IO

/-- A case: it fails when it throws. -/
def case (name : String) (body : IO Unit) : Cases Unit := do
  match ← body.toBaseIO with
  | .ok () =>
    IO.eprintln s!"ok {name}"
    modify fun run => { run with passed := run.passed + 1 }
  | .error error =>
    IO.eprintln s!"FAILED {name}: {error}"
    modify fun run => { run with failed := run.failed + 1 }

/-- Runs all and gives the exit status. -/
def main (cases : Cases Unit) : IO UInt32 := do
  let ((), run) ← cases.run {}
  IO.eprintln s!"{run.passed} passed, {run.failed} failed"
  return if run.failed == 0 && run.passed > 0 then 0 else 1

/-- Fails the case. -/
def fail (why : String) : IO α := throw (IO.userError why)

/-- Fails the case unless it holds. -/
def that (claim : Bool) (what : String) : IO Unit := unless claim do fail what

/-- Fails the case unless the two are equal. -/
def equal [BEq α] [Repr α] (expected actual : α) (what : String := "") : IO Unit :=
  unless expected == actual do
    fail s!"{what}{if what.isEmpty then "" else ": "}expected {repr expected}, was {repr actual}"

/-- Fails the case unless the text holds the part. -/
def contains (text part : String) : IO Unit :=
  unless (text.splitOn part).length > 1 do fail s!"{repr part} is not in {repr text}"

/-- Waits for a condition, for 30 s at most. -/
def eventually (what : String) (condition : IO Bool) : IO Unit := do
  let start ← IO.monoMsNow
  repeat
    if ← condition then return
    if (← IO.monoMsNow) - start > 30000 then fail s!"it did not come about that {what}"
    IO.sleep 20

/-- The value of a task, which must end within 30 s. -/
def await (task : Task α) (what : String := "the task") : IO α := do
  eventually s!"{what} ends" (IO.hasFinished task)
  IO.wait task

end Check
