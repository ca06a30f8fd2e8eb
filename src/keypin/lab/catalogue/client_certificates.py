"""Servers that ask for the client's certificate: it tells them who the client is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..authority import Authority, self_signed
from ..scenario import Scenario
from ..servers.misbehaving import MisbehavingServer
from ..servers.renegotiation import RenegotiatingServer
from ._attackers import ENOUGH_KEYS, doubt_unless_sent

if TYPE_CHECKING:
    from ..authority import Credential
    from ..stage import Stage

__all__ = ["SCENARIOS"]

NEEDS = frozenset({"client_certificate"})
CLAIMS = frozenset({"client-certificates"})
ASKED = "RFC 8446, section 4.3.2; RFC 5246, section 7.4.4"

# Of the key exchanges of TLS 1.2 in which the server signs nothing, RSA is the one in which it may
# ask for a certificate and needs nothing that only the client and its server know: with anonymous
# ones it may not ask (RFC 5246, section 7.4.4), and those with a shared key take that key.


def _asking(stage: Stage, credential: Credential) -> None:
    # An attacker insists on nothing: a client that has no certificate to show may have a request.
    stage.attacker(stage.serving(credential))


def _failing(stage: Stage, credential: Credential) -> None:
    """A server that trusts no authority of the client's: what it was shown, it has seen."""
    other = Authority("keypin lab: authority of other clients")
    stage.attacker(stage.serving(credential, client_ca=other.certificate))


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


def _without_private_key(stage: Stage, *key_exchanges: str) -> None:
    """The pinned certificates, which are public, and another key."""
    stage.attacker(
        MisbehavingServer(
            stage.cast.pinned,
            stage.cast.impostor.key,
            tls=[stage.tls],
            ask_client_certificate=True,
            key_exchanges=key_exchanges or None,
        )
    )


def _rsa_key_exchange(stage: Stage) -> None:
    _without_private_key(stage, "rsa")


def _compressed(stage: Stage) -> None:
    own = stage.cast.impostor
    stage.attacker(MisbehavingServer(own, own.key, tls=[stage.tls], ask_client_certificate=True))


def _after_the_handshake(stage: Stage) -> None:
    stage.attacker(stage.serving(stage.cast.impostor, post_handshake=True))


def _renegotiating_at_once(stage: Stage) -> None:
    own = stage.cast.impostor
    stage.attacker(RenegotiatingServer(own, own, ask_client_certificate=True, at_once=True))


def _renegotiating_to_another_key(stage: Stage) -> None:
    server = stage.honest(
        RenegotiatingServer(stage.cast.pinned, stage.cast.impostor, ask_client_certificate=True)
    )

    def shown() -> list[str]:
        seen = any(connection.client_certificate_seen for connection in server.connections)
        return ["the attacker got the client's certificate in the renegotiation"] if seen else []

    stage.judge_also(shown, "client-certificate")
    doubt_unless_sent(stage, server)


def _accepted(stage: Stage) -> None:
    server = stage.honest(stage.serving(stage.cast.pinned, require_client_certificate=True))

    def shown() -> list[str]:
        seen = any(connection.client_certificate_seen for connection in server.connections)
        return [] if seen else ["the honest server did not get the client's certificate"]

    stage.judge_also(shown, "honest-server-refused")


SCENARIOS = (
    Scenario(
        "client-certificate-other-ca",
        "client-certificates",
        "A server with a certificate from another trusted authority asks for the client's.",
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
        "A server with another key, certified by the same authority, asks for the client's"
        " certificate.",
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
        "A server with the pinned key in a certificate for another host asks for the client's.",
        "reject",
        ASKED,
        _wrong_host,
        needs=NEEDS,
        claims=CLAIMS,
    ),
    Scenario(
        "client-certificate-untrusted",
        "client-certificates",
        "A server with the pinned key in a self-signed certificate asks for the client's.",
        "reject",
        ASKED,
        _untrusted,
        needs=NEEDS,
        claims=CLAIMS,
    ),
    Scenario(
        "client-certificate-without-private-key",
        "client-certificates",
        "A server shows the pinned certificates, signs the handshake with another key, and asks for"
        " the client's.",
        "reject",
        "RFC 8446, section 4.4.3; RFC 5246, section 7.4.3; CVE-2014-1266",
        _without_private_key,
        keys=("p-256", "rsa-2048"),
        needs=NEEDS,
        claims=CLAIMS,
    ),
    Scenario(
        "client-certificate-in-rsa-key-exchange",
        "client-certificates",
        "A server shows the pinned certificates without their key, agrees to RSA key exchange only,"
        " in which it has nothing to sign, and asks for the client's.",
        "reject",
        "RFC 5246, section 7.4.7.1; RFC 9325, section 4.1",
        _rsa_key_exchange,
        tls=("1.2",),
        keys=("rsa-2048",),
        needs=NEEDS,
        claims=CLAIMS,
    ),
    Scenario(
        "client-certificate-compressed",
        "client-certificates",
        "A server with a certificate from another trusted authority asks for the client's, and"
        " takes it compressed.",
        "reject",
        "RFC 8879, section 3",
        _compressed,
        tls=("1.3",),
        needs=NEEDS,
        claims=CLAIMS,
    ),
    Scenario(
        "client-certificate-after-the-handshake",
        "client-certificates",
        "A server with a certificate from another trusted authority asks for the client's when the"
        " handshake is over.",
        "reject",
        "RFC 8446, section 4.6.2",
        _after_the_handshake,
        tls=("1.3",),
        needs=NEEDS,
        claims=CLAIMS,
    ),
    Scenario(
        "client-certificate-in-renegotiation",
        "client-certificates",
        "A server with a certificate from another trusted authority renegotiates at once, and asks"
        " for the client's in that.",
        "reject",
        "RFC 5746, section 1; RFC 5246, section 7.4.1.1",
        _renegotiating_at_once,
        tls=("1.2",),
        needs=NEEDS,
        claims=CLAIMS,
    ),
    Scenario(
        "client-certificate-in-renegotiation-to-another-key",
        "client-certificates",
        "The connection begins with the pinned key; after the first request an attacker"
        " renegotiates with another one, and asks for the client's certificate.",
        "reject",
        "RFC 5746, section 1; RFC 7627, section 1",
        _renegotiating_to_another_key,
        tls=("1.2",),
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
