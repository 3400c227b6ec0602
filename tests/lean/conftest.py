"""The built library, and the daemon and the gRPC peers that Lean programs meet."""

import subprocess
import sys
from concurrent import futures

import grpc
import pytest

import lean

sys.path.insert(0, str(lean.ROOT / "tests/python"))

from harness import WAIT, Daemon, Echo  # noqa: E402

# An interpreter takes seconds from the start of its process, and so from connecting, to HELLO.
PATIENT = "ipc.hello_timeout=10min"


def pytest_terminal_summary(terminalreporter):
    for note in lean.notes:
        terminalreporter.write_line("lean: " + note)


@pytest.fixture(scope="session")
def library():
    return lean.build_library()


@pytest.fixture(scope="session")
def programs(library):
    """The modules of the end-to-end tests; those with a `main` are interpreted from their source."""
    return lean.build(lean.E2E, lean.OUT / "e2e", lean.modules(lean.E2E), timeout=600)


@pytest.fixture(scope="module")
def daemon():
    daemon = Daemon(PATIENT, "inbound.hold=60s")
    yield daemon
    daemon.stop()


@pytest.fixture
def own_daemon():
    """One for a test that ends it."""
    daemon = Daemon(PATIENT, "shutdown.grace=30s")
    yield daemon
    daemon.process.kill()
    daemon.process.wait(WAIT)


def peer_server(name, *arguments):
    """A gRPC server of tests/peers/peer.proto; its process, and where it listens."""
    process = subprocess.Popen([lean.BIN / name, *arguments], stdout=subprocess.PIPE, text=True)
    word, port = process.stdout.readline().split()
    assert word == "listening"
    return process, f"127.0.0.1:{port}"


@pytest.fixture(scope="session")
def go_server():
    process, target = peer_server("peer-server", "--window", "65536")
    yield target
    process.kill()
    process.wait(WAIT)


@pytest.fixture(scope="session")
def cpp_server():
    process, target = peer_server("peer-server-cpp")
    yield target
    process.kill()
    process.wait(WAIT)


@pytest.fixture(scope="session")
def pair(tmp_path_factory):
    """The files of a server's certificate, of its key, and of its authority, which has signed nothing else."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    (folder / "names").write_text("subjectAltName=DNS:legate.test,IP:127.0.0.1")
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=authority", "-keyout", "ca.key",
            "-out", "ca.pem")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=legate.test", "-keyout", "key.pem", "-out", "csr")
    openssl("x509", "-req", "-in", "csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "names", "-out", "cert.pem")
    return folder / "cert.pem", folder / "key.pem", folder / "ca.pem"


@pytest.fixture(scope="session")
def tls(pair):
    """A gRPC server with a certificate of an authority of its own: where it listens, and that authority."""
    certificate, key, authority = pair
    server = grpc.server(futures.ThreadPoolExecutor(8), [Echo()])
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    yield f"127.0.0.1:{port}", authority
    server.stop(None).wait(WAIT)
