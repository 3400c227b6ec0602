"""PROTOCOL.md suffices for a client written from it alone: connections, frames, their order, roles."""

import socket
import struct
import time
from random import Random

import pytest

from harness import INVALID_ARGUMENT, PERMISSION_DENIED, Raw, echo_channel, error_of, unary, unused_port
from legate_frames import CRITICAL, END_STREAM, MSG_BEGIN, MSG_END, WHOLE, ConnectionFailed, Frame
from test_golden import FILES, parts


def test_hello_ack_tells_roles_and_limits(conn):
    assert conn.roles == {"client", "worker", "admin"}
    assert conn.hello_ack["version"] == 1
    assert conn.hello_ack["epoch"] and conn.hello_ack["build"]
    assert conn.hello_ack["heartbeat_ms"] == 1000
    assert conn.limits == {"max_frame": 65_536, "max_meta": 131_072, "call_window": 262_144,
                           "connection_window": 4_194_304, "max_message": 4_194_304, "max_metadata": 65_536,
                           "max_calls": 10_000, "memory_budget": 67_108_864}


def test_sessions_are_numbered_within_an_epoch(daemon):
    with daemon.connect() as first, daemon.connect() as second:
        assert first.hello_ack["epoch"] == second.hello_ack["epoch"]
        assert first.hello_ack["session"] != second.hello_ack["session"]


@pytest.mark.parametrize("hello, code", [
    ({"version_min": 2, "version_max": 3}, "version"),
    ({"version_min": 3, "version_max": 1}, "version"),
    ({"roles": 0}, "access_denied"),
    ({"max_frame": 4_095}, "malformed_frame"),
    ({"max_frame": 1_048_577}, "malformed_frame"),
    ({"call_window": 65_535}, "malformed_frame"),
    ({"connection_window": 2_147_483_648}, "malformed_frame"),
])
def test_a_hello_that_cannot_be_met_is_refused(daemon, hello, code):
    with pytest.raises(ConnectionFailed) as failure:
        daemon.connect(hello=hello)
    assert failure.value.code == code
    assert failure.value.frame_type == "HELLO"
    assert failure.value.message


def test_a_later_version_range_is_met_at_the_highest_common(daemon):
    with daemon.connect(hello={"version_min": 1, "version_max": 9}) as conn:
        assert conn.hello_ack["version"] == 1


def test_the_first_frame_must_be_hello(daemon):
    raw = Raw(daemon.path)
    raw.socket.sendall(Frame("PING").encode())
    assert error_of(raw.frames_to_end()) == (4, 4)  # unexpected_frame, PING


def test_a_silent_connection_is_closed_after_the_hello_timeout(daemon):
    began = time.monotonic()
    raw = Raw(daemon.path)
    assert error_of(raw.frames_to_end()) == (10, 0)
    assert 0.4 < time.monotonic() - began < 10


def test_three_heartbeats_without_an_answer_end_the_connection(daemon):
    raw = Raw(daemon.path)
    raw.socket.sendall(Frame("HELLO", meta={"roles": 1}).encode())
    frames = raw.frames_to_end()
    assert [frame.kind for frame in frames if frame.kind != "PING"] == ["HELLO_ACK", "ERROR"]
    assert any(frame.kind == "PING" for frame in frames)
    assert error_of(frames)[0] == 11


def test_ping_is_answered(conn):
    conn.ping(0xFEEDF00D)


def test_an_idle_connection_that_answers_pings_stays(conn):
    time.sleep(4)  # longer than three heartbeats
    conn.ping(1)


MALFORMED = [path for path in FILES if path.stem.startswith("bad-")]


@pytest.mark.parametrize("path", MALFORMED, ids=lambda path: path.stem)
def test_a_malformed_frame_ends_its_connection_and_no_other(daemon, conn, echo, path):
    expected, data = parts(path)
    with daemon.connect() as hostile:
        hostile.send_raw(data)
        failure = hostile.wait_failure()
        assert f"error: {failure.code} frame {failure.frame_type}\n" == expected
        assert failure.message
    call = conn.start("/test.Echo/Unary", echo_channel(conn, echo), shape="unary", message=b"on", end=True, timeout=5)
    assert (call.read(), call.status().code) == (b"on", 0)


