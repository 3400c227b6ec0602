"""How the tests check and run Lean: by leanw, or by Lake where a toolchain is found.

leanw interprets what it runs. It can't open sockets, so a program that needs the daemon is started by `legatectl
attach` with the connection as its standard input and output, and prints to standard error.
"""

import os
import queue
import re
import subprocess
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LEANW = ROOT / "tests/lean/leanw"
LIBRARY = ROOT / "lean-client"
E2E = ROOT / "tests/lean/e2e"
OUT = ROOT / "build/lean"
BIN = Path(os.environ.get("LEGATED_BIN", ROOT / "build/bin/legated")).parent
os.environ.setdefault("LEGATED_BIN", str(BIN / "legated"))

LIBRARY_OPTIONS = ["-Dlinter.missingDocs=true"]  # as in lean-client/lakefile.lean
START = 240  # seconds from the start of a program to its first line; a busy machine takes its time
RUN = 300  # seconds a program may run

notes = []  # for the end of the run


def modules(root, *folders):
    """The modules below `root`, those in `folders` only if any are named."""
    found = [path.relative_to(root).with_suffix("") for path in sorted(Path(root).rglob("*.lean"))]
    chosen = [path for path in found if not folders or path.parts[0] in folders]
    return [".".join(path.parts) for path in chosen]


def leanw(*arguments, timeout=RUN):
    """Runs leanw to its end; its exit status, and all that it printed."""
    command = [str(part) for part in (LEANW, *arguments)]
    try:
        done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", timeout=timeout)
    except subprocess.TimeoutExpired as late:
        raise AssertionError(f"not over after {timeout} s: {command}\n{late.stdout}") from None
    return done.returncode, done.stdout


def build(root, out, names, options=(), timeout=900):
    """Checks modules with warnings as errors, and keeps them for programs to import."""
    status, text = leanw("build", "--root", root, "--out", out, "--path", OUT / "library", "--wfail", *options, *names,
                         timeout=timeout)
    assert status == 0, text
    return text


def build_library():
    names = modules(LIBRARY, "Legate.lean", "Legate")
    return build(LIBRARY, OUT / "library", names, LIBRARY_OPTIONS)


def run_command(root, out, file, *arguments):
    """The command that interprets a program whose imports have been built."""
    return [str(part) for part in (LEANW, "run", "--root", root, "--out", out, "--path", OUT / "library", file, "--",
                                   *arguments)]


class Program:
    """A running program. What it prints to standard error is read line by line."""

    def __init__(self, command, environment=None):
        self.command = [str(part) for part in command]
        self.text = []
        self.lines = queue.Queue()
        self.process = subprocess.Popen(self.command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True, errors="replace",
                                        env={**os.environ, **(environment or {})}, start_new_session=True)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stderr:
            self.text.append(line)
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def all_text(self):
        return "".join(self.text)

    def wait_line(self, pattern, timeout=START):
        """The match of the next line that has the pattern."""
        end = time.monotonic() + timeout
        while True:
            try:
                line = self.lines.get(timeout=max(0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no line {pattern!r} within {timeout} s:\n{self.all_text()}") from None
            assert line is not None, f"ended without a line {pattern!r}:\n{self.all_text()}"
            if match := re.search(pattern, line):
                return match

    def wait(self, timeout=RUN):
        """The exit status."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"not over after {timeout} s:\n{self.all_text()}") from None

    def kill(self):
        """Ends the program and what it started, without asking."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, 9)
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


def attached(daemon, command, environment=None):
    """Starts a program with a connection to the daemon."""
    return Program([BIN / "legatectl", "--socket", daemon.path, "attach", "--", *command], environment)


def e2e(daemon, name, *arguments, environment=None):
    """A program of tests/lean/e2e."""
    return attached(daemon, run_command(E2E, OUT / "e2e", E2E / f"{name}.lean", *arguments), environment)


def report(program, expected=0):
    """Waits for the end of a program of cases, and gives the names of those that passed."""
    status = program.wait()
    text = program.all_text()
    assert status == expected and not re.search("^FAILED", text, re.M), text
    return re.findall(r"^ok (.*)$", text, re.M)
