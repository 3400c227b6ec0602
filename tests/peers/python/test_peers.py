"""The peers against each other, without legated: what a test concludes from them rests on this.

LEGATED_PEER_DIR names the folder of the Go programs; build/bin by default.
"""

import base64
import contextlib
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]
PEERS = pathlib.Path(os.environ.get("LEGATED_PEER_DIR", ROOT / "build" / "bin"))
GREETER = ROOT / "examples" / "greeter"
CLIENTS = {
    "go": [str(PEERS / "peer-client")],
    "python": [sys.executable, str(ROOT / "tests/peers/python/peer_client.py")],
}
SHAPES = ["unary", "client", "server", "bidi"]


@contextlib.contextmanager
def running_server():
    with subprocess.Popen([PEERS / "peer-server"], stdout=subprocess.PIPE, text=True) as process:
        try:
            word, port = process.stdout.readline().split()
            assert word == "listening"
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


@pytest.fixture(scope="module", name="target")
def fixture_target():
    with running_server() as target:
        yield target


@pytest.fixture(params=sorted(CLIENTS), name="client")
def fixture_client(request, target):
    return lambda *args, **command: call(CLIENTS[request.param], target, *args, **command)


def call(program, target, *args, **command):
    """Makes calls and returns their results; keyword arguments are the Command's fields."""
    line = [*program, "--target", target, "--timeout", "20s", *map(str, args)]
    if command:
        line += ["--command", json.dumps(command)]
    done = subprocess.run(line, stdout=subprocess.PIPE, check=True, text=True, timeout=60)
    return [json.loads(text) for text in done.stdout.splitlines()]


def b64(raw):
    return base64.b64encode(raw).decode()


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_echoes(client, shape):
    [result] = client("--shape", shape, "--send", 3, payload=b64(b"hello"), responseCount=2)
    assert (result["code"], result["message"]) == (0, "")
    payloads = [base64.b64decode(reply["payload_b64"]) for reply in result["replies"]]
    received = [reply["messages_received"] for reply in result["replies"]]
    assert (payloads, received) == {
        "unary": ([b"hello"], [1]),
        "client": ([b"hellohellohello"], [3]),
        "server": ([b"hello"] * 2, [1, 1]),
        "bidi": ([b"hello"] * 3, [1, 2, 3]),
    }[shape]
    assert [reply["index"] for reply in result["replies"]] == list(range(len(payloads)))


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_carries_metadata(client, shape):
    [result] = client("--shape", shape, "-H", "dup:one", "-H", "dup:two", "-H", "empty:",
                      "-H", "raw-bin:" + b64(bytes(range(256))),
                      headers=[{"key": "h", "value": b64(b"1")}, {"key": "h", "value": b64(b"2")}],
                      trailers=[{"key": "t-bin", "value": b64(b"\x00\xff")}],
                      echoMetadata=True, responseCount=1)
    assert result["code"] == 0
    headers = result["headers"]
    assert headers["h"] == ["1", "2"]
    assert headers["x-echo-dup"] == ["one", "two"]
    assert headers["x-echo-empty"] == [""]
    assert headers["x-echo-raw-bin"] == [b64(bytes(range(256)))]
    assert 0 < int(headers["x-deadline-ms"][0]) <= 20_000
    assert result["trailers"]["t-bin"] == [b64(b"\x00\xff")]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_ends_with_the_scripted_status(client, shape):
    [result] = client("--shape", shape, statusCode=9, statusMessage="not now: ümlaut",
                      statusDetails=b64(b"\xff\x00 not a Status"),
                      trailers=[{"key": "t", "value": b64(b"v")}])
    assert (result["code"], result["message"]) == (9, "not now: ümlaut")
    assert base64.b64decode(result["details_b64"]) == b"\xff\x00 not a Status"
    assert result["trailers"]["t"] == ["v"]
    assert result["replies"] == []


def test_code_99_arrives_as_sent(target):
    [result] = call(CLIENTS["go"], target, statusCode=99, statusMessage="odd")
    assert (result["code"], result["message"]) == (99, "odd")
    [result] = call(CLIENTS["python"], target, statusCode=99, statusMessage="odd")
    assert result["code"] == 2


