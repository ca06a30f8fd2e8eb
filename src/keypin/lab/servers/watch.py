"""What a server is doing with each connection: whether it has looked at all that came."""

from __future__ import annotations

import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .streams import CHUNK

if TYPE_CHECKING:
    from .connection import Connection
    from .streams import Stream
    from .tap import Tap

__all__ = ["Watch", "WatchedStream"]


@dataclass(slots=True, eq=False)
class Watch:
    """What the server is doing with one connection."""

    waiting_since: float | None = None
    """when it had looked at all that it had read, and read on; None while it looks"""
    tap: Tap | None = None
    """what reads along, from where the bytes must be those of TLS"""

    @property
    def began_tls(self) -> bool:
        """Whether a ClientHello came."""
        return self.tap is not None and self.tap.began_tls is True


class WatchedStream:
    """The bytes of a socket, which tell whether all of them have been looked at."""

    def __init__(
        self, stream: Stream, sock: socket.socket, connection: Connection, watch: Watch
    ) -> None:
        self._stream = stream
        self._socket = sock
        self._connection = connection
        self._watch = watch

    def recv(self, size: int = CHUNK, /) -> bytes:
        """See Stream."""
        if sys.platform == "linux":
            # acknowledge at once, so that the client's system sends what it holds back
            with suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        self._note(time.monotonic())
        # Bytes stay in the socket, where they can be seen, until it is noted that they are read.
        with suppress(OSError):
            self._socket.recv(1, socket.MSG_PEEK)
        self._note(None)
        data = self._stream.recv(size)
        if self._watch.tap is not None:
            self._watch.tap.feed(data)
        return data

    def sendall(self, data: bytes, /) -> None:
        """See Stream."""
        self._stream.sendall(data)

    def finish(self) -> None:
        """See Stream."""
        self._stream.finish()

    def _note(self, waiting_since: float | None) -> None:
        with self._connection.changed:
            self._watch.waiting_since = waiting_since
            self._connection.changed.notify_all()
