"""The examples of lean-client/examples and the benchmark, each run; and what a ported program relies on."""

import re
import subprocess

import grpc
import lean
import pytest

EXAMPLES = lean.LIBRARY / "examples"
OUT = lean.OUT / "examples"


@pytest.fixture(scope="module")
def examples(library):
    return lean.build(EXAMPLES, OUT, lean.modules(EXAMPLES), timeout=600)


def example(daemon, name, *arguments):
    return lean.attached(daemon, lean.run_command(EXAMPLES, OUT, EXAMPLES / f"{name}.lean", *arguments))


def test_old_names_have_their_old_types(library):
    lean.build(lean.ROOT / "tests/lean/porting", lean.OUT / "porting", ["Porting"])


def test_greeter_in_all_four_shapes(examples, daemon, tmp_path):
    descriptors = tmp_path / "greeter.descriptors"
    subprocess.run(["protoc", "--include_imports", f"--descriptor_set_out={descriptors}", "-I",
                    lean.ROOT / "examples/greeter", "greeter.proto"], check=True)
    with example(daemon, "GreeterServer", "127.0.0.1:0", descriptors) as server:
        port = server.wait_line(r"^listening (\d+)$")[1]
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            reflect = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
            # ServerReflectionRequest {file_containing_symbol: "legated.greeter.v1.Greeter"}
            [found] = reflect(iter([b"\x22\x1alegated.greeter.v1.Greeter"]), timeout=60)
            assert b"greeter.proto" in found
        with example(daemon, "GreeterClient", f"127.0.0.1:{port}") as client:
            assert client.wait() == 0, client.all_text()
            assert re.findall(r"^ok lean .*$", client.all_text(), re.M) == [
                'ok lean unary SayHello "Hello, Ada!"',
                'ok lean client-streaming CollectHellos "Hello, Ada, Grace, Lovis!"',
                'ok lean server-streaming ListHellos "Hello, Ada! (1/3)" "Hello, Ada! (2/3)" "Hello, Ada! (3/3)"',
                'ok lean bidi Chat "Hello, Ada!" "Hello, Grace!" "Hello, Lovis!"',
            ]


def test_route_notes(examples, daemon):
    with example(daemon, "RouteNotes") as program:
        assert program.wait() == 0, program.all_text()
        for line in ("the way was 6 steps long", "a fountain is near", "a tower is near",
                     "somebody wrote: the door is open", "somebody wrote: closed at noon"):
            assert f"{line}\n" in program.all_text()
        assert "harbour" not in program.all_text()


def test_interceptors(examples, daemon):
    with example(daemon, "Intercepted") as program:
        assert program.wait() == 0, program.all_text()
        for line in (r"called /example.Who/AmI: OK", r"served /example.Who/AmI: OK", r"an id of \d\d letters arrived",
                     r"served /example.Who/AmI: Unauthenticated", r"without a token: Unauthenticated"):
            assert re.search(f"^{line}$", program.all_text(), re.M), program.all_text()


def test_tls(examples, daemon, tls):
    target, authority = tls
    with example(daemon, "TlsClient", target, "/test.Echo/Unary", authority, "legate.test") as program:
        assert program.wait() == 0, program.all_text()
        assert "answer: hello\n" in program.all_text()
    with example(daemon, "TlsClient", target, "/test.Echo/Unary", authority, "another.test") as program:
        assert program.wait() == 1, program.all_text()
        assert "Unavailable" in program.all_text()


def test_benchmark_runs(library, daemon):
    bench = lean.LIBRARY / "bench"
    command = lean.run_command(bench, lean.OUT / "bench", bench / "Bench.lean", "--calls", "50", "--messages", "200")
    with lean.attached(daemon, command) as program:
        assert program.wait() == 0, program.all_text()
        for measured in ("latency: median ", "throughput: ", "streaming: "):
            assert measured in program.all_text()
