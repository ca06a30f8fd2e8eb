"""What a resource request, or the request for an access token, fails with.

All are `RequestFailed`, except a server that the pins refuse, which is `keypin.PinMismatch` here as
everywhere, and the two that no server has seen: `keypin.NotPinned` and `keypin.PlainHTTPRefused`.
"""

from __future__ import annotations

import re

from .._internal.text import LONGEST_TEXT, cut
from ..errors import KeypinError

UNPRINTABLE = re.compile(r"[^\x20-\x7E]")
WORDS = 500  # characters of a server's own words that an error repeats

__all__ = [
    "AnswerTooLarge",
    "AuthorizationRefused",
    "RequestFailed",
    "RequestTimeout",
    "ServerError",
    "Unreachable",
    "servers_words",
]


class RequestFailed(KeypinError):
    """A resource request that got no answer, or a request for a token that got none."""


class Unreachable(RequestFailed):
    """No answer came: no connection, one that broke, a certificate that does not verify."""


class RequestTimeout(RequestFailed, TimeoutError):
    """The whole request, with its tokens, retries and redirects, took longer than its `timeout`."""


class AuthorizationRefused(RequestFailed):
    """There is no access token for the resource.

    Attributes:
        error: the server's error code (RFC 6749, section 5.2; RFC 6750, section 3.1), such as
            "invalid_client" or "insufficient_scope"; None where the server gave none or the client
            refused by itself, for the reason in the message.
        error_description: the server's own words on it; None if there are none.
        status: that of the answer which decided; None if none did.
        scope: that which was asked for or demanded; None if none was.
    """

    def __init__(
        self,
        text: str,
        error: str | None = None,
        error_description: str | None = None,
        status: int | None = None,
        scope: str | None = None,
    ) -> None:
        super().__init__(text, error, error_description, status, scope)
        self.error = error
        self.error_description = error_description
        self.status = status
        self.scope = scope

    def __str__(self) -> str:
        return cut(str(self.args[0]), LONGEST_TEXT)


class ServerError(RequestFailed):
    """An answer that tells of failure, or that means nothing.

    Attributes:
        status: its status code.
        body: its text. "" for the answer of a token endpoint that may hold a token.
    """

    def __init__(self, status: int, body: str = "", text: str | None = None) -> None:
        if text is None:
            text = f"the server answered with status {status}"
        super().__init__(status, body, text)
        self.status = status
        self.body = body

    def __str__(self) -> str:
        return cut(str(self.args[2]), LONGEST_TEXT)


def servers_words(text: str, *secrets: str) -> str:
    """What a server says of an error, fit for an error's message: short, in ASCII, no secrets."""
    for secret in secrets:
        text = text.replace(secret, "[hidden]")
    return UNPRINTABLE.sub("?", text[:WORDS])


class AnswerTooLarge(ServerError):
    """An answer whose body is longer than the request's `limit`; the rest of it was not read."""
