"""HTTP/2 (RFC 9113), and HTTP/1.1 for clients that do not speak it; by the library h2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from typing import TYPE_CHECKING, Any

from ._libraries import load
from .applications import PREFACE, Http, Response, answer_json, preface_or_less, resumed
from .connection import Request

if TYPE_CHECKING:
    from .streams import Channel

__all__ = ["ALPN", "Http2", "origin_frame"]

H2_MODULES = ("h2.config", "h2.connection", "h2.events", "h2.exceptions")

ALPN = ("h2", "http/1.1")
GRPC = "application/grpc"
ORIGIN_FRAME = 0xC  # RFC 8336, section 2.1


@dataclass(frozen=True, slots=True)
class Http2:
    """HTTP/2 for a server that offers `ALPN`; an Application.

    Args:
        answer: what makes the response to a request; of its headers, "Host" is the `:authority`.
        first: further frames to be sent after the server's own settings.
        goes_away: tell the client after each response to open another connection for the next
            request (GOAWAY).

    Raises:
        ImportError: the library h2 is not installed.
    """

    answer: Callable[[Request], Response] = answer_json
    first: bytes = b""
    goes_away: bool = False

    def __post_init__(self) -> None:
        load("an HTTP/2 server", "h2", "h2", *H2_MODULES)

    def __call__(self, channel: Channel) -> None:
        """Serve a connection."""
        begun = preface_or_less(channel)
        if begun == PREFACE:
            self.serve(channel, begun)
        elif begun:
            Http(self._answer_in_http1)(resumed(channel, begun))

    def _answer_in_http1(self, request: Request) -> Response:
        response = self.answer(request)
        if not self.goes_away:
            return response
        return Response(response.body, response.status, {**response.headers, "Connection": "close"})

    def serve(self, channel: Channel, data: bytes) -> None:
        """Serve a connection on which this has come already: the client's preface."""
        h2 = load("an HTTP/2 server", "h2", "h2", *H2_MODULES)
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        channel.sendall(connection.data_to_send() + self.first)
        waiting: dict[int, tuple[list[tuple[bytes, bytes]], bytearray]] = {}
        while data:
            try:
                events = connection.receive_data(data)
                for event in events:
                    self._take(h2, connection, channel, waiting, event)
            except h2.exceptions.ProtocolError as error:
                channel.connection.note(error=str(error))
                channel.sendall(connection.data_to_send())
                return
            channel.sendall(connection.data_to_send())
            if self.goes_away and any(isinstance(event, h2.events.StreamEnded) for event in events):
                return
            data = channel.recv()

    def _take(self, h2: Any, connection: Any, channel: Channel, waiting: Any, event: Any) -> None:
        match event:
            case h2.events.RequestReceived():
                waiting[event.stream_id] = (event.headers, bytearray())
            case h2.events.DataReceived():
                waiting[event.stream_id][1].extend(event.data)
                if event.flow_controlled_length:
                    connection.acknowledge_received_data(
                        event.flow_controlled_length, event.stream_id
                    )
            case h2.events.StreamReset():
                waiting.pop(event.stream_id, None)
            case h2.events.StreamEnded():
                headers, body = waiting.pop(event.stream_id)
                request = _request(headers, bytes(body))
                record = channel.connection
                record.note(requests=[*record.requests, request])
                if request.headers.get("Content-Type", "").startswith(GRPC):
                    _respond_in_grpc(connection, event.stream_id)
                else:
                    self._respond(connection, event.stream_id, self.answer(request))

    def _respond(self, connection: Any, stream: int, response: Response) -> None:
        headers = [(name.lower(), value) for name, value in response.headers.items()]
        length = ("content-length", str(len(response.body)))
        connection.send_headers(stream, [(":status", str(response.status)), length, *headers])
        # short ones only: what fits into one frame and the window that every client begins with
        connection.send_data(stream, response.body, end_stream=True)
        if self.goes_away:
            connection.close_connection()


def _respond_in_grpc(connection: Any, stream: int) -> None:
    """An empty message, which is one of every type, and the status OK.

    https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
    """
    connection.send_headers(stream, [(":status", "200"), ("content-type", GRPC)])
    connection.send_data(stream, bytes(5))
    connection.send_headers(stream, [("grpc-status", "0")], end_stream=True)


def origin_frame(*origins: str) -> bytes:
    """The ORIGIN frame (RFC 8336) by which a server says for which origins it answers.

    Args:
        origins: such as "https://example.com:8443".
    """
    encoded = [origin.encode("ascii") for origin in origins]
    payload = b"".join(len(origin).to_bytes(2, "big") + origin for origin in encoded)
    return len(payload).to_bytes(3, "big") + bytes([ORIGIN_FRAME, 0]) + bytes(4) + payload


def _request(headers: list[tuple[bytes, bytes]], body: bytes) -> Request:
    message = Message()
    pseudo = {":method": "", ":path": "", ":authority": ""}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name.startswith(":"):
            pseudo[name] = value
        else:
            message[name] = value
    if "host" not in message:
        message["Host"] = pseudo[":authority"]
    return Request(pseudo[":method"], pseudo[":path"], message, body, len(body))
