"""PROTOCOL.md suffices: a worker written from it alone serves a gRPC client in Python."""

import socket
import threading
import time

import grpc
import pytest

from harness import (DEADLINE_EXCEEDED, FAILED_PRECONDITION, INTERNAL, INVALID_ARGUMENT, NOT_FOUND, RESOURCE_EXHAUSTED,
                     UNAVAILABLE, UNIMPLEMENTED, WAIT, Worker, code_of, unary)


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
    assert 5_000_000 < start["timeout_us"] < 11_000_000  # gRPC rounds grpc-timeout up
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
