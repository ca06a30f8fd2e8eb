"""What a server does with a connection once it stands: HTTP, echoing, keeping silent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from .connection import Request
from .streams import CHUNK, Channel, Disconnected

if TYPE_CHECKING:
    import io

    from .streams import Stream

__all__ = [
    "Application",
    "ChannelHandler",
    "Echo",
    "Http",
    "Preamble",
    "Response",
    "Silent",
    "answer_json",
    "preface_or_less",
    "resumed",
    "stall",
]

Application = Callable[[Channel], None]
"""Serves a connection inside TLS until it returns; whatever the client still sends is recorded."""

Preamble = Callable[[Channel], bool]
"""Talks before TLS (STARTTLS), and says whether to go on with TLS."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What every client of HTTP/2 sends first (RFC 9113, section 3.4)."""
BODY_LIMIT = 1024 * 1024
PIECE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def answer_json(request: Request) -> Response:
    """Tell a request's method, path and length of body, in JSON."""
    told = {"method": request.method, "path": request.target, "length": request.length}
    return Response(json.dumps(told).encode(), headers={"Content-Type": "application/json"})


@dataclass(frozen=True, slots=True)
class Http:
    """HTTP/1.1 with keep-alive. Bodies of any size are taken in; `/bytes/N` answers N zero bytes.

    A client that begins with HTTP/2 is answered in that, if the library h2 is installed.

    Args:
        answer: a body, or what makes the response to a request.
        redirects: from path (with query) to location.
        redirect_status: of those redirects.
    """

    answer: bytes | Callable[[Request], Response] = answer_json
    redirects: Mapping[str, str] = field(default_factory=dict)
    redirect_status: int = 302

    def __call__(self, channel: Channel) -> None:
        """Serve a connection."""
        begun = preface_or_less(channel)
        if begun == PREFACE:
            from .http2 import Http2

            Http2(self.respond).serve(channel, begun)
        elif begun:
            _Handler(resumed(channel, begun), self.respond).handle()

    def respond(self, request: Request) -> Response:
        """Make the response to a request."""
        if (location := self.redirects.get(request.target)) is not None:
            return Response(status=self.redirect_status, headers={"Location": location})
        prefix, _, size = request.target.rpartition("/")
        if prefix == "/bytes" and size.isdecimal():
            return Response(bytes(int(size)), headers={"Content-Type": "application/octet-stream"})
        if isinstance(self.answer, bytes):
            return Response(self.answer)
        return self.answer(request)


@dataclass(frozen=True, slots=True)
class Silent:
    """Send a greeting, or nothing, and then only receive."""

    greeting: bytes = b""

    def __call__(self, channel: Channel) -> None:
        """Serve a connection."""
        if self.greeting:
            channel.sendall(self.greeting)
        channel.drain()


@dataclass(frozen=True, slots=True)
class Echo:
    """Send a greeting, or nothing, and then back whatever comes."""

    greeting: bytes = b""

    def __call__(self, channel: Channel) -> None:
        """Serve a connection."""
        if self.greeting:
            channel.sendall(self.greeting)
        while data := channel.recv():
            channel.sendall(data)


def stall(channel: Channel) -> bool:
    """Be a server that accepts a connection and never answers: a `before_tls`."""
    channel.drain()
    return False


def preface_or_less(channel: Channel) -> bytes:
    """Receive as much as it takes to see whether a client speaks HTTP/2.

    Returns:
        `PREFACE`, or what has come in its place; nothing if the client has ended.
    """
    begun = b""
    while len(begun) < len(PREFACE) and PREFACE.startswith(begun):
        data = channel.recv(len(PREFACE) - len(begun))
        if not data:
            break
        begun += data
    return begun


def resumed(channel: Channel, begun: bytes) -> Channel:
    """A channel that gives again what has been received already, and recorded."""
    return Channel(_Resumed(channel, begun), channel.connection, lambda data: None)


class _Resumed:
    def __init__(self, stream: Stream, begun: bytes) -> None:
        self._stream = stream
        self._begun = begun

    def recv(self, size: int = CHUNK, /) -> bytes:
        if not self._begun:
            return self._stream.recv(size)
        data, self._begun = self._begun[:size], self._begun[size:]
        return data

    def sendall(self, data: bytes, /) -> None:
        self._stream.sendall(data)

    def finish(self) -> None:
        self._stream.finish()


class ChannelHandler(BaseHTTPRequestHandler):
    """The standard library's HTTP server, over a channel; `handle` serves the connection."""

    protocol_version = "HTTP/1.1"
    rfile: io.BufferedReader

    def __init__(self, channel: Channel) -> None:
        # Without the base class's own, which needs a socketserver and serves at once.
        self.client_address: tuple[str, int] = channel.connection.client_address
        self.channel = channel
        self.rfile = channel.reader()
        self.wfile: io.BufferedIOBase = channel.writer()

    def note_request(self, body: bytes = b"", length: int = 0) -> Request:
        """Put the request that has been read into the record."""
        request = Request(self.command, self.path, self.headers, body, length)
        record = self.channel.connection
        record.note(requests=[*record.requests, request])
        return request

    def log_message(self, format: str, *args: Any) -> None:
        """Keep standard error clean."""


class _Handler(ChannelHandler):
    def __init__(self, channel: Channel, respond: Callable[[Request], Response]) -> None:
        super().__init__(channel)
        self._respond = respond

    def answer(self) -> None:
        body, length = self._read_body()
        self._send(self._respond(self.note_request(body, length)))

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def _read_body(self) -> tuple[bytes, int]:
        """Read the body; return its beginning and its length."""
        body, length = bytearray(), 0
        for piece in self._body_pieces():
            body += piece[: BODY_LIMIT - len(body)]
            length += len(piece)
        return bytes(body), length

    def _body_pieces(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding", "identity").lower() == "identity":
            yield from self._pieces(int(self.headers.get("Content-Length", 0)))
            return
        # chunked (RFC 9112, section 7.1)
        while size := int(self._line().partition(b";")[0], 16):
            yield from self._pieces(size)
            self._line()
        while self._line() not in (b"\r\n", b"\n"):
            pass

    def _pieces(self, size: int) -> Iterator[bytes]:
        while size:
            piece = self.rfile.read1(min(size, PIECE))
            if not piece:
                raise Disconnected
            size -= len(piece)
            yield piece

    def _line(self) -> bytes:
        line = self.rfile.readline(PIECE)
        if not line:
            raise Disconnected
        return line
