"""What a page hears of a failure: a code to act on, and words that say nothing of the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..client import (
    AnswerTooLarge,
    AuthorizationRefused,
    RequestFailed,
    RequestTimeout,
    ServerError,
    Unreachable,
)
from ..errors import (
    CertificateFormatError,
    CertificateNotFound,
    KeypinError,
    NotPinned,
    PlainHTTPRefused,
)
from ..mismatch import PinMismatch
from ._arguments import BadArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["AnsweredWithError", "HostNotAllowed", "NotAllowed", "failure", "told"]


class HostNotAllowed(KeypinError):
    """A page asked for, or was redirected to, a server that the app does not let it reach."""


class NotAllowed(KeypinError):
    """The app does not let its pages do this."""


class AnsweredWithError(KeypinError):
    """A server's answer has a status other than 2xx.

    Args:
        answer: its status, text and headers.
    """

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(f"the server answered with status {answer['status']}")
        self.answer = answer


# The first that fits. No words: the error's own, which is made for the page to read. Those of the
# others may name files and folders, and stay in the log.
CODES: Sequence[tuple[type[Exception], str, str | None]] = (
    (BadArgument, "BAD_ARGUMENT", None),
    (HostNotAllowed, "HOST_NOT_ALLOWED", None),
    (NotAllowed, "NOT_ALLOWED", None),
    (PinMismatch, "PIN_MISMATCH", "the server does not hold a pinned key; nothing was sent to it"),
    (NotPinned, "NOT_PINNED", "call WL.Client.pinTrustedCertificatePublicKey() first"),
    (
        CertificateNotFound,
        "CERTIFICATE_NOT_FOUND",
        "there is no such file in the app's folder of certificates",
    ),
    (
        CertificateFormatError,
        "CERTIFICATE_FORMAT",
        "the file is not a certificate that can be pinned to (DER X.509, issued by an authority)",
    ),
    (PlainHTTPRefused, "PLAIN_HTTP_REFUSED", "nothing is sent without TLS"),
    (RequestTimeout, "REQUEST_TIMEOUT", "the request took longer than its timeout"),
    (AuthorizationRefused, "AUTHORIZATION_REFUSED", "there is no access token for this"),
    (AnswerTooLarge, "RESPONSE_TOO_LARGE", None),
    (ServerError, "SERVER_ERROR", "the server's answer is an error"),
    (Unreachable, "UNREACHABLE", "no answer came from the server"),
    (RequestFailed, "UNREACHABLE", "no answer came from the server"),
)


def failure(code: str, text: str) -> dict[str, Any]:
    """What a page's promise is rejected with."""
    return {"ok": False, "errorCode": code, "errorMsg": text}


def told(error: Exception) -> dict[str, Any]:
    """What a page hears of an error."""
    if isinstance(error, AnsweredWithError):
        return failure("SERVER_ERROR", str(error)) | error.answer
    for kind, code, text in CODES:
        if isinstance(error, kind):
            answer = failure(code, str(error) if text is None else text)
            break
    else:
        return failure("INTERNAL_ERROR", "the app failed; its log says why")
    if isinstance(error, AuthorizationRefused):
        answer["status"] = error.status
        if error.error is not None:
            answer["errorMsg"] += f": {error.error}"
    if isinstance(error, ServerError):
        # without the body, which may be a token endpoint's, with a token in it
        answer["status"] = error.status
    return answer
