"""The daemon and the gRPC peers that the tests need. LEGATED_BIN is the daemon's program."""

from concurrent import futures

import grpc
import pytest
from harness import WAIT, Daemon, Echo, Worker
from pki import Authority


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


@pytest.fixture(scope="module")
def echo():
    handler = Echo()
    server = grpc.server(futures.ThreadPoolExecutor(32), [handler], options=[("grpc.max_receive_message_length", -1)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    handler.target = f"ipv4:127.0.0.1:{port}"
    yield handler
    server.stop(None).wait(WAIT)


@pytest.fixture
def small_daemon():
    daemon = Daemon("ipc.max_calls=2", "ipc.max_connections=2", "ipc.stall_timeout=300ms", "ipc.heartbeat=1s",
                    "ipc.memory_budget=1MiB", "limits.max_message=1MiB")
    yield daemon
    daemon.stop()


@pytest.fixture
def worker(daemon):
    with Worker(daemon) as worker:
        yield worker


@pytest.fixture
def channel(worker):
    with grpc.insecure_channel(worker.target, options=[("grpc.max_receive_message_length", -1)]) as channel:
        yield channel


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def server_pair(ca):
    return ca.sign("server", "DNS:localhost,IP:127.0.0.1")


@pytest.fixture(scope="module")
def client_pair(ca):
    return ca.sign("till", "DNS:till.example,URI:spiffe://shop/till,IP:10.0.0.1,email:till@shop.example",
                   "/O=Shop/CN=till")
