"""The secrets that OpenSSL writes into a key log, and what they decrypt."""

from __future__ import annotations

import os
import tempfile
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["KeyLog", "Undecryptable", "decryptor"]

CLIENT_HANDSHAKE = "CLIENT_HANDSHAKE_TRAFFIC_SECRET"
IV_LENGTH = 12  # of all AEADs of TLS 1.3


class KeyLog:
    """A file for `ssl.SSLContext.keylog_filename` (draft-ietf-tls-keylogfile).

    It lasts as long as this object.
    """

    path: str

    def __init__(self) -> None:
        descriptor, self.path = tempfile.mkstemp(prefix="keypin-lab-", suffix=".keys")
        os.close(descriptor)
        weakref.finalize(self, _remove, self.path, os.getpid())
        self._read = 0
        self._secrets: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def client_handshake_secret(self, client_random: bytes) -> bytes | None:
        """The secret that a client's part of a TLS 1.3 handshake is encrypted with, if it is known.

        It is told once, and then forgotten.

        Args:
            client_random: of its ClientHello.
        """
        with self._lock:
            self._read_on()
            return self._secrets.pop(client_random.hex(), None)

    def _read_on(self) -> None:
        with Path(self.path).open("rb") as file:
            file.seek(self._read)
            lines, newline, _ = file.read().rpartition(b"\n")
        self._read += len(lines) + len(newline)
        for line in lines.decode("ascii").splitlines():
            label, _, rest = line.partition(" ")
            if label == CLIENT_HANDSHAKE:
                random, _, secret = rest.partition(" ")
                self._secrets[random] = bytes.fromhex(secret)


def _remove(path: str, process: int) -> None:
    if os.getpid() != process:  # a fork, whose parent still needs it
        return
    with suppress(OSError):  # Windows: a context has it open
        Path(path).unlink()


class Undecryptable(Exception):
    """A record that was encrypted with another key."""


def decryptor(secret: bytes) -> Callable[[bytes, bytes], tuple[int, bytes]]:
    """What decrypts the records of TLS 1.3 under a traffic secret, one after the other.

    Args:
        secret: 32 or 48 bytes; the cipher suites with a hash of that length are tried.

    Returns:
        A function of a record's header and content, which returns its true ContentType and
        content (RFC 8446, section 5.2), or raises `Undecryptable`.
    """
    ciphers = list(_ciphers(secret))
    iv = _expand(secret, b"iv", IV_LENGTH)
    number = 0

    def decrypt(header: bytes, content: bytes) -> tuple[int, bytes]:
        nonlocal ciphers, number
        nonce = bytes(a ^ b for a, b in zip(iv, number.to_bytes(IV_LENGTH, "big"), strict=True))
        for cipher in ciphers:
            with suppress(InvalidTag, ValueError):
                inner = cipher.decrypt(nonce, content, header).rstrip(b"\0")
                ciphers, number = [cipher], number + 1
                return (inner[-1], inner[:-1]) if inner else (0, b"")
        raise Undecryptable

    return decrypt


def _ciphers(secret: bytes) -> Iterator[AESGCM | ChaCha20Poly1305 | AESCCM]:
    if len(secret) == SHA384.digest_size:
        yield AESGCM(_expand(secret, b"key", 32))
        return
    yield AESGCM(_expand(secret, b"key", 16))
    yield ChaCha20Poly1305(_expand(secret, b"key", 32))
    yield AESCCM(_expand(secret, b"key", 16))
    yield AESCCM(_expand(secret, b"key", 16), tag_length=8)


def _expand(secret: bytes, label: bytes, length: int) -> bytes:
    """HKDF-Expand-Label with an empty context (RFC 8446, section 7.1)."""
    label = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0"
    algorithm: HashAlgorithm = SHA384() if len(secret) == SHA384.digest_size else SHA256()
    return HKDFExpand(algorithm, length, info).derive(secret)
