"""What a page asks for, read strictly: a page may be under an attacker's control."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, NoReturn

__all__ = [
    "LONGEST",
    "BadArgument",
    "Body",
    "Send",
    "read_id",
    "read_names",
    "read_scope",
    "read_send",
]

LONGEST = 16 * 1024 * 1024  # characters of everything that one call brings
LONGEST_TEXT = 8192  # of a URL, a name, or the value of a header
MOST = 1000  # names, headers, query parameters or form fields
LONGEST_TIMEOUT = 600_000  # milliseconds

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, section 5.6.2
FIELD_VALUE = re.compile(r"[\t\x20-\x7e]*")  # RFC 9110, section 5.5, without obs-text
# Those that a browser does not let a page set (Fetch, "forbidden request-header"), and
# Authorization, which the client sets, and only for the server that a token belongs to.
FORBIDDEN_HEADERS = frozenset(
    {
        "accept-charset",
        "accept-encoding",
        "access-control-request-headers",
        "access-control-request-method",
        "authorization",
        "connection",
        "content-length",
        "cookie",
        "cookie2",
        "date",
        "dnt",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "origin",
        "referer",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
    }
)
FORBIDDEN_PREFIXES = ("proxy-", "sec-", "x-forwarded-")


class BadArgument(Exception):
    """A page asked for something that means nothing, or that pages may not ask for."""


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent with a request.

    Attributes:
        kind: "none", "text", "json" or "form".
        text: of a text, or of JSON.
        fields: of a form.
    """

    kind: str
    text: str = field(default="", repr=False)
    fields: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Send:
    """A request for a resource.

    Attributes:
        timeout: in seconds.
        scope: None for none.
    """

    url: str
    method: str
    timeout: float
    scope: str | None
    query: tuple[tuple[str, str], ...] = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: Body


def read_names(text: str) -> list[str]:
    """The names of certificate files; what they name is judged by the client."""
    names = _fields(text, "names")["names"]
    if not isinstance(names, list) or not 0 < len(names) <= MOST:
        _refuse("the certificate files are an array of names, with at least one")
    return [_short(name, "a certificate file's name") for name in names]


def read_scope(text: str) -> str:
    """A scope; "" for none."""
    return _short(_fields(text, "scope")["scope"], "a scope")


def read_id(text: str) -> str:
    """What a page knows a token by."""
    return _short(_fields(text, "id")["id"], "a token's id")


def read_send(text: str) -> Send:
    """A request for a resource."""
    given = _fields(text, "url", "method", "timeout", "scope", "query", "headers", "body")
    method = given["method"]
    if not isinstance(method, str) or method not in METHODS:
        _refuse(f"a method is one of {', '.join(sorted(METHODS))}")
    headers = _pairs(given["headers"], "headers")
    for name, value in headers:
        _check_header(name, value)
    return Send(
        url=_short(given["url"], "a URL"),
        method=method,
        timeout=_seconds(given["timeout"]),
        scope=_short(given["scope"], "a scope") or None,
        query=_pairs(given["query"], "query parameters"),
        headers=headers,
        body=_body(given["body"]),
    )


def _fields(text: str, *names: str) -> dict[str, Any]:
    try:
        given = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise BadArgument("a call's arguments are JSON") from None
    return _exactly(given, names)


def _exactly(given: object, names: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(given, dict) or given.keys() != set(names):
        _refuse(f"expected are {', '.join(names)}, and nothing else")
    return given


def _refuse(why: str) -> NoReturn:
    raise BadArgument(why)


def _text(given: object, what: str) -> str:
    if not isinstance(given, str):
        _refuse(f"{what} is a string")
    try:
        given.encode()
    except UnicodeEncodeError:
        raise BadArgument(f"{what} holds half of a character (a lone surrogate)") from None
    return given


def _short(given: object, what: str) -> str:
    text = _text(given, what)
    if len(text) > LONGEST_TEXT:
        _refuse(f"{what} is longer than {LONGEST_TEXT} characters")
    return text


def _seconds(milliseconds: object) -> float:
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float):
        _refuse("a timeout is a number of milliseconds")
    if not 0 < milliseconds <= LONGEST_TIMEOUT:
        _refuse(f"a timeout is between 0 and {LONGEST_TIMEOUT} milliseconds")
    return milliseconds / 1000


def _pairs(given: object, what: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(given, list) or len(given) > MOST:
        _refuse(f"the {what} are an array of at most {MOST}")
    pairs = []
    for pair in given:
        if not isinstance(pair, list) or len(pair) != 2:
            _refuse(f"the {what} are pairs of name and value")
        pairs.append((_short(pair[0], "a name"), _text(pair[1], "a value")))
    return tuple(pairs)


def _check_header(name: str, value: str) -> None:
    if not TOKEN.fullmatch(name):
        _refuse("a header's name is a token (RFC 9110, section 5.6.2)")
    if name.lower() in FORBIDDEN_HEADERS or name.lower().startswith(FORBIDDEN_PREFIXES):
        _refuse(f"a page may not set the header {name}")
    if len(value) > LONGEST_TEXT or not FIELD_VALUE.fullmatch(value):
        _refuse(f"the value of the header {name} is too long, or not printable ASCII")


def _body(given: object) -> Body:
    kind = given.get("kind") if isinstance(given, dict) else None
    if kind == "none":
        _exactly(given, ("kind",))
        return Body("none")
    if kind in ("text", "json"):
        return Body(kind, text=_text(_exactly(given, ("kind", "text"))["text"], "what is sent"))
    if kind == "form":
        fields = _exactly(given, ("kind", "fields"))["fields"]
        return Body("form", fields=_pairs(fields, "form parameters"))
    _refuse("what is sent is nothing, a text, JSON or a form")