START = {"method": "/test.Echo/Bidi", "channel": 1}


def start(call_id, flags=0, aux=0, payload=b""):
    return Frame("START", call_id, flags, aux, meta=START, payload=payload).encode()


def data(call_id, flags=0, aux=0, payload=b""):
    return Frame("DATA", call_id, flags, aux, payload=payload).encode()


@pytest.mark.parametrize("code, kind, frames", [
    ("unexpected_frame", "HELLO", [Frame("HELLO", meta={"roles": 1}).encode()]),
    ("unexpected_frame", "HELLO_ACK", [Frame("HELLO_ACK", meta={"limits": {}}).encode()]),
    ("unexpected_frame", "LEASE", [Frame("LEASE", 3).encode()]),
    ("unexpected_frame", "PING", [Frame("PING", 3).encode()]),
    ("unexpected_frame", "CANCEL", [Frame("CANCEL", 0).encode()]),
    ("unexpected_frame", "START", [start(0)]),
    ("unexpected_frame", "HEADERS", [start(3), Frame("HEADERS", 3).encode()]),
    ("unexpected_frame", "STATUS", [start(3), Frame("STATUS", 3).encode()]),
    ("unexpected_frame", "ACCEPT", [start(3), Frame("ACCEPT", 3).encode()]),
    ("call_id", "START", [start(4)]),
    ("call_id", "START", [start(1)]),
    ("call_id", "START", [start(3), start(3)]),
    ("call_id", "START", [start(5), start(3)]),
    ("call_id", "OPEN_CHANNEL", [Frame("OPEN_CHANNEL", 1, meta={"target": "x"}).encode()]),
    ("call_id", "DATA", [data(3, END_STREAM)]),
    ("call_id", "WINDOW", [Frame("WINDOW", 3, aux=1).encode()]),
    ("call_id", "CANCEL", [Frame("CANCEL", 3).encode()]),
    ("call_id", "STATUS", [Frame("STATUS", 2).encode()]),
    ("call_id", "ACCEPT", [Frame("ACCEPT", 2).encode()]),
    ("flow_control", "WINDOW", [Frame("WINDOW", 0, aux=2_147_483_647).encode()]),
    ("flow_control", "WINDOW", [start(3), Frame("WINDOW", 3, aux=2_147_483_647).encode()]),
    ("message_framing", "DATA", [start(3), data(3, WHOLE, 5, b"1234")]),
    ("message_framing", "DATA", [start(3), data(3, WHOLE, 3, b"1234")]),
    ("message_framing", "DATA", [start(3), data(3, MSG_BEGIN, 5, b"12"), data(3, MSG_BEGIN, 5, b"12")]),
    ("message_framing", "DATA", [start(3), data(3, MSG_BEGIN, 5, b"12"), data(3, 0, 0, b"3456")]),
    ("message_framing", "DATA", [start(3), data(3, MSG_BEGIN, 5, b"12"), data(3, MSG_END, 0, b"34")]),
    ("message_framing", "DATA", [start(3), data(3, MSG_END, 0, b"12")]),
    ("message_framing", "DATA", [start(3), data(3, 0, 0, b"12")]),
    ("message_framing", "DATA", [start(3), data(3)]),
    ("message_framing", "DATA", [start(3), data(3, MSG_BEGIN, 5)]),
    ("message_framing", "DATA", [start(3), data(3, MSG_BEGIN, 5, b"12"), data(3, END_STREAM)]),
    ("message_framing", "DATA", [start(3, END_STREAM), data(3, WHOLE, 1, b"1")]),
    ("message_framing", "DATA", [start(3, END_STREAM), data(3, END_STREAM)]),
    ("message_framing", "START", [start(3, WHOLE, 5, b"1234")]),
    ("message_framing", "START", [start(3, 0, 0, b"1234")]),
    ("message_framing", "START", [start(3, MSG_BEGIN | END_STREAM, 5, b"12")]),
])
def test_a_frame_out_of_order_ends_its_connection(daemon, conn, echo, code, kind, frames):
    with daemon.connect() as hostile:
        channel = hostile.open_channel(echo.target)
        channel.result()
        hostile.send_raw(b"".join(frames))
        failure = hostile.wait_failure()
        assert (failure.code, failure.frame_type) == (code, kind), failure.message
        assert failure.message
    conn.ping(2)


