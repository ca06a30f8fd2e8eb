"""PinMismatch: a server that was refused, which TLS clients treat as a failed verification."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from ._internal.text import LONGEST_TEXT, cut
from .errors import KeypinError
from .pinset import Reason, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .pin import Pin

__all__ = ["NoServerName", "PinMismatch", "UnverifiedConnection", "find_error"]

APPLICATION_VERIFICATION = 50  # X509_V_ERR_APPLICATION_VERIFICATION


class PinMismatch(KeypinError, ssl.SSLCertVerificationError):
    """A server was refused by the pins in force; nothing was sent to it.

    `verify_code` is 50 (X509_V_ERR_APPLICATION_VERIFICATION) and `verify_message` the first line.

    Attributes:
        host: the server name that TLS verified against, in normal form; None if there was none.
        port: the peer's port where the connection is a socket, else None.
        served: (pin, subject) of each certificate of the verified chain, leaf first; a subject
            of more than 400 characters is cut, and ends with an ellipsis then.
        expected: the pins of the rule.
        reason: why, a `keypin.Reason`, which is a text.
        verdict: the whole decision, a `keypin.Verdict`.
    """

    host: str | None
    port: int | None
    served: list[tuple[Pin, str]]
    expected: list[Pin]
    reason: Reason
    verdict: Verdict

    def __init__(self, verdict: Verdict | str | int, text: str | None = None) -> None:
        # Libraries make errors anew: type(error)(str(error)), or type(error)(*error.args).
        if text is not None or isinstance(verdict, str | int):
            report = cut(str(verdict) if text is None else text, LONGEST_TEXT)
            verdict = Verdict(None, Reason.ONLY_TEXT)
        else:
            report = verdict.report()
        super().__init__(ssl.SSLErrorNumber.SSL_ERROR_SSL, report)
        self.verdict = verdict
        self.host = verdict.host
        self.port = verdict.port
        self.served = list(verdict.served)
        self.expected = list(verdict.expected)
        self.reason = verdict.reason
        self.library = "keypin"
        self.verify_code = APPLICATION_VERIFICATION
        self.verify_message: str = str(verdict.reason)

    def __repr__(self) -> str:
        """One line: libraries put it into texts of their own."""
        return f"{type(self).__name__}({str(self).partition(chr(10))[0]!r})"

    def __reduce__(self) -> tuple[type[PinMismatch], tuple[object, ...]]:
        # one that was made of a text has nothing but that
        is_text = self.verdict.reason is Reason.ONLY_TEXT
        return type(self), (str(self) if is_text else self.verdict,)


class NoServerName(PinMismatch):
    """A connection without a server name: no rule can be looked up, so none is passed."""


class UnverifiedConnection(PinMismatch):
    """A pinned host over a connection whose certificate chain nobody verified."""


def find_error(error: BaseException | None) -> PinMismatch | None:
    """Dig the `PinMismatch` out of whatever a library raised around it.

    Looks through causes, contexts, arguments, attributes (urllib3's and urllib's `reason`,
    aiohttp's `certificate_error`, botocore's `kwargs`) and exception groups.
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
        if isinstance(field, dict):  # botocore's `kwargs`
            field = list(field.values())
        for value in field if isinstance(field, list | tuple) else (field,):
            if isinstance(value, BaseException):
                yield value
