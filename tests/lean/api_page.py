"""docs/lean-api.md: every public name of the Lean library with its type and its doc comment, from the sources.

    /usr/bin/python3 tests/lean/api_page.py > docs/lean-api.md
"""

import re
import sys
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[2] / "lean-client"
INSIDE = ("Legate/Wire", "Legate/Session", "Legate/Base64", "Legate/Client/Start", "Legate/Client/Reading",
          "Legate/Server/Pool")  # not for users
DECLARATION = re.compile(
    r"^/-- (?P<doc>(?:(?!-/).)*?) -/\n(?:@\[[^\]]*\]\s*)?(?P<kind>structure|inductive|abbrev|def|class|opaque|theorem)"
    r" (?P<rest>.*?)(?=\n\n|\Z)", re.M | re.S)
MEMBER = re.compile(r"^  /-- (?P<doc>(?:(?!-/).)*?) -/\n  (?:\| )?(?P<text>[^\n]*(?:\n    [^\n]*)*)", re.M | re.S)


def flat(text):
    return re.sub(r"\s+", " ", text).strip()


def signature(text):
    """What stands before the body: default values within brackets belong to it."""
    depth = 0
    for found in re.finditer(r"[(\[{]|[)\]}]|\s:=|\swhere\b|\n  (?:\||match )|\n/--|\n  deriving", text):
        if found[0] in "([{":
            depth += 1
        elif found[0] in ")]}":
            depth -= 1
        elif depth == 0:
            return text[:found.start()]
    return text


def members(body):
    """The documented fields or constructors of a structure, class or inductive."""
    return [f"  - `{flat(found['text']).removeprefix('| ')}`: {flat(found['doc'])}" for found in MEMBER.finditer(body)]


def page(path):
    text = path.read_text()
    head = re.search(r"/-!\n# (.*?)\n(.*?)-/", text, re.S)
    lines = [f"## {head[1]}", "", *([flat(head[2]), ""] if flat(head[2]) else [])]
    namespaces, position = [], 0
    declared = False
    for found in DECLARATION.finditer(text):
        for word, name in re.findall(r"^(namespace|end) (\S+)", text[position:found.start()], re.M):
            namespaces = [*namespaces, name] if word == "namespace" else namespaces[:-1]
        position = found.start()
        prefix = ".".join(namespaces).removeprefix("Legate").removeprefix(".")
        head = found["rest"] if found["kind"] == "abbrev" else signature(found["rest"])
        name, _, rest = flat(head).partition(" ")
        full = f"{prefix}.{name}" if prefix else name
        lines.append(f"- `{found['kind']} {full}{' ' + rest if rest else ''}`: {flat(found['doc'])}")
        declared = True
        if found["kind"] in ("structure", "inductive", "class"):
            start = found.start("rest") + len(head)
            end = re.compile(r"\n\n(?! )|\Z").search(text, start).start()
            lines += members(text[start:end])
    return [*lines, ""] if declared else []


def main():
    out = ["# The Lean library's names", "",
           "Made from the doc comments by `tests/lean/api_page.py`. [lean.md](lean.md) is the guide.", ""]
    for path in sorted((LIBRARY / "Legate").rglob("*.lean")):
        if not str(path.relative_to(LIBRARY).with_suffix("")).startswith(INSIDE):
            out += page(path)
    return "\n".join(out).rstrip("\n") + "\n"


if __name__ == "__main__":
    sys.stdout.write(main())
