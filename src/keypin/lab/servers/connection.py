"""What a server received on one connection: the judge of every test."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from email.message import Message

__all__ = ["Connection", "Request"]

DATA_LIMIT = 64 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """An HTTP request."""

    method: str
    target: str
    """path and query, as sent"""
    headers: Message
    body: bytes
    """the first MiB of it"""
    length: int
    """of the whole body, in bytes"""


@dataclass(slots=True, eq=False)
class Connection:
    """What one connection received.

    A server's threads write it while the connection lasts; `Server.settle` waits for its end.
    """

    client_address: tuple[str, int]
    server_name: str | None = None
    """the name that the client asked for (SNI)"""
    handshake_completed: bool = False
    """the server finished its part of the handshake; without TLS never"""
    tls_version: str | None = None
    """ "TLSv1.3" and so on, once the handshake is completed"""
    session_resumed: bool = False
    client_certificate: bytes | None = None
    """the certificate in DER that arrived, also where the handshake failed, and as far as it came;
    compressed, where it cannot be decompressed here; a resumed session sends none"""
    client_finished: bool = False
    """the client's Finished arrived: it accepted the server"""
    error: str | None = None
    """why the handshake failed, or what broke TLS afterwards"""
    application_bytes: int = 0
    """all that arrived inside TLS, on a server without TLS at all, or in the clear where TLS should
    have begun or gone on"""
    unencrypted_bytes: int = 0
    """those of them that came in the clear, on a server with TLS"""
    plain_bytes: int = 0
    """all that arrived outside of TLS, on a server that talks before TLS (STARTTLS)"""
    requests: list[Request] = field(default_factory=list)
    closed: threading.Event = field(default_factory=threading.Event, repr=False)
    """set when the connection has ended and nothing of this changes any more"""
    changed: threading.Condition = field(default_factory=threading.Condition, repr=False)
    """notified at every change"""
    _application_data: bytearray = field(default_factory=bytearray, repr=False)
    _plain_data: bytearray = field(default_factory=bytearray, repr=False)

    @property
    def application_data(self) -> bytes:
        """The first 64 KiB of `application_bytes`."""
        return bytes(self._application_data)

    @property
    def plain_data(self) -> bytes:
        """The first 64 KiB of `plain_bytes`."""
        return bytes(self._plain_data)

    @property
    def client_certificate_seen(self) -> bool:
        """Whether the client showed a certificate."""
        return self.client_certificate is not None

    def received(self, data: bytes) -> None:
        """Note application data."""
        with self.changed:
            self.application_bytes += len(data)
            self._application_data += data[: DATA_LIMIT - len(self._application_data)]
            self.changed.notify_all()

    def received_in_the_clear(self, data: bytes) -> None:
        """Note what came outside of TLS where TLS should have begun or gone on."""
        with self.changed:
            self.unencrypted_bytes += len(data)
            self.received(data)

    def received_plain(self, data: bytes) -> None:
        """Note data that came before TLS, or in its place."""
        with self.changed:
            self.plain_bytes += len(data)
            self._plain_data += data[: DATA_LIMIT - len(self._plain_data)]
            self.changed.notify_all()

    def note(self, **fields: object) -> None:
        """Set fields."""
        with self.changed:
            for name, value in fields.items():
                setattr(self, name, value)
            self.changed.notify_all()
