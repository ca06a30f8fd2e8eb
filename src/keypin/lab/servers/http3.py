"""An HTTP/3 server (RFC 9114) that records what it receives; by the library aioquic."""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._libraries import load
from .connection import Connection
from .listener import GLANCE, HELD_BACK, PATIENCE, Listener
from .streams import Channel, SocketStream

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from ..authority import Credential

__all__ = ["Http3Server"]

AIOQUIC_MODULES = (
    "aioquic.asyncio",
    "aioquic.h3.connection",
    "aioquic.quic.configuration",
    "aioquic.quic.events",
)

ALPN = "h3"


class Http3Server(Listener):
    """Answers every request with 200; each QUIC connection has a record.

    Args:
        credential: what to present.
        host: the IP address to listen on; with TCP and the same port, it only receives.

    Raises:
        ImportError: aioquic is not installed.
    """

    def __init__(self, credential: Credential, *, host: str = "127.0.0.1") -> None:
        super().__init__(host)
        self._aioquic = load("an HTTP/3 server", "aioquic", "aioquic", *AIOQUIC_MODULES)
        self._configuration = _configuration(self._aioquic, credential)
        self._last_datagram = 0.0

    def start(self) -> None:
        """Listen, with UDP too."""
        super().start()
        self._ready = threading.Event()
        self._failures: list[OSError] = []
        self._server = threading.Thread(
            target=asyncio.run, args=(self._run_quic(),), name="Http3Server", daemon=True
        )
        self._server.start()
        self._ready.wait()
        for failure in self._failures:
            self._server.join()
            super().close()
            raise failure

    def close(self) -> None:
        """Stop listening, and drop all connections."""
        if self._listening is None:
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        self._server.join()
        super().close()

    def quiet(
        self, enough: Callable[[], bool] | None = None, timeout: float = PATIENCE
    ) -> list[Connection]:
        """See Listener; until no datagram has come for a moment."""
        end = time.monotonic() + timeout
        with self._changed:
            while time.monotonic() - self._last_datagram < HELD_BACK:
                if time.monotonic() > end:
                    raise TimeoutError(f"not quiet within {timeout} s: {self.connections}")
                self._changed.wait(GLANCE)
        return super().quiet(enough, timeout)

    def _handle(self, connection: Connection, sock: socket.socket) -> None:
        Channel(SocketStream(sock), connection, connection.received).drain()

    async def _run_quic(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            server = await self._aioquic.asyncio.serve(
                self.host,
                self.port,
                configuration=self._configuration,
                create_protocol=_protocol(self._aioquic, self),
            )
        except OSError as error:
            self._failures.append(error)
            return
        finally:
            self._ready.set()
        await self._stop.wait()
        server.close()

    def _accept_quic(self, client_address: tuple[str, int]) -> Connection:
        connection = Connection(client_address, changed=self._changed)
        with self._changed:
            self.connections.append(connection)
        return connection

    def _note_datagram(self) -> None:
        with self._changed:
            self._last_datagram = time.monotonic()
            self._changed.notify_all()


def _protocol(aioquic: Any, owner: Http3Server) -> type:
    class Protocol(aioquic.asyncio.QuicConnectionProtocol):  # type: ignore[misc]
        _record: Connection | None = None

        def datagram_received(self, data: bytes, address: Any) -> None:
            owner._note_datagram()
            if self._record is None:
                self._http = aioquic.h3.connection.H3Connection(self._quic)
            if self._record not in owner.connections:  # a new one, or one that was forgotten
                self._record = owner._accept_quic(address[:2])
            super().datagram_received(data, address)

        def quic_event_received(self, event: Any) -> None:
            assert self._record is not None  # noqa: S101
            if isinstance(event, aioquic.quic.events.HandshakeCompleted):
                self._record.note(
                    handshake_completed=True, client_finished=True, tls_version="TLSv1.3"
                )
            elif isinstance(event, aioquic.quic.events.StreamDataReceived):
                self._record.received(event.data)
            for told in self._http.handle_event(event):
                if told.stream_ended:
                    self._http.send_headers(told.stream_id, [(b":status", b"200")], end_stream=True)
                    self.transmit()

    return Protocol


def _configuration(aioquic: Any, credential: Credential) -> Any:
    configuration = aioquic.quic.configuration.QuicConfiguration(
        is_client=False, alpn_protocols=[ALPN]
    )
    # it reads private keys from files only
    with tempfile.TemporaryDirectory(prefix="keypin-lab-") as folder:
        files = credential.write(Path(folder))
        configuration.load_cert_chain(str(files.chain), str(files.key))
    return configuration
