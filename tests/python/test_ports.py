"""Ports of the daemon, what strangers can do to them, and how answers look on the wire."""

import os
import resource
import socket
import ssl
import stat
import zlib

import grpc
import http2
import pytest
from harness import INVALID_ARGUMENT, WAIT, Worker, code_of, unary
from pki import Authority
from servers import replace, running, says, secure, server_of, tls_options, wait_for

Code = grpc.StatusCode
MIB = 1 << 20


@pytest.fixture(scope="module")
def daemon():
    """With the daemon's own patience for peers, who may be slow here."""
    with running() as daemon:
        yield daemon


def resident(daemon):
    with open(f"/proc/{daemon.process.pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


# ---- Sockets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings, address, mode", [
    ([], "unix:{}", 0o600), (["inbound.unix_mode=0666"], "unix:{}", 0o666),
    (["servers.shop.addresses=unix:{}", "servers.shop.unix_mode=0660"], "legated:///shop", 0o660)])
def test_a_unix_socket_has_the_mode_that_is_set(tmp_path, settings, address, mode):
    path = tmp_path / "s"
    with running(*(setting.format(path) for setting in settings)) as daemon, \
            Worker(daemon, address=address.format(path)):
        assert stat.S_IMODE(path.stat().st_mode) == mode
        with grpc.insecure_channel(f"unix:{path}") as channel:
            assert says(channel) == b"hello"


def test_a_unix_socket_goes_with_its_server_unless_it_is_anothers(tmp_path):
    own, other = tmp_path / "own", tmp_path / "other"
    with running(f"servers.shop.addresses=unix:{own}; unix:{other}"), socket.socket(socket.AF_UNIX) as taker:
        other.unlink()
        taker.bind(str(other))
    assert not own.exists() and other.exists()


def test_the_limit_of_open_files_is_raised():
    command = ["bash", "-c", 'ulimit -Sn 64; exec "$0" "$@"', os.environ["LEGATED_BIN"]]
    with running(command=command) as daemon:
        soft, hard = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
        assert soft == hard > 64


def test_sockets_of_the_service_manager_are_found_by_name(tmp_path):
    path = tmp_path / "s"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as local:
        local.bind(str(path))
        local.listen()
        for listener in (tcp, local):
            os.set_inheritable(listener.fileno(), True)
        script = (f"exec 3<&{tcp.fileno()} 4<&{local.fileno()}; export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=a:b; "
                  'exec "$0" "$@"')
        with running("servers.a.addresses=systemd:a", "servers.b.addresses=systemd:b", close_fds=False,
                     command=["bash", "-c", script, os.environ["LEGATED_BIN"]]) as daemon:
            for name, target in (("a", f"127.0.0.1:{tcp.getsockname()[1]}"), ("b", f"unix:{path}")):
                with Worker(daemon, address=f"legated:///{name}"), grpc.insecure_channel(target) as channel:
                    assert says(channel, name.encode()) == name.encode()
        assert path.exists()  # it is the service manager's


def test_a_configured_server_outlives_the_hold_time():
    with running("servers.shop.addresses=127.0.0.1:0", "inbound.hold=100ms") as daemon:
        with Worker(daemon, address="legated:///shop") as worker:
            port = worker.listening["port"]
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            code, message = code_of(lambda: says(channel))
            assert code == Code.UNAVAILABLE and "inbound.hold" in message
            with Worker(daemon, address="legated:///shop") as worker:
                assert worker.listening["port"] == port
                assert says(channel) == b"hello"
            with Worker(daemon, address=f"127.0.0.1:{port}") as worker:  # as well as by its name
                assert worker.listening["shared"] is True


