"""Servers in front of which no handshake is sound: records altered on the way, messages at home."""

from __future__ import annotations

import selectors
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from .listener import Listener
from .misbehaving import CHUNK, MisbehavingServer
from .mutation import HANDSHAKE, HEADER, Mutator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..authority import Credential
    from ..keys import Key
    from .connection import Connection

__all__ = ["FuzzingProxy", "MutatingServer", "Mutator"]

IDLE = 0.2  # seconds
PATIENCE = 10.0


class FuzzingProxy(Listener):
    """A man in the middle who relays a connection to its target and alters its records.

    Its own records hold what clients sent, as it came: up to a client certificate in the clear. It
    cuts a connection on which nothing happens any more after something was altered.

    Args:
        target: the server's address.
        host: the IP address to listen on.
    """

    mutator: Mutator | None
    """what is done to the next connection; None to relay it as it is"""
    alters: Literal["server", "client"]
    """whose records are altered"""
    relayed: list[bytes]
    """the server's records of the last connection, as it sent them"""

    def __init__(self, target: tuple[str, int], *, host: str = "127.0.0.1") -> None:
        super().__init__(host)
        self.target = target
        self.mutator = None
        self.alters = "server"
        self.relayed = []

    def _handle(self, connection: Connection, sock: socket.socket) -> None:
        mutator, alters, self.relayed = self.mutator, self.alters, []
        sock.settimeout(PATIENCE)
        with (
            suppress(OSError),
            socket.create_connection(self.target, PATIENCE) as target,
            selectors.DefaultSelector() as selector,
        ):
            ways = {
                sock: _Way(target, connection.received, mutator if alters == "client" else None),
                target: _Way(sock, self.relayed.append, mutator if alters == "server" else None),
            }
            for end in ways:
                selector.register(end, selectors.EVENT_READ)
            while selector.get_map():
                ready = selector.select(IDLE if mutator and mutator.done else PATIENCE)
                if not ready:
                    return
                for key, _ in ready:
                    source: Any = key.fileobj
                    if not ways[source].pass_on(source.recv(CHUNK)):
                        selector.unregister(source)
                    if mutator and mutator.cut:
                        return


class _Way:
    """One of the two ways through a proxy.

    Args:
        destination: where it leads.
        heard: told of every record, before it is altered.
        mutator: what alters them.
    """

    def __init__(
        self,
        destination: socket.socket,
        heard: Callable[[bytes], object],
        mutator: Mutator | None,
    ) -> None:
        self._destination = destination
        self._heard = heard
        self._mutator = mutator
        self._rest = b""

    def pass_on(self, data: bytes) -> bool:
        """Take what has come, or an end; False at the end."""
        self._rest += data
        for record in self._records():
            self._heard(record)
            for piece in [record] if self._mutator is None else self._mutator.record(record):
                self._destination.sendall(piece)
        if not data:
            if self._rest:  # what is no record
                self._heard(self._rest)
                self._destination.sendall(self._rest)
            self._destination.shutdown(socket.SHUT_WR)
        return bool(data)

    def _records(self) -> Iterator[bytes]:
        while len(self._rest) >= HEADER:
            end = HEADER + int.from_bytes(self._rest[3:HEADER], "big")
            if len(self._rest) < end:
                return
            record, self._rest = self._rest[:end], self._rest[end:]
            yield record


class MutatingServer(MisbehavingServer):
    """A `MisbehavingServer` that alters its handshake messages before they are encrypted.

    It signs and finishes what it has altered, as if it were meant so. It asks for a client
    certificate. It has little patience with clients that send nothing.
    """

    mutator: Mutator | None = None
    """what is done to the next connection"""

    def __init__(self, presented: Credential, key: Key, **settings: Any) -> None:
        super().__init__(presented, key, ask_client_certificate=True, **settings)

    def _handle(self, connection: Connection, sock: socket.socket) -> None:
        sock.settimeout(IDLE)
        super()._handle(connection, sock)

    def _connection_class(self) -> Any:
        return _mutating(self._tlslite.TLSConnection, self.mutator)


def _mutating(base: Any, mutator: Mutator | None) -> Any:
    """A class of connections that send altered messages."""

    class MutatingConnection(base):  # type: ignore[misc]
        def _queue_message(self, message: Any) -> None:
            for altered in self._altered(message):
                super()._queue_message(altered)

        def _sendMsg(self, message: Any, first: bool = True, update_hashes: bool = True) -> Any:
            for altered in self._altered(message) if update_hashes else [message]:
                yield from super()._sendMsg(altered, first, update_hashes)

        def _altered(self, message: Any) -> list[Any]:
            if mutator is None or message.contentType != HANDSHAKE:
                return [message]
            return [
                base_message(HANDSHAKE, bytearray(piece))
                for piece in mutator.message(bytes(message.write()))
            ]

    from tlslite.messages import Message as base_message

    return MutatingConnection
