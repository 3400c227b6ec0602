"""PROTOCOL.md suffices: a client and worker written from it alone works with the real daemon."""

import socket
import struct
import threading
import time

import grpc
import pytest
from test_golden import FILES, parts

from legate_ipc import (CRITICAL, END_STREAM, MSG_BEGIN, MSG_END, WAIT, WHOLE, ConnectionFailed, Decoder, Frame)

CANCELLED, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND = 1, 3, 4, 5
PERMISSION_DENIED, RESOURCE_EXHAUSTED, FAILED_PRECONDITION, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 7, 8, 9, 12, 13, 14


def echo_channel(conn, echo):
    return conn.open_channel(echo.target).id


# ---- Connection ----------------------------------------------------------------------------


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


class Raw:
    """A socket without any manners."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(WAIT)
        self.socket.connect(str(path))

    def frames_to_end(self):
        decoder, frames = Decoder(), []
        while data := self.socket.recv(65_536):
            frames += decoder.feed(data)
        assert not decoder.unread
        return frames


def error_of(frames):
    assert frames and frames[-1].kind == "ERROR", [frame.describe() for frame in frames]
    return frames[-1].meta["code"], frames[-1].meta["frame_type"]


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


def test_overrunning_call_credit_is_an_error(daemon, echo):
    with daemon.connect() as hostile:
        hostile.open_channel(echo.target)
        # Nothing of this message is returned to the call before it is whole: it is not longer than the window.
        part = bytes(65_536)
        hostile.send_raw(start(3, MSG_BEGIN, 262_144, part) + data(3, 0, 0, part) * 2 + data(3, 0, 0, part[1:])
                         + data(3, 0, 0, b"12"))
        failure = hostile.wait_failure()
        assert failure.code in ("flow_control", "message_framing")


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


# ---- Outgoing calls ------------------------------------------------------------------------


def test_out_unary_in_one_frame(conn, echo):
    channel = conn.open_channel(echo.target)
    metadata = [("x-a", "1"), ("x-b-bin", b"\x00\xff\n"), ("x-a", "2"), ("x-empty", "")]
    call = conn.start("/test.Echo/Unary", channel.id, shape="unary", metadata=metadata, message=b"hello", end=True,
                      timeout=10)
    assert call.read() == b"hello"
    own = [(key, value) for key, value in call.headers() if key.startswith("x-")]
    assert own == [("x-a", b"1"), ("x-b-bin", b"\x00\xff\n"), ("x-a", b"2"), ("x-empty", b"")]
    status = call.status()
    assert (status.code, status.details, status.elapsed_us > 0) == (0, None, True)
    assert status.trailers == [("x-end", b"1"), ("x-end-bin", b"\x00\xff"), ("x-end", b"2")]
    assert "shared" in channel.result()


def test_out_client_streaming(conn, echo):
    call = conn.start("/test.Echo/ClientStream", echo_channel(conn, echo), shape="client_streaming")
    for part in (b"a", b"", b"c"):
        call.send(part)
    call.half_close()
    assert (call.read(), call.read(), call.status().code) == (b"a||c", None, 0)


def test_out_server_streaming(conn, echo):
    call = conn.start("/test.Echo/ServerStream", echo_channel(conn, echo), shape="server_streaming", message=b"5x3",
                      end=True)
    assert [len(message) for message in call] == [3] * 5
    assert call.status().code == 0


def test_out_bidi_in_lockstep(conn, echo):
    call = conn.start("/test.Echo/Bidi", echo_channel(conn, echo))
    for word in (b"one", b"two", b"three"):
        call.send(word)
        assert call.read() == word.upper()
    call.half_close()
    assert (call.read(), call.status().code) == (None, 0)


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 262_144, 262_145, 3_900_000])
def test_out_messages_of_every_size(conn, echo, size):
    message = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    call = conn.start("/test.Echo/Unary", echo_channel(conn, echo), shape="unary", message=message, end=True)
    assert call.read() == message
    assert call.status().code == 0


def test_out_a_message_over_the_limit_ends_the_call_alone(conn, echo):
    call = conn.start("/test.Echo/Unary", echo_channel(conn, echo), shape="unary", message=bytes(4_194_305), end=True)
    assert call.status().code == RESOURCE_EXHAUSTED
    conn.ping(4)


def test_out_a_slow_reader_gets_everything_in_the_end(conn, echo):
    call = conn.start("/test.Echo/ServerStream", echo_channel(conn, echo), shape="server_streaming",
                      message=b"60x100000", end=True)
    conn._wait(lambda: sum(message.got for message in call.inbox) >= 262_144)
    conn.ping(5)
    conn.ping(6)
    assert sum(message.got for message in call.inbox) == 262_144  # the window, not a byte more
    assert call.got_status is None
    assert [len(message) for message in call] == [100_000] * 60
    assert call.status().code == 0


def test_out_an_error_keeps_everything(conn, echo):
    call = conn.start("/test.Echo/Fail", echo_channel(conn, echo), shape="unary", message=b"", end=True)
    status = call.status()
    assert (status.code, status.message, status.details) == (NOT_FOUND, "no such thing: h\u00e9", b"\x08\x05")
    assert ("x-why", b"gone") in status.trailers
    assert status.origin == "remote"


def test_out_cancel_reaches_the_server(conn, echo):
    echo.cancelled.clear()
    call = conn.start("/test.Echo/Hang", echo_channel(conn, echo))
    assert call.read() == b"started"
    call.cancel()
    call.cancel()
    status = call.status()
    assert (status.code, status.origin) == (CANCELLED, "app")
    assert echo.cancelled.wait(WAIT)


def test_out_deadline_ends_a_running_call(conn, echo):
    began = time.monotonic()
    call = conn.start("/test.Echo/Hang", echo_channel(conn, echo), timeout=0.3)
    assert call.status().code == DEADLINE_EXCEEDED
    assert 0.29 <= time.monotonic() - began < 5


def unused_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_out_wait_for_ready_waits_until_the_deadline(conn):
    channel = conn.open_channel(f"ipv4:127.0.0.1:{unused_port()}").id
    assert conn.start("/a.B/C", channel, message=b"", end=True, timeout=5).status().code == UNAVAILABLE
    began = time.monotonic()
    waiting = conn.start("/a.B/C", channel, message=b"", end=True, timeout=0.4, wait_for_ready=True)
    assert waiting.status().code == DEADLINE_EXCEEDED
    assert time.monotonic() - began >= 0.39


def test_out_losing_the_client_cancels_its_calls(daemon, echo):
    echo.cancelled.clear()
    with daemon.connect() as conn:
        assert conn.start("/test.Echo/Hang", echo_channel(conn, echo)).read() == b"started"
    assert echo.cancelled.wait(WAIT)


@pytest.mark.parametrize("key, value", [
    ("X-Upper", b"a"), ("", b"a"), ("x y", b"a"), (":path", b"a"), ("grpc-timeout", b"1S"), ("content-type", b"a"),
    ("te", b"a"), ("user-agent", b"a"), ("host", b"a"), ("x-nl", b"a\nb"), ("x-high", b"\xc3\xa9")])
def test_out_refused_metadata_names_the_key(conn, echo, key, value):
    call = conn.start("/test.Echo/Unary", echo_channel(conn, echo), shape="unary", metadata=[(key, value)],
                      message=b"", end=True)
    status = call.status()
    assert status.code == INVALID_ARGUMENT
    assert key in status.message
    conn.ping(7)


def test_out_metadata_over_the_limit(conn, echo):
    metadata = [("x-a", b"a" * 40_000), ("x-b", b"b" * 30_000)]
    call = conn.start("/test.Echo/Unary", echo_channel(conn, echo), metadata=metadata)
    assert call.status().code == RESOURCE_EXHAUSTED


def test_out_a_call_on_no_channel_fails(conn, echo):
    assert conn.start("/a.B/C", 999).status().code == FAILED_PRECONDITION
    request = conn.request("CLOSE_CHANNEL", aux=999)
    assert request.result().code == NOT_FOUND
    channel = echo_channel(conn, echo)
    assert conn.request("CLOSE_CHANNEL", aux=channel).result().code == 0
    assert conn.start("/test.Echo/Unary", channel).status().code == FAILED_PRECONDITION


def test_out_closing_a_channel_leaves_its_calls(conn, echo):
    channel = echo_channel(conn, echo)
    call = conn.start("/test.Echo/Bidi", channel)
    assert conn.request("CLOSE_CHANNEL", aux=channel).result().code == 0
    call.send(b"a", end=True)
    assert (list(call), call.status().code) == ([b"A"], 0)


def test_out_equal_targets_are_shared(daemon, conn, echo):
    with daemon.connect() as other:
        first = conn.open_channel(echo.target)
        first.result()
        assert other.open_channel(echo.target).result()["shared"] is True


def test_out_the_shape_is_checked(conn, echo):
    channel = echo_channel(conn, echo)
    two = conn.start("/test.Echo/Unary", channel, shape="unary", message=b"a")
    two.send(b"b", end=True)
    assert two.status().code == INVALID_ARGUMENT
    none = conn.start("/test.Echo/Unary", channel, shape="unary", end=True)
    assert none.status().code == INVALID_ARGUMENT
    many = conn.start("/test.Echo/ServerStream", channel, shape="unary", message=b"2x1", end=True)
    assert many.status().code == INTERNAL


# ---- Dispatches ----------------------------------------------------------------------------


class Worker:
    """Serves all four shapes on a port of the daemon, as the page tells."""

    def __init__(self, daemon, methods=("/test.Echo/*",), slots=64, address="127.0.0.1:0", **options):
        self.seen = []
        self.release = threading.Event()
        self.cancelled = threading.Event()
        self.conn = daemon.connect(roles=("worker",), on_dispatch=self.handle, **options)
        self.server = self.conn.listen(address)
        self.listening = self.server.result()
        self.lease = self.conn.register(self.server.id, list(methods), slots)
        assert self.lease.result() == {}
        assert self.conn.serve(self.server.id).code == 0
        self.target = self.listening["address"]

    def handle(self, call):
        self.seen.append(call)
        name = call.start["method"].rpartition("/")[2]
        try:
            if name != "Reject":
                call.accept()  # else no more than the first message comes
            getattr(self, name)(call)
        except ConnectionFailed:
            pass

    def Unary(self, call):
        own = [(entry["key"], entry["value"]) for entry in call.start.get("metadata", []) if entry["key"][:2] == "x-"]
        call.send_headers(own)
        message = call.read()
        if message is None:
            return call.send_status(1)
        call.send(message)
        call.send_status(trailers=[("x-end", "1"), ("x-end-bin", b"\x00\xff"), ("x-end", "2")])

    def ClientStream(self, call):
        call.send(b"|".join(call))
        call.send_status()

    def ServerStream(self, call):
        count, size = (int(part) for part in call.read().split(b"x"))
        for index in range(count):
            call.send(bytes([index % 256]) * size)
        call.send_status()

    def Bidi(self, call):
        for message in call:
            call.send(message.upper())
        call.send_status()

    def Fail(self, call):
        call.send_status(5, "no such thing: h\u00e9", b"\x08\x05", [("x-why", "gone")])

    def Hang(self, call):
        if call.cancelled.wait(WAIT):
            self.cancelled.set()
        call.send_status(1)

    def Hold(self, call):
        self.release.wait(WAIT)
        call.send(b"held")
        call.send_status()

    def BadHeaders(self, call):
        call.send_headers([("X-Upper", "a")])
        call.send(b"")
        call.send_status()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release.set()
        self.conn.close()


@pytest.fixture
def worker(daemon):
    with Worker(daemon) as worker:
        yield worker


@pytest.fixture
def channel(worker):
    with grpc.insecure_channel(worker.target, options=[("grpc.max_receive_message_length", -1)]) as channel:
        yield channel


def unary(channel, name="Unary"):
    return channel.unary_unary(f"/test.Echo/{name}")


def code_of(call):
    """The status code of a grpcio call that fails, and its message."""
    with pytest.raises(grpc.RpcError) as error:
        call()
    return error.value.code(), error.value.details()


def test_in_unary(worker, channel):
    metadata = [("x-a", "1"), ("x-b-bin", b"\x00\xff\n"), ("x-a", "2")]
    answer, call = unary(channel).with_call(b"hello", metadata=metadata, timeout=10)
    assert answer == b"hello"
    assert [(key, value) for key, value in call.initial_metadata() if key[:2] == "x-"] == metadata
    trailers = [(key, value) for key, value in call.trailing_metadata() if key[:2] == "x-"]
    assert trailers == [("x-end", "1"), ("x-end-bin", b"\x00\xff"), ("x-end", "2")]
    start = worker.seen[0].start
    assert start["lease"] == worker.lease.id
    assert start["authority"] == worker.target
    assert start["peer"].startswith("ipv4:127.0.0.1:")
    assert 5_000_000 < start["timeout_us"] <= 10_000_000
    assert worker.seen[0].id % 2 == 0


def test_in_client_streaming(channel):
    assert channel.stream_unary("/test.Echo/ClientStream")(iter([b"a", b"", b"c"]), timeout=10) == b"a||c"


def test_in_server_streaming(channel):
    answers = channel.unary_stream("/test.Echo/ServerStream")(b"5x3", timeout=10)
    assert [len(answer) for answer in answers] == [3] * 5


def test_in_bidi_in_lockstep(channel):
    words = [b"one", b"two", b"three"]
    ready = threading.Semaphore(1)

    def requests():
        for word in words:
            assert ready.acquire(timeout=WAIT)
            yield word

    answers = []
    for answer in channel.stream_stream("/test.Echo/Bidi")(requests(), timeout=10):
        answers.append(answer)
        ready.release()
    assert answers == [b"ONE", b"TWO", b"THREE"]


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 262_145, 3_900_000])
def test_in_messages_of_every_size(channel, size):
    message = b"m" * size
    assert unary(channel)(message, timeout=20) == message


def test_in_a_message_over_the_limit_never_reaches_the_worker(worker, channel):
    assert code_of(lambda: unary(channel)(bytes(4_194_305), timeout=10))[0] == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not worker.seen or worker.seen[0].read() is None


def test_in_a_worker_with_small_windows_gets_large_messages(daemon):
    with Worker(daemon, call_window=65_536, connection_window=65_536, max_frame=4_096) as worker:
        with grpc.insecure_channel(worker.target) as channel:
            message = bytes(range(256)) * 4_000
            assert unary(channel)(message, timeout=20) == message


def test_in_a_slow_client_stops_the_worker(worker, channel):
    answers = channel.unary_stream("/test.Echo/ServerStream")(b"200x100000", timeout=60)
    first = next(answers)
    worker.conn._wait(lambda: worker.seen and worker.seen[0].send_credit == 0)
    assert len(first) == 100_000
    assert sum(1 for _ in answers) == 199


def test_in_an_error_keeps_everything(channel):
    with pytest.raises(grpc.RpcError) as error:
        unary(channel, "Fail")(b"", timeout=10)
    assert (error.value.code(), error.value.details()) == (grpc.StatusCode.NOT_FOUND, "no such thing: h\u00e9")
    trailers = dict(error.value.trailing_metadata())
    assert trailers["grpc-status-details-bin"] == b"\x08\x05"
    assert trailers["x-why"] == "gone"


def test_in_the_clients_cancel_reaches_a_worker_that_does_nothing(worker, channel):
    call = unary(channel, "Hang").future(b"", timeout=60)
    worker.conn._wait(lambda: worker.seen)
    call.cancel()
    assert worker.cancelled.wait(WAIT)
    assert worker.seen[0].cancel_code == 1


def test_in_the_deadline_reaches_both_sides(worker, channel):
    began = time.monotonic()
    code, _ = code_of(lambda: unary(channel, "Hang")(b"", timeout=0.3))
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - began >= 0.29
    assert worker.cancelled.wait(WAIT)
    assert worker.seen[0].cancel_code in (1, 4)


def test_in_unknown_methods_are_unimplemented(channel):
    code, message = code_of(lambda: channel.unary_unary("/other.Svc/M")(b"", timeout=10))
    assert (code, message) == (grpc.StatusCode.UNIMPLEMENTED, "Method not implemented")


def test_in_illegal_headers_of_a_worker_end_the_call_internal(worker, channel):
    code, message = code_of(lambda: unary(channel, "BadHeaders")(b"", timeout=10))
    assert code == grpc.StatusCode.INTERNAL
    assert "X-Upper" in message
    assert unary(channel)(b"on", timeout=10) == b"on"


def test_in_slots_bound_what_runs_at_once(daemon):
    with Worker(daemon, slots=1) as worker, grpc.insecure_channel(worker.target) as channel:
        first = unary(channel, "Hold").future(b"", timeout=20)
        second = unary(channel, "Hold").future(b"", timeout=20)
        worker.conn._wait(lambda: worker.seen)
        worker.conn.ping(8)
        assert len(worker.seen) == 1
        worker.release.set()
        assert (first.result(), second.result()) == (b"held", b"held")
        assert worker.seen[1].start["queued_us"] > 0


def test_in_a_queued_call_past_its_deadline_never_reaches_the_worker(daemon):
    with Worker(daemon, slots=1) as worker, grpc.insecure_channel(worker.target) as channel:
        first = unary(channel, "Hold").future(b"", timeout=20)
        worker.conn._wait(lambda: worker.seen)
        assert code_of(lambda: unary(channel)(b"", timeout=0.3))[0] == grpc.StatusCode.DEADLINE_EXCEEDED
        worker.release.set()
        assert first.result() == b"held"
        worker.conn.ping(9)
        assert len(worker.seen) == 1


def test_in_what_one_worker_rejects_goes_to_another(daemon):
    with Worker(daemon) as first:
        with Worker(daemon, address=first.target) as second:
            assert second.listening["shared"] is True
            takers = []

            def once(worker):
                def handle(call):
                    takers.append(worker)
                    if len(takers) == 1:
                        return call.reject()
                    call.accept()
                    return worker.Unary(call)
                return handle

            first.Reject, second.Reject = once(first), once(second)
            with grpc.insecure_channel(first.target) as channel:
                assert unary(channel, "Reject")(b"x", timeout=10) == b"x"
            assert len(takers) == 2 and takers[0] is not takers[1]


def test_in_losing_the_worker_ends_what_it_had_accepted(daemon):
    worker = Worker(daemon)
    with grpc.insecure_channel(worker.target) as channel:
        call = unary(channel, "Hold").future(b"", timeout=20)
        worker.conn._wait(lambda: worker.seen)
        worker.conn.ping(10)  # ACCEPT went ahead of it
        worker.conn.close()
        assert call.code() == grpc.StatusCode.UNAVAILABLE


def test_in_calls_wait_for_the_next_generation(daemon):
    old = Worker(daemon)
    with grpc.insecure_channel(old.target) as channel:
        old.conn.close()
        call = unary(channel).future(b"x", timeout=20)
        with Worker(daemon, address=old.target) as new:
            assert new.listening["shared"] is True
            assert call.result() == b"x"


def test_in_after_the_hold_time_waiting_calls_end(daemon):
    worker = Worker(daemon)
    with grpc.insecure_channel(worker.target) as channel:
        assert unary(channel)(b"x", timeout=10) == b"x"
        assert worker.conn.request("UNREGISTER", aux=worker.lease.id).result().code == 0
        assert code_of(lambda: unary(channel)(b"x", timeout=20))[0] == grpc.StatusCode.UNAVAILABLE
    worker.conn.close()


def test_in_nothing_is_answered_before_serve(daemon):
    with daemon.connect(roles=("worker",)) as conn:
        server = conn.listen("127.0.0.1:0")
        address = server.result()["address"]
        assert conn.register(server.id, ["*"]).result() == {}
        with grpc.insecure_channel(address) as channel:
            assert code_of(lambda: unary(channel)(b"", timeout=0.5))[0] in (
                grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)
        assert conn.highest_dispatch == 0
        assert conn.serve(server.id).code == 0
        assert conn.serve(server.id).code == 0


def test_in_a_request_on_what_is_not_there_fails(conn):
    assert conn.register(999, ["*"]).result().code in (FAILED_PRECONDITION, NOT_FOUND)
    assert conn.serve(999).code in (FAILED_PRECONDITION, NOT_FOUND)
    assert conn.request("UNREGISTER", aux=999).result().code in (FAILED_PRECONDITION, NOT_FOUND)


def test_in_addresses_that_cannot_be_bound_say_why(conn):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        status = conn.listen(address).result()
        assert status.code == FAILED_PRECONDITION
        assert address in status.message
    assert conn.listen("nonsense").result().code == INVALID_ARGUMENT


def test_in_exact_methods_go_before_services_and_those_before_all(daemon):
    with Worker(daemon, methods=["*"]) as rest:
        service = Worker(daemon, methods=["/test.Echo/*"], address=rest.target)
        exact = Worker(daemon, methods=["/test.Echo/Unary"], address=rest.target)
        with service, exact, grpc.insecure_channel(rest.target) as channel:
            assert unary(channel)(b"", timeout=10) == b""
            channel.stream_unary("/test.Echo/ClientStream")(iter([]), timeout=10)
            code_of(lambda: channel.unary_unary("/other.Svc/Fail")(b"", timeout=10))
            methods = [[call.start["method"] for call in worker.seen] for worker in (exact, service, rest)]
            assert methods == [["/test.Echo/Unary"], ["/test.Echo/ClientStream"], ["/other.Svc/Fail"]]


# ---- The end -------------------------------------------------------------------------------


def test_sigterm_lets_running_calls_finish(own_daemon, echo):
    with Worker(own_daemon) as worker, own_daemon.connect() as client:
        out = client.start("/test.Echo/Bidi", echo_channel(client, echo))
        out.send(b"a")
        assert out.read() == b"A"
        with grpc.insecure_channel(worker.target) as channel:
            held = unary(channel, "Hold").future(b"", timeout=20)
            worker.conn._wait(lambda: worker.seen)
            own_daemon.terminate()
            client._wait(lambda: client.goaways)
            assert client.goaways[0]["final"] is False
            assert client.goaways[0]["epoch"] == client.hello_ack["epoch"]
            out.send(b"b")
            assert out.read() == b"B"
            worker.release.set()
            assert held.result() == b"held"
        client._wait(lambda: client.goaways[-1]["final"])
        assert client.start("/test.Echo/Unary", 1).status().code == UNAVAILABLE
        out.half_close()
        assert out.status().code == 0
        assert client.wait_failure().code in ("closed", "shutting_down")
