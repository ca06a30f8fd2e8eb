"""The certificate that a client shows in its handshake messages, in each form that TLS has."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .connection import Connection

__all__ = [
    "CERTIFICATE",
    "COMPRESSED_CERTIFICATE",
    "FINISHED",
    "HandshakeMessages",
    "first_certificate",
]

# HandshakeType (RFC 8446, section 4; RFC 8879, section 7.2)
CERTIFICATE = 11
FINISHED = 20
COMPRESSED_CERTIFICATE = 25
HEADER = 4  # bytes: type and length

# RFC 8879, section 7.3
ZLIB, BROTLI, ZSTD = 1, 2, 3
# A message without a certificate has two lengths and a context, in OpenSSL one of 32 bytes. One
# with a certificate, or with a raw public key (RFC 7250), is longer.
EMPTY = 1 + 32 + 3


class HandshakeMessages:
    """Puts a client's handshake messages together, and records the certificate among them.

    What has come of a certificate counts, also if the rest of it never comes.

    Args:
        connection: the record.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._pending = bytearray()

    def feed(self, fragment: bytes, *, tls13: bool) -> list[bytes]:
        """Take the content of a handshake record; return the messages that are whole now."""
        self._pending += fragment
        messages = []
        while len(self._pending) >= HEADER:
            end = HEADER + int.from_bytes(self._pending[1:HEADER], "big")
            if len(self._pending) < end:
                break
            messages.append(bytes(self._pending[:end]))
            del self._pending[:end]
        for message in [*messages, bytes(self._pending)]:
            if certificate := first_certificate(message, tls13=tls13):
                self._connection.note(client_certificate=certificate)
        return messages


def first_certificate(message: bytes, *, tls13: bool) -> bytes:
    """The first certificate of a Certificate or CompressedCertificate message.

    Args:
        message: with its header, whole or the beginning of it.
        tls13: whether it is one of TLS 1.3 (RFC 8446, section 4.4.2), and not of an earlier version
            (RFC 5246, section 7.4.2).

    Returns:
        The certificate in DER, or what there is of it; the compressed bytes, if they cannot be
        decompressed here. Nothing where it is another message, or holds no certificate.
    """
    kind, body = message[:1], message[HEADER:]
    if kind == bytes([CERTIFICATE]):
        return _first_of_list(body, tls13=tls13)
    if kind == bytes([COMPRESSED_CERTIFICATE]):
        return _first_of_compressed(body)
    return b""


def _first_of_list(body: bytes, *, tls13: bool) -> bytes:
    start = 1 + body[0] if tls13 and body else 0  # certificate_request_context
    start += 3  # length of the list
    size = int.from_bytes(body[start : start + 3], "big")
    return body[start + 3 : start + 3 + size]


def _first_of_compressed(body: bytes) -> bytes:
    """RFC 8879, section 4: algorithm, length before compression, and the compressed message."""
    algorithm = int.from_bytes(body[:2], "big")
    length = int.from_bytes(body[2:5], "big")
    compressed = body[8:]
    if not compressed:
        return b""
    try:
        return _first_of_list(_decompressor(algorithm)(compressed), tls13=True)
    except Exception:  # noqa: BLE001 - of whatever library; what cannot be read was shown all the same
        return compressed if length > EMPTY else b""


def _decompressor(algorithm: int) -> Callable[[bytes], bytes]:
    """What decompresses also the beginning of a message.

    Raises:
        LookupError: there is no such algorithm here.
    """
    if algorithm == ZLIB:
        return zlib.decompressobj().decompress
    if algorithm == ZSTD and find_spec("compression") is not None:  # Python 3.14
        decompressor = import_module("compression.zstd").ZstdDecompressor()
        return decompressor.decompress  # type: ignore[no-any-return]
    if algorithm == BROTLI and find_spec("brotli") is not None:
        return import_module("brotli").Decompressor().process  # type: ignore[no-any-return]
    raise LookupError(algorithm)
