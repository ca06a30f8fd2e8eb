"""One listening socket, a thread for each connection, and the records of all of them."""

from __future__ import annotations

import selectors
import socket
import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING

from .connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

__all__ = ["Listener"]

BACKLOG = 512
PATIENCE = 10.0


class Listener(ABC):
    """A context manager that listens on a free port while it is entered.

    Args:
        host: the IP address to listen on.
    """

    connections: list[Connection]
    """every connection so far, in the order in which they were accepted"""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        self.connections = []
        self._changed = threading.Condition()
        self._open: dict[Connection, socket.socket] = {}
        self._threads: list[threading.Thread] = []
        self._listening: socket.socket | None = None
        self._rounds_wanted = 0
        self._rounds_done = 0
        self._stopping = False

    @abstractmethod
    def _handle(self, connection: Connection, sock: socket.socket) -> None:
        """Serve one connection, in a thread of its own; the socket is closed afterwards."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Listen, and accept connections until `close`."""
        self._stopping = False
        self._threads = []
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._listening = socket.create_server((self.host, 0), family=family, backlog=BACKLOG)
        self._listening.setblocking(False)
        self._wakes, self._wake = socket.socketpair()
        self._start_thread(self._accept, self._listening)

    def close(self) -> None:
        """Stop listening, drop all connections and wait until every thread has ended."""
        if self._listening is None:
            return
        self._stopping = True
        self._wake.send(b"\0")
        self._threads[0].join()
        for sock in (self._listening, self._wakes, self._wake):
            sock.close()
        self._listening = None
        self.drop_connections()
        for thread in self._threads:
            thread.join()

    @property
    def port(self) -> int:
        """The port; chosen by the system when listening begins.

        Raises:
            RuntimeError: nobody listens.
        """
        if self._listening is None:
            raise RuntimeError("the server does not listen: use it in a with statement")
        port: int = self._listening.getsockname()[1]
        return port

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, as `socket.create_connection` takes them."""
        return self.host, self.port

    @property
    def application_bytes(self) -> int:
        """All application bytes of all connections."""
        with self._changed:
            return sum(connection.application_bytes for connection in self.connections)

    def wait_until(self, condition: Callable[[], bool], timeout: float = PATIENCE) -> None:
        """Wait until the records satisfy a condition.

        Args:
            condition: asked anew whenever a record changes.
            timeout: in seconds.

        Raises:
            TimeoutError: they did not.
        """
        with self._changed:
            if not self._changed.wait_for(condition, timeout):
                raise TimeoutError(f"not within {timeout} s; the records: {self.connections}")

    def wait_closed(self, count: int = 1, timeout: float = PATIENCE) -> None:
        """Wait until at least `count` connections have ended.

        Raises:
            TimeoutError: they did not.
        """
        self.wait_until(lambda: len(self.connections) - len(self._open) >= count, timeout)

    def settle(self, timeout: float = PATIENCE) -> list[Connection]:
        """Wait until every connection that clients have opened so far has ended.

        Returns:
            The records of all connections.

        Raises:
            TimeoutError: a connection is still open.
        """
        # A connection may be open for its client and not yet accepted here: the accepting thread
        # has to look once more before the records are complete.
        with self._changed:
            if self._listening is not None:
                self._rounds_wanted += 1
                self._wake.send(b"\0")
            wanted = self._rounds_wanted
        self.wait_until(lambda: self._rounds_done >= wanted and not self._open, timeout)
        return list(self.connections)

    def drop_connections(self) -> None:
        """Cut all open connections, as a network would: no TLS alert, no goodbye."""
        with self._changed:
            for sock in self._open.values():
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _accept(self, listening: socket.socket) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(listening, selectors.EVENT_READ)
            selector.register(self._wakes, selectors.EVENT_READ, self._wakes)
            while not self._stopping:
                for ready, _ in selector.select():
                    if ready.data is not None:
                        self._wakes.recv(1)
                self._accept_round(listening)

    def _accept_round(self, listening: socket.socket) -> None:
        with self._changed:
            wanted = self._rounds_wanted
        while (accepted := _accept_pending(listening)) is not None:
            sock, client_address = accepted
            sock.setblocking(True)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(client_address[:2], changed=self._changed)
            with self._changed:
                self.connections.append(connection)
                self._open[connection] = sock
                self._changed.notify_all()
            self._start_thread(self._serve, connection, sock)
        with self._changed:
            self._rounds_done = wanted
            self._changed.notify_all()

    def _serve(self, connection: Connection, sock: socket.socket) -> None:
        try:
            self._handle(connection, sock)
        finally:
            with self._changed:
                del self._open[connection]
                sock.close()
                connection.closed.set()
                self._changed.notify_all()

    def _start_thread(self, target: Callable[..., None], *arguments: object) -> threading.Thread:
        name = f"{type(self).__name__} {target.__name__.strip('_')}"
        # daemon: a failing test must not keep its interpreter alive; close() waits for all of them
        thread = threading.Thread(target=target, args=arguments, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread


def _accept_pending(listening: socket.socket) -> tuple[socket.socket, tuple[str, int]] | None:
    while True:
        try:
            return listening.accept()
        except BlockingIOError:
            return None
        except ConnectionAbortedError:
            continue
