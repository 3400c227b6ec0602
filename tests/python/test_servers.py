"""Ports of the daemon: addresses, TLS, limits, and the servers of the configuration. The clients are grpcio's."""

import contextlib
import os
import socket
import subprocess

import grpc
import pytest
from harness import (FAILED_PRECONDITION, INVALID_ARGUMENT, NOT_FOUND, WAIT, Worker, code_of, unary,
                     unused_port)
from pki import Authority
from servers import counted, replace, running, says, secure, server_of, tls_options, wait_for

Code = grpc.StatusCode


# ---- Addresses -------------------------------------------------------------------------------------


@pytest.mark.parametrize("address, port", [("127.0.0.1:0", True), ("[::1]:0", True), ("localhost:0", True),
                                           ("0.0.0.0:0", True), ("[::]:0", True), ("unix-abstract:legated-{}", False)])
def test_an_address_of_each_kind_serves(daemon, address, port):
    with Worker(daemon, address=address.format(os.getpid())) as worker:
        assert (worker.listening.get("port", 0) > 0) == port
        target = worker.target.replace("0.0.0.0", "127.0.0.1").replace("[::]", "127.0.0.1")
        with grpc.insecure_channel(target) as channel:
            assert says(channel) == b"hello"


def test_localhost_is_both_families(daemon):
    with Worker(daemon, address="localhost:0") as worker:
        for host in ("127.0.0.1", "[::1]"):
            with grpc.insecure_channel(f"{host}:{worker.listening['port']}") as channel:
                assert says(channel) == b"hello"


