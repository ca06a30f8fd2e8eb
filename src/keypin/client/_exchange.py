"""The steps that a flow asks its runner to take: one request and its answer, or a wait."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx2

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any, TypeAlias, TypeVar

    from ._tokens import Event

    Result = TypeVar("Result")

__all__ = ["Answer", "Exchange", "Flow", "Step", "Wait", "decoded", "encoding_of"]

# Python's own, which no server means. The time that punycode takes grows with the square of the
# length, and some give warnings.
NO_CHARSETS = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"})


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request, to be sent as it stands and without following redirects.

    Attributes:
        method: in upper case.
        url: absolute.
        headers: in the order of the request.
        content: the body; None if there is none.
        at_home: whether the client's cookies and its `auth` go with it.
        limit: how many bytes of an answer's body to take; None for any number.
    """

    method: str
    url: httpx2.URL
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    content: bytes | None = field(default=None, repr=False)
    at_home: bool = False
    limit: int | None = None

    def request(
        self, cookies: httpx2.Cookies, timeout: float | None, **more: Any
    ) -> httpx2.Request:
        """The request, with `timeout` in seconds for each of its steps, and httpx2's extensions."""
        steps = httpx2.Timeout(timeout).as_dict()
        return httpx2.Request(
            self.method,
            self.url,
            headers=list(self.headers),
            content=self.content,
            cookies=cookies if self.at_home else None,
            extensions={"timeout": steps, **more},
        )

    @property
    def auth(self) -> Any:
        """What httpx2's `send` takes as `auth`."""
        names = {name.lower() for name, _ in self.headers}
        if self.at_home and "authorization" not in names:
            return httpx2.USE_CLIENT_DEFAULT
        return None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, read to its end."""

    status: int
    headers: httpx2.Headers = field(repr=False)
    content: bytes = field(repr=False)
    encoding: str

    @property
    def text(self) -> str:
        """The body, decoded."""
        return decoded(self.content, self.encoding)


def encoding_of(response: httpx2.Response) -> str:
    """The encoding that a server names; UTF-8 if it names none, or if none can be read."""
    try:
        return response.encoding or "utf-8"
    except (LookupError, ValueError):  # the email package's, on parameters as RFC 2231 has them
        return "utf-8"


def decoded(content: bytes, encoding: str) -> str:
    """A body as text: as UTF-8, if the encoding that a server names is none for text."""
    try:
        if codecs.lookup(encoding).name.replace("_", "-") not in NO_CHARSETS:
            return content.decode(encoding, "replace")
    except (LookupError, ValueError):  # base64, rot13
        pass
    return content.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait until somebody else's request has ended."""

    event: Event


if TYPE_CHECKING:
    Step: TypeAlias = Exchange | Wait
    Flow: TypeAlias = Generator[Step, Any, Result]
