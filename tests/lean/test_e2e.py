"""Lean programs against the real daemon, gRPC servers and gRPC clients.

A start of an interpreted program takes seconds, so each has many cases. Those of ClientCases.lean run against servers in
Go, C++ and Lean; the worker is called by clients in Go, Python and C++.
"""

import base64
import contextlib
import hashlib
import json
import re
import subprocess
import sys

import grpc
import lean
import pytest
from google.protobuf import descriptor_pb2

import http2
from harness import WAIT, Daemon

CLIENTS = {
    "go": [lean.BIN / "peer-client"],
    "python": [sys.executable, lean.ROOT / "tests/peers/python/peer_client.py"],
}
# WebAssembly has few threads to give: see tests/lean/lean.py.
FEW = {"LEGATE_SERVER_WORKERS": "3", "LEGATE_SERVER_STREAMS": "3"}
SHAPES = ["unary", "client", "server", "bidi"]


@contextlib.contextmanager
def worker(daemon, address="127.0.0.1:0"):
    with lean.e2e(daemon, "PeerWorker", address, environment=FEW) as program:
        port = program.wait_line(r"^listening (\d+)$")[1]
        program.target = f"127.0.0.1:{port}"
        yield program


@pytest.fixture(scope="module")
def lean_worker(programs, daemon):
    with worker(daemon) as program:
        yield program


def call(client, target, *arguments, timeout="60s", **command):
    """Makes calls and returns their results; keyword arguments are the Command's fields."""
    line = [*CLIENTS[client], "--target", target, "--timeout", timeout, *arguments]
    if command:
        line += ["--command", json.dumps(command)]
    done = subprocess.run([str(part) for part in line], stdout=subprocess.PIPE, check=True, text=True, timeout=lean.RUN)
    return [json.loads(text) for text in done.stdout.splitlines()]


def b64(raw):
    return base64.b64encode(raw).decode()


def payloads(result):
    return [base64.b64decode(reply["payload_b64"]) for reply in result["replies"]]


# ---- Lean client -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", ["go", "cpp"])
def test_lean_client(programs, daemon, server, go_server, cpp_server):
    target = {"go": go_server, "cpp": cpp_server}[server]
    with lean.e2e(daemon, "ClientMain", target, *(["load"] if server == "go" else [])) as program:
        passed = lean.report(program)
        lean.notes.append(f"{len(passed)} cases of a Lean client against the {server} server")
        assert len(passed) >= 32


def test_lean_client_of_a_lean_worker(programs, daemon, lean_worker):
    with lean.e2e(daemon, "ClientMain", lean_worker.target) as program:
        passed = lean.report(program)
        lean.notes.append(f"{len(passed)} cases of a Lean client against a Lean worker")
        assert len(passed) >= 32


def test_lean_client_over_tls(programs, daemon, tls):
    with lean.e2e(daemon, "TlsCases", *tls) as program:
        assert len(lean.report(program)) == 3


def test_daemon_killed_under_a_lean_client(programs, own_daemon, go_server):
    with lean.e2e(own_daemon, "KilledCases", go_server) as program:
        program.wait_line("^hanging$")
        own_daemon.process.kill()
        lean.report(program)


# ---- Lean worker -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", sorted(CLIENTS))
@pytest.mark.parametrize("shape", SHAPES)
def test_lean_worker_answers(lean_worker, client, shape):
    [result] = call(client, lean_worker.target, "--shape", shape, "--send", "3", payload=b64(b"hello"), responseCount=2)
    assert (result["code"], result["message"]) == (0, "")
    assert payloads(result) == {
        "unary": [b"hello"], "client": [b"hellohellohello"], "server": [b"hello"] * 2, "bidi": [b"hello"] * 3}[shape]


@pytest.mark.parametrize("shape", SHAPES)
def test_lean_worker_carries_metadata(lean_worker, shape):
    for client in CLIENTS:
        [result] = call(client, lean_worker.target, "--shape", shape, "-H", "x-dup:one", "-H", "x-dup:two", "-H",
                        "x-empty:", "-H", "x-b-bin:AP8K", echoMetadata=True, responseCount=1,
                        trailers=[{"key": "x-t", "value": b64(b"1")}, {"key": "x-t-bin", "value": b64(b"\0\xff")}])
        assert result["code"] == 0, result
        headers, trailers = result["headers"], result["trailers"]
        assert headers["x-echo-x-dup"] == ["one", "two"] and headers["x-echo-x-empty"] == [""]
        assert headers["x-echo-x-b-bin"] == ["AP8K"]
        assert trailers["x-t"] == ["1"] and trailers["x-t-bin"] == ["AP8="]


