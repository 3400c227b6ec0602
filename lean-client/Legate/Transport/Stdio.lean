import Legate.Transport

/-!
# The connection on stdin and stdout

As inetd and `legatectl attach -- COMMAND` start a program. From then on stdout belongs to the
connection, so what the program prints goes to stderr instead.
-/

namespace Legate

/-- The connection that this process was started with on stdin and stdout. To be made once. -/
def Transport.stdio : IO Transport := do
  let input ← IO.getStdin
  let output ← IO.getStdout
  let _ ← IO.setStdout (← IO.getStderr)
  return {
    name := "legated on stdin and stdout"
    read := fun max => some <$> input.read max.toUSize
    write := fun pieces => do
      output.write (join pieces)
      output.flush
    -- Neither can be closed from here: the process does that when it ends.
    close := pure () }

end Legate
