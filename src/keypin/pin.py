"""Pin: the SHA-256 of a public key, from a certificate, a public key or its text."""

from __future__ import annotations

import binascii
import hashlib
from functools import lru_cache, total_ordering
from typing import TYPE_CHECKING

from ._internal.der import DerError, read_certificate, read_public_key
from ._internal.immutable import Immutable
from ._internal.text import shown
from .errors import CertificateFormatError, PinFormatError

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Pin"]

DIGEST_SIZE = 32
TEXT_FORMS = 'sha256/BASE64, sha256//BASE64 (curl) or pin-sha256="BASE64" (RFC 7469)'


@total_ordering
class Pin(Immutable):
    """SHA-256 of a certificate's SubjectPublicKeyInfo (RFC 7469, section 2.4).

    Immutable, hashable, ordered and equal by digest.

    Args:
        text: `sha256/BASE64`, `sha256//BASE64` (curl) or `pin-sha256="BASE64"` (RFC 7469), where
            BASE64 is the standard alphabet with padding, 32 bytes decoded.

    Raises:
        PinFormatError: anything else; SHA-1, MD5 and SHA-512 pins too.

    >>> Pin("sha256//k3XnEYQCK79AtL9GYnT/nyhsabas03V+bhRQYHQbpXU=")
    Pin('sha256/k3XnEYQCK79AtL9GYnT/nyhsabas03V+bhRQYHQbpXU=')
    """

    __slots__ = ("digest",)

    digest: bytes
    """the 32 bytes"""

    def __init__(self, text: str) -> None:
        self._set(digest=_digest(text))

    @classmethod
    def from_digest(cls, digest: bytes) -> Self:
        """Take the 32 bytes of a SHA-256 as they are.

        Raises:
            PinFormatError: not 32 bytes.
        """
        if not isinstance(digest, bytes):
            raise PinFormatError(f"a digest is bytes, not {shown(digest)}")
        if len(digest) != DIGEST_SIZE:
            raise PinFormatError(f"a SHA-256 digest has {DIGEST_SIZE} bytes, not {shown(digest)}")
        pin = cls.__new__(cls)
        object.__setattr__(pin, "digest", digest)
        return pin

    @classmethod
    def from_certificate(cls, der: bytes) -> Self:
        """Pin the public key of an X.509 certificate in DER; its raw SPKI bytes are hashed.

        Raises:
            CertificateFormatError: not exactly one certificate in DER.
        """
        try:
            public_key = read_certificate(der).public_key
        except DerError as error:
            raise CertificateFormatError(f"not an X.509 certificate in DER: {error}") from None
        return cls.from_digest(hashlib.sha256(public_key).digest())

    @classmethod
    def from_public_key(cls, spki_der: bytes) -> Self:
        """Pin a public key given as SubjectPublicKeyInfo in DER (RFC 5280, section 4.1.2.7).

        Raises:
            PinFormatError: not exactly one SubjectPublicKeyInfo.
        """
        try:
            public_key = read_public_key(spki_der)
        except DerError as error:
            raise PinFormatError(f"not a SubjectPublicKeyInfo in DER: {error}") from None
        return cls.from_digest(hashlib.sha256(public_key).digest())

    def __eq__(self, other: object) -> bool:
        return self.digest == other.digest if isinstance(other, Pin) else NotImplemented

    def __lt__(self, other: object) -> bool:
        return self.digest < other.digest if isinstance(other, Pin) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.digest)

    def __str__(self) -> str:
        return "sha256/" + _base64(self.digest)

    def __repr__(self) -> str:
        return f"Pin({str(self)!r})"


def _digest(text: str) -> bytes:
    encoded = _base64_part(text)
    try:
        digest = binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError:
        raise PinFormatError(f"not base64: {shown(text)}") from None
    if len(digest) != DIGEST_SIZE:
        raise PinFormatError(
            f"a SHA-256 pin has {DIGEST_SIZE} bytes, this one {len(digest)}: {shown(text)}"
        )
    if _base64(digest) != encoded:
        raise PinFormatError(f"stray bits at the end of the base64: {shown(text)}")
    return digest


def _base64(digest: bytes) -> str:
    return binascii.b2a_base64(digest, newline=False).decode("ascii")


def _base64_part(text: str) -> str:
    if isinstance(text, str):
        for start, end in (("sha256//", ""), ("sha256/", ""), ('pin-sha256="', '"')):
            if text.startswith(start) and text.endswith(end):
                encoded = text[len(start) : len(text) - len(end)]
                # base64 may itself begin with "/": only the length tells it from curl's form
                if len(encoded) == 43 and start == "sha256//":
                    continue
                return encoded
    raise PinFormatError(f"not a pin: {shown(text)}; a pin is written {TEXT_FORMS}")


@lru_cache(maxsize=1024)
def pin_of(certificate: bytes) -> Pin:
    """`Pin.from_certificate`, remembered: the same few certificates come with every connection."""
    return Pin.from_certificate(certificate)