@pytest.mark.parametrize("shape", SHAPES)
def test_lean_worker_ends_with_status_and_details(lean_worker, shape):
    message = "not now: h\u00e9"
    # grpc-go believes the details if they are a google.rpc.Status, so they say the same.
    details = b64(b"\x08\x09\x12" + bytes([len(message.encode())]) + message.encode())
    [result] = call("go", lean_worker.target, "--shape", shape, statusCode=9, statusMessage=message,
                    statusDetails=details, responseCount=0)
    assert (result["code"], result["message"], result["details_b64"]) == (9, message, details)


def test_exception_of_a_handler_is_internal(lean_worker):
    [result] = call("go", lean_worker.target, "--service-method", "/legate.test.v1.Peer/Throw")
    assert (result["code"], result["message"]) == (13, "IO error in unary handler: as asked")


def test_unknown_method_is_unimplemented(lean_worker):
    [result] = call("go", lean_worker.target, "--service-method", "/legate.test.v1.Peer/Nothing")
    assert (result["code"], result["message"]) == (12, "Method not implemented")


@pytest.mark.parametrize("shape", SHAPES)
def test_lean_handler_sees_deadline_and_cancel_without_io(lean_worker, shape):
    [seen] = call("go", lean_worker.target)
    before = seen["replies"][0].get("cancelled_seen", 0)
    [late] = call("go", lean_worker.target, "--shape", shape, timeout="300ms", hang=True)
    assert late["code"] == 4, late
    [gone] = call("go", lean_worker.target, "--shape", shape, "--cancel-after", "300ms", hang=True)
    assert gone["code"] == 1, gone
    for _ in range(100):
        [seen] = call("go", lean_worker.target)
        if seen["replies"][0].get("cancelled_seen", 0) >= before + 2:
            return
    raise AssertionError(f"the handlers did not learn of it: {seen}")


