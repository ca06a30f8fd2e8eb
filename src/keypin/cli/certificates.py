"""What a certificate says, as far as it can be read.

A field that cannot be read is left out, and never an error: the bytes come from strangers. The pin
and the names of subject and issuer are keypin's own reading, the rest is cryptography's.
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from .._internal.der import DerError, name_text, read_certificate
from ..pin import Pin
from .output import printable

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AlternativeName", "PublicKey", "Summary", "summarise"]

T = TypeVar("T")

# RFC 3279, 4055, 5480, 8410 and 9881
KEY_ALGORITHMS = {
    "1.2.840.113549.1.1.1": "RSA",
    "1.2.840.113549.1.1.10": "RSA-PSS",
    "1.2.840.10040.4.1": "DSA",
    "1.2.840.10045.2.1": "EC",
    "1.3.101.112": "Ed25519",
    "1.3.101.113": "Ed448",
    "2.16.840.1.101.3.4.3.17": "ML-DSA-44",
    "2.16.840.1.101.3.4.3.18": "ML-DSA-65",
    "2.16.840.1.101.3.4.3.19": "ML-DSA-87",
}
CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
NAME_KINDS: dict[type[x509.GeneralName], str] = {
    x509.DNSName: "DNS",
    x509.IPAddress: "IP",
    x509.UniformResourceIdentifier: "URI",
    x509.RFC822Name: "email",
}

# what cryptography raises over certificates that it does not like
UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


class PublicKey(NamedTuple):
    """What kind of key a certificate is for."""

    algorithm: str
    """ "RSA", "RSA-PSS", "EC", "Ed25519"; the object identifier where there is no name here"""
    bits: int | None = None
    curve: str | None = None
    """of an EC key: "P-256", or what others call it"""

    def __str__(self) -> str:
        if self.curve is not None:
            return f"{self.algorithm} {self.curve}"
        return self.algorithm if self.bits is None else f"{self.algorithm}, {self.bits} bits"


class AlternativeName(NamedTuple):
    """One entry of subjectAltName."""

    kind: str
    """ "DNS", "IP", "URI", "email" or "other" """
    value: str

    def __str__(self) -> str:
        return self.value if self.kind in {"DNS", "IP"} else f"{self.kind}:{self.value}"


@dataclass(frozen=True, slots=True)
class Summary:
    """What a certificate says; None where it cannot be read."""

    sha256: str
    """of the whole certificate, in hex"""
    pin: Pin | None = None
    subject: str = "(unreadable certificate)"
    issuer: str = "(unreadable certificate)"
    self_signed: bool = False
    """subject and issuer are the same"""
    key: PublicKey | None = None
    names: tuple[AlternativeName, ...] = ()
    not_before: datetime | None = None
    not_after: datetime | None = None
    is_ca: bool | None = None
    serial_number: int | None = None

    def days_left(self, now: datetime) -> int | None:
        """Whole days until it expires; negative once it has."""
        return None if self.not_after is None else (self.not_after - now).days


def summarise(der: bytes) -> Summary:
    """Say of a certificate what can be said."""
    sha256 = hashlib.sha256(der).hexdigest()
    try:
        fields = read_certificate(der)
    except DerError:
        return Summary(sha256)
    summary = Summary(
        sha256,
        Pin.from_certificate(der),
        _name(fields.subject) or "(no subject)",
        _name(fields.issuer) or "(no issuer)",
        fields.subject == fields.issuer,
        _public_key(fields.public_key),
    )
    # cryptography warns of certificates that a later version of it will refuse
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parsed = _try(lambda: x509.load_der_x509_certificate(der))
        return summary if parsed is None else _with_the_rest(summary, parsed)


def _with_the_rest(summary: Summary, parsed: x509.Certificate) -> Summary:
    return replace(
        summary,
        names=_try(lambda: _names(parsed)) or (),
        not_before=_try(lambda: parsed.not_valid_before_utc),
        not_after=_try(lambda: parsed.not_valid_after_utc),
        is_ca=_try(lambda: _is_ca(parsed)),
        serial_number=_try(lambda: parsed.serial_number),
    )


def _try(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except UNREADABLE:
        return None


def _name(name: bytes) -> str:
    try:
        return name_text(name)
    except DerError:
        return "(unreadable name)"


def _names(parsed: x509.Certificate) -> tuple[AlternativeName, ...]:
    extension = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return tuple(
        AlternativeName(NAME_KINDS.get(type(name), "other"), _name_value(name))
        for name in extension.value
    )


def _name_value(name: x509.GeneralName) -> str:
    if isinstance(name, x509.DirectoryName):
        return printable(name.value.rfc4514_string())
    if isinstance(name, x509.RegisteredID):
        return name.value.dotted_string
    return name.value.hex() if isinstance(name, x509.OtherName) else printable(str(name.value))


def _is_ca(parsed: x509.Certificate) -> bool:
    try:
        return parsed.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _public_key(spki: bytes) -> PublicKey:
    identifier = _algorithm_identifier(spki)
    algorithm = KEY_ALGORITHMS.get(identifier, identifier)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        key = _try(lambda: load_der_public_key(spki))
    bits = getattr(key, "key_size", None)
    if isinstance(key, ec.EllipticCurvePublicKey):
        return PublicKey(algorithm, bits, CURVES.get(key.curve.name, key.curve.name))
    return PublicKey(algorithm, bits)


def _algorithm_identifier(spki: bytes) -> str:
    """The object identifier of a key's algorithm (RFC 5280, section 4.1.2.7), with dots.

    cryptography cannot be asked: it reads an id-RSASSA-PSS key as any RSA key, and some not at all.
    """
    start = _content_start(spki, _content_start(spki, 0))
    content = spki[start + 2 : start + 2 + spki[start + 1]]
    # X.690, clause 8.19: base 128, and the first two arcs share a number
    numbers = [0]
    for octet in content:
        numbers[-1] = numbers[-1] << 7 | octet & 0x7F
        if octet < 0x80:
            numbers.append(0)
    first = min(numbers[0] // 40, 2)
    arcs = [first, numbers[0] - 40 * first, *numbers[1:-1]]
    return ".".join(map(str, arcs))


def _content_start(der: bytes, start: int) -> int:
    return start + 2 + (der[start + 1] & 0x7F if der[start + 1] >= 0x80 else 0)
