"""Where a request goes: relative and absolute URLs, and when two of them have one origin."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote, urljoin

import httpx2

from ..errors import PlainHTTPRefused
from ..hostnames import normalise

__all__ = ["Origin", "base_of", "join", "origin_of", "read_absolute", "resolve"]

HTTPS_PORT = 443
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
# Browsers read a backslash as a slash, and drop tabs and line ends: a URL with them means one
# thing here and another there.
AMBIGUOUS = re.compile(r"[\x00-\x20\x7f\\]")
AUTHORITY = re.compile(r"[^:/?#]+://([^/?#]*)")


class Origin(NamedTuple):
    """The server that a URL names (RFC 6454, section 4), in normal form."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def origin_of(url: httpx2.URL) -> Origin:
    """The origin of an https URL.

    Raises:
        HostnameError: a host that is none.
    """
    port = HTTPS_PORT if url.port is None else url.port
    return Origin(url.scheme, normalise(url.raw_host.decode("ascii")), port)


def read_absolute(text: str) -> httpx2.URL:
    """Read an absolute https URL.

    Raises:
        ValueError: anything that is not one, or that has a user name or a password in it.
        PlainHTTPRefused: an http URL.
    """
    if AMBIGUOUS.search(text):
        raise ValueError("a URL has no spaces, control characters or backslashes")
    authority = AUTHORITY.match(text)
    if authority is not None and "@" in authority[1]:
        raise ValueError("a URL with a user name or password is refused: they would end up in logs")
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL as error:
        raise ValueError(f"no URL: {error}") from None
    if url.scheme == "http":
        raise PlainHTTPRefused(f"nothing is sent without TLS: http://{url.host} is refused")
    if url.scheme != "https" or authority is None or not url.host:
        raise ValueError(f"no https URL: {url.scheme}:")
    if not 0 < origin_of(url).port < 65536:
        raise ValueError("a port is a number from 1 to 65535")
    return url.copy_with(fragment=None)


def base_of(url: httpx2.URL) -> httpx2.URL:
    """A client's base URL, checked; it ends in a slash.

    Raises:
        ValueError: no base URL, or one with a query, a user name or a password.
        PlainHTTPRefused: an http URL.
    """
    if not url.host:
        raise ValueError("the client has no base_url to which requests belong")
    read_absolute(str(url))
    if url.query or url.userinfo:
        raise ValueError("a base_url has no query, user name or password")
    return url


def resolve(base: httpx2.URL, text: str) -> httpx2.URL:
    """The URL of a resource: an absolute one as it is, others below `base`.

    A relative one keeps the base's path even if it begins with a slash.

    Raises:
        ValueError: what would mean something else than it seems to: `//host`, backslashes, `..` in
            any spelling, a user name.
        PlainHTTPRefused: an absolute http URL.
    """
    if SCHEME.match(text):
        return read_absolute(text)
    if AMBIGUOUS.search(text):
        raise ValueError("a URL has no spaces, control characters or backslashes")
    if text.startswith("//"):
        raise ValueError("a URL that begins with // names another host; write it with https:")
    path = re.split(r"[?#]", text, maxsplit=1)[0]
    if any(_climbs(segment) for segment in path.split("/")):
        raise ValueError("a relative URL stays below the base_url: . and .. are refused")
    try:
        url = httpx2.URL(f"{str(base).rstrip('/')}/{text.lstrip('/')}")
    except httpx2.InvalidURL as error:
        raise ValueError(f"no URL: {error}") from None
    if origin_of(url) != origin_of(base):
        raise ValueError("a relative URL stays at the origin of the base_url")
    return url.copy_with(fragment=None)


def join(url: httpx2.URL, reference: str) -> httpx2.URL:
    """Where a reference in an answer from `url` leads (RFC 3986, section 5).

    Raises:
        ValueError, PlainHTTPRefused: see `read_absolute`.
    """
    if AMBIGUOUS.search(reference):  # before urljoin, which drops some of these
        raise ValueError("a URL has no spaces, control characters or backslashes")
    if SCHEME.match(reference):
        return read_absolute(reference)
    if reference.startswith("//"):
        return read_absolute(f"{url.scheme}:{reference}")
    return read_absolute(urljoin(str(url), reference))


def _climbs(segment: str) -> bool:
    """Whether a server could take a segment, or an encoded one inside, for a `.` or `..`.

    Servlet containers drop what follows a semicolon first.
    """
    return any(part.split(";")[0] in (".", "..") for part in re.split(r"[/\\]", unquote(segment)))
