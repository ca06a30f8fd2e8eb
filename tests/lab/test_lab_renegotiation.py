"""keypin.lab.RenegotiatingServer: another certificate in the middle of a connection."""

from __future__ import annotations

import ctypes
import ssl
from typing import TYPE_CHECKING

import pytest

from keypin.lab import Authority, Credential, RenegotiatingServer
from keypin.lab.servers import _libssl

if TYPE_CHECKING:
    from conftest import Client


def test_without_the_library_there_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", fail)
    with pytest.raises(RuntimeError, match="libssl"):
        _libssl.load.__wrapped__()


@pytest.fixture
def second(authority: Authority) -> Credential:
    return authority.issue("localhost", key="rsa-2048")


def test_a_client_that_goes_along_sends_to_the_other_certificate(
    leaf: Credential, second: Credential, client: Client
) -> None:
    with RenegotiatingServer(leaf, second, answer=b"welcome") as server:
        with client.connect(server) as tls:
            assert tls.version() == "TLSv1.2"
            assert tls.getpeercert(binary_form=True) == leaf.certificate
            tls.sendall(b"before")
            assert tls.recv(100) == b"welcome"
            assert tls.getpeercert(binary_form=True) == second.certificate
            tls.sendall(b"afterwards")
        (connection,) = server.settle()
    assert connection.handshake_completed
    assert connection.error is None
    assert connection.application_data == b"beforeafterwards"
    assert server.renegotiated == [connection]
    assert server.bytes_afterwards == 10


def test_a_client_can_refuse_to_renegotiate(
    leaf: Credential, second: Credential, client: Client
) -> None:
    context = client.context()
    context.options |= ssl.OP_NO_RENEGOTIATION
    with RenegotiatingServer(leaf, second) as server:
        with client.connect(server, context) as tls:
            tls.sendall(b"before")
            with pytest.raises(ssl.SSLError):
                tls.recv(100)
        (connection,) = server.settle()
    assert "no renegotiation" in str(connection.error)
    assert connection.application_bytes == 6
    assert server.renegotiated == []
    assert server.bytes_afterwards == 0


def test_a_client_can_reject_the_other_certificate(leaf: Credential, client: Client) -> None:
    stranger = Authority("stranger").issue("localhost")
    with RenegotiatingServer(leaf, stranger) as server:
        with client.connect(server) as tls:
            tls.sendall(b"before")
            with pytest.raises(ssl.SSLCertVerificationError):
                tls.recv(100)
        (connection,) = server.settle()
    assert "unknown ca" in str(connection.error)
    assert server.renegotiated == []


def test_without_data_there_is_no_renegotiation(
    leaf: Credential, second: Credential, client: Client
) -> None:
    with RenegotiatingServer(leaf, second) as server:
        with client.connect(server):
            pass
        with pytest.raises(ssl.SSLCertVerificationError):
            client.connect(server, client.context(trust=Authority("other")))
        first, rejected = server.settle()
    assert first.handshake_completed
    assert first.application_bytes == 0
    assert first.error is None
    assert not rejected.handshake_completed
    assert rejected.error
