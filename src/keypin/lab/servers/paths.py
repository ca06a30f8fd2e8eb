"""Networks between a client and a server: one that leads elsewhere, cuts, stalls, or is slow."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from .listener import Listener
from .proxy import CONNECT_TIMEOUT
from .streams import Disconnected, SocketStream
from .tap import CONTENT_TYPES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .connection import Connection

__all__ = ["CutPath", "Detour", "Path", "SlowPath", "StallingPath"]

RECORD_HEADER = 5  # bytes: type, version, length (RFC 8446, section 5.1)


class Path(Listener):
    """Relays the bytes of each connection to a server, and its answers.

    Args:
        server: where to.
        host: the IP address to listen on.
    """

    def __init__(self, server: Listener, *, host: str = "127.0.0.1") -> None:
        super().__init__(host)
        self._server = server

    def _handle(self, connection: Connection, sock: socket.socket) -> None:
        try:
            onward = socket.create_connection(self._way(connection).address, CONNECT_TIMEOUT)
        except (OSError, RuntimeError):  # the latter of a server that does not listen any more
            return
        with onward:
            onward.settimeout(None)
            client, server = SocketStream(sock), SocketStream(onward)
            back = self._start_thread(self._answer, client, server)
            with suppress(Disconnected):
                while data := client.recv():
                    server.sendall(data)
            server.finish()
            # What a slow path has not passed on yet will not be wanted any more.
            back.join()

    def _way(self, connection: Connection) -> Listener:
        return self._server

    def _answer(self, client: SocketStream, server: SocketStream) -> None:
        """Pass on what the server sends."""
        with suppress(Disconnected):
            while data := server.recv():
                client.sendall(data)
        client.finish()


class Detour(Path):
    """Leads each connection to another server, as a network does whose attacker steps in later.

    Args:
        servers: in the order of the connections; the last one is for all that follow.
        host: the IP address to listen on.
    """

    def __init__(self, servers: Sequence[Listener], *, host: str = "127.0.0.1") -> None:
        super().__init__(servers[-1], host=host)
        self._servers = tuple(servers)

    def _way(self, connection: Connection) -> Listener:
        with self._changed:
            known = connection in self.connections  # not if they have been forgotten since
            number = self.connections.index(connection) if known else 0
        return self._servers[min(number, len(self._servers) - 1)]


class CutPath(Path):
    """Passes on so many TLS records of the server, and then cuts the connection.

    What the server says before TLS is passed on, too. OpenSSL sends each message of the handshake
    in a record of its own.

    Args:
        server: where to.
        records: how many.
        host: the IP address to listen on.
    """

    def __init__(self, server: Listener, records: int, *, host: str = "127.0.0.1") -> None:
        super().__init__(server, host=host)
        self._records = records

    def _answer(self, client: SocketStream, server: SocketStream) -> None:
        with suppress(Disconnected):
            self._pass_on(client, server)
        self._end(client)
        while server.recv():
            pass

    def _pass_on(self, client: SocketStream, server: SocketStream) -> None:
        received, passed, begun = bytearray(), 0, False
        while passed < self._records or not begun:
            data = server.recv()
            if not data:
                return
            received += data
            begun = received[0] in CONTENT_TYPES
            if not begun:  # a conversation before TLS
                client.sendall(bytes(received))
                received.clear()
            while passed < self._records and len(received) >= (size := _record_size(received)):
                client.sendall(bytes(received[:size]))
                del received[:size]
                passed += 1

    def _end(self, client: SocketStream) -> None:
        client.finish()


class StallingPath(CutPath):
    """Passes on so many TLS records of the server, and then nothing more; but all of the client's.

    Args:
        server: where to.
        records: how many.
        last: what the client gets after them.
        host: the IP address to listen on.
    """

    def __init__(
        self, server: Listener, records: int, *, last: bytes = b"", host: str = "127.0.0.1"
    ) -> None:
        super().__init__(server, records, host=host)
        self._last = last

    def _end(self, client: SocketStream) -> None:
        with suppress(Disconnected):
            client.sendall(self._last)


class SlowPath(Path):
    """Passes on what the server sends byte by byte.

    Args:
        server: where to.
        pause: after each byte, in seconds.
        host: the IP address to listen on.
    """

    def __init__(self, server: Listener, pause: float, *, host: str = "127.0.0.1") -> None:
        super().__init__(server, host=host)
        self._pause = pause
        self._closing = threading.Event()

    def close(self) -> None:
        """Stop, also in the midst of an answer."""
        self._closing.set()
        super().close()

    def _answer(self, client: SocketStream, server: SocketStream) -> None:
        with suppress(Disconnected):
            while data := server.recv():
                for byte in data:
                    client.sendall(bytes([byte]))
                    if self._closing.wait(self._pause):
                        return
        client.finish()


def _record_size(received: bytearray) -> int:
    """The size of the record that these bytes begin, with its header."""
    if len(received) < RECORD_HEADER:
        return RECORD_HEADER
    return RECORD_HEADER + int.from_bytes(received[3:RECORD_HEADER], "big")