@pytest.mark.parametrize("address", ["", "nowhere", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:65536", "[::1:0", "::1:0", "host:0",
                                     "unix:", "systemd:", "a b:0"])
def test_what_is_no_address_is_refused(conn, address):
    answer = conn.listen(address).result()
    assert answer.code == INVALID_ARGUMENT and answer.message


def test_an_address_in_use_tells_the_systems_reason(conn):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        answer = conn.listen(f"127.0.0.1:{taken.getsockname()[1]}").result()
    assert answer.code == FAILED_PRECONDITION and "Address already in use" in answer.message


def test_a_stale_unix_socket_is_replaced_and_a_live_one_never(daemon, tmp_path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
        stale.listen()
        with daemon.connect() as conn:
            answer = conn.listen(f"unix:{path}").result()
            assert answer.code == FAILED_PRECONDITION and "another process listens" in answer.message
    with Worker(daemon, address=f"unix:{path}"), grpc.insecure_channel(f"unix:{path}") as channel:
        assert says(channel) == b"hello"


def test_a_port_answers_nothing_before_it_is_started(daemon):
    with daemon.connect() as conn:
        listening = conn.listen("127.0.0.1:0")
        port = listening.result()["port"]
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = unary(channel).future(b"early", timeout=WAIT)
            with socket.create_connection(("127.0.0.1", port)) as silent:
                silent.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    silent.recv(1)
            assert not call.done()
            conn.serve(listening.id)
            assert call.exception().code() in (Code.UNAVAILABLE, Code.UNIMPLEMENTED)


# ---- Servers of the configuration ------------------------------------------------------------------


def test_a_configured_server_outlives_its_workers(tmp_path):
    with running("servers.shop.addresses=127.0.0.1:0; unix:" + str(tmp_path / "s"), "inbound.hold=10s") as daemon:
        ports = set()
        for _ in range(2):
            with Worker(daemon, address="legated:///shop") as worker:
                ports.add(worker.listening["port"])
                assert worker.listening["shared"] is True
                for target in (worker.target, f"unix:{tmp_path / 's'}"):
                    with grpc.insecure_channel(target) as channel:
                        assert says(channel) == b"hello"
        assert len(ports) == 1
        with grpc.insecure_channel(f"127.0.0.1:{ports.pop()}") as channel:
            waiting = unary(channel).future(b"held", timeout=WAIT)
            with Worker(daemon, address="legated:///shop"):
                assert waiting.result() == b"held"
        assert server_of(daemon, name="shop")["addresses"][1] == f"unix:{tmp_path / 's'}"


def test_a_server_the_configuration_lacks_is_not_found(daemon, conn):
    answer = conn.listen("legated:///shop").result()
    assert answer.code == NOT_FOUND and "shop" in answer.message


def test_a_configured_server_takes_no_options():
    with running("servers.shop.addresses=127.0.0.1:0") as daemon, daemon.connect() as conn:
        assert conn.listen("legated:///shop", {"max_metadata": 2000}).result().code == INVALID_ARGUMENT


def test_a_server_can_serve_at_the_start():
    port = unused_port()
    with running(f"servers.shop.addresses=127.0.0.1:{port}", "servers.shop.serve_at_start=true",
                 "inbound.hold=100ms") as daemon, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        code, message = code_of(lambda: says(channel))
        assert code == Code.UNAVAILABLE and "inbound.hold" in message
        assert server_of(daemon, name="shop")["serving"]


@pytest.mark.parametrize("settings, problem", [
    (["servers.a.tls=true"], "servers.a: there must be 1 to 16 addresses"),
    (["servers.a.addresses=nowhere"], "is not an address"),
    (["servers.a.addresses=127.0.0.1:0", "servers.a.tls=true"], "needs a certificate and its key"),
    (["servers.a.addresses=127.0.0.1:0", "servers.a.tls_key_file=/x"], "need tls = true"),
    (["servers.a.addresses=127.0.0.1:0", "servers.a.tls=true", "servers.a.tls_key_file=/nonexistent"], "can't be read"),
    (["servers.a.addresses=127.0.0.1:0", "servers.a.policies=foo"], "unknown policy"),
    (["servers.a.addresses=127.0.0.1:0", "servers.a.max_send_message=1GiB"], "above the daemon's limits.max_message"),
    (["servers.a.addresses=127.0.0.1:0", "servers.a.sticky=X"], "sticky"),
    (["servers.a.foo=1"], "unknown key servers.a.foo"),
    (["servers.A.tls=true"], "unknown key"),
])
def test_a_mistaken_server_is_refused_at_the_start(settings, problem):
    command = [os.environ["LEGATED_BIN"], "check"]
    for setting in settings:
        command += ["--set", setting]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT)
    assert done.returncode == 2 and problem in done.stderr


def test_a_port_in_use_keeps_the_daemon_from_starting(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = subprocess.run([os.environ["LEGATED_BIN"], "run", "--socket", tmp_path / "s", "--set",
                               f"servers.a.addresses=127.0.0.1:{taken.getsockname()[1]}"],
                              capture_output=True, text=True, timeout=WAIT)
    assert done.returncode == 1 and "servers.a" in done.stderr and "Address already in use" in done.stderr


def test_a_socket_of_the_service_manager_serves():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        os.set_inheritable(listener.fileno(), True)
        # systemd gives descriptors from 3 on, and says so to the process that it starts.
        script = 'exec 3<&%d; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=shop; exec "$0" "$@"' % listener.fileno()
        wrapper = ["bash", "-c", script, os.environ["LEGATED_BIN"]]
        with running("servers.shop.addresses=systemd:shop", command=wrapper, close_fds=False) as daemon:
            with Worker(daemon, address="legated:///shop") as worker:
                assert worker.listening["port"] == listener.getsockname()[1]
                with grpc.insecure_channel(f"127.0.0.1:{worker.listening['port']}") as channel:
                    assert says(channel) == b"hello"
            with daemon.connect() as conn:
                answer = conn.listen("systemd:other").result()
                assert answer.code == FAILED_PRECONDITION and "it opened shop" in answer.message


def test_equal_options_join_a_server_and_others_do_not(daemon):
    options = {"max_metadata": 2000}
    with Worker(daemon, listen=options) as worker, daemon.connect() as conn:
        assert conn.listen(worker.target).result()["shared"] is True
        assert conn.listen(worker.target, options).result()["shared"] is True
        assert conn.listen(worker.target, {"max_metadata": 3000}).result().code == FAILED_PRECONDITION


@pytest.mark.parametrize("options", [
    {"tls": {"certificate": "x", "key": "y"}}, {"max_send_message": 1 << 30}, {"sticky": "A"}, {"policies": ["foo"]},
    {"policies": ["require-token /etc/passwd"]}, {"compression": 9}, {"keepalive_time_ms": 4_000_000_000}])
def test_options_that_make_no_sense_are_refused(conn, options):
    answer = conn.listen("127.0.0.1:0", options).result()
    assert answer.code == INVALID_ARGUMENT and answer.message


# ---- TLS -------------------------------------------------------------------------------------------


def test_tls_serves_and_plaintext_ends_at_once(daemon, ca, server_pair):
    with Worker(daemon, listen=tls_options(server_pair)) as worker:
        with secure(worker.target, ca) as channel:
            assert says(channel) == b"hello"
        assert "identity" not in worker.seen[0].start
        with grpc.insecure_channel(worker.target) as channel:
            assert code_of(lambda: says(channel))[0] == Code.UNAVAILABLE


def test_tls_against_a_plaintext_port_ends_at_once(worker, ca):
    with secure(worker.target, ca) as channel:
        assert code_of(lambda: says(channel))[0] == Code.UNAVAILABLE


@pytest.mark.parametrize("client_auth, shows, works", [
    (0, False, True), (0, True, True), (1, False, True), (1, True, True), (2, False, False), (2, True, True)])
def test_client_certificates(daemon, ca, server_pair, client_pair, client_auth, shows, works):
    with Worker(daemon, listen=tls_options(server_pair, ca.certificate, client_auth)) as worker, \
            secure(worker.target, ca, client_pair if shows else None) as channel:
        if not works:
            assert code_of(lambda: says(channel))[0] == Code.UNAVAILABLE
            return
        assert says(channel) == b"hello"
        identity = worker.seen[0].start.get("identity")
        if client_auth == 0 or not shows:
            assert identity is None
            return
        assert identity["subject"] == "CN=till,O=Shop"
        assert set(identity["names"]) == {"dns:till.example", "uri:spiffe://shop/till", "ip:10.0.0.1",
                                          "email:till@shop.example"}
        assert identity["certificate"] == client_pair[0].read_text()[identity["certificate"].find("-----BEGIN"):] \
            or "BEGIN CERTIFICATE" in identity["certificate"]


@pytest.mark.parametrize("client_auth", [1, 2])
def test_a_client_certificate_of_another_authority_is_refused(daemon, ca, server_pair, tmp_path, client_auth):
    stranger = Authority(tmp_path, "other").sign("stranger", "DNS:x")
    with Worker(daemon, listen=tls_options(server_pair, ca.certificate, client_auth)) as worker, \
            secure(worker.target, ca, stranger) as channel:
        assert code_of(lambda: says(channel))[0] == Code.UNAVAILABLE


def test_a_certificate_is_replaced_while_the_server_runs(ca, server_pair, tmp_path):
    other = Authority(tmp_path, "next")
    next_pair = other.sign("server", "IP:127.0.0.1")
    certificate, key = tmp_path / "cert", tmp_path / "key"
    replace(certificate, server_pair[0])
    replace(key, server_pair[1])
    with running("servers.shop.addresses=127.0.0.1:0", "servers.shop.tls=true", "servers.shop.tls_refresh=1s",
                 f"servers.shop.tls_certificate_file={certificate}", f"servers.shop.tls_key_file={key}") as daemon, \
            Worker(daemon, address="legated:///shop") as worker:
        with secure(worker.target, ca) as old:
            assert says(old) == b"hello"
            replace(certificate, next_pair[0])  # half of the change: the key does not fit yet
            wait_for(lambda: "tls_files_problem" in daemon.log.read_text())
            with secure(worker.target, ca) as channel:
                assert says(channel) == b"hello"
            replace(key, next_pair[1])
            wait_for(lambda: daemon.log.read_text().count("tls_files_read") == 2)
            with secure(worker.target, other) as channel:
                assert says(channel) == b"hello"
            assert says(old) == b"hello"  # its connection goes on


# ---- Limits ----------------------------------------------------------------------------------------


def test_connections_are_limited_and_their_end_is_seen(daemon):
    with Worker(daemon, listen={"max_connections": 2}) as worker:
        address = ("127.0.0.1", worker.listening["port"])
        with socket.create_connection(address) as first, socket.create_connection(address):
            with socket.create_connection(address, WAIT) as third:
                assert third.recv(1) == b""
            shown = server_of(daemon, address=worker.target)
            assert (shown["connections"], shown["connections_refused"]) == (2, 1)
            first.close()
            wait_for(lambda: server_of(daemon, address=worker.target)["connections"] == 1)
            with grpc.insecure_channel(worker.target) as channel:
                assert says(channel) == b"hello"
        wait_for(lambda: server_of(daemon, address=worker.target)["connections"] == 0)


def test_messages_are_limited_in_both_directions(daemon):
    with Worker(daemon, listen={"max_receive_message": 1000, "max_send_message": 500}) as worker, \
            grpc.insecure_channel(worker.target) as channel:
        assert says(channel, b"x" * 500) == b"x" * 500
        code, message = code_of(lambda: says(channel, b"x" * 1001))
        assert code == Code.RESOURCE_EXHAUSTED and "1000" in message
        code, message = code_of(lambda: says(channel, b"x" * 501))
        assert code == Code.RESOURCE_EXHAUSTED and "the server's max_send_message" in message


def test_metadata_is_limited(daemon):
    with Worker(daemon, listen={"max_metadata": 2000}) as worker, grpc.insecure_channel(worker.target) as channel:
        assert says(channel, metadata=[("x-a", "b" * 1000)]) == b"hello"
        code, message = code_of(lambda: says(channel, metadata=[("x-a", "b" * 2000)]))
        assert code == Code.RESOURCE_EXHAUSTED and "the server's max_metadata" in message


def test_streams_of_a_connection_are_limited(daemon):
    with Worker(daemon, listen={"max_concurrent_streams": 1}) as worker, grpc.insecure_channel(worker.target) as channel:
        held = unary(channel, "Hold").future(b"", timeout=WAIT)
        wait_for(lambda: worker.seen)
        second = unary(channel).future(b"second", timeout=WAIT)
        with grpc.insecure_channel(worker.target, options=[("grpc.use_local_subchannel_pool", 1)]) as other:
            assert says(other) == b"hello"  # another connection is not held up
        assert not second.done()
        worker.release.set()
        assert (held.result(), second.result()) == (b"held", b"second")


def test_a_connection_ends_at_its_age_and_calls_go_on(daemon):
    with Worker(daemon, listen={"max_connection_age_ms": 300, "max_connection_age_grace_ms": 60_000}) as worker, \
            grpc.insecure_channel(worker.target) as channel:
        held = unary(channel, "Hold").future(b"", timeout=WAIT)
        wait_for(lambda: worker.seen)
        # The aged connection takes no more calls, so this one comes on a second.
        wait_for(lambda: says(channel) == b"hello" and server_of(daemon, address=worker.target)["connections"] == 2)
        worker.release.set()
        assert held.result() == b"held"


def test_a_connection_without_calls_is_closed(daemon):
    with Worker(daemon, listen={"max_connection_idle_ms": 200}) as worker, \
            grpc.insecure_channel(worker.target) as channel:
        assert says(channel) == b"hello"
        wait_for(lambda: server_of(daemon, address=worker.target)["connections"] == 0)
        assert says(channel) == b"hello"


def test_a_client_that_pings_too_often_is_sent_away(daemon):
    pings = [("grpc.keepalive_time_ms", 50), ("grpc.keepalive_permit_without_calls", 1),
             ("grpc.http2.max_pings_without_data", 0), ("grpc.http2.min_ping_interval_without_data_ms", 50)]
    with Worker(daemon, listen={"min_ping_interval_ms": 60_000}) as strict, \
            grpc.insecure_channel(strict.target, options=pings) as channel:
        code, message = code_of(lambda: unary(channel, "Hold")(b"", timeout=WAIT))
        assert code == Code.UNAVAILABLE and "too_many_pings" in message.lower() or "pings" in message.lower()


def test_new_clients_are_refused_while_the_daemon_drains():
    with running() as daemon, Worker(daemon) as worker, grpc.insecure_channel(worker.target) as channel:
        held = unary(channel, "Hold").future(b"", timeout=WAIT)
        wait_for(lambda: worker.seen)
        daemon.terminate()
        wait_for(lambda: "shutdown_begins" in daemon.log.read_text())

        def refused():
            try:
                socket.create_connection(("127.0.0.1", worker.listening["port"])).close()
            except ConnectionRefusedError:
                return True
        wait_for(refused)
        worker.release.set()
        assert held.result() == b"held"


# ---- Answers ---------------------------------------------------------------------------------------


class BigWorker(Worker):
    def Big(self, call):
        compression = {b"gzip": 3, b"server's": 0}[call.read()]
        call.send_headers([], compression=compression)
        call.send(b"a" * 100_000)
        call.send_status()


@pytest.mark.parametrize("of_server, of_call, small", [(1, b"server's", False), (3, b"server's", True),
                                                       (1, b"gzip", True)])
def test_answers_are_compressed_as_the_server_or_the_worker_wants(daemon, of_server, of_call, small):
    with BigWorker(daemon, listen={"compression": of_server}) as worker, counted(worker.listening["port"]) as (port, count), \
            grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert unary(channel, "Big")(of_call, timeout=WAIT) == b"a" * 100_000
        assert (count[0] < 20_000) == small


# ---- Policies --------------------------------------------------------------------------------------


def test_policies_of_a_server_run_on_each_call(daemon):
    policies = ["deny /test.Echo/Fail", "request-id", "set-metadata x-by legated", "remove-metadata x-secret",
                "for /test.Echo/Bidi: rate-limit 1/h burst 1"]
    with Worker(daemon, listen={"policies": policies}) as worker, grpc.insecure_channel(worker.target) as channel:
        assert says(channel, metadata=[("x-secret", "s"), ("x-kept", "k")]) == b"hello"
        metadata = {entry["key"]: entry["value"] for entry in worker.seen[0].start["metadata"]}
        assert metadata["x-by"] == b"legated" and metadata["x-kept"] == b"k" and len(metadata["x-request-id"]) == 36
        assert "x-secret" not in metadata
        code, message = code_of(lambda: unary(channel, "Fail")(b"", timeout=WAIT))
        assert (code, message) == (Code.PERMISSION_DENIED, "/test.Echo/Fail may not be called")
        bidi = channel.stream_stream("/test.Echo/Bidi")
        assert list(bidi(iter([b"a"]), timeout=WAIT)) == [b"A"]
        code, message = code_of(lambda: list(bidi(iter([b"a"]), timeout=WAIT)))
        assert code == Code.RESOURCE_EXHAUSTED and message.startswith("for /test.Echo/Bidi: rate-limit 1/h burst 1: ")
        shown = server_of(daemon, address=worker.target)["policies"]
        assert [(policy["applied"], policy["refused"]) for policy in shown] == [(2, 1), (3, 0), (3, 0), (1, 0), (1, 1)]


def test_the_deadline_of_a_server_ends_the_call_and_tells_the_worker(daemon):
    with Worker(daemon, listen={"policies": ["max-timeout 200ms"]}) as worker, \
            grpc.insecure_channel(worker.target) as channel:
        code, message = code_of(lambda: unary(channel, "Hang")(b"", timeout=WAIT))
        assert code == Code.DEADLINE_EXCEEDED and "server's deadline" in message
        assert worker.cancelled.wait(WAIT)
        assert 0 < worker.seen[0].start["timeout_us"] <= 200_000


def test_calls_under_way_are_limited(daemon):
    with Worker(daemon, listen={"policies": ["max-concurrency 1"]}) as worker, \
            grpc.insecure_channel(worker.target) as channel:
        held = unary(channel, "Hold").future(b"", timeout=WAIT)
        wait_for(lambda: worker.seen)
        assert code_of(lambda: says(channel))[0] == Code.RESOURCE_EXHAUSTED
        worker.release.set()
        assert held.result() == b"held"
        wait_for(lambda: unary(channel).future(b"x", timeout=WAIT).exception() is None)


def test_a_token_is_needed_and_the_file_may_change(tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("one\n")
    with running("servers.shop.addresses=127.0.0.1:0", f"servers.shop.policies=require-token {tokens}",
                 "servers.shop.access_log=true") as daemon, \
            Worker(daemon, address="legated:///shop") as worker, grpc.insecure_channel(worker.target) as channel:
        def bearer(token):
            return lambda: says(channel, metadata=[("authorization", f"Bearer {token}")])
        assert bearer("one")() == b"hello"
        assert code_of(lambda: says(channel)) == (
            Code.UNAUTHENTICATED, 'a bearer token is needed: metadata "authorization: Bearer ..."')
        assert code_of(bearer("two"))[0] == Code.UNAUTHENTICATED
        (tmp_path / "fresh").write_text("two\n")
        (tmp_path / "fresh").rename(tokens)

        def taken():
            with contextlib.suppress(grpc.RpcError):
                return bearer("two")() == b"hello"
        wait_for(taken)
        assert code_of(bearer("one"))[0] == Code.UNAUTHENTICATED
        log = daemon.log.read_text()
        assert "Bearer" not in log and "status=UNAUTHENTICATED" in log and "method=/test.Echo/Unary" in log


def test_a_name_of_the_clients_certificate_is_needed(daemon, ca, server_pair, client_pair):
    options = tls_options(server_pair, ca.certificate, 1)
    options["policies"] = ["require-identity uri:spiffe://shop/*", "for /test.Echo/Fail: require-identity dns:boss.example"]
    with Worker(daemon, listen=options) as worker:
        with secure(worker.target, ca, client_pair) as channel:
            assert says(channel) == b"hello"
            assert code_of(lambda: unary(channel, "Fail")(b"", timeout=WAIT))[0] == Code.PERMISSION_DENIED
        with secure(worker.target, ca) as channel:
            assert code_of(lambda: says(channel))[0] == Code.UNAUTHENTICATED
