import Legate.Transport

/-!
# The connection on stdin and stdout

As inetd and `legatectl attach -- COMMAND` start a program, which says so with `LEGATE_STDIO=1`. Stdout then belongs
to the connection: what the main task and handlers print goes to stderr instead. Lean has a stdout for each
thread, so tasks that a program starts itself must call `Stdio.redirect` before they print, or print to stderr.
-/

namespace Legate

namespace Stdio

/-- Whether this process was started with its connection on stdin and stdout. -/
def isConnection : BaseIO Bool := return (← IO.getEnv "LEGATE_STDIO") == some "1"

/-- What was stdin and stdout when the program began. -/
private initialize theStreams : IO.FS.Stream × IO.FS.Stream ← do
  let streams := (← IO.getStdin, ← IO.getStdout)
  if ← isConnection then discard <| IO.setStdout (← IO.getStderr)
  return streams

/-- Has this thread print to stderr, if stdout is the connection. -/
def redirect : BaseIO Unit := do
  if ← isConnection then discard <| IO.setStdout (← IO.getStderr)

/-- Reads a frame's header, then its body: a standard stream gives nothing until all is there that it was asked
for. `rest` is how much of the body is still to come. -/
private def read (input : IO.FS.Stream) (rest : IO.Ref Nat) (max : Nat) : IO ByteArray := do
  let body ← rest.get
  if body > 0 then
    let bytes ← input.read (min body max).toUSize
    rest.set (body - bytes.size)
    return bytes
  let header ← input.read 16
  if header.size == 16 then
    rest.set ((List.range 4).foldl (fun length i => length + header[i]!.toNat * 256 ^ i) 0)
  return header

end Stdio

/-- The connection that this process was started with on stdin and stdout. To be made once. -/
def Transport.stdio : IO Transport := do
  let (input, output) := Stdio.theStreams
  Stdio.redirect
  let rest ← IO.mkRef 0
  return {
    name := "legated on stdin and stdout"
    read := fun max => some <$> Stdio.read input rest max
    write := fun pieces => do
      output.write (join pieces)
      output.flush
    -- Neither can be closed from here: the process does that when it ends.
    close := pure () }

end Legate
