"""A TLS server that records what it receives, presents any credential, and can change it."""

from __future__ import annotations

import ssl
import time
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

from ..authority import Credential
from .applications import Application, Http, Preamble
from .contexts import Resumption, TlsSettings, TlsVersion, new_context, wrap
from .key_log import KeyLog
from .listener import HELD_BACK, Listener
from .streams import Channel, Disconnected, SocketStream, Stream, TlsStream
from .tap import Tap
from .watch import Watch, WatchedStream

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from .connection import Connection, Request

__all__ = ["Server"]


class Server(Listener):
    """A server on a free port of a loopback address, a context manager.

    Args:
        credential: what to present; several (an RSA and an ECDSA one) leave the choice to the
            client's abilities; None is a server without TLS.
        host: the IP address to listen on.
        application: what to do with a connection.
        tls: the versions to speak, all those between the lowest and the highest one given.
        client_ca: ask clients for a certificate that this CA, in DER, has issued.
        require_client_certificate: and refuse those that have none.
        post_handshake: ask for it when the handshake is over, which takes TLS 1.3 and a client
            that allows it (RFC 8446, section 4.6.2).
        resumption: "tickets", "session-ids" (the server keeps the sessions itself) or "off".
        ciphers: an OpenSSL cipher list for TLS 1.2 and below.
        alpn: the protocols to offer.
        before_tls: a conversation in the clear that comes first; `stall` never lets TLS begin.

    Raises:
        ValueError: a credential's key is not that of its first certificate; a client certificate is
            required but there is no `client_ca`.

    >>> from keypin.lab import Authority
    >>> with Server(Authority().issue("localhost", "127.0.0.1")) as server:
    ...     server.url.startswith("https://127.0.0.1:")
    True
    """

    _presented: ssl.SSLContext | None
    _session_context: ssl.SSLContext | None

    def __init__(
        self,
        credential: Credential | Sequence[Credential] | None,
        *,
        host: str = "127.0.0.1",
        application: Application | None = None,
        tls: Sequence[TlsVersion] = ("1.2", "1.3"),
        client_ca: bytes | None = None,
        require_client_certificate: bool = False,
        post_handshake: bool = False,
        resumption: Resumption = "tickets",
        ciphers: str | None = None,
        alpn: Sequence[str] = (),
        before_tls: Preamble | None = None,
    ) -> None:
        super().__init__(host)
        self._watches: dict[Connection, Watch] = {}
        if (require_client_certificate or post_handshake) and client_ca is None:
            raise ValueError("to require a client certificate takes a client_ca")
        self.application: Application = application or Http()
        self._before_tls = before_tls
        self._settings = TlsSettings(
            tuple(tls),
            client_ca,
            require_client_certificate,
            resumption,
            ciphers,
            tuple(alpn),
            post_handshake,
        )
        self._key_log = KeyLog()
        self._presented = None if credential is None else self._present(credential)
        self._session_context = self._presented

    @property
    def url(self) -> str:
        """The server's address as a URL, without a path."""
        return self.url_for(self.host)

    @property
    def requests(self) -> list[Request]:
        """The HTTP requests of all connections."""
        return [request for connection in self.connections for request in connection.requests]

    def url_for(self, host: str, path: str = "") -> str:
        """The URL by which a client calls this server by the name `host`."""
        scheme = "http" if self._presented is None else "https"
        name = f"[{host}]" if ":" in host else host
        return f"{scheme}://{name}:{self.port}{path}"

    def serve(self, credential: Credential | Sequence[Credential]) -> None:
        """Present another credential in the full handshakes that begin from now on.

        Open connections go on, and sessions that began before can still be resumed.
        """
        self._presented = self._present(credential)

    def sibling(self, credential: Credential | Sequence[Credential]) -> Server:
        """Make a server that honours this one's sessions, and this one the sibling's.

        It listens on a port of its own, and full handshakes present its own credential. So a
        client that resumes there is let in with a session that began here.
        """
        if self._session_context is None:
            raise ValueError("a server without TLS has no sessions to share")
        sibling = Server(
            credential,
            host=self.host,
            application=self.application,
            before_tls=self._before_tls,
            **asdict(self._settings),
        )
        sibling._session_context = self._session_context
        return sibling

    def began_tls(self, connection: Connection) -> bool:
        """Whether a ClientHello came, so that the client has been shown the server's key."""
        with self._changed:
            watch = self._watches.get(connection)
            return watch is not None and watch.began_tls

    def was_shown(self, connection: Connection) -> bool:
        """Whether a client came as far as to be shown what this server has to show."""
        with self._changed:
            watch = self._watches.get(connection)
            return watch is not None and (watch.began_tls or watch.tap is None)

    def _is_quiet(self, connection: Connection) -> bool:
        watch = self._watches.get(connection)
        if watch is None or watch.waiting_since is None or self._has_more(connection):
            return False
        waited = time.monotonic() - watch.waiting_since
        return connection.application_bytes > 0 or waited >= HELD_BACK

    def _handle(self, connection: Connection, sock: socket.socket) -> None:
        watch = Watch()
        with self._changed:
            self._watches[connection] = watch
        plain = WatchedStream(SocketStream(sock), sock, connection, watch)
        stream = self._open_stream(connection, plain)
        if stream is not None:
            channel = Channel(stream, connection, connection.received)
            with suppress(Disconnected):
                self.application(channel)
            # What the client sent counts, whether the application cared for it or not.
            channel.finish()
            channel.drain()
        if watch.tap is not None:
            # Where TLS has failed or ended, a client may go on in the clear.
            plain.finish()
            while plain.recv():
                pass

    def _open_stream(self, connection: Connection, plain: Stream) -> Stream | None:
        """Get as far as to application data; return None where that fails."""
        if not self._talk_before_tls(Channel(plain, connection, connection.received_plain)):
            return None
        presented = self._presented
        return plain if presented is None else self._shake_hands(plain, connection, presented)

    def _talk_before_tls(self, channel: Channel) -> bool:
        """Have the conversation in the clear, if there is one; return whether TLS shall begin."""
        if self._before_tls is None:
            return True
        try:
            return self._before_tls(channel)
        except Disconnected:
            return False

    def _shake_hands(
        self, carrier: Stream, connection: Connection, presented: ssl.SSLContext
    ) -> Stream | None:
        """Begin TLS; return the stream inside, or None where the handshake failed."""
        # Who talks in the clear before TLS may go on with that; what may be said there is not known
        # here.
        in_the_clear = connection.received_plain if self._before_tls is not None else None
        secret_of = self._key_log.client_handshake_secret
        self._watches[connection].tap = Tap(connection, secret_of, in_the_clear)
        stream = TlsStream(carrier, wrap(self._sessions(), presented, connection))
        try:
            stream.do_handshake()
        except ssl.SSLError as error:
            connection.note(error=str(error))
            return None
        connection.note(
            handshake_completed=True,
            tls_version=stream.tls.version(),
            session_resumed=stream.tls.session_reused,
        )
        if self._settings.post_handshake:
            stream.ask_for_certificate()
        return stream

    def _present(self, credential: Credential | Sequence[Credential]) -> ssl.SSLContext:
        credentials = [credential] if isinstance(credential, Credential) else credential
        return new_context(self._settings, credentials, self._key_log)

    def _sessions(self) -> ssl.SSLContext:
        # ssl cannot switch off the session cache of TLS 1.2; a cache that is used once is none.
        if self._session_context is None or self._settings.resumption == "off":
            return new_context(self._settings, (), self._key_log)
        return self._session_context
