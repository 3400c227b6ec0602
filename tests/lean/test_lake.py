"""The package as Lake builds it for users, where a Lean toolchain is found: natively, over the Unix socket."""

import os
import re
import shutil
import subprocess

import lean

PROGRAMS = ["greeter_server", "greeter_client", "route_notes", "intercepted", "tls_client", "bench"]
BUILT = lean.LIBRARY / ".lake/build/bin"


def lake(*arguments):
    done = subprocess.run(["lake", *arguments], cwd=lean.LIBRARY, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout
    return done.stdout


def native(daemon, name, *arguments):
    return lean.Program([BUILT / name, *arguments], {"LEGATE_SOCKET": str(daemon.path)})


def test_the_lakefile_names_every_example():
    text = (lean.LIBRARY / "lakefile.lean").read_text()
    roots = re.findall(r"^  root := `(\w+)$", text, re.M)
    assert re.findall(r"^lean_exe (\w+) where$", text, re.M) == PROGRAMS
    sources = [path.stem for folder in ("examples", "bench") for path in (lean.LIBRARY / folder).glob("*.lean")]
    assert sorted([*roots, "Greeting"]) == sorted(sources)
    objects = re.findall(r"^target (\S+) pkg", text, re.M)
    assert [name.removesuffix(".o") for name in objects] == sorted(path.stem for path in (lean.LIBRARY / "c").glob("*.c"))


if shutil.which("lake"):

    def test_lake_builds_everything():
        lake("build", "Legate", *PROGRAMS)
        lean.notes.append("built by " + lake("--version").strip())

    def test_native_greeter_over_the_socket(daemon):
        with native(daemon, "greeter_server", "127.0.0.1:0") as server:
            port = server.wait_line(r"^listening (\d+)$")[1]
            with native(daemon, "greeter_client", f"127.0.0.1:{port}") as client:
                assert client.wait() == 0, client.all_text()
                assert len(re.findall("^ok lean ", client.all_text(), re.M)) == 4

    def test_native_examples(daemon):
        for name in ("route_notes", "intercepted", "bench"):
            with native(daemon, name, *(["--calls", "1000", "--messages", "1000"] if name == "bench" else [])) as program:
                assert program.wait() == 0, program.all_text()

    def test_native_program_starts_a_private_daemon(tmp_path):
        hidden = {"LEGATE_SOCKET": "", "XDG_RUNTIME_DIR": str(tmp_path), "PATH": f"{lean.BIN}:{os.environ['PATH']}"}
        with lean.Program([BUILT / "route_notes"], hidden) as program:
            assert program.wait() == 0, program.all_text()
