"""Servers on loopback that one client trusts: with the pinned key, and with another one."""

from __future__ import annotations

import os
import selectors
import socket
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from ..lab import Authority, Server
from ..lab.listener import PATIENCE
from ..lab.streams import CHUNK
from ..pinset import PinSet

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self, Unpack

    from ..lab import Application, Connection, Credential, Preamble
    from ..lab.contexts import TlsVersion
    from ..lab.streams import Stream
    from ..pin import Pin

__all__ = ["HOST", "Bench", "Conversation", "LocalServer"]

HOST = "localhost"
ADDRESS = "127.0.0.1"
NAMES = (HOST, ADDRESS)
HELD_BACK = 0.25  # seconds; systems acknowledge within 0.2 s what they delay (RFC 1122, 4.2.3.2)
GLANCE = 0.02
HANDSHAKE_RECORD = b"\x16"  # TLS ContentType, RFC 8446, section 5.1

# Where OpenSSL and Python's clients look for the certificate authorities to trust.
TRUST_VARIABLES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "AWS_CA_BUNDLE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "HTTPLIB2_CA_CERTS",
    "WEBSOCKET_CLIENT_CA_BUNDLE",
)


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

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the temporary folder, if it was made here."""
        if self._temporary is not None:
            self._temporary.cleanup()

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables by which most clients trust the authority, and no proxy."""
        trust = dict.fromkeys(TRUST_VARIABLES, self.cafile)
        unproxied = [os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), HOST, ADDRESS]
        return trust | dict.fromkeys(("NO_PROXY", "no_proxy"), ",".join(filter(None, unproxied)))

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
        server = RecordingServer(credential, host=ADDRESS, client_ca=client_ca, **conversation)
        return LocalServer(self, server)


class LocalServer:
    """A server on this machine, listening while it is entered; a `Bench` makes it.

    It answers HTTP unless it was told otherwise. What it tells of a client is complete: it waits
    until all that the client has sent so far has been looked at.

    Args:
        bench: whose authority vouches for it.
        server: what serves.
    """

    def __init__(self, bench: Bench, server: RecordingServer) -> None:
        self._bench = bench
        self._server = server
        self._port: int | None = None

    def __enter__(self) -> Self:
        self._server.start()
        self._port = self._server.port
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
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


@dataclass(slots=True, eq=False)
class _Watch:
    """What the server is doing with one connection."""

    waiting_since: float | None = None
    """when it had looked at all that it had read, and read on; None while it looks"""
    began_tls: bool | None = None
    """whether the first bytes were those of TLS; None before they came"""
    expects_tls: bool = False


class RecordingServer(Server):
    """A server that knows when it has seen all that was sent, and notes what came without TLS."""

    def __init__(self, credential: Credential, **settings: Any) -> None:
        super().__init__(credential, **settings)
        self._watches: dict[Connection, _Watch] = {}

    def quiet(self, enough: Callable[[], bool] | None = None) -> list[Connection]:
        """Wait until all that clients have sent so far has been looked at.

        A connection that is open and has brought nothing yet is given a moment, because the
        client's system may hold back what is to follow the handshake (RFC 896).

        Args:
            enough: what makes further waiting needless.

        Returns:
            The records of all connections.

        Raises:
            TimeoutError: a client has been sending for 10 seconds without a pause.
        """
        end = time.monotonic() + PATIENCE
        with self._changed:
            wanted = self._ask_for_round()
            while not (enough is not None and enough()):
                if self._rounds_done >= wanted and all(map(self._is_quiet, self._open)):
                    break
                if time.monotonic() > end:
                    raise TimeoutError(f"not quiet within {PATIENCE} s: {self.connections}")
                self._changed.wait(GLANCE)
            return list(self.connections)

    def began_tls(self, connection: Connection) -> bool:
        """Whether a connection's first bytes were those of TLS."""
        with self._changed:
            watch = self._watches.get(connection)
            return watch is not None and watch.began_tls is True

    def _ask_for_round(self) -> int:
        # as settle() does
        if self._listening is not None:
            self._rounds_wanted += 1
            self._wake.send(b"\0")
        return self._rounds_wanted

    def _is_quiet(self, connection: Connection) -> bool:
        watch = self._watches.get(connection)
        if watch is None or watch.waiting_since is None or _readable(self._open[connection]):
            return False
        waited = time.monotonic() - watch.waiting_since
        return connection.application_bytes > 0 or waited >= HELD_BACK

    def _open_stream(self, connection: Connection, plain: Stream) -> Stream | None:
        watch = _Watch()
        with self._changed:
            self._watches[connection] = watch
            sock = self._open[connection]
        return super()._open_stream(connection, WatchedStream(plain, sock, connection, watch))

    def _shake_hands(
        self, carrier: Stream, connection: Connection, presented: ssl.SSLContext
    ) -> Stream | None:
        self._watches[connection].expects_tls = True
        return super()._shake_hands(carrier, connection, presented)


class WatchedStream:
    """The bytes of a socket, which tell whether all of them have been looked at."""

    def __init__(
        self, stream: Stream, sock: socket.socket, connection: Connection, watch: _Watch
    ) -> None:
        self._stream = stream
        self._socket = sock
        self._connection = connection
        self._watch = watch

    def recv(self, size: int = CHUNK, /) -> bytes:
        """See Stream."""
        with suppress(AttributeError, OSError):
            # Linux: acknowledge at once, so that the client's system sends what it holds back
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        self._note(time.monotonic())
        # Bytes stay in the socket, where they can be seen, until it is noted that they are read.
        with suppress(OSError):
            self._socket.recv(1, socket.MSG_PEEK)
        self._note(None)
        data = self._stream.recv(size)
        if data and self._watch.expects_tls and self._watch.began_tls is None:
            self._note_beginning(data)
        return data

    def sendall(self, data: bytes, /) -> None:
        """See Stream."""
        self._stream.sendall(data)

    def finish(self) -> None:
        """See Stream."""
        self._stream.finish()

    def _note_beginning(self, data: bytes) -> None:
        begins = data.startswith(HANDSHAKE_RECORD)
        with self._connection.changed:
            self._watch.began_tls = begins
        if not begins:
            self._connection.received(data)

    def _note(self, waiting_since: float | None) -> None:
        with self._connection.changed:
            self._watch.waiting_since = waiting_since
            self._connection.changed.notify_all()


def _readable(sock: socket.socket) -> bool:
    # no select.select(): descriptors may be above 1024
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        return bool(selector.select(timeout=0))
