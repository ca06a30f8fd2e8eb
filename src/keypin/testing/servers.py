"""Servers on loopback that one client trusts: with the pinned key, and with another one."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from ..lab import Authority, Server
from ..lab.cast import ADDRESS, HOST, NAMES
from ..lab.environment import trust_environment
from ..pinset import PinSet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self, Unpack

    from ..lab import Application, Connection, Credential, Preamble
    from ..lab.servers.contexts import TlsVersion
    from ..pin import Pin

__all__ = ["HOST", "Bench", "Conversation", "LocalServer"]


class Conversation(TypedDict, total=False):
    """How servers talk, see `keypin.lab.Server`; HTTP/1.1 unless told otherwise."""

    tls: Sequence[TlsVersion]
    """the versions to speak"""
    application: Application | None
    """what to do with a connection"""
    before_tls: Preamble | None
    """a conversation in the clear that comes first (STARTTLS)"""


class Bench:
    """A certificate authority, a pinned key, and the servers to test a client with.

    Args:
        folder: where the files are written that clients read; a temporary one if None, which
            `close` removes.

    Raises:
        RuntimeError: eventlet has patched the process.
    """

    cafile: str
    """path of the authority's certificate, PEM"""
    certificate: str
    """path of the certificate of the pinned key, DER"""
    pin: Pin
    """the pinned key"""
    pins: PinSet
    """that pin, for the names of the servers"""

    def __init__(self, folder: Path | None = None) -> None:
        if socket.socket.__module__.startswith("eventlet."):
            raise RuntimeError(
                "eventlet has patched the sockets of this process, so that no server can run in a"
                " thread beside the client; `keypin doctor -- python CHECK.py {url}` has its"
                " servers in a process of their own"
            )
        self._temporary = None
        if folder is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="keypin-testing-")
            folder = Path(self._temporary.name)
        self.folder = folder
        self._authority = Authority("CA of keypin's self-test, trusted for one test")
        self._pinned = self._authority.issue(*NAMES)
        self.pin = self._pinned.pin
        self.pins = PinSet({name: [self.pin] for name in NAMES})
        self.cafile = str(folder / "ca.pem")
        self.certificate = str(folder / "pinned.cer")
        Path(self.cafile).write_text(self._authority.pem, "ascii")
        Path(self.certificate).write_bytes(self._pinned.certificate)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the temporary folder, if it was made here."""
        if self._temporary is not None:
            self._temporary.cleanup()

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables by which most clients trust the authority, and no proxy."""
        return trust_environment(self.cafile, HOST, ADDRESS)

    def pinned_server(self, **conversation: Unpack[Conversation]) -> LocalServer:
        """Make the server that holds the pinned key."""
        return self._server(self._pinned, None, conversation)

    def mispinned_server(
        self,
        *,
        asks_for_client_certificate: bool = False,
        **conversation: Unpack[Conversation],
    ) -> LocalServer:
        """Make a server that differs from the pinned one in its key alone.

        Args:
            asks_for_client_certificate: what a client shows is recorded and then refused, so that
                no application data can follow it.
            conversation: how it talks.
        """
        client_ca = self._authority.certificate if asks_for_client_certificate else None
        return self._server(self._authority.issue(*NAMES), client_ca, conversation)

    def _server(
        self, credential: Credential, client_ca: bytes | None, conversation: Conversation
    ) -> LocalServer:
        server = Server(credential, host=ADDRESS, client_ca=client_ca, **conversation)
        return LocalServer(self, server)


class LocalServer:
    """A server on this machine, listening while it is entered; a `Bench` makes it.

    It answers HTTP unless it was told otherwise. What it tells of a client is complete: it waits
    until all that the client has sent so far has been looked at.

    Args:
        bench: whose authority vouches for it.
        server: what serves.
    """

    def __init__(self, bench: Bench, server: Server) -> None:
        self._bench = bench
        self._server = server
        self._port: int | None = None

    def __enter__(self) -> Self:
        self._server.start()
        self._port = self._server.port
        return self

    def __exit__(self, *error: object) -> None:
        self._server.close()

    # For the client

    @property
    def host(self) -> str:
        """The name to connect to, `localhost`; the certificate is also for 127.0.0.1."""
        return HOST

    @property
    def names(self) -> tuple[str, ...]:
        """All names in the certificate."""
        return NAMES

    @property
    def port(self) -> int:
        """The port, chosen by the system; still told when the server is closed."""
        return self._server.port if self._port is None else self._port

    @property
    def url(self) -> str:
        """`https://localhost:PORT`, without a path."""
        return f"https://{HOST}:{self.port}"

    @property
    def cafile(self) -> str:
        """Path of the certificate of the authority, PEM: what the client has to trust."""
        return self._bench.cafile

    @property
    def certificate(self) -> str:
        """Path of the certificate of the *pinned* key, DER, whichever key this server has."""
        return self._bench.certificate

    @property
    def pin(self) -> Pin:
        """The *pinned* key, whichever key this server has."""
        return self._bench.pin

    @property
    def pins(self) -> PinSet:
        """A set of that pin for the server's names."""
        return self._bench.pins

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables by which most clients trust the authority, and use no proxy."""
        return self._bench.environment

    # What came of it

    @property
    def connections(self) -> list[Connection]:
        """The record of each connection so far.

        Raises:
            TimeoutError: a client has been sending for 10 seconds without a pause.
        """
        return self._server.quiet()

    @property
    def application_bytes(self) -> int:
        """How many bytes of application data came, in all connections."""
        return sum(connection.application_bytes for connection in self.connections)

    @property
    def received(self) -> bytes:
        """That data, of each connection the first 64 KiB.

        It came inside TLS, or from a client that sent it without.
        """
        return b"".join(connection.application_data for connection in self.connections)

    @property
    def client_certificates(self) -> list[bytes]:
        """The certificates that clients showed of themselves, DER."""
        shown = (connection.client_certificate for connection in self.connections)
        return [certificate for certificate in shown if certificate is not None]

    def began_tls(self, connection: Connection) -> bool:
        """Whether a ClientHello came, so that the client has been shown the server's key."""
        return self._server.began_tls(connection)

    def wait_for_more(self, than: int) -> list[Connection]:
        """The same as `connections`, but more application bytes than these are enough to see.

        Raises:
            TimeoutError: none came, and a client has been sending for 10 seconds without a pause.
        """
        server = self._server
        return server.quiet(lambda: sum(it.application_bytes for it in server.connections) > than)

    def __repr__(self) -> str:
        return f"<LocalServer on port {self._port}>"
