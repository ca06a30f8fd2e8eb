"""Handshakes that stall, drip or break off, after which an attacker waits for the retry."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..scenario import Scenario
from ..servers.applications import stall
from ..servers.paths import CutPath, Detour, SlowPath

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..servers.contexts import TlsVersion
    from ..servers.listener import Listener
    from ..stage import Stage

__all__ = ["MESSAGES", "SCENARIOS"]

PAUSE = 0.05  # seconds; a server's part of a handshake has more than 1,000 bytes

# After how many of the server's records that message has been sent. In TLS 1.3 a ChangeCipherSpec
# comes after ServerHello (RFC 8446, appendix D.4), in TLS 1.2 a ticket and one before Finished.
MESSAGES: dict[str, Mapping[TlsVersion, int]] = {
    "ClientHello": {"1.2": 0, "1.3": 0},
    "ServerHello": {"1.2": 1, "1.3": 1},
    "EncryptedExtensions": {"1.3": 3},
    "Certificate": {"1.2": 2, "1.3": 4},
    "ServerKeyExchange": {"1.2": 3},
    "ServerHelloDone": {"1.2": 4},
    "CertificateVerify": {"1.3": 5},
    "Finished": {"1.2": 7, "1.3": 6},
}
IDENTIFIERS = {
    "ClientHello": "cut-after-client-hello",
    "ServerHello": "cut-after-server-hello",
    "EncryptedExtensions": "cut-after-encrypted-extensions",
    "Certificate": "cut-after-certificate",
    "ServerKeyExchange": "cut-after-server-key-exchange",
    "ServerHelloDone": "cut-after-server-hello-done",
    "CertificateVerify": "cut-after-certificate-verify",
    "Finished": "cut-after-finished",
}


def _call(stage: Stage, path: Listener) -> None:
    """Let the client call this, and doubt that it was tested if it did not."""
    stage.address = path.address
    stage.doubt_also(lambda: [] if path.connections else ["the client made no connection"])


def _cut(stage: Stage, message: str) -> None:
    # without a request for a client's certificate, which would be a message more
    honest = stage.honest(stage.serving(stage.cast.pinned, client_ca=None))
    cut = stage.helper(CutPath(honest, MESSAGES[message][stage.tls]))
    attacker = stage.attacker(stage.serving(stage.cast.impostor))
    _call(stage, stage.helper(Detour([cut, attacker])))


def _never_answers(stage: Stage) -> None:
    server = stage.honest(stage.serving(stage.cast.pinned, before_tls=stall))
    _call(stage, server)


def _drips(stage: Stage) -> None:
    honest = stage.honest(stage.serving(stage.cast.pinned))
    _call(stage, stage.helper(SlowPath(honest, PAUSE)))


def _drips_then_attacks(stage: Stage) -> None:
    honest = stage.honest(stage.serving(stage.cast.pinned))
    slow = stage.helper(SlowPath(honest, PAUSE))
    attacker = stage.attacker(stage.serving(stage.cast.impostor))
    _call(stage, stage.helper(Detour([slow, attacker])))


def _stalls_then_attacks(stage: Stage) -> None:
    stalling = stage.honest(stage.serving(stage.cast.pinned, before_tls=stall))
    attacker = stage.attacker(stage.serving(stage.cast.impostor))
    _call(stage, stage.helper(Detour([stalling, attacker])))


SCENARIOS = (
    *(
        Scenario(
            identifier,
            "handshakes",
            f"The connection to the honest server is cut after {message}; an attacker with a"
            " certificate of another trusted CA waits for the next one.",
            "reject",
            "RFC 8446, section 6.1" if "1.3" in MESSAGES[message] else "RFC 5246, section 7.2.1",
            partial(_cut, message=message),
            tls=tuple(MESSAGES[message]),
            needs=frozenset({"second_url"}),
            must_arrive=False,
        )
        for message, identifier in IDENTIFIERS.items()
    ),
    Scenario(
        "handshake-never-answered",
        "handshakes",
        "The server accepts the connection and never says a word; the client has to end by itself.",
        "reject",
        "CWE-1088",
        _never_answers,
        tls=("1.3",),
        claims=frozenset({"timeouts"}),
        must_arrive=False,
    ),
    Scenario(
        "handshake-dripping",
        "handshakes",
        "The server's part of the handshake comes byte by byte, one in 50 milliseconds; the client"
        " has to end by itself.",
        "reject",
        "CWE-1088",
        _drips,
        claims=frozenset({"timeouts"}),
        must_arrive=False,
    ),
    Scenario(
        "handshake-stalled-then-attacker",
        "handshakes",
        "The first handshake is never answered; an attacker with a certificate of another trusted"
        " CA waits for the next one.",
        "reject",
        "CWE-636",
        _stalls_then_attacks,
        needs=frozenset({"second_url"}),
        claims=frozenset({"timeouts"}),
        must_arrive=False,
    ),
    Scenario(
        "handshake-dripping-then-attacker",
        "handshakes",
        "The first handshake comes byte by byte; an attacker with a certificate of another trusted"
        " CA waits for the next one.",
        "reject",
        "CWE-636",
        _drips_then_attacks,
        needs=frozenset({"second_url"}),
        claims=frozenset({"timeouts"}),
        must_arrive=False,
    ),
)
