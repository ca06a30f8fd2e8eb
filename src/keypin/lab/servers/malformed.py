"""A TLS server whose Certificate message is not one; by the library tlslite-ng."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from .misbehaving import MisbehavingServer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..authority import Credential
    from .contexts import TlsVersion

__all__ = ["CertificateList", "MalformedServer"]

HANDSHAKE = 22  # ContentType
CERTIFICATE = 11  # HandshakeType (RFC 8446, section 4)
LENGTH = 3


class CertificateList:
    """Writes Certificate messages (RFC 5246, section 7.4.2; RFC 8446, section 4.4.2).

    Args:
        chain: the certificates of an ordinary one, in DER.
        tls13: whether it is one of TLS 1.3, with a context and with extensions.
    """

    def __init__(self, chain: Sequence[bytes], *, tls13: bool) -> None:
        self.chain: tuple[bytes, ...] = tuple(chain)
        self.tls13 = tls13

    def entry(self, certificate: bytes, extensions: bytes = b"") -> bytes:
        """One entry of the list."""
        return _sized(certificate) + (_sized(extensions, 2) if self.tls13 else b"")

    def message(self, *entries: bytes, length: int | None = None) -> bytes:
        """The body of a message with these entries.

        Args:
            entries: see `entry`, or anything.
            length: what it says of the list's length; the truth if None.
        """
        content = b"".join(entries)
        size = len(content) if length is None else length
        return bytes(1 if self.tls13 else 0) + size.to_bytes(LENGTH, "big") + content


class MalformedServer(MisbehavingServer):
    """Holds its key, but sends another Certificate message than it should.

    Args:
        credential: the server's own; RSA, or on P-256 or P-384.
        body: makes the body of the message.
        tls: the versions to speak, all those between the lowest and the highest one given.
        host: the IP address to listen on.

    Raises:
        ImportError: tlslite-ng is not installed.
    """

    def __init__(
        self,
        credential: Credential,
        body: Callable[[CertificateList], bytes],
        *,
        tls: Sequence[TlsVersion] = ("1.2", "1.3"),
        host: str = "127.0.0.1",
    ) -> None:
        super().__init__(credential, credential.key, tls=tls, host=host)
        self._settings.certificate_compression_send = ()
        chain = credential.chain

        def replace(message: Any, version: tuple[int, int]) -> Any:
            if message.contentType != HANDSHAKE or message.write()[0] != CERTIFICATE:
                return message
            made = body(CertificateList(chain, tls13=version > (3, 3)))
            whole = bytes([CERTIFICATE]) + _sized(made)
            return self._tlslite.Message(HANDSHAKE, bytearray(whole))

        self._tlslite = _replacing(self._tlslite, replace)


def _replacing(tlslite: Any, replace: Callable[[Any, tuple[int, int]], Any]) -> Any:
    """The library with connections that put other messages in place of their own."""
    from tlslite.messages import Message

    class Connection(tlslite.TLSConnection):  # type: ignore[misc]
        # TLS 1.3 queues the messages of a flight, and then sends them as one.
        def _queue_message(self, msg: Any) -> None:
            super()._queue_message(replace(msg, self.version))

        def _sendMsg(self, msg: Any, *arguments: Any, **more: Any) -> Any:
            if self.version <= (3, 3):
                msg = replace(msg, self.version)
            # Record by record: the library would copy all that remains for each of them.
            data = msg.write()
            for start in range(0, len(data) or 1, self.recordSize):
                piece = Message(msg.contentType, data[start : start + self.recordSize])
                yield from super()._sendMsg(piece, *arguments, **more)

    return SimpleNamespace(**{**vars(tlslite), "TLSConnection": Connection, "Message": Message})


def _sized(data: bytes, size: int = LENGTH) -> bytes:
    return len(data).to_bytes(size, "big") + data
