"""The library as such: every module is checked with warnings as errors, and its C side fits."""

import os
import re
import subprocess

import pytest

import api_page
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


def test_the_page_of_names_is_up_to_date():
    page = (lean.ROOT / "docs/lean-api.md").read_text()
    assert page == api_page.main(), "run: /usr/bin/python3 tests/lean/api_page.py > docs/lean-api.md"
    for name in ("unaryCall", "ServerBuilder.registerUnary", "structure GrpcError", "BidiStream.getStatus"):
        assert name in page


UNIT = lean.ROOT / "tests/lean/unit"
PROGRAMS = sorted(path for path in UNIT.glob("*.lean") if re.search(r"^def main\b", path.read_text(), re.M))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_unit(library, program):
    status, text = lean.leanw("run", "--root", UNIT, "--out", lean.OUT / "unit", "--path", lean.OUT / "library", "--wfail",
                              program)
    assert status == 0, text
    passed, failed = map(int, re.search(r"^(\d+) passed, (\d+) failed$", text, re.M).groups())
    lean.notes.append(f"{passed} checks of {program.stem}")
    assert passed and not failed


def test_there_are_unit_programs():
    assert len(PROGRAMS) >= 3
