"""What a check asks of a certificate: its pin, its dates, what type of key it is for."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa

from ..errors import CertificateFormatError
from ..pin import Pin

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

__all__ = ["CertificateInfo", "KeyType", "facts_of", "pins_of"]

KeyType = Literal["RSA", "ECDSA"]
"""as TLS 1.2 names its cipher suites; that of EdDSA keys is ECDSA (RFC 8422, section 2.2)"""


class CertificateInfo(NamedTuple):
    """What a certificate says; None where it cannot be read."""

    not_before: datetime | None = None
    not_after: datetime | None = None
    key: KeyType | None = None


@lru_cache(maxsize=4096)  # servers share the certificates of their authorities
def facts_of(der: bytes) -> CertificateInfo:
    """Read a certificate, which may be anybody's."""
    with warnings.catch_warnings():
        # cryptography warns of certificates that a later version of it will refuse
        warnings.simplefilter("ignore")
        try:
            parsed = x509.load_der_x509_certificate(der)
            key = parsed.public_key()
        except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion):
            return CertificateInfo()
    return CertificateInfo(
        parsed.not_valid_before_utc,
        parsed.not_valid_after_utc,
        "RSA" if isinstance(key, rsa.RSAPublicKey) else "ECDSA",
    )


def pins_of(certificates: Iterable[bytes]) -> Iterator[Pin | None]:
    """The pin of each certificate; None for one that is not strict DER, which no pin can match."""
    for der in certificates:
        try:
            yield Pin.from_certificate(der)
        except CertificateFormatError:
            yield None
