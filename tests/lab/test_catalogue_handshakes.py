"""The catalogue's handshakes that break off, stall or drip, and its malformed certificates."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import catalogue_clients as clients
import pytest

from keypin.lab import Server
from keypin.lab.catalogue import handshakes, malformed
from keypin.lab.servers.malformed import CertificateList, MalformedServer
from keypin.lab.servers.paths import CutPath, Detour, SlowPath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Client

    from keypin.lab import Credential
    from keypin.lab.scenario import Case, Scenario
    from keypin.lab.stage import Stage

PINNED: dict[str, tuple[Callable, Callable | None]] = {
    "ssl": (clients.over_ssl, None),
    "Client": (clients.with_keypin_client, None),
    "requests": (clients.with_requests, clients.installed),
    "urllib3": (clients.with_urllib3, clients.installed),
}
LATER = [it for it in handshakes.SCENARIOS if "second_url" in it.needs]
ENDLESS = [it for it in handshakes.SCENARIOS if "second_url" not in it.needs]

# HandshakeType (RFC 8446, section 4)
LAST_MESSAGE = {
    "cut-after-server-hello": 2,
    "cut-after-encrypted-extensions": 8,
    "cut-after-certificate": 11,
    "cut-after-server-key-exchange": 12,
    "cut-after-server-hello-done": 14,
    "cut-after-certificate-verify": 15,
    "cut-after-finished": 20,
}
REFUSALS = {
    "certificates-of-10-megabytes": "excessive message size",
    "certificates-by-the-thousand": "excessive message size",
    "certificate-of-no-length": "ASN1 lib",
    "certificate-of-no-length-behind": "ASN1 lib",
    "certificate-of-noise": "ASN1 lib",
    "certificate-pinned-and-broken": "ASN1 lib",
    "certificate-trailing": "cert length mismatch",
    "certificate-too-long": "cert length mismatch",
    "certificate-extension-twice": "extension",
}


def played(*scenarios: Scenario) -> Iterator[object]:
    """Every case with ssl and Client; with the others those after which clients come back."""
    for scenario in scenarios:
        for name, (client, pins) in PINNED.items():
            if name in ("ssl", "Client") or (scenario in LATER and not scenario.claims):
                for case in scenario.cases():
                    yield pytest.param(case, client, pins, id=f"{case}-{name}")


def unpinned_ssl(stage: Stage) -> None:
    clients.over_ssl(stage, clients.trusting(stage))


@pytest.mark.parametrize(
    ("case", "client", "pins"), list(played(*handshakes.SCENARIOS, *malformed.SCENARIOS))
)
def test_a_pinned_client_comes_out_right(
    case: Case, client: Callable, pins: Callable | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "timeouts" in case.scenario.claims:
        monkeypatch.setattr(clients, "TIMEOUT", 0.4)
    judgement = clients.play(case, client, pins)
    assert judgement.outcome == "right", str(judgement)


@pytest.mark.parametrize("case", [case for it in LATER for case in it.cases()], ids=str)
def test_a_client_without_pins_gives_itself_away_on_its_second_attempt(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "timeouts" in case.scenario.claims:
        monkeypatch.setattr(clients, "TIMEOUT", 1)
    judgement = clients.play(case, unpinned_ssl)
    assert (judgement.outcome, judgement.attempts) == ("wrong", 1), str(judgement)


@pytest.mark.parametrize("scenario", ENDLESS, ids=str)
def test_a_client_that_waits_for_ever_comes_out_wrong(scenario: Scenario) -> None:
    with scenario.stage() as stage:
        context = clients.guarded(stage)

        def wait_for_ever() -> None:
            with socket.create_connection(stage.address) as sock, suppress(OSError):
                started.set()
                context.wrap_socket(sock, server_hostname=stage.host)

        started = threading.Event()
        thread = threading.Thread(target=wait_for_ever)
        thread.start()
        assert started.wait(10)
        thread.join(0.3)
        assert thread.is_alive()
        judgement = stage.judge("hung", "it was still running after 0.3 s")
    thread.join(10)
    assert not thread.is_alive()
    assert judgement.outcome == "wrong"
    assert judgement.reasons == ("it was still running after 0.3 s",)


@pytest.mark.parametrize("scenario", [*handshakes.SCENARIOS, *malformed.SCENARIOS], ids=str)
def test_a_client_that_does_nothing_has_been_put_to_no_test(scenario: Scenario) -> None:
    assert clients.play(next(scenario.cases()), lambda stage: None).outcome == "inconclusive"


@pytest.mark.parametrize(
    "case",
    [case for it in LATER if it.identifier in LAST_MESSAGE for case in it.cases()],
    ids=str,
)
def test_the_connection_is_cut_after_the_message_it_says(case: Case) -> None:
    messages = []

    def note(tls, direction, version, content_type, message_type, data) -> None:
        if direction == "read" and content_type == 22:
            messages.append(message_type)

    def call(stage: Stage) -> None:
        context = clients.trusting(stage)
        context._msg_callback = note
        with (
            socket.create_connection(stage.address, 10) as sock,
            context.wrap_socket(sock, server_hostname=stage.host) as tls,
        ):
            assert not tls.recv(1)

    clients.play(case, call)
    assert messages[-1] == LAST_MESSAGE[case.scenario.identifier], messages


@pytest.mark.parametrize(
    "case", [case for it in malformed.SCENARIOS for case in it.cases()], ids=str
)
def test_openssl_refuses_the_message_and_not_the_key(case: Case) -> None:
    with case.stage() as stage:
        refusal = REFUSALS.get(case.scenario.identifier, "length mismatch")
        with pytest.raises(ssl.SSLError, match=refusal):
            unpinned_ssl(stage)
        judgement = stage.judge("failed")
    assert judgement.outcome == "right"


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_with_a_well_formed_message_the_same_server_is_an_ordinary_one(
    version: str, leaf: Credential, client: Client
) -> None:
    def well_formed(certificates: CertificateList) -> bytes:
        return certificates.message(*map(certificates.entry, certificates.chain))

    with MalformedServer(leaf, well_formed, tls=[version]) as server:
        with client.connect(server) as tls:
            assert tls.getpeercert(binary_form=True) == leaf.certificate
            tls.sendall(b"hello")
        (connection,) = server.settle()
    assert connection.application_data == b"hello"


def test_a_detour_leads_the_first_connections_elsewhere(leaf: Credential, client: Client) -> None:
    with Server(leaf) as first, Server(leaf) as second, Detour([first, second]) as path:
        for _ in range(3):
            client.connect(path).close()
        path.settle()
        assert (len(first.settle()), len(second.settle())) == (1, 2)


def test_a_path_to_a_server_that_is_gone_ends_at_once(leaf: Credential, client: Client) -> None:
    with Server(leaf) as server, Detour([server]) as path:
        server.close()
        assert client.connect_plain(path).recv(1) == b""
        assert len(path.settle()) == 1


def test_a_server_that_ends_before_the_cut_ends_the_path(leaf: Credential, client: Client) -> None:
    with Server(None, application=lambda channel: None) as server, CutPath(server, 1) as path:
        assert client.connect_plain(path).recv(1) == b""


def test_a_slow_path_can_be_closed_in_the_midst_of_an_answer(
    leaf: Credential, client: Client
) -> None:
    with Server(leaf) as server, SlowPath(server, 60) as path:
        sock = client.connect_plain(path)
        client_side = client.context().wrap_bio(
            incoming := ssl.MemoryBIO(),
            outgoing := ssl.MemoryBIO(),
            server_hostname="localhost",
        )
        with pytest.raises(ssl.SSLWantReadError):
            client_side.do_handshake()
        sock.sendall(outgoing.read())
        assert sock.recv(10) == b"\x16"
        assert incoming.pending == 0
