"""The catalogue's unfinished handshakes: a client that goes on without TLS is seen, no other is."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import catalogue_clients as clients
import pytest

from keypin.lab import MisbehavingServer, Server
from keypin.lab.catalogue import plain_text
from keypin.lab.servers.paths import StallingPath

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Client

    from keypin.lab import Credential
    from keypin.lab.scenario import Case, Scenario
    from keypin.lab.stage import Stage

CASES = [case for scenario in plain_text.SCENARIOS for case in scenario.cases()]
# In which a client without pins gets as far as to send its request inside TLS.
FINISHED = {"plain-text-after-finished", "plain-text-after-tls-has-ended"}


def dropping_tls_unpinned(stage: Stage) -> None:
    clients.dropping_tls(stage, clients.trusting(stage))


def mail_client_unpinned(stage: Stage) -> None:
    clients.mail_client_dropping_tls(stage, clients.trusting(stage))


PINNED: dict[str, tuple[Callable, Callable | None]] = {
    "ssl": (clients.over_ssl, None),
    "dropping-tls": (clients.dropping_tls, None),
    "dropping-tls-installed": (dropping_tls_unpinned, clients.installed),
    "Client": (clients.with_keypin_client, None),
    "requests": (clients.with_requests, clients.installed),
    "httpx2": (clients.with_httpx2, clients.installed),
    "urllib3": (clients.with_urllib3, clients.installed),
}


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "TIMEOUT", 0.5)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("name", PINNED)
def test_a_pinned_client_comes_out_right(case: Case, name: str) -> None:
    client, pins = PINNED[name]
    judgement = clients.play(case, client, pins)
    assert judgement.outcome == "right", str(judgement)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_client_that_goes_on_without_tls_comes_out_wrong(case: Case) -> None:
    judgement = clients.play(case, dropping_tls_unpinned)
    assert judgement.outcome == "wrong", str(judgement)
    (reason, *_) = judgement.reasons
    assert "POST / HTTP/1.1" in reason
    if case.scenario.identifier not in FINISHED:
        assert "in the clear, without TLS" in reason


@pytest.mark.parametrize("scenario", plain_text.SCENARIOS, ids=str)
def test_a_client_that_does_nothing_has_been_put_to_no_test(scenario: Scenario) -> None:
    assert clients.play(next(scenario.cases()), lambda stage: None).outcome == "inconclusive"


def test_plain_text_after_an_established_connection_is_told_apart(
    leaf: Credential, version: str, client: Client
) -> None:
    with Server(leaf) as server:
        tls = client.connect(server, client.context(version))
        tls.sendall(b"inside")
        server.wait_until(lambda: server.application_bytes == 6)
        socket.socket.sendall(tls, b"in the clear")
        socket.socket.shutdown(tls, socket.SHUT_WR)
        (connection,) = server.settle()
    assert connection.application_data == b"insidein the clear"
    assert connection.unencrypted_bytes == 12


@pytest.mark.parametrize("piece", [1, 3, 1000])
def test_plain_text_is_seen_in_whatever_pieces_it_comes(
    piece: int, leaf: Credential, client: Client
) -> None:
    text = b"\x17GET / HTTP/1.1\r\n\r\n"  # it begins like a record
    with Server(leaf) as server, StallingPath(server, 1) as path:
        sock = client.connect_plain(path)
        sock.sendall(b"\x16\x03\x01\0\x05hello")
        for start in range(0, len(text), piece):
            sock.sendall(text[start : start + piece])
        sock.shutdown(socket.SHUT_WR)
        path.settle()
        (connection,) = server.settle()
    assert connection.application_data == text
    assert not connection.handshake_completed


@pytest.mark.parametrize("kind", ["OpenSSL", "tlslite-ng"])
def test_plain_text_after_a_failed_handshake_is_seen(
    kind: str, leaf: Credential, client: Client
) -> None:
    with Server(leaf) if kind == "OpenSSL" else MisbehavingServer(leaf, leaf.key) as server:
        sock = client.connect_plain(server)
        sock.sendall(b"\x16\x03\x01\0\x04\x01\0\0\0")  # an empty ClientHello
        server.wait_until(lambda: any(it.error for it in server.connections))
        sock.sendall(b"secret")
        server.wait_until(lambda: server.application_bytes == 6)
        sock.close()
        (connection,) = server.settle()
    assert connection.unencrypted_bytes == 6
