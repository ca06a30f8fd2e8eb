"""A client certificate is on record in whatever form it came, and whatever became of it."""

from __future__ import annotations

import socket
import ssl
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from keypin.lab import Authority, Credential, MisbehavingServer, RenegotiatingServer, Server
from keypin.lab.servers._libraries import load
from keypin.lab.servers.certificate_messages import first_certificate

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Client

    from keypin.lab.servers.connection import Connection
    from keypin.lab.servers.listener import Listener

HANDSHAKE, CERTIFICATE, COMPRESSED = 22, 11, 25
ZLIB, BROTLI, ZSTD = 1, 2, 3
SERVERS = {
    "OpenSSL": lambda leaf, authority, version: Server(
        leaf, client_ca=authority.certificate, tls=[version]
    ),
    "tlslite-ng": lambda leaf, authority, version: MisbehavingServer(
        leaf, leaf.key, ask_client_certificate=True, tls=[version]
    ),
}


@pytest.fixture(params=SERVERS)
def asking(
    request: pytest.FixtureRequest, leaf: Credential, authority: Authority
) -> Callable[[str], Listener]:
    """Make a server that asks for a client certificate, by either of the lab's TLS libraries."""
    return lambda version: SERVERS[request.param](leaf, authority, version)


@pytest.fixture(scope="module")
def alice(authority: Authority) -> Credential:
    return authority.issue(common_name="alice", extended_key_usage=("clientAuth",))


# Clients that say what no library can be told to say


def sized(data: bytes, size: int = 3) -> bytes:
    return len(data).to_bytes(size, "big") + data


def certificate_body(*certificates: bytes) -> bytes:
    """Of TLS 1.3: no context, and no extensions."""
    return b"\0" + sized(b"".join(sized(it) + b"\0\0" for it in certificates))


def compressed(algorithm: int, body: bytes, content: bytes) -> bytes:
    """A CompressedCertificate message (RFC 8879, section 4)."""
    message = algorithm.to_bytes(2, "big") + len(body).to_bytes(3, "big") + sized(content)
    return bytes([COMPRESSED]) + sized(message)


def send_certificate(server: Listener, client: Credential, messages: list[bytes]) -> None:
    """Shake hands by TLS 1.3, and send these in the place of the client's Certificate."""
    tlslite = load("a client", "tlslite-ng", "tlslite.api")
    certificate = tlslite.X509()
    certificate.parseBinary(bytearray(client.certificate))

    class Connection(tlslite.TLSConnection):  # type: ignore[misc,name-defined]
        def _sendMsg(self, message: Any, *arguments: Any, **more: Any) -> Any:
            for each in self._instead_of(message):
                yield from super()._sendMsg(each, *arguments, **more)

        def _queue_message(self, message: Any) -> None:
            for each in self._instead_of(message):
                super()._queue_message(each)

        def _instead_of(self, message: Any) -> list[Any]:
            from tlslite.messages import Message

            if message.contentType == HANDSHAKE and message.write()[0] in (CERTIFICATE, COMPRESSED):
                return [Message(HANDSHAKE, bytearray(each)) for each in messages]
            return [message]

    settings = tlslite.HandshakeSettings()
    settings.minVersion = settings.maxVersion = (3, 4)
    key = tlslite.parsePEMKey(client.key_pem.decode("ascii"), private=True)
    with socket.create_connection(server.address, 10) as sock:
        tls = Connection(sock)
        tls.closeSocket = False
        with suppress(tlslite.TLSError, OSError):
            tls.handshakeClientCert(tlslite.X509CertChain([certificate]), key, settings=settings)
        with suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(4096):
                pass


@pytest.mark.parametrize("algorithm", [ZLIB, ZSTD, BROTLI, 99])
def test_a_compressed_certificate_is_on_record(
    algorithm: int, asking: Callable[[str], Listener], alice: Credential
) -> None:
    body = certificate_body(alice.certificate)
    content = zlib.compress(body) if algorithm == ZLIB else b"what only others can decompress"
    with asking("1.3") as server:
        send_certificate(server, alice, [compressed(algorithm, body, content)])
        (connection,) = server.settle()
    expected = alice.certificate if algorithm == ZLIB else content
    assert connection.client_certificate == expected


def test_one_that_does_not_decompress_is_on_record(
    asking: Callable[[str], Listener], alice: Credential
) -> None:
    body = certificate_body(alice.certificate)
    with asking("1.3") as server:
        send_certificate(server, alice, [compressed(ZLIB, body, b"not zlib")])
        (connection,) = server.settle()
    assert connection.client_certificate == b"not zlib"


@pytest.mark.parametrize("algorithm", [ZLIB, BROTLI])
def test_a_compressed_list_without_certificates_is_none(
    algorithm: int, asking: Callable[[str], Listener], alice: Credential
) -> None:
    body = certificate_body()
    content = zlib.compress(body) if algorithm == ZLIB else b"whatever"
    with asking("1.3") as server:
        send_certificate(server, alice, [compressed(algorithm, body, content)])
        (connection,) = server.settle()
    assert not connection.client_certificate_seen


def test_a_raw_public_key_is_on_record(
    asking: Callable[[str], Listener], alice: Credential
) -> None:
    """RFC 7250, whether the server has asked for one or not."""
    message = bytes([CERTIFICATE]) + sized(certificate_body(alice.key.spki))
    with asking("1.3") as server:
        send_certificate(server, alice, [message])
        (connection,) = server.settle()
    assert connection.client_certificate == alice.key.spki


