"""The Lean codec against the C++ codec: each decodes what the other encodes, and both refuse the same."""

import re
import subprocess

import pytest

import lean

FOLDER = lean.ROOT / "tests/lean/wire"
OUT = lean.OUT / "wire"
COUNT = 2000


def cpp(*arguments, lines=""):
    done = subprocess.run([lean.BIN / "wire_exchange", *map(str, arguments)], input=lines.encode(), capture_output=True,
                          timeout=lean.RUN)
    assert done.returncode == 0, done.stderr
    # A decoder of UTF-8 may put one mark in place of several bytes that are not.
    return re.sub("\ufffd+", "\ufffd", done.stdout.decode(errors="replace"))


SCHEMA = lean.ROOT / "ipc-schema"
WORDS = {"ubyte": "u8", "bool": "bool", "ushort": "u16", "uint": "u32", "ulong": "u64", "string": "text",
         "[ubyte]": "bytes", "[string]": "texts", "[Entry]": "metadata"}


def slot(enums, kind, default, required):
    """What Schema.lean calls the slot of a field of legate.fbs."""
    word = "u8" if kind in enums else WORDS.get(kind) or kind[0].lower() + kind[1:] + ".block"
    if word in ("u8", "bool", "u16", "u32", "u64"):
        return f"({word} {default})" if default else word
    return f"({'required' if required else 'optional'} {word})"


def test_lean_knows_every_field_of_the_schema():
    text = re.sub(r"//.*", "", (SCHEMA / "legate.fbs").read_text())
    enums = re.findall(r"^enum (\w+):ubyte", text, re.M)
    of_fbs = {
        name: [(field, slot(enums, *rest)) for field, *rest in
               re.findall(r"(\w+)\s*:\s*([\w\[\]]+)(?:\s*=\s*(\w+))?\s*(\(required\))?\s*;", body)]
        for name, body in re.findall(r"^table (\w+) \{(.*?)\}", text, re.M | re.S)}
    of_lean = {
        name: re.findall(r'\w+ "(\w+)" (\([^)]*\)|\w+)', body)
        for name, body in re.findall(r": Table (\w+) := table% \{(.*?)\}",
                                     (lean.LIBRARY / "Legate/Wire/Schema.lean").read_text(), re.S)}
    assert len(of_fbs) >= 25 and all(of_fbs.values())
    assert of_lean == of_fbs


def test_lean_knows_every_frame_type():
    of_protocol = dict(re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", (SCHEMA / "PROTOCOL.md").read_text(), re.M))
    kinds = (lean.LIBRARY / "Legate/Wire/Kinds.lean").read_text()
    of_lean = dict(re.findall(r'^  \| (\d+) => some \(\w+ "([A-Z_]+)"', kinds, re.M))
    assert len(of_protocol) >= 31
    assert of_lean == of_protocol


def lean_random(*arguments):
    status, text = lean.leanw("run", "--root", FOLDER, "--out", OUT, "--path", lean.OUT / "library", "--wfail",
                              FOLDER / "Random.lean", "--", *arguments)
    assert status == 0, text
    return text


def described(text):
    """What was said of each frame."""
    return re.split(r"^(?=frame: |error: |incomplete: )", text, flags=re.M)[1:]


def compare(lines, tmp_path):
    """What both say of each line, which is the same."""
    file = tmp_path / "frames"
    file.write_text(lines)
    by_lean = described(re.sub("\ufffd+", "\ufffd", lean_random("describe", file)))
    by_cpp = described(cpp("describe", lines=lines))
    count = lines.count("\n")
    assert len(by_lean) == len(by_cpp) == count
    different = [(line, a, b) for line, a, b in zip(lines.splitlines(), by_lean, by_cpp) if a != b]
    assert not different, f"{len(different)} of {count} differ; the first: {different[0]}"
    return by_cpp


@pytest.fixture(scope="module")
def of_cpp():
    return cpp("write", COUNT, 1)


@pytest.fixture(scope="module")
def of_lean(library, tmp_path_factory):
    file = tmp_path_factory.mktemp("wire") / "frames"
    lean_random("write", COUNT, 1, file)
    return file.read_text()


def test_lean_decodes_what_cpp_encodes(library, of_cpp, tmp_path):
    assert all(text.startswith("frame: ") for text in compare(of_cpp, tmp_path))


def test_cpp_decodes_what_lean_encodes(library, of_lean, tmp_path):
    assert all(text.startswith("frame: ") for text in compare(of_lean, tmp_path))


@pytest.mark.parametrize("origin", ["of_cpp", "of_lean"])
def test_both_refuse_the_same_of_what_was_changed(library, origin, request, tmp_path):
    changed = cpp("change", 2, lines=request.getfixturevalue(origin))
    said = compare(changed, tmp_path)
    for what in ("frame: ", "error: meta_invalid ", "error: malformed_frame ", "error: frame_too_large "):
        assert any(text.startswith(what) for text in said), what