def test_a_server_is_shown_with_its_limits(ca, server_pair):
    with running("servers.shop.addresses=127.0.0.1:0; [::1]:0", "servers.shop.max_connections=7",
                 "inbound.max_concurrent_streams=9", "servers.shop.tls=true",
                 f"servers.shop.tls_certificate_file={server_pair[0]}",
                 f"servers.shop.tls_key_file={server_pair[1]}") as daemon:
        shown = server_of(daemon, name="shop")
        assert shown["tls"] is True and len(shown["addresses"]) == 2 and shown["connections"] == 0
        assert shown["limits"] == [{"max_connections": 7, "max_concurrent_streams": 9, "max_receive_message": 4 * MIB,
                                    "max_send_message": 4 * MIB, "max_metadata": 64 << 10, "memory": 256 * MIB}]


# ---- Messages --------------------------------------------------------------------------------------


def test_a_request_over_a_limit_is_told_which(daemon):
    with Worker(daemon, listen={"max_receive_message": 1000}) as worker, \
            grpc.insecure_channel(worker.target) as channel:
        assert says(channel, b"x" * 1000) == b"x" * 1000
        code, message = code_of(lambda: says(channel, b"x" * 1001))
        assert (code, message) == (Code.RESOURCE_EXHAUSTED,
                                   "the client's message exceeds the server's max_receive_message, 1000 bytes")
    with Worker(daemon) as worker, grpc.insecure_channel(worker.target) as channel:
        code, message = code_of(lambda: says(channel, b"x" * (4 * MIB + 1)))
        assert code == Code.RESOURCE_EXHAUSTED and "limits.max_message, 4194304 bytes" in message


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_requests_are_read(channel, compression):
    for text in (b"", b"short", os.urandom(100_000), b"abc" * 300_000):
        assert says(channel, text, compression=compression) == text


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_a_small_request_that_becomes_a_large_one_costs_little(compression):
    with running() as daemon, Worker(daemon) as worker, \
            grpc.insecure_channel(worker.target, options=[("grpc.max_send_message_length", -1)]) as channel:
        before = resident(daemon)
        code, message = code_of(lambda: says(channel, bytes(128 * MIB), compression=compression))
        assert code == Code.RESOURCE_EXHAUSTED and "limits.max_message" in message
        with open(f"/proc/{daemon.process.pid}/status", encoding="ascii") as status:
            most = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
        assert most < before + 64 * MIB, f"{(most - before) / MIB:.0f} MiB for it"


@pytest.mark.parametrize("message", [b"", b"garbage", zlib.compress(b"cut short" * 100)[:-5],
                                     zlib.compress(b"and more") + b"more"])
def test_a_request_that_cannot_be_decompressed_is_refused(worker, message):
    with http2.Client(worker.listening["port"]) as client:
        client.call(b"/test.Echo/Unary", message, compressed=True, headers=[(b"grpc-encoding", b"deflate")])
        assert b"can't be decompressed" in b"".join(payload for *_, payload in client.answer())


# ---- The wire --------------------------------------------------------------------------------------


class Answering(Worker):
    """Two messages, the second flagged NO_COMPRESS; no headers unless the request names a compression."""

    def Two(self, call):
        compression = int(call.read())
        if compression:
            call.send_headers([], compression=compression)
        call.send(b"a" * 10_000)
        call.send(b"a" * 10_000, compress=False)
        call.send_status()

    def HeadersFirst(self, call):
        call.send_headers([("x-early", "1")])
        self.release.wait(WAIT)
        call.send(b"late")
        call.send_status()


INHERIT, IDENTITY, DEFLATE, GZIP = range(4)


@pytest.mark.parametrize("of_server, of_call, accepted, compressed", [
    (GZIP, INHERIT, b"identity,deflate,gzip", b"gzip"),
    (DEFLATE, INHERIT, b"identity,deflate,gzip", b"deflate"),
    (GZIP, INHERIT, b"identity,deflate", b"deflate"),  # the other that the client takes
    (GZIP, INHERIT, b"identity", None),
    (GZIP, INHERIT, None, None),  # as Go's clients, unless told
    (GZIP, IDENTITY, b"identity,deflate,gzip", None),
    (IDENTITY, GZIP, b"identity,deflate,gzip", b"gzip"),
    (GZIP, DEFLATE, b"identity,deflate,gzip", b"deflate"),
    (INHERIT, INHERIT, b"identity,deflate,gzip", None)])