@pytest.mark.parametrize("shape", SHAPES)
def test_hang_ends_at_the_deadline_and_is_counted(shape):
    with running_server() as target:
        until_cancelled_seen(target, CLIENTS["go"], 4, "--shape", shape, "--timeout", "200ms")
    with running_server() as target:
        until_cancelled_seen(target, CLIENTS["python"], 1, "--shape", shape, "--cancel-after", "200ms")


def until_cancelled_seen(target, client, code, *args):
    """Hanging calls, until the server has seen one end early: on a busy machine a call may end before
    it arrives, and the server learns of its end a moment after its client."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        [hung] = call(client, target, *args, hang=True)
        assert hung["code"] == code
        [probe] = call(CLIENTS["go"], target)
        if probe["replies"][0]["cancelled_seen"]:
            return
    pytest.fail("the server has seen no call end early")


def test_cancel_between_replies(client):
    [result] = client("--shape", "server", "--cancel-after-replies", 2, responseCount=1000,
                      delayMs=20)
    assert result["code"] == 1
    assert len(result["replies"]) == 2


def test_headers_come_before_a_delayed_reply(client):
    [result] = client("--timeout", "2s", "--shape", "server", headersFirst=True, hang=True,
                      headers=[{"key": "early", "value": b64(b"yes")}])
    assert result["code"] == 4
    assert result["headers"]["early"] == ["yes"]


def test_bidi_is_interactive(client):
    [result] = client("--shape", "bidi", "--send", 20, "--lockstep", "--payload-size", 10)
    assert result["code"] == 0
    assert len(result["replies"]) == 20


def test_bidi_can_end_before_half_close(client):
    [result] = client("--shape", "bidi", "--send", 5, "--keep-open", statusCode=10, responseCount=2)
    assert result["code"] == 10
    assert len(result["replies"]) == 2


def test_large_payloads_both_ways(client):
    size = 4_089_446  # 3.9 MiB
    expected = hashlib.sha256((bytes(range(251)) * (size // 251 + 1))[:size]).hexdigest()
    [echoed] = client("--payload-size", size)
    [made] = client(responseSize=size)
    for result in (echoed, made):
        [reply] = result["replies"]
        assert (reply["size"], reply["sha256"]) == (size, expected)


def test_unknown_method(client):
    [result] = client("--service-method", "/legate.test.v1.Peer/Nope")
    assert result["code"] == 12


def test_many_calls_at_once(client):
    results = client("--count", 100, "--shape", "bidi", "--send", 3)
    assert sorted(result["call"] for result in results) == list(range(100))
    assert {(result["code"], len(result["replies"])) for result in results} == {(0, 3)}


def test_greeter_by_python_client(target):
    done = subprocess.run([sys.executable, GREETER / "client.py", target, "Ada", "Grace"],
                          stdout=subprocess.PIPE, check=True, text=True, timeout=60)
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert lines == [
        ["SayHello", "Hello, Ada!"],
        ["CollectHellos", "Hello, Ada, Grace!"],
        ["ListHellos", "Hello, Ada! (1/3)"],
        ["ListHellos", "Hello, Ada! (2/3)"],
        ["ListHellos", "Hello, Ada! (3/3)"],
        ["Chat", "Hello, Ada!"],
        ["Chat", "Hello, Grace!"],
    ]


@pytest.mark.parametrize("method, requests, replies", [
    ("SayHello", '{"name":"Ada"}', ["Hello, Ada!"]),
    ("CollectHellos", '{"name":"A"}{"name":"B"}', ["Hello, A, B!"]),
    ("ListHellos", '{"name":"Ada","count":2}', ["Hello, Ada! (1/2)", "Hello, Ada! (2/2)"]),
    ("Chat", '{"name":"A"}{"name":"B"}', ["Hello, A!", "Hello, B!"]),
])
def test_greeter_by_grpcurl(target, method, requests, replies):
    done = subprocess.run(
        [PEERS / "grpcurl", "-plaintext", "-import-path", GREETER, "-proto", "greeter.proto",
         "-d", requests, target, f"legated.greeter.v1.Greeter/{method}"],
        stdout=subprocess.PIPE, check=True, text=True, timeout=60)
    decoder, text, messages = json.JSONDecoder(), done.stdout.strip(), []
    while text:
        message, end = decoder.raw_decode(text)
        messages.append(message["message"])
        text = text[end:].lstrip()
    assert messages == replies
