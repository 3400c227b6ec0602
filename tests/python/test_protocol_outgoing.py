"""PROTOCOL.md suffices: outgoing calls of a client written from it alone, to a gRPC server in Python."""

import time

import pytest

from harness import (CANCELLED, DEADLINE_EXCEEDED, FAILED_PRECONDITION, INTERNAL, INVALID_ARGUMENT, NOT_FOUND,
                     RESOURCE_EXHAUSTED, UNAVAILABLE, WAIT, echo_channel, unary, unused_port)


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