def test_answers_are_compressed_for_clients_that_take_it(daemon, of_server, of_call, accepted, compressed):
    with Answering(daemon, listen={"compression": of_server}) as worker, \
            http2.Client(worker.listening["port"]) as client:
        client.call(b"/test.Echo/Two", b"%d" % of_call,
                    headers=[(b"grpc-accept-encoding", accepted)] if accepted else [])
        frames = client.answer()
        (first, first_bytes), (second, second_bytes) = http2.messages(frames)
        assert not second and second_bytes == b"a" * 10_000
        assert first == bool(compressed)
        if compressed:
            window = {b"gzip": 31, b"deflate": 15}[compressed]
            assert zlib.decompress(first_bytes, window) == second_bytes and compressed in frames[0][3]


def test_an_error_without_messages_is_trailers_only(worker):
    with http2.Client(worker.listening["port"]) as client:
        client.call(b"/test.Echo/Fail", b"")
        [(kind, flags, _, payload)] = client.answer()
        assert kind == http2.HEADERS and flags & http2.END_STREAM and b"grpc-status" in payload


def test_headers_go_out_before_the_first_message(daemon):
    with Answering(daemon) as worker, http2.Client(worker.listening["port"]) as client:
        client.call(b"/test.Echo/HeadersFirst", b"")
        while (came := client.next())[0] != http2.HEADERS:
            pass
        assert b"x-early" in came[3] and not came[1] & http2.END_STREAM
        worker.release.set()
        frames = client.answer()
        assert [kind for kind, *_ in frames] == [http2.DATA, http2.HEADERS]


# ---- TLS -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version, works", [(ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True),
                                            (ssl.TLSVersion.TLSv1_3, True)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls_is_of_version_1_2_at_least(daemon, ca, server_pair, version, works):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:@SECLEVEL=0")  # what the client itself would not do else
    context.load_verify_locations(ca.certificate)
    context.set_alpn_protocols(["h2"])
    context.minimum_version = context.maximum_version = version
    with Worker(daemon, listen=tls_options(server_pair)) as worker, \
            socket.create_connection(("127.0.0.1", worker.listening["port"]), WAIT) as plain:
        if works:
            with context.wrap_socket(plain, server_hostname="localhost") as secured:
                assert secured.selected_alpn_protocol() == "h2"
        else:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                context.wrap_socket(plain, server_hostname="localhost")


def test_a_certificate_with_too_many_names_is_refused(daemon, ca, server_pair):
    crowd = ca.sign("crowd", ",".join(f"DNS:{'n' * 50}{i}.example" for i in range(300)))
    with Worker(daemon, listen=tls_options(server_pair, ca.certificate, 2)) as worker, \
            secure(worker.target, ca, crowd) as channel:
        code, message = code_of(lambda: says(channel))
        assert code == Code.RESOURCE_EXHAUSTED and "certificate and the names in it exceed 16384 bytes" in message


def test_what_is_wrong_with_files_is_told_once_and_cured_by_the_next(ca, server_pair, client_pair, tmp_path):
    certificate, key, roots = (tmp_path / name for name in ("cert", "key", "roots"))
    stranger = Authority(tmp_path, "stranger")
    for path, source in ((certificate, server_pair[0]), (key, server_pair[1]), (roots, stranger.certificate)):
        replace(path, source)
    with running("servers.shop.addresses=127.0.0.1:0", "servers.shop.tls=true", "servers.shop.tls_refresh=1s",
                 "servers.shop.tls_client_auth=require", f"servers.shop.tls_client_roots_file={roots}",
                 f"servers.shop.tls_certificate_file={certificate}", f"servers.shop.tls_key_file={key}") as daemon, \
            Worker(daemon, address="legated:///shop") as worker:
        with secure(worker.target, ca, client_pair) as channel:
            assert code_of(lambda: says(channel))[0] == Code.UNAVAILABLE
        replace(roots, ca.certificate)  # at once with a mistake elsewhere
        key.unlink()
        wait_for(lambda: "tls_files_problem" in daemon.log.read_text())
        replace(key, server_pair[1])
        wait_for(lambda: daemon.log.read_text().count("tls_files_read") == 2)
        assert daemon.log.read_text().count("tls_files_problem") == 1
        with secure(worker.target, ca, client_pair) as channel:
            assert says(channel) == b"hello"


