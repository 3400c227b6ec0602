"""The library as such: every module is checked with warnings as errors, and its C side fits."""

import os
import re
import subprocess

import pytest

import lean


def test_every_module_is_checked_with_warnings_as_errors(library):
    text = "\n".join(path.read_text() for path in (lean.LIBRARY / "Legate").rglob("*.lean"))
    theorems = re.findall(r"^(?:@\[[^\]]*\]\s*)?(?:private |protected )?(?:theorem|lemma) ", text, re.M)
    count = len(lean.modules(lean.LIBRARY, "Legate.lean", "Legate"))
    lean.notes.append(f"{count} modules checked, {len(theorems)} theorems")
    assert "sorry" not in re.findall(r"\w+", text)
    assert count > 30 and theorems


def prototypes(text):
    """The C declarations of the shim's functions in a text, as types: of the result, of each argument."""
    def kind(declared):
        word = declared.split()[0]
        return "object" if word in ("lean_object*", "lean_obj_res", "b_lean_obj_arg") else word

    lines = re.findall(r"^(?:LEAN_EXPORT )?(\S+) (legate_socket_\w+)\((.*)\)[ ;{]*$", text, re.M)
    return {name: [kind(result), *map(kind, arguments.split(","))] for result, name, arguments in lines}


def test_the_c_shim_has_the_types_that_lean_calls(library, tmp_path):
    """Lean says in the C that it emits how it will call an extern function."""
    out = tmp_path / "unix.c"
    source = lean.LIBRARY / "Legate/Transport/Unix.lean"
    done = subprocess.run([lean.LEANW, "lean", "-R", lean.LIBRARY, "-c", out, source], capture_output=True, text=True,
                          timeout=lean.RUN, env={**os.environ, "LEAN_PATH": str(lean.OUT / "library")})
    assert done.returncode == 0, done.stdout + done.stderr
    called = prototypes(out.read_text())
    defined = prototypes((lean.LIBRARY / "c/legate_shim.c").read_text())
    assert len(defined) == 4
    assert called == defined


def unit_programs():
    return sorted(path.relative_to(lean.ROOT / "tests/lean") for folder in ("unit", "wire")
                  for path in (lean.ROOT / "tests/lean" / folder).glob("*.lean")
                  if re.search(r"^def main\b", path.read_text(), re.M))


@pytest.mark.parametrize("file", unit_programs(), ids=str)
def test_unit(library, file):
    path = lean.ROOT / "tests/lean" / file
    status, text = lean.leanw("run", "--root", path.parent, "--out", lean.OUT / path.parent.name, "--path",
                              lean.OUT / "library", "--wfail", path)
    print(text)
    assert status == 0, text