def test_overrunning_call_credit_is_an_error(daemon, conn):
    with daemon.connect() as hostile:
        hostile.open_channel(f"ipv4:127.0.0.1:{unused_port()}")
        waiting = Frame("START", 3, meta={"method": "/a.B/C", "channel": 1, "wait_for_ready": True}).encode()
        part = bytes(65_536)
        whole = data(3, MSG_BEGIN, 262_144, part) + data(3, 0, 0, part) * 2 + data(3, MSG_END, 0, part)
        hostile.send_raw(waiting + whole)
        hostile.ping(1)  # just the window is fine
        hostile.send_raw(data(3, WHOLE, 1, b"x"))
        failure = hostile.wait_failure()
        assert (failure.code, failure.frame_type) == ("flow_control", "DATA")
    conn.ping(8)


def test_mutated_frames_harm_nobody_else(daemon, conn, echo):
    random = Random(1)
    good = [parts(path)[1] for path in FILES if not path.stem.startswith(("bad-", "cut-"))]
    for _ in range(300):
        hostile = Raw(daemon.path)
        stream = bytearray(b"".join(random.choices(good, k=5)))
        for _ in range(random.randrange(1, 6)):
            stream[random.randrange(len(stream))] = random.randrange(256)
        try:
            hostile.socket.sendall(Frame("HELLO", meta={"roles": 7}).encode())
            hostile.socket.recv(4096)
            hostile.socket.sendall(stream)
        except OSError:
            pass
        hostile.socket.close()
    call = conn.start("/test.Echo/Unary", echo_channel(conn, echo), shape="unary", message=b"on", end=True, timeout=5)
    assert (call.read(), call.status().code) == (b"on", 0)


def test_an_unknown_type_is_answered_and_nothing_else_changes(conn, echo):
    call = conn.start("/test.Echo/Bidi", echo_channel(conn, echo))
    conn.send_raw(struct.pack("<IIBBHI", 3, call.id, 200, 0, 0, 7) + b"abc")
    call.send(b"a", end=True)
    assert (list(call), call.status().code) == ([b"A"], 0)
    assert conn.unsupported == [(call.id, 200)]


def test_critical_on_a_known_type_changes_nothing(conn):
    conn.send_raw(Frame("PING", aux=77, flags=CRITICAL).encode())
    conn._wait(lambda: 77 in conn.pongs)


def test_late_frames_are_dropped(conn, echo):
    call = conn.start("/test.Echo/Unary", echo_channel(conn, echo), shape="unary", message=b"x", end=True)
    assert call.status().code == 0
    conn.send_raw(Frame("CANCEL", call.id).encode() + Frame("WINDOW", call.id, aux=5).encode()
                  + data(call.id, WHOLE, 5, b"12345"))
    conn.ping(3)


def test_requests_need_their_role(daemon):
    with daemon.connect(roles=("client",)) as conn:
        assert conn.roles == {"client"}
        assert conn.listen("127.0.0.1:0").result().code == PERMISSION_DENIED
        assert conn.register(1, ["*"]).result().code == PERMISSION_DENIED
        assert conn.serve(1).code == PERMISSION_DENIED
        assert conn.query("status")[0].code == PERMISSION_DENIED
    with daemon.connect(roles=("admin",)) as conn:
        assert conn.open_channel("localhost:1").result().code == PERMISSION_DENIED
        assert conn.start("/a.B/C", 1).status().code == PERMISSION_DENIED


@pytest.mark.parametrize("what", ["status", "channels", "calls", "workers"])
def test_queries_answer_json(conn, what):
    status, messages = conn.query(what)
    assert status.code == 0
    assert len(messages) == 1


def test_an_unknown_query_is_invalid(conn):
    assert conn.query("weather")[0].code == INVALID_ARGUMENT
