"""The daemon and the gRPC peers that the tests need. LEGATED_BIN is the daemon's program."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from concurrent import futures
from pathlib import Path

import grpc
import pytest

from legate_ipc import Connection

WAIT = 20.0


class Daemon:
    def __init__(self, *settings):
        self.folder = Path(tempfile.mkdtemp(prefix="legated-test-"))
        self.path = self.folder / "ipc.sock"
        self.log = self.folder / "log"
        command = [os.environ["LEGATED_BIN"], "run", "--set", f"ipc.socket={self.path}"]
        for setting in settings:
            command += ["--set", setting]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log)
        end = time.monotonic() + WAIT
        while not self._listens():
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()
            time.sleep(0.02)

    def _listens(self):
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.path)) == 0

    def connect(self, roles=("client", "worker", "admin"), **options):
        return Connection(self.path, roles, **options)

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def stop(self):
        self.terminate()
        try:
            code = self.process.wait(WAIT)
        finally:
            self.process.kill()
            log = self.log.read_text()
            shutil.rmtree(self.folder)
        assert code == 0, log


@pytest.fixture(scope="module")
def daemon():
    daemon = Daemon("ipc.hello_timeout=500ms", "ipc.heartbeat=1s", "inbound.hold=1s", "shutdown.grace=2s")
    yield daemon
    daemon.stop()


@pytest.fixture
def own_daemon():
    """One for a test that ends it."""
    daemon = Daemon("shutdown.grace=5s")
    yield daemon
    daemon.stop()


@pytest.fixture
def conn(daemon):
    with daemon.connect() as conn:
        yield conn


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
        own = [(key, value) for key, value in context.invocation_metadata() if key.startswith("x-")]
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
        context.add_callback(ended.set)
        yield b"started"
        ended.wait(WAIT)
        self.cancelled.set()


@pytest.fixture(scope="module")
def echo():
    handler = Echo()
    server = grpc.server(futures.ThreadPoolExecutor(32), [handler], options=[("grpc.max_receive_message_length", -1)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    handler.target = f"ipv4:127.0.0.1:{port}"
    yield handler
    server.stop(None).wait(WAIT)
