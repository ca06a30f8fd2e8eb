"""keypin.lab.Server: it presents what it is told to, and records exactly what it received."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from keypin.lab import (
    KEY_KINDS,
    Authority,
    Channel,
    Credential,
    Echo,
    Http,
    KeyKind,
    Request,
    Response,
    Server,
    Silent,
    new_key,
    stall,
)

if TYPE_CHECKING:
    from conftest import Client

SIZES = [0, 1, 5, 16 * 1024, 65536, 65537, 1_000_003]


def receive_all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(65536), b""))


def presented_to(client: Client, server: Server, context: ssl.SSLContext) -> bytes | None:
    with client.connect(server, context) as tls:
        return tls.getpeercert(binary_form=True)


@pytest.mark.parametrize("kind", KEY_KINDS)
def test_every_kind_of_key_serves_both_versions(
    kind: KeyKind, version: str, authority: Authority, client: Client
) -> None:
    with Server(authority.issue("localhost", key=kind)) as server:
        with client.connect(server, client.context(version)):
            pass
        (connection,) = server.settle()
    assert connection.handshake_completed
    assert connection.client_finished
    assert connection.tls_version == f"TLSv{version}"
    assert connection.server_name == "localhost"
    assert connection.error is None
    assert connection.closed.is_set()


@pytest.mark.parametrize("size", SIZES)
def test_application_bytes_are_exact(
    size: int, version: str, leaf: Credential, client: Client
) -> None:
    data = bytes(range(251)) * (size // 251 + 1)
    with Server(leaf, application=Silent()) as server:
        with client.connect(server, client.context(version)) as tls:
            tls.sendall(data[:size])
            # A client that closes with tickets unread drops what it has not yet delivered.
            server.wait_until(lambda: server.application_bytes >= size)
        (connection,) = server.settle()
    assert connection.application_bytes == server.application_bytes == size
    assert connection.application_data == data[: min(size, 65536)]
    assert connection.plain_bytes == 0


@pytest.mark.parametrize("size", SIZES)
def test_bytes_of_a_server_without_tls_are_application_bytes(size: int, client: Client) -> None:
    with Server(None, application=Silent()) as server:
        with client.connect_plain(server) as sock:
            sock.sendall(b"x" * size)
        (connection,) = server.settle()
    assert connection.application_bytes == size
    assert not connection.handshake_completed


def test_bytes_are_counted_when_the_client_leaves_with_a_reset(
    version: str, leaf: Credential, client: Client
) -> None:
    reset = threading.Event()

    def receive_later(channel: Channel) -> None:
        reset.wait(10)
        channel.drain()

    with Server(leaf, application=receive_later) as server:
        with client.connect(server, client.context(version)) as tls:
            tls.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            tls.sendall(b"x" * 1000)
            tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        reset.set()
        (connection,) = server.settle()
    assert connection.application_bytes == 1000


def test_bytes_are_counted_that_come_after_the_application_has_returned(
    version: str, leaf: Credential, client: Client
) -> None:
    with Server(leaf, application=lambda channel: None) as server:
        with client.connect(server, client.context(version)) as tls:
            assert tls.recv(1) == b""
            tls.sendall(b"too late")
        (connection,) = server.settle()
    assert connection.application_data == b"too late"


def test_pending_bytes_are_counted_when_the_application_returns(
    version: str, leaf: Credential, client: Client
) -> None:
    def take_one(channel: Channel) -> None:
        channel.recv(1)

    with Server(leaf, application=take_one) as server:
        with client.connect(server, client.context(version)) as tls:
            tls.sendall(b"a" * 100_000)
            assert tls.recv(1) == b""
        (connection,) = server.settle()
    assert connection.application_data == b"a" * 65536
    assert connection.application_bytes == 100_000


def test_bytes_are_counted_though_the_application_cannot_send(
    version: str, leaf: Credential, client: Client
) -> None:
    def send_forever(channel: Channel) -> None:
        while True:
            channel.sendall(bytes(65536))

    with Server(leaf, application=send_forever) as server:
        with client.connect(server, client.context(version)) as tls:
            tls.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            tls.sendall(b"x" * 1000)
            tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        (connection,) = server.settle()
    assert connection.application_bytes == 1000


def test_a_required_client_certificate_takes_a_ca(leaf: Credential) -> None:
    with pytest.raises(ValueError, match="client_ca"):
        Server(leaf, require_client_certificate=True)


def test_a_client_that_rejects_the_server_sends_nothing(
    version: str, authority: Authority, client: Client
) -> None:
    with Server(authority.issue("a.test")) as server:
        with pytest.raises(ssl.SSLCertVerificationError):
            client.connect(server, client.context(version))
        (connection,) = server.settle()
    assert not connection.handshake_completed
    assert not connection.client_finished
    assert connection.application_bytes == 0
    assert "bad certificate" in str(connection.error)


def test_a_client_that_says_nothing_at_all_is_on_record(leaf: Credential, client: Client) -> None:
    with Server(leaf) as server:
        client.connect_plain(server).close()
        (connection,) = server.settle()
    assert not connection.handshake_completed
    assert connection.error


def test_what_breaks_tls_after_the_handshake_is_on_record(
    version: str, leaf: Credential, client: Client
) -> None:
    with Server(leaf, application=Echo()) as server:
        with client.connect(server, client.context(version)) as tls:
            tls.sendall(b"x")
            tls.recv(1)
            socket.socket.sendall(tls, b"GET / HTTP/1.1\r\n\r\n")
            server.wait_until(lambda: server.connections[0].unencrypted_bytes == 18)
        (connection,) = server.settle()
    assert connection.handshake_completed
    assert connection.application_data == b"xGET / HTTP/1.1\r\n\r\n"
    assert "wrong version number" in str(connection.error) or "record" in str(connection.error)


def test_no_server_name_is_on_record_as_none(leaf: Credential, client: Client) -> None:
    context = client.context()
    context.check_hostname = False
    with Server(leaf) as server:
        with client.connect_plain(server) as sock, context.wrap_socket(sock):
            pass
        (connection,) = server.settle()
    assert connection.handshake_completed
    assert connection.server_name is None


@pytest.fixture
def alice(authority: Authority) -> Credential:
    return authority.issue(common_name="alice", extended_key_usage=("clientAuth",))


def second_flight(
    client: Client, server: Server, context: ssl.SSLContext
) -> tuple[socket.socket, bytes]:
    """Shake hands up to the client's answer to the server's messages, and hold that back."""
    sock = client.connect_plain(server)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    sock.sendall(outgoing.read())
    while not outgoing.pending:
        incoming.write(sock.recv(65536))
        with suppress(ssl.SSLWantReadError):
            tls.do_handshake()
    return sock, outgoing.read()


def test_a_client_certificate_is_on_record(
    version: str, authority: Authority, leaf: Credential, alice: Credential, client: Client
) -> None:
    with Server(leaf, client_ca=authority.certificate) as server:
        with client.connect(server, client.context(version, certificate=alice)):
            pass
        (connection,) = server.settle()
    assert connection.client_certificate_seen
    assert connection.client_certificate == alice.certificate
    assert connection.handshake_completed


def test_a_client_certificate_is_on_record_though_the_client_aborts(
    version: str, authority: Authority, leaf: Credential, alice: Credential, client: Client
) -> None:
    context = client.context(version, certificate=alice)
    with Server(leaf, client_ca=authority.certificate) as server:
        sock, flight = second_flight(client, server, context)
        sock.sendall(flight[:-1])
        sock.close()
        (connection,) = server.settle()
    assert connection.client_certificate == alice.certificate
    assert not connection.client_finished
    assert not connection.handshake_completed
    assert connection.error


def test_a_client_certificate_is_on_record_though_the_server_rejects_it(
    version: str, authority: Authority, leaf: Credential, client: Client
) -> None:
    stranger = Authority().issue(common_name="mallory", extended_key_usage=("clientAuth",))
    with Server(leaf, client_ca=authority.certificate) as server:
        try:
            with client.connect(server, client.context(version, certificate=stranger)) as tls:
                tls.recv(1)
        except ssl.SSLError:
            pass
        (connection,) = server.settle()
    assert connection.client_certificate == stranger.certificate
    assert not connection.handshake_completed
    assert "certificate verify failed" in str(connection.error)


def test_a_client_certificate_held_back_is_not_on_record(
    version: str, authority: Authority, leaf: Credential, alice: Credential, client: Client
) -> None:
    context = client.context(version, certificate=alice)
    with Server(leaf, client_ca=authority.certificate) as server:
        sock, flight = second_flight(client, server, context)
        assert flight
        sock.close()
        (connection,) = server.settle()
    assert not connection.client_certificate_seen
    assert not connection.client_finished


@pytest.mark.parametrize("required", [True, False])
def test_a_client_without_a_certificate_is_refused_only_where_one_is_required(
    required: bool, version: str, authority: Authority, leaf: Credential, client: Client
) -> None:
    with Server(
        leaf, client_ca=authority.certificate, require_client_certificate=required
    ) as server:
        try:
            with client.connect(server, client.context(version)) as tls:
                tls.sendall(b"GET / HTTP/1.1\r\n\r\n")
                tls.recv(1)
        except ssl.SSLError:
            assert required
        (connection,) = server.settle()
    assert connection.handshake_completed is not required
    assert not connection.client_certificate_seen


def session_of(client: Client, server: Server, context: ssl.SSLContext) -> ssl.SSLSession:
    with client.connect(server, context) as tls:
        tls.sendall(b"GET / HTTP/1.1\r\n\r\n")
        tls.recv(1)  # in TLS 1.3 the ticket comes with the first data
        assert tls.session is not None
        return tls.session


def resumes(
    client: Client, server: Server, context: ssl.SSLContext, session: ssl.SSLSession
) -> bool:
    with client.connect(server, context, session=session) as tls:
        reused = tls.session_reused
    assert server.settle()[-1].session_resumed is reused
    return bool(reused)


@pytest.mark.parametrize("resumption", ["tickets", "session-ids"])
def test_sessions_are_resumed(
    resumption: str, version: str, leaf: Credential, client: Client
) -> None:
    context = client.context(version)
    with Server(leaf, resumption=resumption) as server:  # type: ignore[arg-type]
        session = session_of(client, server, context)
        assert session.has_ticket is (resumption == "tickets" or version == "1.3")
        assert resumes(client, server, context, session)


def test_no_session_is_resumed_where_resumption_is_off(
    version: str, leaf: Credential, client: Client
) -> None:
    context = client.context(version)
    with Server(leaf, resumption="off") as server:
        with client.connect(server, context) as tls:
            tls.sendall(b"GET / HTTP/1.1\r\n\r\n")
            tls.recv(1)
            session = tls.session
        assert session is None or not resumes(client, server, context, session)


def test_a_session_is_not_resumed_on_an_unrelated_server(
    version: str, leaf: Credential, client: Client
) -> None:
    context = client.context(version)
    with Server(leaf) as server, Server(leaf) as other:
        session = session_of(client, server, context)
        assert not resumes(client, other, context, session)


def test_a_session_is_resumed_on_a_sibling_that_has_another_certificate(
    version: str, authority: Authority, leaf: Credential, client: Client
) -> None:
    context = client.context(version)
    other = authority.issue("localhost")
    with Server(leaf) as server, server.sibling(other) as sibling:
        assert presented_to(client, sibling, context) == other.certificate
        assert resumes(client, sibling, context, session_of(client, server, context))
        assert resumes(client, server, context, session_of(client, sibling, context))
        with client.connect(sibling, context, session=session_of(client, server, context)) as tls:
            # the certificate of the session, which the sibling does not have
            assert tls.getpeercert(binary_form=True) == leaf.certificate


def test_a_sibling_has_the_settings_of_its_server(
    authority: Authority, leaf: Credential, alice: Credential, client: Client
) -> None:
    server = Server(leaf, tls=["1.2"], client_ca=authority.certificate, application=Http(b"hello"))
    with server, server.sibling(authority.issue("localhost")) as sibling:
        with client.connect(sibling, client.context(certificate=alice)) as tls:
            tls.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert receive_all(tls).endswith(b"hello")
        (connection,) = sibling.settle()
        assert server.settle() == []
    assert connection.tls_version == "TLSv1.2"
    assert connection.client_certificate == alice.certificate


def test_a_server_without_tls_has_no_sibling(leaf: Credential) -> None:
    with pytest.raises(ValueError, match="without TLS"):
        Server(None).sibling(leaf)


def test_another_credential_is_presented_from_the_next_handshake_on(
    version: str, authority: Authority, leaf: Credential, client: Client
) -> None:
    other = authority.issue("localhost", key="rsa-2048")
    context = client.context(version)
    with Server(leaf, application=Echo()) as server:
        with client.connect(server, context) as before:
            assert before.getpeercert(binary_form=True) == leaf.certificate
            server.serve(other)
            assert presented_to(client, server, context) == other.certificate
            before.sendall(b"still here")
            assert before.recv(100) == b"still here"
        server.serve(leaf)
        assert presented_to(client, server, context) == leaf.certificate


def test_a_session_survives_a_change_of_credential(
    version: str, authority: Authority, leaf: Credential, client: Client
) -> None:
    context = client.context(version)
    with Server(leaf) as server:
        session = session_of(client, server, context)
        server.serve(authority.issue("localhost"))
        assert resumes(client, server, context, session)


def test_rsa_and_ecdsa_are_served_side_by_side(
    authority: Authority, leaf: Credential, client: Client
) -> None:
    rsa = authority.issue("localhost", key="rsa-2048")
    with Server([leaf, rsa], tls=["1.2"]) as server:
        for credential, ciphers in ((leaf, "ECDHE+ECDSA"), (rsa, "ECDHE+aRSA")):
            context = client.context("1.2")
            context.set_ciphers(ciphers)
            assert presented_to(client, server, context) == credential.certificate


def test_a_key_that_does_not_belong_to_the_certificate_is_an_error(leaf: Credential) -> None:
    wrong = Credential(leaf.chain, new_key())
    with pytest.raises(ValueError, match="MisbehavingServer"):
        Server(wrong)


@pytest.mark.parametrize("old", ["1.0", "1.1"])
def test_old_versions_of_tls_are_spoken_on_request(
    old: str, leaf: Credential, client: Client
) -> None:
    with Server(leaf, tls=[old]) as server:  # type: ignore[list-item]
        with pytest.raises(ssl.SSLError):
            client.connect(server)
        context = client.context()
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        with client.connect(server, context) as tls:
            assert tls.version() == {"1.0": "TLSv1", "1.1": "TLSv1.1"}[old]


def test_alpn_is_offered(leaf: Credential, client: Client) -> None:
    context = client.context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with Server(leaf, alpn=["http/1.1"]) as server, client.connect(server, context) as tls:
        assert tls.selected_alpn_protocol() == "http/1.1"


def test_ciphers_are_those_asked_for(leaf: Credential, client: Client) -> None:
    name = "ECDHE-ECDSA-AES128-GCM-SHA256"
    with Server(leaf, tls=["1.2"], ciphers=name) as server, client.connect(server) as tls:
        assert tls.cipher() == (name, "TLSv1.2", 128)


def test_a_server_listens_on_ipv6(leaf: Credential, client: Client) -> None:
    with Server(leaf, host="::1") as server:
        assert server.url == f"https://[::1]:{server.port}"
        assert presented_to(client, server, client.context()) == leaf.certificate
        assert server.settle()[0].client_address[0] == "::1"


def test_the_url_says_whether_there_is_tls(leaf: Credential) -> None:
    with Server(leaf) as server, Server(None) as plain:
        assert server.url == f"https://127.0.0.1:{server.port}"
        assert server.url_for("localhost", "/a") == f"https://localhost:{server.port}/a"
        assert plain.url == f"http://127.0.0.1:{plain.port}"
        assert plain.address == ("127.0.0.1", plain.port)


def test_a_server_that_is_not_entered_has_no_port(leaf: Credential) -> None:
    server = Server(leaf)
    with pytest.raises(RuntimeError, match="with statement"):
        _ = server.port


def test_a_greeting_is_sent_to_a_client_that_only_reads(
    version: str, leaf: Credential, client: Client
) -> None:
    with Server(leaf, application=Silent(b"hello")) as server:
        with client.connect(server, client.context(version)) as tls:
            assert tls.recv(100) == b"hello"
        (connection,) = server.settle()
    assert connection.application_bytes == 0


def test_echo_sends_back_much_data(version: str, leaf: Credential, client: Client) -> None:
    data = bytes(range(256)) * 4096
    with Server(leaf, application=Echo(b"hi")) as server:
        with client.connect(server, client.context(version)) as tls:
            assert tls.recv(2) == b"hi"
            for start in range(0, len(data), 65536):
                tls.sendall(data[start : start + 65536])
                with tls.makefile("rb") as reader:
                    assert reader.read(65536) == data[start : start + 65536]
        assert server.settle()[0].application_bytes == len(data)


def test_a_stalled_handshake_is_never_answered(leaf: Credential, client: Client) -> None:
    with Server(leaf, before_tls=stall) as server:
        sock = client.connect_plain(server)
        sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.context().wrap_socket(sock, server_hostname="localhost")
        sock.close()
        (connection,) = server.settle()
    assert connection.plain_bytes > 100
    assert connection.application_bytes == 0
    assert not connection.handshake_completed


def test_tls_can_begin_after_a_conversation_in_the_clear(
    version: str, leaf: Credential, client: Client
) -> None:
    def greet(channel: Channel) -> bool:
        channel.sendall(b"220 ready\r\n")
        if channel.recv() != b"STARTTLS\r\n":
            return False
        channel.sendall(b"220 go ahead\r\n")
        return True

    with Server(leaf, before_tls=greet, application=Echo()) as server:
        sock = client.connect_plain(server)
        assert sock.recv(100) == b"220 ready\r\n"
        sock.sendall(b"STARTTLS\r\n")
        assert sock.recv(100) == b"220 go ahead\r\n"
        context = client.context(version)
        with context.wrap_socket(sock, server_hostname="localhost") as tls:
            tls.sendall(b"inside")
            assert tls.recv(100) == b"inside"
        refused = client.connect_plain(server)
        refused.sendall(b"QUIT\r\n")
        refused.recv(100)
        refused.close()
        connection, other = server.settle()
    assert connection.plain_data == b"STARTTLS\r\n"
    assert connection.application_data == b"inside"
    assert other.plain_bytes == 6
    assert other.application_bytes == 0


def test_dropped_connections_end_and_new_ones_are_accepted(
    version: str, leaf: Credential, client: Client
) -> None:
    context = client.context(version)
    with Server(leaf, application=Echo()) as server:
        tls = client.connect(server, context)
        tls.sendall(b"x")
        assert tls.recv(1) == b"x"
        server.drop_connections()
        server.wait_closed()
        assert tls.recv(1) == b""
        tls.close()
        with client.connect(server, context):
            pass
        server.wait_closed(2)


def test_closing_drops_open_connections_and_ends_all_threads(
    leaf: Credential, client: Client
) -> None:
    before = set(threading.enumerate())
    with Server(leaf) as server:
        idle = [client.connect(server) for _ in range(5)]
        handshaking = client.connect_plain(server)
        server.wait_until(lambda: len(server.connections) == 6)
        server.wait_until(lambda: all(it.handshake_completed for it in server.connections[:5]))
        assert len(set(threading.enumerate()) - before) >= 6
    assert set(threading.enumerate()) == before
    assert all(connection.closed.is_set() for connection in server.connections)
    assert [tls.recv(1) for tls in idle] == [b""] * 5
    handshaking.close()


def test_a_server_can_be_started_again(leaf: Credential, client: Client) -> None:
    server = Server(leaf)
    for _ in range(2):
        with server, client.connect(server):
            pass
    assert len(server.connections) == 2


def test_settling_takes_in_connections_that_were_never_accepted_before(
    leaf: Credential, client: Client
) -> None:
    with Server(leaf) as server:
        burst = [client.connect_plain(server) for _ in range(200)]
        for sock in burst:
            sock.close()
        assert len(server.settle()) == 200


def test_settling_waits_for_an_open_connection_and_gives_up(
    leaf: Credential, client: Client
) -> None:
    with Server(leaf) as server, client.connect(server):
        with pytest.raises(TimeoutError, match="Connection\\(client_address="):
            server.settle(timeout=0.01)
        with pytest.raises(TimeoutError):
            server.wait_closed(timeout=0.01)
    assert len(server.settle()) == 1


def test_one_can_wait_for_a_record_to_change(leaf: Credential, client: Client) -> None:
    with Server(leaf) as server, client.connect(server) as tls:
        server.wait_until(lambda: server.connections[0].handshake_completed)
        tls.sendall(b"GET")
        server.wait_until(lambda: server.application_bytes == 3)


def test_an_error_in_an_application_is_not_swallowed(
    leaf: Credential, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda hook: errors.append(hook.exc_value))
    failure = ValueError("a bug")

    def fail(channel: Channel) -> None:
        raise failure

    with Server(leaf, application=fail) as server:
        with client.connect(server):
            pass
        server.settle()
    assert errors == [failure]


def exchange(tls: ssl.SSLSocket, request: str, body: bytes = b"") -> tuple[str, str, bytes]:
    """Send a request on a connection that is kept; return status line, headers, body."""
    tls.sendall(request.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
    with tls.makefile("rb") as reader:
        status = reader.readline().decode().strip()
        headers = "".join(line.decode() for line in iter(reader.readline, b"\r\n"))
        size = next(line for line in headers.splitlines() if line.startswith("Content-Length:"))
        head = request.startswith("HEAD")
        return status, headers, b"" if head else reader.read(int(size.split()[1]))


def test_http_keeps_the_connection_and_tells_what_was_asked(
    leaf: Credential, client: Client
) -> None:
    with Server(leaf) as server:
        with client.connect(server) as tls:
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
                request = f"{method} /a?b=c HTTP/1.1\nHost: x\nContent-Length: 5"
                status, headers, body = exchange(tls, request, b"12345")
                assert status == "HTTP/1.1 200 OK"
                assert "Content-Type: application/json" in headers
                assert json.loads(body) == {"method": method, "path": "/a?b=c", "length": 5}
            assert exchange(tls, "HEAD / HTTP/1.1")[2] == b""
            assert exchange(tls, "GET / HTTP/1.1")[0] == "HTTP/1.1 200 OK"
        (connection,) = server.settle()
    assert len(connection.requests) == len(server.requests) == 8
    assert connection.requests[0].headers["host"] == "x"
    assert connection.requests[0].body == b"12345"


def test_http_redirects_and_sends_bodies_of_any_size(leaf: Credential, client: Client) -> None:
    application = Http(redirects={"/old": "https://other.test/new"}, redirect_status=307)
    with Server(leaf, application=application) as server, client.connect(server) as tls:
        status, headers, body = exchange(tls, "GET /old HTTP/1.1")
        assert status.startswith("HTTP/1.1 307 ")
        assert "Location: https://other.test/new\r\n" in headers
        assert body == b""
        assert exchange(tls, "GET /bytes/1000001 HTTP/1.1")[2] == bytes(1_000_001)
        assert exchange(tls, "GET /bytes/0 HTTP/1.1")[2] == b""


def test_http_takes_in_bodies_of_any_size(leaf: Credential, client: Client) -> None:
    size = 3_000_000
    with Server(leaf) as server, client.connect(server) as tls:
        request = f"POST /sink HTTP/1.1\nContent-Length: {size}"
        assert json.loads(exchange(tls, request, bytes(size))[2])["length"] == size
        chunked = b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: x\r\n\r\n"
        request = "POST / HTTP/1.1\nTransfer-Encoding: chunked"
        assert json.loads(exchange(tls, request, chunked)[2])["length"] == 11
        assert [len(request.body) for request in server.requests] == [1024 * 1024, 11]
        assert [request.length for request in server.requests] == [size, 11]


def test_http_answers_as_it_is_told(leaf: Credential, client: Client) -> None:
    def answer(request: Request) -> Response:
        return Response(request.body[::-1], 401, {"WWW-Authenticate": "Bearer"})

    with Server(leaf, application=Http(answer)) as server, client.connect(server) as tls:
        status, headers, body = exchange(tls, "POST / HTTP/1.1\nContent-Length: 3", b"abc")
        assert status == "HTTP/1.1 401 Unauthorized"
        assert "WWW-Authenticate: Bearer" in headers
        assert body == b"cba"
        server.application = Http(b"fixed")
        with client.connect(server) as other:
            assert exchange(other, "GET / HTTP/1.1")[2] == b"fixed"


def test_http_ends_the_connection_after_what_is_not_http(leaf: Credential, client: Client) -> None:
    with Server(leaf) as server:
        with client.connect(server) as tls:
            tls.sendall(b"not http\r\n")
            assert b"400" in receive_all(tls)
        with client.connect(server) as tls:
            tls.sendall(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc")
        with client.connect(server) as tls:
            tls.sendall(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        sizes = [connection.application_bytes for connection in server.settle()]
    assert sizes == [10, 41, 47]
