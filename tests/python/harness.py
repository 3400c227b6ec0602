"""What the tests of the protocol are made of: the daemon, a gRPC server of bytes, a worker of all four shapes."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import grpc
import pytest

from legate_frames import ConnectionFailed, Decoder
from legate_ipc import WAIT, Connection

CANCELLED, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND = 1, 3, 4, 5
PERMISSION_DENIED, RESOURCE_EXHAUSTED, FAILED_PRECONDITION, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 7, 8, 9, 12, 13, 14


def unused_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def echo_channel(conn, echo):
    return conn.open_channel(echo.target).id


def unary(channel, name="Unary"):
    return channel.unary_unary(f"/test.Echo/{name}")


def code_of(call):
    """The status code of a grpcio call that fails, and its message."""
    with pytest.raises(grpc.RpcError) as error:
        call()
    return error.value.code(), error.value.details()


class Daemon:
    """The real daemon; `settings` are those of --set, `command` runs it, options are those of subprocess.Popen."""

    def __init__(self, *settings, command=None, **options):
        self.folder = Path(tempfile.mkdtemp(prefix="legated-test-"))
        self.path = self.folder / "ipc.sock"
        self.log = self.folder / "log"
        assert "LEGATED_BIN" in os.environ, "set LEGATED_BIN to the daemon's program, for example build/bin/legated"
        command = [*(command or [os.environ["LEGATED_BIN"]]), "run", "--set", f"ipc.socket={self.path}"]
        for setting in settings:
            command += ["--set", setting]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log, **options)
        end = time.monotonic() + WAIT
        # Not by connecting: the daemon would count that connection.
        while " started " not in self.log.read_text():
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()
            time.sleep(0.02)

    def connect(self, roles=("client", "worker", "admin"), **options):
        return Connection(self.path, roles, **options)

    def query(self, what):
        with self.connect(roles=("admin",)) as conn:
            status, answers = conn.query(what)
        assert status.code == 0
        return answers[0]

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def stop(self, within=WAIT):
        self.terminate()
        try:
            code = self.process.wait(within)
        finally:
            self.process.kill()
            log = self.log.read_text()
            shutil.rmtree(self.folder)
        assert code == 0, log


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


class Echo(grpc.GenericRpcHandler):
    """A gRPC server of bytes, in all four shapes."""

    def __init__(self):
        self.cancelled = threading.Event()
        methods = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "ClientStream": grpc.stream_unary_rpc_method_handler(self.client_stream),
            "ServerStream": grpc.unary_stream_rpc_method_handler(self.server_stream),
            "Bidi": grpc.stream_stream_rpc_method_handler(self.bidi),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "Hang": grpc.stream_stream_rpc_method_handler(self.hang),
        }
        self.methods = {f"/test.Echo/{name}": handler for name, handler in methods.items()}

    def service(self, details):
        return self.methods.get(details.method)

    @staticmethod
    def echo_metadata(context):
        sent = context.invocation_metadata()
        own = [(key, value) for key, value in sent if key.startswith("x-")]
        own += [("x-token", value) for key, value in sent if key == "authorization"]
        context.send_initial_metadata(own)
        context.set_trailing_metadata([("x-end", "1"), ("x-end-bin", b"\x00\xff"), ("x-end", "2")])

    def unary(self, request, context):
        self.echo_metadata(context)
        return request

    def client_stream(self, requests, context):
        self.echo_metadata(context)
        return b"|".join(requests)

    def server_stream(self, request, context):
        """A request "3x10" gets three messages of 10 bytes."""
        count, size = (int(part) for part in request.split(b"x"))
        for index in range(count):
            yield bytes([index % 256]) * size

    def bidi(self, requests, context):
        for request in requests:
            yield request.upper()

    def fail(self, request, context):
        context.set_trailing_metadata([("grpc-status-details-bin", b"\x08\x05"), ("x-why", "gone")])
        context.set_code(grpc.StatusCode.NOT_FOUND)
        context.set_details("no such thing: h\u00e9")
        return b""

    def hang(self, requests, context):
        ended = threading.Event()
        context.add_callback(lambda: (ended.set(), self.cancelled.set()))
        yield b"started"
        ended.wait(WAIT)


class Worker:
    """Serves all four shapes on a port of the daemon, as the page tells."""

    def __init__(self, daemon, methods=("/test.Echo/*",), slots=64, address="127.0.0.1:0", listen=None, **options):
        self.seen = []
        self.release = threading.Event()
        self.cancelled = threading.Event()
        self.conn = daemon.connect(roles=("worker",), on_dispatch=self.handle, **options)
        self.server = self.conn.listen(address, listen)
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
