"""Runs the examples of README.md and docs/: every sh block with `<!-- run -->` before it, in a directory of its own."""

import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^<!-- run -->\n```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLES = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    for number, block in enumerate(BLOCK.findall(page.read_text()), 1)
]


def test_there_are_examples():
    assert len(EXAMPLES) >= 2


@pytest.mark.parametrize("script", EXAMPLES)
def test_example_runs(script, tmp_path):
    programs = pathlib.Path(os.environ["LEGATED_BIN"]).parent
    peers = os.environ.get("LEGATED_PEER_DIR", ROOT / "build/bin")  # grpcurl
    environment = os.environ | {"PATH": f"{programs}:{peers}:{os.environ['PATH']}"}
    # -m: jobs can be named as in a terminal.
    result = subprocess.run(
        ["bash", "-emuo", "pipefail", "-c", script],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60,
    )
    assert result.returncode == 0, f"{script}\n--- stdout\n{result.stdout}\n--- stderr\n{result.stderr}"
