"""A CONNECT proxy that tunnels honestly, or ends TLS itself as an interceptor does."""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .applications import Application, ChannelHandler
from .server import Server
from .streams import CHUNK, Channel, SocketStream, copy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..authority import Credential

__all__ = ["ConnectProxy", "Tunnel"]

CONNECT_TIMEOUT = 10.0


@dataclass(slots=True, eq=False)
class Tunnel:
    """One tunnel through a proxy, counted in bytes of what passed, which is usually ciphertext."""

    target: str
    """host and port, as the client named them"""
    sent: int = 0
    """from the client to the target"""
    received: int = 0
    """from the target to the client"""


class ConnectProxy(Server):
    """An HTTP proxy for the CONNECT method (RFC 9110, section 9.3.6), and for that only.

    Its own records hold the conversation before the tunnel: the CONNECT request.

    Args:
        credential: None for a proxy that is spoken to in the clear; otherwise its own credential,
            for a proxy that is itself reached through TLS.
        intercept: answer for every target with this credential, as a proxy does that reads what
            passes; what it read is in the records of `interceptor`.
        application: what the interceptor does with the connections that it ends; HTTP unless given.
        routes: where a host is to be found, by name; others are looked up.
        host: the IP address to listen on.
    """

    tunnels: list[Tunnel]
    """every tunnel so far"""
    is_open: bool
    """whether it also leads to hosts without a route, and not only to its own"""
    interceptor: Server | None
    """the server that stands in for every target, if this proxy intercepts"""

    def __init__(
        self,
        credential: Credential | None = None,
        *,
        intercept: Credential | None = None,
        application: Application | None = None,
        routes: Mapping[str, tuple[str, int]] | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        super().__init__(credential, host=host, application=self._serve_proxy)
        self.tunnels = []
        self.is_open = True
        self.interceptor = (
            None if intercept is None else Server(intercept, host=host, application=application)
        )
        self._routes = dict(routes or {})
        self._targets: set[socket.socket] = set()

    def start(self) -> None:
        """Listen, the interceptor too."""
        if self.interceptor is not None:
            self.interceptor.start()
        super().start()

    def close(self) -> None:
        """Close all tunnels, and wait until every thread has ended."""
        super().close()
        if self.interceptor is not None:
            self.interceptor.close()

    def drop_connections(self) -> None:
        """Cut all tunnels, at both ends."""
        super().drop_connections()
        with self._changed:
            for target in self._targets:
                _shut_down(target)

    def forget(self) -> None:
        """Drop all tunnels, and begin anew with the records."""
        super().forget()
        self.tunnels.clear()
        if self.interceptor is not None:
            self.interceptor.forget()

    def _serve_proxy(self, channel: Channel) -> None:
        _Handler(channel, self._tunnel).handle()

    def _tunnel(self, target: str, handler: _Handler) -> None:
        """Connect a client to the target that it asked for, and relay until both have ended."""
        tunnel = Tunnel(target)
        with self._changed:
            self.tunnels.append(tunnel)
        try:
            sock = socket.create_connection(self._locate(target), CONNECT_TIMEOUT)
        except (OSError, ValueError) as error:  # ValueError: a target that is none
            handler.send_error(502, "no connection to the target", str(error))
            return
        with sock:
            sock.settimeout(None)
            with self._changed:
                self._targets.add(sock)
            try:
                handler.accept_tunnel()
                self._relay(tunnel, handler, SocketStream(sock))
            finally:
                with self._changed:
                    self._targets.discard(sock)

    def _relay(self, tunnel: Tunnel, handler: _Handler, target: SocketStream) -> None:
        channel = handler.channel

        def count_sent(data: bytes) -> None:
            with self._changed:
                tunnel.sent += len(data)

        def send_back(data: bytes) -> None:
            with self._changed:
                tunnel.received += len(data)
            channel.sendall(data)

        # From here on what comes is somebody else's, and not for this proxy.
        channel.received = count_sent
        back = self._start_thread(copy, target.recv, send_back, channel.finish)
        copy(handler.read, target.sendall, target.finish)
        back.join()

    def _locate(self, target: str) -> tuple[str, int]:
        if self.interceptor is not None:
            return self.interceptor.address
        parts = urlsplit(f"//{target}")
        host, port = parts.hostname or "", parts.port or 443
        if host not in self._routes and not self.is_open:
            raise PermissionError(f"no way to {host} from here")
        return self._routes.get(host, (host, port))


class _Handler(ChannelHandler):
    def __init__(self, channel: Channel, tunnel: Callable[[str, _Handler], None]) -> None:
        super().__init__(channel)
        self._tunnel = tunnel

    def do_CONNECT(self) -> None:
        self.note_request()
        self.close_connection = True
        self._tunnel(self.path, self)

    def accept_tunnel(self) -> None:
        self.send_response_only(200, "Connection established")
        self.end_headers()

    def read(self) -> bytes:
        # what was read ahead together with the CONNECT request comes first
        return self.rfile.read1(CHUNK)


def _shut_down(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
