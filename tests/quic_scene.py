"""A QUIC server that records what it receives, and a client; by qh3 or aioquic, which are alike.

Client and server may be in one process: what keypin does to these libraries is for clients.
"""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import threading
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from keypin.lab import Authority, Credential

PROTOCOL = "recorded"  # ALPN, which QUIC cannot do without
ADDRESS = "127.0.0.1"


class QuicServer:
    """A server on a free port, a context manager; answers what it receives."""

    def __init__(self, library: str, credential: Credential) -> None:
        self.library = library
        self.credential = credential
        self.datagrams = 0
        self.received = b""

    def __enter__(self) -> QuicServer:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        configuration = _configuration(self.library, is_client=False)
        with tempfile.TemporaryDirectory() as folder:
            files = self.credential.write(Path(folder))
            configuration.load_cert_chain(str(files.chain), str(files.key))
        protocols: Any = import_module(f"{self.library}.asyncio.protocol")
        events: Any = import_module(f"{self.library}.quic.events")
        record = self

        class Protocol(protocols.QuicConnectionProtocol):
            def datagram_received(self, data: bytes, address: object) -> None:
                record.datagrams += 1
                super().datagram_received(data, address)

            def quic_event_received(self, event: Any) -> None:
                if isinstance(event, events.StreamDataReceived):
                    record.received += event.data
                    self._quic.send_stream_data(event.stream_id, event.data, True)
                    self.transmit()

        serve: Any = import_module(f"{self.library}.asyncio").serve
        # the server's own endpoint hands datagrams to the connections' protocols
        server = await serve(ADDRESS, 0, configuration=configuration, create_protocol=Protocol)
        self.port: int = server._transport.get_extra_info("sockname")[1]
        self._ready.set()
        await self._stop.wait()
        server.close()


def connect(
    library: str, server: QuicServer, authority: Authority, name: str | None
) -> AbstractAsyncContextManager[Any]:
    """Connect and shake hands.

    Args:
        library: "qh3" or "aioquic".
        server: where to.
        authority: whom to trust.
        name: by which the server is called.
    """
    configuration = _configuration(library, is_client=True)
    configuration.load_verify_locations(cadata=authority.pem.encode())
    configuration.server_name = name
    client: Any = import_module(f"{library}.asyncio")
    made: AbstractAsyncContextManager[Any] = client.connect(
        ADDRESS, server.port, configuration=configuration
    )
    return made


async def exchange(connection: Any, data: bytes) -> bytes:
    """Send data on a stream of its own, and wait for the answer."""
    reader, writer = await connection.create_stream()
    writer.write(data)
    writer.write_eof()
    answer: bytes = await asyncio.wait_for(reader.read(), 10)
    return answer


def unconnected(library: str, name: str | None, *, is_client: bool = True) -> Any:
    """A connection that nothing has been done with."""
    configuration = _configuration(library, is_client=is_client)
    configuration.server_name = name
    configuration.verify_mode = ssl.CERT_REQUIRED
    module: Any = import_module(f"{library}.quic.connection")
    return module.QuicConnection(configuration=configuration)


def _configuration(library: str, *, is_client: bool) -> Any:
    module: Any = import_module(f"{library}.quic.configuration")
    return module.QuicConfiguration(is_client=is_client, alpn_protocols=[PROTOCOL])
