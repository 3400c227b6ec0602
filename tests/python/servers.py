"""What the tests of the daemon's ports share: a daemon of their own, TLS, a proxy that counts."""

import contextlib
import socket
import threading

import grpc
from harness import WAIT, Daemon, unary


@contextlib.contextmanager
def running(*settings, **options):
    daemon = Daemon("inbound.hold=1s", "shutdown.grace=5s", *settings, **options)
    try:
        yield daemon
    finally:
        daemon.stop()


def tls_options(pair, roots=None, client_auth=0):
    options = {"certificate": pair[0].read_text(), "key": pair[1].read_text(), "client_auth": client_auth}
    return {"tls": {**options, **({"roots": roots.read_text()} if roots else {})}}


def secure(target, ca, pair=None, **options):
    credentials = grpc.ssl_channel_credentials(
        ca.certificate.read_bytes(), *((pair[1].read_bytes(), pair[0].read_bytes()) if pair else ()))
    return grpc.secure_channel(target, credentials, options=list(options.items()))


def says(channel, text=b"hello", **options):
    return unary(channel)(text, timeout=WAIT, **options)


def server_of(daemon, **fields):
    return next(server for server in daemon.query("workers")["servers"]
                if all(server[key] == value for key, value in fields.items()))


def replace(path, source):
    fresh = path.with_suffix(".fresh")
    fresh.write_bytes(source.read_bytes())
    fresh.rename(path)


def wait_for(condition):
    tick = threading.Event()
    for _ in range(int(WAIT / 0.05)):
        if condition():
            return
        tick.wait(0.05)
    raise AssertionError("it did not come true in time")


@contextlib.contextmanager
def counted(port):
    """A proxy to the port; counts bytes from the server."""
    count = [0]
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source, sink, counts):
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if counts:
                    count[0] += len(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", port))
                for arguments in ((client, server, False), (server, client, True)):
                    threading.Thread(target=pump, args=arguments, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1], count
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
