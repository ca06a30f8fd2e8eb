"""A WebSocket server (RFC 6455) that sends back every message; by the library websockets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._libraries import load
from .connection import Request

if TYPE_CHECKING:
    from .streams import Channel

__all__ = ["WebSocketEcho"]

WEBSOCKETS_MODULES = ("websockets.frames", "websockets.http11", "websockets.server")


@dataclass(frozen=True, slots=True)
class WebSocketEcho:
    """Takes the upgrade and echoes; an Application.

    Raises:
        ImportError: the library websockets is not installed.
    """

    def __post_init__(self) -> None:
        load("a WebSocket server", "websockets", "websockets", *WEBSOCKETS_MODULES)

    def __call__(self, channel: Channel) -> None:
        """Serve a connection."""
        websockets = load("a WebSocket server", "websockets", "websockets", *WEBSOCKETS_MODULES)
        protocol = websockets.server.ServerProtocol()
        while data := channel.recv():
            protocol.receive_data(data)
            for event in protocol.events_received():
                self._answer(channel, websockets, protocol, event)
            for piece in protocol.data_to_send():
                if not piece:  # the end
                    return
                channel.sendall(piece)

    def _answer(self, channel: Channel, websockets: Any, protocol: Any, event: Any) -> None:
        if isinstance(event, websockets.http11.Request):
            _note(channel, event)
            protocol.send_response(protocol.accept(event))
        elif event.opcode is websockets.frames.Opcode.TEXT:
            protocol.send_text(event.data, event.fin)
        elif event.opcode is websockets.frames.Opcode.BINARY:
            protocol.send_binary(event.data, event.fin)
        elif event.opcode is websockets.frames.Opcode.CONT:
            protocol.send_continuation(event.data, event.fin)


def _note(channel: Channel, event: Any) -> None:
    from email.message import Message

    headers = Message()
    for name, value in event.headers.raw_items():
        headers[name] = value
    record = channel.connection
    request = Request("GET", event.path, headers, b"", 0)
    record.note(requests=[*record.requests, request])
