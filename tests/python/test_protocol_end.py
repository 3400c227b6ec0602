"""PROTOCOL.md suffices: limits, and how the daemon leaves."""

import socket
import time

import grpc
import pytest

from harness import (DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE, WAIT, Daemon, Raw, Worker, echo_channel,
                     error_of, unary, unused_port)
from legate_frames import END_STREAM, WHOLE, Frame


def test_a_call_above_max_calls_ends_alone(small_daemon, echo):
    with small_daemon.connect() as conn:
        channel = echo_channel(conn, echo)
        running = [conn.start("/test.Echo/Bidi", channel) for _ in range(2)]
        assert conn.start("/test.Echo/Bidi", channel).status().code == RESOURCE_EXHAUSTED
        for call in running:
            call.send(b"a", end=True)
            assert (list(call), call.status().code) == ([b"A"], 0)
        assert conn.start("/test.Echo/Unary", channel, message=b"", end=True).status().code == 0


def test_messages_above_the_memory_budget_end_their_call_alone(small_daemon):
    with small_daemon.connect() as conn:
        channel = conn.open_channel(f"ipv4:127.0.0.1:{unused_port()}").id
        message = bytes(600_000)
        options = dict(wait_for_ready=True, timeout=1)
        first = conn.start("/a.B/C", channel, message=message[:200_000], **options)
        second = conn.start("/a.B/C", channel, message=message[:200_000], **options)
        first.send(message[:50_000])
        with conn.changed:
            assert second.got_status is None
        second.send(message)
        assert second.status().code == RESOURCE_EXHAUSTED
        assert first.status().code == DEADLINE_EXCEEDED


def test_one_connection_too_many_is_told(small_daemon):
    with small_daemon.connect(), small_daemon.connect():
        assert error_of(Raw(small_daemon.path).frames_to_end())[0] == 13


def test_a_peer_that_drains_nothing_is_disconnected(small_daemon, echo):
    raw = Raw(small_daemon.path)
    hello = {"roles": 1, "call_window": 2_147_483_647, "connection_window": 2_147_483_647}
    raw.socket.sendall(Frame("HELLO", meta=hello).encode())
    raw.socket.sendall(Frame("OPEN_CHANNEL", 1, meta={"target": echo.target}).encode())
    start = {"method": "/test.Echo/ServerStream", "channel": 1}
    raw.socket.sendall(Frame("START", 3, WHOLE | END_STREAM, 9, meta=start, payload=b"9999x9999").encode())
    with small_daemon.connect() as conn:
        end = time.monotonic() + WAIT
        while any("ServerStream" in str(call) for call in conn.query("calls")[1]):
            assert time.monotonic() < end
            time.sleep(0.05)
    raw.socket.close()


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


@pytest.mark.parametrize("first_bytes", [b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"],
                         ids=["silent", "http2"])
def test_sigterm_does_not_wait_for_a_client_that_stays(first_bytes):
    daemon = Daemon("shutdown.grace=1s")
    with Worker(daemon) as worker, socket.create_connection(("127.0.0.1", worker.listening["port"])) as client:
        client.sendall(first_bytes)
        with grpc.insecure_channel(worker.target) as channel:
            assert unary(channel)(b"x", timeout=10) == b"x"  # by now the other connection was accepted, too
        daemon.stop(within=5)
