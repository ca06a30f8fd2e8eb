"""keypin.lab.MisbehavingServer: a certificate alone proves nothing."""

from __future__ import annotations

import ssl
import sys
from typing import TYPE_CHECKING

import pytest

from keypin.lab import Authority, Credential, KeyKind, MisbehavingServer, new_key

if TYPE_CHECKING:
    from conftest import Client

KINDS: list[KeyKind] = ["rsa-2048", "p-256", "p-384"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_notices_a_signature_by_another_key(
    kind: KeyKind, version: str, authority: Authority, client: Client
) -> None:
    presented = authority.intermediate("issuing").issue("localhost", key=kind)
    with MisbehavingServer(presented, new_key(kind)) as server:
        with pytest.raises(ssl.SSLError, match="bad signature"):
            client.connect(server, client.context(version))
        (connection,) = server.settle()
    assert not connection.handshake_completed
    assert not connection.client_finished
    assert connection.application_bytes == 0
    assert connection.error == "decrypt_error"


@pytest.mark.parametrize("kind", KINDS)
def test_with_the_right_key_it_is_an_ordinary_server(
    kind: KeyKind, version: str, authority: Authority, client: Client
) -> None:
    presented = authority.issue("localhost", key=kind)
    with MisbehavingServer(presented, presented.key) as server:
        with client.connect(server, client.context(version)) as tls:
            assert tls.getpeercert(binary_form=True) == presented.certificate
            tls.sendall(b"hello")
            server.wait_until(lambda: server.application_bytes == 5)
        (connection,) = server.settle()
    assert connection.handshake_completed
    assert connection.tls_version == f"TLSv{version}"
    assert connection.application_data == b"hello"
    assert connection.error is None


def test_it_speaks_the_versions_asked_for(leaf: Credential, client: Client) -> None:
    with MisbehavingServer(leaf, leaf.key, tls=["1.2"]) as server:
        with client.connect(server) as tls:
            assert tls.version() == "TLSv1.2"
        with pytest.raises(ssl.SSLError):
            client.connect(server, client.context("1.3"))
        assert len(server.settle()) == 2


@pytest.mark.parametrize("kind", ["rsa-2048", "ed25519"])
def test_a_key_that_cannot_sign_for_the_certificate_is_an_error(
    kind: KeyKind, leaf: Credential
) -> None:
    with pytest.raises(ValueError, match=f"p-256 key, a signature by a {kind} key"):
        MisbehavingServer(leaf, new_key(kind))


def test_without_tlslite_ng_it_says_what_to_install(
    leaf: Credential, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "tlslite"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tlslite", None)
    with pytest.raises(ImportError, match="needs tlslite-ng"):
        MisbehavingServer(leaf, leaf.key)