# ---- Connections -----------------------------------------------------------------------------------


def test_the_grace_of_an_aged_connection_ends_its_calls(daemon):
    with Worker(daemon, listen={"max_connection_age_ms": 200, "max_connection_age_grace_ms": 200}) as worker, \
            grpc.insecure_channel(worker.target) as channel:
        assert code_of(lambda: unary(channel, "Hang")(b"", timeout=WAIT))[0] == Code.UNAVAILABLE
        assert worker.cancelled.wait(WAIT)


def test_a_client_that_answers_no_ping_is_gone(daemon):
    options = {"keepalive_time_ms": 100, "keepalive_timeout_ms": 100, "ping_without_calls": True}
    with Worker(daemon, listen=options) as worker, http2.Client(worker.listening["port"]) as client:
        kinds = []
        while came := client.next():
            kinds.append(came[0])
        assert http2.PING in kinds


def test_a_client_that_floods_with_pings_is_told_to_calm_down(daemon):
    with Worker(daemon, listen={"min_ping_interval_ms": 60_000}) as worker, \
            http2.Client(worker.listening["port"]) as client:
        client.socket.sendall(http2.frame(http2.PING, 0, 0, bytes(8)) * 10)  # at once: the server closes when it has had enough
        goaways = []
        while came := client.next():
            if came[0] == http2.GOAWAY:
                goaways.append(came[3])
        assert goaways and int.from_bytes(goaways[-1][4:8], "big") == 11 and b"too_many_pings" in goaways[-1]


class Unread(Worker):
    def ClientStream(self, call):
        call.cancelled.wait(WAIT)
        call.send_status(1)


def test_the_memory_of_a_server_bounds_what_lies_unread():
    # Left alone, 24 times 4 MiB would be there; see docs/servers.md for figures.
    with running("ipc.memory_budget=4MiB") as daemon, Unread(daemon, listen={"memory": 8 * MIB}) as worker, \
            grpc.insecure_channel(worker.target) as channel:
        before = resident(daemon)
        stream = channel.stream_unary("/test.Echo/ClientStream")
        calls = [stream.future(iter([b"s" * MIB] * 4), timeout=WAIT) for _ in range(24)]
        wait_for(lambda: any(call.done() and call.code() == Code.RESOURCE_EXHAUSTED for call in calls))
        assert resident(daemon) < before + 48 * MIB
        for call in calls:
            call.cancel()
        wait_for(lambda: server_of(daemon, address=worker.target)["in_flight"] == 0)
        with Worker(daemon) as other, grpc.insecure_channel(other.target) as second:
            assert says(second) == b"hello"


def test_memory_too_small_for_anything_is_refused(conn):
    answer = conn.listen("127.0.0.1:0", {"memory": 1000}).result()
    assert answer.code == INVALID_ARGUMENT and "memory must be at least 1 MiB" in answer.message


def test_services_of_legated_itself_take_small_requests_only(worker):
    target = worker.target
    with grpc.insecure_channel(target, options=[("grpc.max_send_message_length", -1)]) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        unknown = b"\x0a\x64" + b"a" * 100  # a HealthCheckRequest
        assert code_of(lambda: check(unknown, timeout=WAIT, compression=grpc.Compression.Gzip))[0] == Code.NOT_FOUND
        code, message = code_of(lambda: check(bytes(8 * MIB), timeout=WAIT, compression=grpc.Compression.Gzip))
        assert code == Code.RESOURCE_EXHAUSTED and "4096 bytes, the most for services" in message
