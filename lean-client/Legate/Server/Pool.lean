import Legate.Transport.Stdio
import Std.Sync.Mutex
import Init.Data.Queue

/-!
# Pool

The tasks that handlers run on: dedicated ones, started as calls come, up to a bound, and kept.
-/

namespace Legate.Server

private structure Pool.State where
  waiting : Std.Queue (BaseIO Unit) := .empty
  queued : Nat := 0  -- of `waiting`
  idle : Nat := 0
  tasks : Nat := 0
  stopping : Bool := false

/-- Tasks that run jobs, at most `bound` at once. -/
structure Pool where
  private mk ::
  /-- How many jobs run at once, at most. -/
  bound : Nat
  private state : Std.Mutex Pool.State
  private changed : Std.Condvar

namespace Pool

/-- A pool without tasks yet. -/
def new (bound : Nat) : BaseIO Pool :=
  return { bound, state := ← Std.Mutex.new {}, changed := ← Std.Condvar.new }

/-- The next job; none when the pool stops. -/
private def next (pool : Pool) : BaseIO (Option (BaseIO Unit)) :=
  pool.state.atomically do
    modify fun state => { state with idle := state.idle + 1 }
    while (← get).queued == 0 && !(← get).stopping do pool.changed.wait pool.state.mutex
    modifyGet fun state =>
      let state := { state with idle := state.idle - 1 }
      match state.waiting.dequeue? with
      | some (job, waiting) => (some job, { state with waiting, queued := state.queued - 1 })
      | none => (none, state)

private def work (pool : Pool) : BaseIO Unit := do
  Stdio.redirect
  repeat
    let some job ← pool.next | break
    job

/-- Runs a job as soon as a task is free; does not wait. -/
def run (pool : Pool) (job : BaseIO Unit) : BaseIO Unit := do
  let grow ← pool.state.atomically do
    modifyGet fun state =>
      let grow := state.queued + 1 > state.idle && state.tasks < pool.bound
      (grow, { state with
        waiting := state.waiting.enqueue job
        queued := state.queued + 1
        tasks := if grow then state.tasks + 1 else state.tasks })
  if grow then discard <| BaseIO.asTask pool.work (prio := .dedicated)
  pool.changed.notifyOne

/-- Lets the tasks end, after the jobs that wait. -/
def stop (pool : Pool) : BaseIO Unit := do
  pool.state.atomically (modify fun state => { state with stopping := true })
  pool.changed.notifyAll

end Pool
end Legate.Server
