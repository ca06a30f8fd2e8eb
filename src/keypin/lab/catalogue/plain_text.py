"""Handshakes that an attacker leaves unfinished: who drops TLS then must not go on in the clear.

It happens to clients that shut TLS down, or lose it at a timeout, and keep the TCP connection: what
they write on that is no longer encrypted, and nothing was verified.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..scenario import Scenario
from ..servers.applications import Silent
from ..servers.paths import StallingPath
from .handshakes import MESSAGES

if TYPE_CHECKING:
    from ..servers.contexts import TlsVersion
    from ..stage import Stage

__all__ = ["SCENARIOS"]

SOURCE = "CWE-319; CWE-636"
TIMEOUTS = frozenset({"timeouts"})  # who waits for ever has hung

# RFC 8446, section 6
HANDSHAKE_FAILURE = bytes.fromhex("1503030002 0228")
CLOSE_NOTIFY = bytes.fromhex("1503030002 0100")


def _stalled(stage: Stage, message: str, last: bytes = b"") -> None:
    # without a request for a client's certificate, which would be a message more
    attacker = stage.attacker(stage.serving(stage.cast.impostor, client_ca=None))
    path = stage.helper(StallingPath(attacker, MESSAGES[message][stage.tls], last=last))
    stage.address = path.address


def _never_answering(stage: Stage) -> None:
    stage.attacker(stage.serving(stage.cast.impostor, client_ca=None, application=Silent()))


def _ending_tls(stage: Stage) -> None:
    """Send close_notify, and go on receiving."""
    stage.attacker(
        stage.serving(stage.cast.impostor, client_ca=None, application=lambda channel: None)
    )


def _stalling(
    identifier: str,
    story: str,
    message: str,
    last: bytes = b"",
    tls: tuple[TlsVersion, ...] = ("1.2", "1.3"),
) -> Scenario:
    return Scenario(
        identifier,
        "plain-text",
        f"An attacker {story}; the client may not go on without TLS.",
        "reject",
        SOURCE,
        partial(_stalled, message=message, last=last),
        tls=tls,
        claims=frozenset() if last else TIMEOUTS,
    )


SCENARIOS = (
    _stalling(
        "plain-text-unanswered",
        "does not answer ClientHello, and waits",
        "ClientHello",
        tls=("1.3",),
    ),
    _stalling(
        "plain-text-after-server-hello",
        "answers with ServerHello alone, and waits",
        "ServerHello",
    ),
    _stalling(
        "plain-text-after-certificate",
        "falls silent after the certificate",
        "Certificate",
    ),
    _stalling(
        "plain-text-after-server-hello-done",
        "falls silent when it is its turn to finish the handshake",
        "ServerHelloDone",
        tls=("1.2",),
    ),
    _stalling(
        "plain-text-after-certificate-verify",
        "falls silent before the last message of its part",
        "CertificateVerify",
        tls=("1.3",),
    ),
    Scenario(
        "plain-text-after-finished",
        "plain-text",
        "An attacker with a certificate of another trusted CA shakes hands, and never answers; the"
        " client may not go on, with or without TLS.",
        "reject",
        SOURCE,
        _never_answering,
    ),
    _stalling(
        "plain-text-after-alert",
        "answers ClientHello with a fatal alert, and waits",
        "ClientHello",
        HANDSHAKE_FAILURE,
        tls=("1.3",),
    ),
    _stalling(
        "plain-text-after-alert-in-mid-flight",
        "breaks off with a fatal alert after ServerHello, and waits",
        "ServerHello",
        HANDSHAKE_FAILURE,
    ),
    _stalling(
        "plain-text-after-close-notify",
        "answers ClientHello with close_notify, as if TLS were to end in peace, and waits",
        "ClientHello",
        CLOSE_NOTIFY,
        tls=("1.3",),
    ),
    Scenario(
        "plain-text-after-tls-has-ended",
        "plain-text",
        "An attacker with a certificate of another trusted CA shakes hands, and ends TLS but not"
        " the connection; the client may not go on, with or without TLS.",
        "reject",
        SOURCE,
        _ending_tls,
    ),
)
