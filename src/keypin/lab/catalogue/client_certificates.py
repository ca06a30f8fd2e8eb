"""Servers that ask for the client's certificate: it tells them who the client is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..authority import Authority, self_signed
from ..scenario import Scenario
from ._attackers import ENOUGH_KEYS

if TYPE_CHECKING:
    from ..authority import Credential
    from ..stage import Stage

__all__ = ["SCENARIOS"]

NEEDS = frozenset({"client_certificate"})
CLAIMS = frozenset({"client-certificates"})
ASKED = "RFC 8446, section 4.3.2; RFC 5246, section 7.4.4"


def _asking(stage: Stage, credential: Credential) -> None:
    stage.attacker(stage.serving(credential, require_client_certificate=True))


def _failing(stage: Stage, credential: Credential) -> None:
    """A server that trusts no authority of the client's: what it was shown, it has seen."""
    other = Authority("keypin lab: authority of other clients")
    stage.attacker(
        stage.serving(credential, client_ca=other.certificate, require_client_certificate=True)
    )


def _other_ca(stage: Stage) -> None:
    _asking(stage, stage.cast.impostor)


def _same_issuer(stage: Stage) -> None:
    _asking(stage, stage.cast.issuing.issue(*stage.cast.names, key=stage.cast.impostor.key))


def _failing_afterwards(stage: Stage) -> None:
    _failing(stage, stage.cast.impostor)


def _wrong_host(stage: Stage) -> None:
    _asking(stage, stage.cast.issuing.issue("attacker.example", key=stage.cast.pinned.key))


def _untrusted(stage: Stage) -> None:
    _asking(stage, self_signed(*stage.cast.names, key=stage.cast.pinned.key))


def _accepted(stage: Stage) -> None:
    server = stage.honest(stage.serving(stage.cast.pinned, require_client_certificate=True))

    def shown() -> list[str]:
        seen = any(connection.client_certificate_seen for connection in server.connections)
        return [] if seen else ["the honest server did not get the client's certificate"]

    stage.judge_also(shown)


SCENARIOS = (
    Scenario(
        "client-certificate-other-ca",
        "client-certificates",
        "A server with a certificate from another trusted authority demands the client's.",
        "reject",
        ASKED,
        _other_ca,
        keys=ENOUGH_KEYS,
        needs=NEEDS,
        claims=CLAIMS,
    ),
    Scenario(
        "client-certificate-same-issuer",
        "client-certificates",
        "A server with another key and a certificate from the same authority demands the client's.",
        "reject",
        ASKED,
        _same_issuer,
        keys=ENOUGH_KEYS,
        needs=NEEDS,
        claims=CLAIMS,
    ),
    Scenario(
        "client-certificate-in-failing-handshake",
        "client-certificates",
        "The same, and it refuses the client's certificate: the handshake fails, but it has seen"
        " it.",
        "reject",
        ASKED,
        _failing_afterwards,
        keys=ENOUGH_KEYS,
        needs=NEEDS,
        claims=CLAIMS,
    ),
    Scenario(
        "client-certificate-wrong-host",
        "client-certificates",
        "A server with the pinned key in a certificate for another host demands the client's.",
        "reject",
        ASKED,
        _wrong_host,
        needs=NEEDS,
        claims=CLAIMS,
    ),
    Scenario(
        "client-certificate-untrusted",
        "client-certificates",
        "A server with the pinned key in a self-signed certificate demands the client's.",
        "reject",
        ASKED,
        _untrusted,
        needs=NEEDS,
        claims=CLAIMS,
    ),
    Scenario(
        "client-certificate-accepted",
        "client-certificates",
        "The honest server demands the client's certificate, and gets it.",
        "accept",
        ASKED,
        _accepted,
        keys=ENOUGH_KEYS,
        needs=NEEDS,
        claims=CLAIMS,
    ),
)
