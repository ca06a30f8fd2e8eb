"""What a client sends on a connection with TLS, read along whatever the server makes of it.

A server's TLS library tells nothing of a message that it refuses or cannot read, or that has come
only in part; nor of what comes in the clear where records should. An attacker has received it all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .certificate_messages import FINISHED, HandshakeMessages
from .key_log import Undecryptable, decryptor

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from .connection import Connection

__all__ = ["CONTENT_TYPES", "HANDSHAKE", "Tap", "TappedSocket"]

# ContentType (RFC 8446, appendix B.1; RFC 6520, section 6)
CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA, HEARTBEAT = CONTENT_TYPES = range(20, 25)
HEADER = 5  # bytes: type, version, length
MAJOR_VERSION = 3
LONGEST = 2**14 + 2048  # RFC 5246, section 6.2.3
CLIENT_HELLO = 1
RANDOM = slice(4 + 2, 4 + 2 + 32)  # of a ClientHello, behind its header and version


class Tap:
    """Records the client's certificate, and what comes in the clear.

    Args:
        connection: the record.
        secret_of: the traffic secret of the client's handshake in TLS 1.3 by the random of its
            ClientHello, or None if it is not known.
        in_the_clear: what notes bytes outside of TLS; the record's `received_in_the_clear` if None.
    """

    began_tls: bool | None = None
    """whether the first bytes were those of TLS; None before they came"""

    def __init__(
        self,
        connection: Connection,
        secret_of: Callable[[bytes], bytes | None] | None = None,
        in_the_clear: Callable[[bytes], None] | None = None,
    ) -> None:
        self._note_in_the_clear = in_the_clear or connection.received_in_the_clear
        self._secret_of = secret_of
        self._messages = HandshakeMessages(connection)
        self._decrypt: Callable[[bytes, bytes], tuple[int, bytes]] | None = None
        self._client_random = b""
        self._header = b""
        self._content = bytearray()
        self._left = 0
        self._in_the_clear = False
        self._changed_cipher = False
        self._handshake_over = False

    def feed(self, data: bytes) -> None:
        """Take what has come next."""
        if data and self.began_tls is None:
            self.began_tls = data[0] == HANDSHAKE
        while data and not self._in_the_clear:
            if len(self._header) < HEADER:
                data = self._begin_record(data)
                continue
            fragment, data = data[: self._left], data[self._left :]
            self._left -= len(fragment)
            self._take(fragment)
            if not self._left:
                self._end_record()
        if data:
            self._note_in_the_clear(data)

    def _begin_record(self, data: bytes) -> bytes:
        """Read a header or a part of it; return the rest, or everything if this is none."""
        missing = HEADER - len(self._header)
        header, rest = self._header + data[:missing], data[missing:]
        if not _may_be_header(header):
            self._in_the_clear = True
            return header + rest
        self._header = header
        if len(header) == HEADER:
            self._left = int.from_bytes(header[3:], "big")
            self._content.clear()
            if not self._left:
                self._end_record()
        return rest

    def _take(self, fragment: bytes) -> None:
        if self._handshake_over:
            return
        if self._header[0] == APPLICATION_DATA:
            self._content += fragment
        elif self._header[0] == HANDSHAKE and not self._changed_cipher:
            for message in self._messages.feed(fragment, tls13=False):
                if message[0] == CLIENT_HELLO:
                    self._client_random = message[RANDOM]

    def _end_record(self) -> None:
        header, self._header = self._header, b""
        if header[0] == CHANGE_CIPHER_SPEC:
            # Up to TLS 1.2, what follows of the handshake is encrypted: Finished. In TLS 1.3 that
            # means nothing, and a second ClientHello has the random of the first one.
            self._changed_cipher = True
        elif header[0] == APPLICATION_DATA and not self._handshake_over:
            self._end_encrypted_record(header)

    def _end_encrypted_record(self, header: bytes) -> None:
        """TLS 1.3 encrypts the client's certificate, under a secret that the server knows."""
        try:
            kind, content = self._decrypted(header, bytes(self._content))
        except Undecryptable:
            self._handshake_over = True  # application data
            return
        if kind == HANDSHAKE:
            messages = self._messages.feed(content, tls13=True)
            self._handshake_over = any(message[0] == FINISHED for message in messages)

    def _decrypted(self, header: bytes, content: bytes) -> tuple[int, bytes]:
        if self._decrypt is None:
            secret = self._secret_of(self._client_random) if self._secret_of else None
            if secret is None:
                raise Undecryptable
            self._decrypt = decryptor(secret)
        return self._decrypt(header, content)


class TappedSocket:
    """A socket whose received bytes go through a tap, too; for libraries that take a socket."""

    def __init__(self, sock: socket.socket, tap: Tap) -> None:
        self._socket = sock
        self._tap = tap

    def recv(self, size: int, flags: int = 0) -> bytes:
        """See `socket.socket`."""
        data = self._socket.recv(size, flags)
        self._tap.feed(data)
        return data

    def __getattr__(self, name: str) -> object:
        return getattr(self._socket, name)


def _may_be_header(header: bytes) -> bool:
    """Whether the header of a record begins like this."""
    return (
        header[0] in CONTENT_TYPES
        and header[1:2] in (b"", bytes([MAJOR_VERSION]))
        and int.from_bytes(header[3:HEADER].ljust(2, b"\0"), "big") <= LONGEST
    )
