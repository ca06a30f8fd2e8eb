"""One listening socket, a thread for each connection, and the records of all of them."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING

from .connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

__all__ = ["Listener"]

BACKLOG = 512
PATIENCE = 10.0
PATIENCE_TO_FORGET = 2.0
HELD_BACK = 0.25  # seconds; systems acknowledge within 0.2 s what they delay (RFC 1122, 4.2.3.2)
GLANCE = 0.02


class Listener(ABC):
    """A context manager that listens on a free port while it is entered.

    Args:
        host: the IP address to listen on.
    """

    connections: list[Connection]
    """every connection so far, in the order in which they were accepted"""
    failures: list[Exception]
    """what this server's own code has raised, so that its records prove nothing"""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        self.connections = []
        self.failures = []
        self._changed = threading.Condition()
        self._open: dict[Connection, socket.socket] = {}
        self._looks: dict[Connection, tuple[object, float]] = {}
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

    def __exit__(self, *error: object) -> None:
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
        with self._changed:
            wanted = self._ask_for_round()
        self.wait_until(lambda: self._rounds_done >= wanted and not self._open, timeout)
        return list(self.connections)

    def quiet(
        self, enough: Callable[[], bool] | None = None, timeout: float = PATIENCE
    ) -> list[Connection]:
        """Wait until all that clients have sent so far has been looked at.

        Connections may stay open. One that has brought nothing yet is given a moment, because the
        client's system may hold back what is to follow the handshake (RFC 896).

        Args:
            enough: what makes further waiting needless.
            timeout: in seconds.

        Returns:
            The records of all connections.

        Raises:
            TimeoutError: a client has been sending all the time without a pause.
        """
        end = time.monotonic() + timeout
        with self._changed:
            wanted = self._ask_for_round()
            while not (enough is not None and enough()):
                if self._rounds_done >= wanted and all(map(self._is_quiet, self._open)):
                    break
                if time.monotonic() > end:
                    raise TimeoutError(f"not quiet within {timeout} s: {self.connections}")
                self._changed.wait(GLANCE)
            return list(self.connections)

    def was_shown(self, connection: Connection) -> bool:
        """Whether a client came as far as to be shown what this server has to show."""
        return connection in self.connections

    def _ask_for_round(self) -> int:
        # A connection may be open for its client and not yet accepted here: the accepting thread
        # has to look once more before the records are complete.
        if self._listening is not None:
            self._rounds_wanted += 1
            self._wake.send(b"\0")
        return self._rounds_wanted

    def _is_quiet(self, connection: Connection) -> bool:
        """Whether a connection brings nothing and has changed nothing for a moment."""
        seen = (connection.application_bytes, connection.client_finished, connection.error)
        now = time.monotonic()
        before, since = self._looks.get(connection, (None, now))
        if seen != before or self._has_more(connection):
            self._looks[connection] = (seen, now)
            return False
        return now - since >= HELD_BACK

    def _has_more(self, connection: Connection) -> bool:
        """Whether something has come that has not been read."""
        sock = self._open[connection]
        # a handler's library may have closed it already; it can be reading no more
        if sock.fileno() < 0:
            return False
        # no select.select(): descriptors may be above 1024
        with selectors.DefaultSelector() as selector, suppress(OSError, ValueError):
            selector.register(sock, selectors.EVENT_READ)
            return bool(selector.select(timeout=0))
        return False

    def drop_connections(self) -> None:
        """Cut all open connections, as a network would: no TLS alert, no goodbye."""
        with self._changed:
            for sock in self._open.values():
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def forget(self) -> None:
        """Drop all open connections, and begin anew with the records."""
        with self._changed:
            dropped = list(self._open)
        self.drop_connections()
        # what they still had to do must not come after the new beginning
        with suppress(TimeoutError):
            self.wait_until(lambda: self._open.keys().isdisjoint(dropped), PATIENCE_TO_FORGET)
        with self._changed:
            self.connections[:] = [it for it in self.connections if it in self._open]
            self.failures.clear()

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
        except Exception as error:
            self.failures.append(error)
            raise
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
