"""Networks between a client and a server: one that leads elsewhere, cuts, or is slow."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from .listener import Listener
from .proxy import CONNECT_TIMEOUT
from .streams import Disconnected, SocketStream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .connection import Connection

__all__ = ["CutPath", "Detour", "Path", "SlowPath"]

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

    OpenSSL sends each message of the handshake in a record of its own.

    Args:
        server: where to.
        records: how many.
        host: the IP address to listen on.
    """

    def __init__(self, server: Listener, records: int, *, host: str = "127.0.0.1") -> None:
        super().__init__(server, host=host)
        self._records = records

    def _answer(self, client: SocketStream, server: SocketStream) -> None:
        received = bytearray()
        with suppress(Disconnected):
            for _ in range(self._records):
                while len(received) < (size := _record_size(received)):
                    data = server.recv()
                    if not data:
                        raise Disconnected
                    received += data
                client.sendall(bytes(received[:size]))
                del received[:size]
        client.finish()
        while server.recv():
            pass


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
