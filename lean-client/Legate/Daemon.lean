import Legate.Connection
import Legate.Transport.Stdio
import Legate.Transport.Unix

/-!
# Finding the daemon

`LEGATE_STDIO=1`: the connection is on stdin and stdout. Otherwise the socket is at `LEGATE_SOCKET`, else at
`$XDG_RUNTIME_DIR/legated.sock`, else at `/run/legated/legated.sock`. Where none of these is and `legated`
is on PATH, a private daemon is started, which leaves with this process.
-/

namespace Legate.Daemon

/-- Where a daemon of the machine listens. -/
def systemSocket : String := "/run/legated/legated.sock"

private def env? (name : String) : IO (Option String) :=
  return (← IO.getEnv name).filter (!·.isEmpty)

/-- The socket of a daemon that somebody else has started, if there is one. -/
def findSocket : IO (Option String) := do
  if let some path ← env? "LEGATE_SOCKET" then return some path
  if let some folder ← env? "XDG_RUNTIME_DIR" then
    let path := s!"{folder}/legated.sock"
    if ← System.FilePath.pathExists path then return some path
  if ← System.FilePath.pathExists systemSocket then return some systemSocket
  return none

/-- The program `legated` on PATH. -/
private def findProgram : IO (Option System.FilePath) := do
  for folder in System.SearchPath.parse ((← env? "PATH").getD "") do
    let path := folder / "legated"
    if ← path.pathExists then return some path
  return none

/-- Ends the daemon, and removes its folder, when this process has closed the pipe: that is when it ends,
however it does. -/
private def script : String :=
  "\"$1\" run --socket \"$2/legated.sock\" </dev/null & daemon=$!; cat >/dev/null; kill $daemon; wait $daemon; rm -rf \"$2\""

/-- The private daemon of this process: its socket, and the pipe that keeps it. -/
private structure Private where
  socket : String
  keeper : IO.Process.Child { stdin := .piped, stdout := .null, stderr := .inherit }

private initialize thePrivate : Std.Mutex (Option Private) ← Std.Mutex.new none

/-- How long a private daemon may take to begin, in milliseconds. -/
private def startMs : Nat := 10000

private def start (program : System.FilePath) : IO Private := do
  let folder ← IO.FS.createTempDir
  let keeper ← IO.Process.spawn {
    cmd := "/bin/sh"
    args := #["-c", script, "legated-keeper", program.toString, folder.toString]
    stdin := .piped, stdout := .null, stderr := .inherit }
  return { socket := s!"{folder}/legated.sock", keeper }

/-- The socket of the private daemon, which is started if it does not run. -/
private def privateSocket : IO String := do
  thePrivate.atomically do
    if let some daemon ← get then
      if (← daemon.keeper.tryWait).isNone then return daemon.socket
    let some program ← (findProgram : IO _)
      | throw (IO.userError "no daemon: LEGATE_SOCKET is not set, there is no socket at \
          $XDG_RUNTIME_DIR/legated.sock or /run/legated/legated.sock, and no program legated on PATH to \
          start a private one")
    let daemon ← (start program : IO _)
    set (some daemon)
    let end_ := (← IO.monoMsNow) + startMs
    while !(← System.FilePath.pathExists daemon.socket) do
      if let some status ← daemon.keeper.tryWait then
        throw (IO.userError s!"the private daemon {program} ended with status {status}")
      if (← IO.monoMsNow) > end_ then
        throw (IO.userError s!"the private daemon {program} did not begin to listen within {startMs} ms")
      IO.sleep 10
    return daemon.socket

/-- Reaches the daemon as this page says. The environment is looked at each time, so that a daemon that comes
later is found. -/
def dialer : IO Dialer := do
  if ← Stdio.isConnection then return { dial := Transport.stdio, again := false }
  return { dial := do
    match ← findSocket with
    | some path => Transport.unix path
    | none => Transport.unix (← privateSocket) }

private initialize theConnection : Std.Mutex (Option Connection) ← Std.Mutex.new none

/-- What a process is called in the daemon's logs: its program's name, or `LEGATE_NAME`. -/
private def processName : IO String := do
  if let some name ← env? "LEGATE_NAME" then return name
  try return ((← IO.appPath).fileName.getD "lean") catch _ => return "lean"

end Daemon

/-- The connection that the channels and servers of this process share, unless they are given another. -/
def Connection.default : IO Connection :=
  Daemon.theConnection.atomically do
    if let some connection ← get then return connection
    let connection ← Connection.new (← Daemon.dialer) { name := ← Daemon.processName }
    set (some connection)
    return connection

end Legate