def test_large_messages_through_a_lean_worker(lean_worker):
    for size in (1 << 20, 4_089_446):
        [result] = call("go", lean_worker.target, "--shape", "client", "--payload-size", size)
        assert result["code"] == 0, result["message"]
        assert result["replies"][0]["messages_received"] == 1
        assert result["replies"][0]["size"] == size
        assert result["replies"][0]["sha256"] == hashlib.sha256((bytes(range(251)) * (size // 251 + 1))[:size]).hexdigest()


def test_many_calls_at_once_to_a_lean_worker(lean_worker):
    results = call("go", lean_worker.target, "--count", 200, "--connections", 4, payload=b64(b"x"))
    assert [result["code"] for result in results] == [0] * 200


def test_slow_client_stops_a_lean_worker(lean_worker):
    """The worker's sends wait for a client that reads slowly, and nothing is lost."""
    [result] = call("go", lean_worker.target, "--shape", "server", "--window", "65536", "--read-delay", "5ms",
                    responseCount=60, responseSize=100_000)
    assert result["code"] == 0
    assert [reply["index"] for reply in result["replies"]] == list(range(60))


def test_cpp_client_of_a_lean_worker(programs, daemon):
    """greeter-demo calls the greeter in all four shapes by gRPC's C++ stub."""
    examples = lean.LIBRARY / "examples"
    lean.build(examples, lean.OUT / "examples", lean.modules(examples))
    command = lean.run_command(examples, lean.OUT / "examples", examples / "GreeterServer.lean", "127.0.0.1:0")
    with lean.attached(daemon, command) as server:
        port = server.wait_line(r"^listening (\d+)$")[1]
        demo = subprocess.run([lean.BIN / "greeter-demo", "--socket", daemon.path, "--port", port], text=True,
                              stdout=subprocess.PIPE, timeout=lean.RUN)
    assert demo.returncode == 0, demo.stdout
    assert re.findall(r"^ok in (\S+)", demo.stdout, re.M) == ["unary", "client-streaming", "server-streaming", "bidi"]


def test_restart_of_a_lean_worker_loses_no_waiting_call(programs, daemon):
    with worker(daemon) as first:
        target = first.target
        first.kill()
    with grpc.insecure_channel(target) as channel:
        method = channel.unary_unary("/legate.test.v1.Peer/Unary")
        waiting = method.future(b"", timeout=WAIT * 10)
        with worker(daemon, target):
            waiting.result(WAIT * 10)


def test_drain_finishes_what_runs(programs, daemon):
    with worker(daemon) as program, grpc.insecure_channel(program.target) as channel:
        stream = channel.stream_stream("/legate.test.v1.Peer/Bidi")
        requests = iter([b"\x0a\x01a"])
        slow = channel.unary_unary("/legate.test.v1.Peer/Unary").future(b"\x48\xe8\x07", timeout=WAIT * 10)  # 1 s
        assert len(list(stream(requests, timeout=WAIT * 10))) == 1
        channel.unary_unary("/legate.test.v1.Control/Shutdown")(b"", timeout=WAIT * 10)
        assert slow.result() is not None
        program.wait_line("^stopped$")
        assert program.wait() == 0


def test_shutdown_of_the_daemon_with_a_lean_worker(programs):
    daemon = Daemon("ipc.hello_timeout=10min", "shutdown.grace=60s")
    with worker(daemon) as program, grpc.insecure_channel(program.target) as channel:
        slow = channel.unary_unary("/legate.test.v1.Peer/Unary").future(b"\x48\xe8\x07", timeout=WAIT * 10)  # 1 s
        [result] = call("go", program.target)
        assert result["code"] == 0
        daemon.terminate()
        assert slow.result() is not None
        daemon.stop(within=WAIT * 4)


def test_lean_worker_of_a_generation_with_two_ports_health_and_reflection(programs, own_daemon, pair, tmp_path):
    certificate, key, authority = pair
    file = descriptor_pb2.FileDescriptorProto(name="echo.proto", package="pkg", syntax="proto3")
    file.message_type.add(name="Text")
    file.service.add(name="Echo").method.add(name="Say", input_type=".pkg.Text", output_type=".pkg.Text")
    descriptors = tmp_path / "descriptors"
    descriptors.write_bytes(descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString())
    own = {"LEGATE_SERVER_GENERATION": "green", "LEGATE_SERVER_SHARE": "5", "LEGATE_SERVER_WEIGHT": "30"}
    with lean.e2e(own_daemon, "ServicesWorker", certificate, key, authority, descriptors,
                  environment=FEW | own) as program:
        port, bounded = program.wait_line(r"^listening (\d+) (\d+)$").groups()
        credentials = grpc.ssl_channel_credentials(authority.read_bytes())
        with grpc.secure_channel(f"127.0.0.1:{port}", credentials) as channel:

            def ask(method, request):
                return channel.unary_unary(method)(request, timeout=WAIT)

            assert ask("/pkg.Echo/Who", b"") == b"nobody"
            assert ask("/pkg.Other/Any", b"") == b"/pkg.Other/Any"
            assert ask("/pkg.Echo/Say", b"\x0a\x01x") == b"\x0a\x01x"
            # HealthCheckRequest {service: "pkg.Echo"}; HealthCheckResponse {status: SERVING = 1, NOT_SERVING = 2}
            check = ("/grpc.health.v1.Health/Check", b"\x0a\x08pkg.Echo")
            assert ask(*check) == b"\x08\x01"
            for health in [0, 1, 0]:
                ask("/pkg.Echo/Health", bytes([health]))
                assert ask(*check) == bytes([8, 1 if health else 2])
            # ServerReflectionRequest {list_services: ""} and {file_containing_symbol: "pkg.Echo"}
            reflect = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
            listed, found = reflect(iter([b"\x3a\x00", b"\x22\x08pkg.Echo"]), timeout=WAIT)
            assert b"pkg.Echo" in listed and b"echo.proto" in found
        identified = grpc.ssl_channel_credentials(*(path.read_bytes() for path in (authority, key, certificate)))
        with grpc.secure_channel(f"127.0.0.1:{port}", identified) as channel:
            who = channel.unary_unary("/pkg.Echo/Who")(b"", timeout=WAIT)
            assert who == b"CN=legate.test #[dns:legate.test, ip:127.0.0.1] with certificate"
        with grpc.insecure_channel(f"127.0.0.1:{bounded}") as channel:
            with pytest.raises(grpc.RpcError) as refused:
                channel.unary_unary("/pkg.Echo/Say")(bytes(1001), timeout=WAIT)
            assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "the server's max_receive_message" in refused.value.details()
            reflect = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
            with pytest.raises(grpc.RpcError) as absent:
                list(reflect(iter([b"\x3a\x00"]), timeout=WAIT))
            assert absent.value.code() == grpc.StatusCode.UNIMPLEMENTED
        with http2.Client(bounded) as client:
            client.call(b"/pkg.Echo/Squeeze", bytes(1000), headers=[(b"grpc-accept-encoding", b"identity,gzip")])
            [(compressed, squeezed)] = http2.messages(client.answer())
            assert compressed and len(squeezed) < 100
        ctl = [lean.BIN / "legatectl", "--socket", own_daemon.path]
        workers = json.loads(subprocess.check_output([*ctl, "workers", "-o", "json"], timeout=WAIT))
        for server in workers["servers"]:
            assert {(lease["generation"], lease["weight"]) for lease in server["leases"]} == {("green", 30)}
            assert {(pool["generation"], pool["share"]) for pool in server["pools"]} == {("green", 5)}
        session = str(workers["servers"][0]["leases"][0]["session"])
        subprocess.run([*ctl, "drain", "--worker", session, "--timeout", "30s"], check=True, timeout=WAIT)
        assert program.wait_line("^retired: (.+)$")[1]
        program.wait_line("^stopped$")
        assert program.wait() == 0
