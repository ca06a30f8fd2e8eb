"""What keypin raises.

Two branches under `KeypinError`: mistakes in what the program gave (a pin, a host pattern, a
certificate file), raised early; and `PinMismatch`, a server that was refused, which every TLS
client treats as a failed certificate verification.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .pin import Pin
    from .pinset import Verdict

__all__ = [
    "CertificateFormatError",
    "CertificateNotFound",
    "HostnameError",
    "KeypinError",
    "MissingExtra",
    "NoServerName",
    "NotPinned",
    "PinFormatError",
    "PinMismatch",
    "PinSetError",
    "PlainHTTPRefused",
    "ProtectionError",
    "UnverifiedConnection",
    "find_error",
]

APPLICATION_VERIFICATION = 50  # X509_V_ERR_APPLICATION_VERIFICATION


class KeypinError(Exception):
    """Everything that keypin raises of its own."""


class PinFormatError(KeypinError, ValueError):
    """A text that is not a SHA-256 pin, or bytes that are not a public key."""


class HostnameError(KeypinError, ValueError):
    """A host name or host pattern that means nothing."""


class PinSetError(KeypinError, ValueError):
    """Rules that contradict themselves or would pin less than they say."""


class ProtectionError(KeypinError):
    """A TLS context that keypin cannot guard, and therefore refuses to pretend to."""


class CertificateNotFound(KeypinError, FileNotFoundError):
    """A certificate file that is not among the program's certificates."""


class CertificateFormatError(KeypinError, ValueError):
    """A file or bytes that are not one CA-issued X.509 certificate in DER."""


class NotPinned(KeypinError):
    """A request of a client that needs a pin and has none yet."""


class PlainHTTPRefused(KeypinError):
    """A request, or the redirect of one, that would leave a pinned client without TLS."""


class MissingExtra(KeypinError, ImportError):
    """A part of keypin whose optional dependency is not installed."""


class PinMismatch(KeypinError, ssl.SSLCertVerificationError):
    """A server was refused by the pins in force; nothing was sent to it.

    `verify_code` is 50 (X509_V_ERR_APPLICATION_VERIFICATION) and `verify_message` the first line.

    Attributes:
        host: the server name that TLS verified against, in normal form; None if there was none.
        port: the peer's port where the connection is a socket, else None.
        served: (pin, subject) of each certificate of the verified chain, leaf first.
        expected: the pins of the rule.
        reason: a `keypin.Reason`; its text says why.
        verdict: the whole decision, a `keypin.Verdict`.
    """

    host: str | None
    port: int | None
    served: list[tuple[Pin, str]]
    expected: list[Pin]
    reason: str
    verdict: Verdict

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(ssl.SSLErrorNumber.SSL_ERROR_SSL, verdict.report())
        self.verdict = verdict
        self.host = verdict.host
        self.port = verdict.port
        self.served = list(verdict.served)
        self.expected = list(verdict.expected)
        self.reason = verdict.reason
        self.library = "keypin"
        self.verify_code = APPLICATION_VERIFICATION
        self.verify_message = str(verdict.reason)

    def __reduce__(self) -> tuple[type[PinMismatch], tuple[Verdict]]:
        return type(self), (self.verdict,)


class NoServerName(PinMismatch):
    """A connection without a server name: no rule can be looked up, so none is passed."""


class UnverifiedConnection(PinMismatch):
    """A pinned host over a connection whose certificate chain nobody verified."""


def find_error(error: BaseException | None) -> PinMismatch | None:
    """Dig the `PinMismatch` out of whatever a library raised around it.

    Looks through causes, contexts, arguments, attributes (urllib3's and urllib's `reason`,
    aiohttp's `certificate_error`) and exception groups.
    """
    seen: set[int] = set()
    waiting = [error] if error is not None else []
    while waiting:
        candidate = waiting.pop(0)
        if isinstance(candidate, PinMismatch):
            return candidate
        if id(candidate) not in seen:
            seen.add(id(candidate))
            waiting.extend(_inside(candidate))
    return None


def _inside(error: BaseException) -> Iterator[BaseException]:
    fields = [error.__cause__, error.__context__, *error.args, *vars(error).values()]
    if isinstance(error, BaseExceptionGroup):
        fields += error.exceptions
    for field in fields:
        for value in field if isinstance(field, list | tuple) else (field,):
            if isinstance(value, BaseException):
                yield value
