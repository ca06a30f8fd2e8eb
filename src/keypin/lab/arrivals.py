"""What reached a server, in words that give no secret away."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .servers.applications import PREFACE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .servers.connection import Connection

__all__ = ["describe"]

REQUEST_LINE = re.compile(rb"([A-Z]{3,10}) (\S+) (HTTP/1\.[01])\r?\n")  # RFC 9112, section 3
HARMLESS_SEGMENT = re.compile(r"v\d{1,2}|[A-Za-z][a-z._-]{0,15}")
FIRST_WORD = re.compile(rb"[A-Za-z]{2,12}(?=[ \r\n])")
CONFIDENTIAL_HEADERS = ("Authorization", "Cookie", "Proxy-Authorization", "X-Api-Key")
MORE_THAN_ENOUGH = 3
MARK = len(b"PRI * HTTP/2.0\r\n")


def describe(connections: Iterable[Connection]) -> list[str]:
    """A line for each of the first connections that brought something, without its secrets.

    Of an HTTP request it tells the method and the short names in the path; not its query, not what
    looks like an identifier, and of the headers that carry credentials only that they are there.
    """
    lines = [", ".join(_facts(connection)) for connection in connections]
    lines = [line for line in lines if line]
    rest = len(lines) - MORE_THAN_ENOUGH
    return lines if rest <= 0 else [*lines[:MORE_THAN_ENOUGH], f"and on {rest} more connections"]


def _facts(connection: Connection) -> Iterator[str]:
    if connection.client_certificate is not None:
        yield "the client's certificate"
    if not connection.application_bytes:
        return
    yield f"{connection.application_bytes} bytes{_whether_in_the_clear(connection)}"
    beginning = _beginning(connection.application_data)
    if beginning:
        yield f"beginning {beginning}"
    named = [name for name in CONFIDENTIAL_HEADERS if _has_header(connection, name)]
    if named:
        yield f"with the header{'s' * (len(named) > 1)} {' and '.join(named)}"


def _whether_in_the_clear(connection: Connection) -> str:
    # Without a handshake all of it was sent outside of TLS, to whoever listens.
    everything = connection.application_bytes
    outside = connection.unencrypted_bytes if connection.handshake_completed else everything
    if outside == everything:
        return " in the clear, without TLS"
    return f", {outside} of them in the clear" if outside else ""


def _beginning(data: bytes) -> str:
    if data.startswith(PREFACE[:MARK]):
        return "HTTP/2"
    request = REQUEST_LINE.match(data)
    if request is not None:
        method, target, version = (part.decode("latin-1") for part in request.groups())
        path, question_mark, _ = target.partition("?")
        shown = "/".join(map(_segment, path.split("/"))) + question_mark + "…" * bool(question_mark)
        return f"'{method} {shown} {version}'"
    word = FIRST_WORD.match(data)
    return f"'{word[0].decode('ascii')} …'" if word else ""


def _segment(text: str) -> str:
    return text if not text or HARMLESS_SEGMENT.fullmatch(text) else "…"


def _has_header(connection: Connection, name: str) -> bool:
    return any(name in request.headers for request in connection.requests)