def test_a_message_that_is_cut_off_is_on_record(
    asking: Callable[[str], Listener], alice: Credential
) -> None:
    """It says that more is to come, and the client goes."""
    message = bytes([CERTIFICATE]) + sized(certificate_body(alice.certificate, b"x" * 9000))
    with asking("1.3") as server:
        send_certificate(server, alice, [message[:400]])
        (connection,) = server.settle()
    shown = connection.client_certificate
    assert shown
    assert shown[:380] == alice.certificate[:380]


# The standard library's client


def test_a_certificate_too_large_for_openssl_is_on_record(
    version: str, authority: Authority, leaf: Credential, alice: Credential, client: Client
) -> None:
    """More than 100 kB, also if it is compressed: with keys in it, which do not get smaller."""
    others = [Authority(key="rsa-2048").certificate for _ in range(4)]
    chain = alice.with_chain(alice.certificate, *others * 35)
    with Server(leaf, client_ca=authority.certificate) as server:
        with suppress(OSError):
            tls = client.connect(server, client.context(version, certificate=chain))
            tls.recv(1)
        client.close()
        (connection,) = server.settle()
    assert connection.client_certificate == alice.certificate


def test_a_certificate_that_came_in_part_is_on_record(
    authority: Authority, leaf: Credential, alice: Credential, client: Client
) -> None:
    """TLS 1.2 shows it in the clear."""
    context = client.context("1.2", certificate=alice)
    with Server(leaf, client_ca=authority.certificate) as server:
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
        sock.sendall(outgoing.read()[:100])
        sock.close()
        (connection,) = server.settle()
    shown = connection.client_certificate
    assert shown
    assert len(shown) < 100
    assert alice.certificate.startswith(shown)


def message_types(context: ssl.SSLContext) -> list[int]:
    """The handshake messages that connections of this context send, from now on."""
    types: list[int] = []

    def note(tls: Any, direction: str, version: int, kind: int, message: int, data: bytes) -> None:
        if direction == "write" and kind == HANDSHAKE:
            types.append(message)

    context._msg_callback = note  # type: ignore[attr-defined]
    return types


def test_it_is_on_record_as_this_openssl_sends_it(
    asking: Callable[[str], Listener],
    version: str,
    alice: Credential,
    client: Client,
) -> None:
    """OpenSSL 3.2 and later compress, where they are built for it."""
    context = client.context(version, certificate=alice)
    sent = message_types(context)
    with asking(version) as server:
        with client.connect(server, context) as tls:
            tls.sendall(b"x")
            server.wait_until(lambda: server.application_bytes == 1)
        (connection,) = server.settle()
    assert connection.client_certificate == alice.certificate
    assert (COMPRESSED in sent) != (CERTIFICATE in sent)


@pytest.mark.parametrize("allows", [True, False])
def test_one_asked_for_after_the_handshake_is_on_record(
    allows: bool, authority: Authority, leaf: Credential, alice: Credential, client: Client
) -> None:
    context = client.context("1.3", certificate=alice)
    context.post_handshake_auth = allows
    with Server(leaf, client_ca=authority.certificate, post_handshake=True) as server:
        with client.connect(server, context) as tls:
            tls.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert tls.recv(100).startswith(b"HTTP/1.1 200")
        (connection,) = server.settle()
    assert connection.handshake_completed
    assert connection.client_certificate == (alice.certificate if allows else None)


def test_one_that_is_refused_after_the_handshake_is_on_record(
    authority: Authority, leaf: Credential, alice: Credential, client: Client
) -> None:
    context = client.context("1.3", certificate=alice)
    context.post_handshake_auth = True
    other = Authority("another")
    with Server(leaf, client_ca=other.certificate, post_handshake=True) as server:
        with client.connect(server, context) as tls, suppress(OSError):
            tls.sendall(b"x")
            while tls.recv(100):
                pass
        (connection,) = server.settle()
    assert connection.client_certificate == alice.certificate


def test_to_ask_after_the_handshake_takes_an_authority(leaf: Credential) -> None:
    with pytest.raises(ValueError, match="takes a client_ca"):
        Server(leaf, post_handshake=True)


@pytest.mark.parametrize("at_once", [True, False])
def test_one_asked_for_in_a_renegotiation_is_on_record(
    at_once: bool, authority: Authority, leaf: Credential, alice: Credential, client: Client
) -> None:
    second = authority.issue("localhost", key="rsa-2048")
    context = client.context("1.2", certificate=alice)
    with RenegotiatingServer(
        leaf, second, answer=b"welcome", ask_client_certificate=True, at_once=at_once
    ) as server:
        with client.connect(server, context) as tls:
            if not at_once:
                tls.sendall(b"before")
                server.wait_until(lambda: server.application_bytes == 6)
                assert not server.connections[0].client_certificate_seen
            assert tls.recv(100) == b"welcome"
        (connection,) = server.settle()
    assert server.renegotiated == [connection]
    assert connection.client_certificate == alice.certificate


# What is no certificate


def connection_without(server: Server, context: ssl.SSLContext, client: Client) -> Connection:
    with client.connect(server, context) as tls:
        tls.sendall(b"x")
        server.wait_until(lambda: server.application_bytes == 1)
    (connection,) = server.settle()
    return connection


def test_without_one_nothing_is_on_record(
    asking: Callable[[str], Listener], version: str, client: Client
) -> None:
    with asking(version) as server:
        connection = connection_without(server, client.context(version), client)
    assert connection.handshake_completed
    assert connection.client_certificate is None


@pytest.mark.parametrize("message", [b"", b"\x0b", b"\x0b\0\0\x09", b"\x19\0\0\x09\0\1", b"\x14\0"])
@pytest.mark.parametrize("tls13", [True, False])
def test_the_beginning_of_a_message_shows_nothing(message: bytes, tls13: bool) -> None:
    assert first_certificate(message, tls13=tls13) == b""
