"""PROTOCOL.md suffices: generations, sticky values, RETIRE and COMMAND, by a worker and an operator written from it."""

import json
import threading

import grpc
import pytest

from harness import FAILED_PRECONDITION, NOT_FOUND, UNAVAILABLE, WAIT, code_of, unary
from legate_ipc import SCHEMA

REASONS = SCHEMA.enums["RetireReason"]


class Answering:
    """A worker for every method that answers with its name, or holds the call until it is released."""

    def __init__(self, daemon, name, address="127.0.0.1:0", options=None, **register):
        self.name, self.release, self.seen = name, threading.Event(), []
        self.conn = daemon.connect(("worker",), name=name, on_dispatch=self.serve)
        meta = {"address": address} | ({"options": options} if options else {})
        self.server = self.conn.request("LISTEN", meta=meta)
        self.target = self.server.result()["address"]
        self.lease = self.conn.register(self.server.id, ["*"], **register)
        assert self.lease.result() == {}
        self.conn.serve(self.server.id)

    def serve(self, call):
        self.seen.append(call)
        call.accept()
        if call.start["method"].endswith("Hold"):
            self.release.wait(WAIT)
        call.send(self.name.encode())
        call.send_status()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release.set()
        self.conn.close()


def session(worker):
    return worker.conn.hello_ack["session"]


def test_a_generation_without_share_stands_by(daemon):
    with Answering(daemon, "old", slots=1, generation="v1") as old, \
            Answering(daemon, "spare", old.target, generation="v2", share=0) as spare, \
            grpc.insecure_channel(old.target) as channel:
        assert {unary(channel)(b"", timeout=WAIT) for _ in range(20)} == {b"old"}
        held = unary(channel, "Hold").future(b"", timeout=WAIT)
        old.conn._wait(lambda: len(old.seen) == 21)
        assert unary(channel)(b"", timeout=WAIT) == b"spare"
        old.release.set()
        assert held.result() == b"old"


def test_equal_sticky_values_go_to_one_lease(daemon):
    with Answering(daemon, "a", options={"sticky": "x-user"}) as a, Answering(daemon, "b", a.target), \
            grpc.insecure_channel(a.target) as channel:
        def home(user):
            return unary(channel)(b"", timeout=WAIT, metadata=[("x-user", str(user))])
        homes = [home(user) for user in range(30)]
        assert set(homes) == {b"a", b"b"}
        assert [home(user) for user in range(30)] == homes


def test_a_drained_worker_is_told_and_the_operator_hears_how_many_are_left(daemon):
    with Answering(daemon, "leaving") as worker, daemon.connect(("admin",)) as admin, \
            grpc.insecure_channel(worker.target) as channel:
        held = unary(channel, "Hold").future(b"", timeout=WAIT)
        worker.conn._wait(lambda: worker.seen)
        drain = admin.command("drain-worker", session=session(worker))
        assert json.loads(drain.read()) == {"left": 1}
        worker.conn._wait(lambda: worker.lease.retired)
        assert worker.lease.retired[0]["reason"] == REASONS["drain"]
        assert worker.conn.register(worker.server.id, ["/a.B/*"]).result().code == FAILED_PRECONDITION
        worker.release.set()
        assert held.result() == b"leaving"
        assert drain.status().code == 0


def test_a_drained_server_ends_its_objects_by_status(daemon):
    with Answering(daemon, "served") as worker, daemon.connect(("admin",)) as admin:
        assert admin.command("drain-server", server=worker.target).status().code == 0
        assert worker.lease.status().code == UNAVAILABLE
        assert worker.server.status().code == UNAVAILABLE
        assert [retire["reason"] for retire in worker.lease.retired] == [REASONS["drain"]]
        assert admin.command("drain-server", server=worker.target).status().code == NOT_FOUND


def test_cancel_of_a_command_ends_the_waiting_alone(daemon):
    with Answering(daemon, "slow") as worker, daemon.connect(("admin",)) as admin, \
            grpc.insecure_channel(worker.target) as channel:
        held = unary(channel, "Hold").future(b"", timeout=WAIT)
        worker.conn._wait(lambda: worker.seen)
        drain = admin.command("drain-worker", session=session(worker))
        assert json.loads(drain.read()) == {"left": 1}
        drain.cancel()
        assert drain.status().code == grpc.StatusCode.CANCELLED.value[0]
        _, reports = admin.query("workers")
        states = [lease["state"] for server in reports[0]["servers"] for lease in server["leases"]
                  if lease["session"] == session(worker)]
        assert states == ["draining"]
        worker.release.set()
        assert held.result() == b"slow"


def test_the_operator_cancels_a_dispatch(daemon):
    with Answering(daemon, "slow") as worker, daemon.connect(("admin",)) as admin, \
            grpc.insecure_channel(worker.target) as channel:
        held = unary(channel, "Hold").future(b"", timeout=WAIT)
        worker.conn._wait(lambda: worker.seen)
        call = worker.seen[0]
        assert admin.command("cancel", session=session(worker), call=call.id).status().code == 0
        assert code_of(held.result)[0] == grpc.StatusCode.CANCELLED
        assert call.cancelled.wait(WAIT) and call.cancel_code == 1
        assert admin.command("cancel", session=session(worker), call=99).status().code == NOT_FOUND


@pytest.mark.parametrize("what", ["drain-worker", "drain"])
def test_commands_need_the_admin_role(daemon, what):
    with daemon.connect(("worker", "client")) as conn:
        assert conn.command(what, session=1).status().code == grpc.StatusCode.PERMISSION_DENIED.value[0]
