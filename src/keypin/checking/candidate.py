"""What a server may come to show: a certificate chain, an authority, or a key without either."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

from .._internal.der import OBJECT_IDENTIFIER, SEQUENCE, _content
from ..errors import CertificateFormatError
from ..pin import Pin, pin_of
from .paths import UNREADABLE, is_authority, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

__all__ = ["Candidate", "Kind", "OtherFormat", "certificate_for", "names_of", "public_half"]

SEVERAL_SPELLINGS = (
    "a key that certificates may spell in several ways, such as RSA-PSS, and each has a pin of its"
    " own: rehearse the certificate when it is issued"
)
ID_RSASSA_PSS = bytes.fromhex("06092a864886f70d01010a")  # RFC 4055, section 3.1


class OtherFormat(CertificateFormatError):
    """The bytes are something else than what was asked for."""


class Kind(StrEnum):
    """What a candidate is, and so what it leaves open."""

    CHAIN = "certificate chain"
    AUTHORITY = "certificate authority"
    """the server's own certificate is not there"""
    KEY = "key"
    """only the server's own key is there"""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a server may come to show.

    Made by `from_certificates`, `from_request`, `from_private_key` or `from_public_key`.
    """

    kind: Kind
    certificates: tuple[bytes, ...]
    """in DER, as sent; of a key, one that has it"""
    names: tuple[str, ...]
    """DNS names and IP addresses that it is for; () of an authority and of a bare key"""

    @classmethod
    def from_certificates(cls, certificates: Sequence[bytes]) -> Candidate:
        """A server's chain, or a certificate authority and what is sent with it.

        Args:
            certificates: in DER, in the order in which they are sent.

        Raises:
            CertificateFormatError: one cannot be read, or they are in no order to be sent in.
        """
        chain = tuple(certificates)
        try:
            names = names_of(parse(chain[0]))
        except UNREADABLE as error:
            raise CertificateFormatError(f"an unreadable certificate: {error}") from None
        # one that signed itself may have the CA flag, and be a server's all the same
        if names or not is_authority(chain[0]):
            return cls(Kind.CHAIN, chain, names)
        if not all(map(is_authority, chain)):
            raise CertificateFormatError(
                "a CA's certificate comes first; a server sends its own before its CA's"
            )
        return cls(Kind.AUTHORITY, chain, ())

    @classmethod
    def from_public_key(cls, spki: bytes, names: Iterable[str] = ()) -> Candidate:
        """A key that has no certificate yet.

        Args:
            spki: SubjectPublicKeyInfo in DER.
            names: what a certificate is requested for.

        Raises:
            PinFormatError: not exactly one SubjectPublicKeyInfo.
            CertificateFormatError: a key that certificates are not made for, or one that may be
                written in another way in a certificate, which would have another pin then.
        """
        pin = Pin.from_public_key(spki)
        try:
            stand_in = certificate_for(spki)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise CertificateFormatError(f"not a key that servers have: {error}") from None
        if pin_of(stand_in) != pin:
            raise CertificateFormatError(SEVERAL_SPELLINGS)
        return cls(Kind.KEY, (stand_in,), tuple(names))

    @classmethod
    def from_request(cls, der: bytes) -> Candidate:
        """The key of a certificate request (PKCS #10, RFC 2986), and the names asked for.

        Raises:
            OtherFormat: it is something else.
            CertificateFormatError: it is not signed with its own key; or as for `from_public_key`.
        """
        try:
            request = x509.load_der_x509_csr(der)
            spki = _public(request.public_key())
            is_signed = request.is_signature_valid
            names = names_of(request)
        except UNREADABLE as error:
            raise OtherFormat(f"not a certificate request: {error}") from None
        if not is_signed:
            raise CertificateFormatError("a certificate request not signed with its own key")
        if spki not in request.tbs_certrequest_bytes:
            raise CertificateFormatError(SEVERAL_SPELLINGS)
        return cls.from_public_key(spki, names)

    @classmethod
    def from_private_key(cls, der: bytes) -> Candidate:
        """The public half of a private key: PKCS #8, PKCS #1 or SEC 1, unencrypted.

        Raises:
            OtherFormat: it is something else.
            CertificateFormatError: it is encrypted; or as for `from_public_key`.
        """
        try:
            key = load_der_private_key(der, password=None)
        except TypeError:
            raise CertificateFormatError(
                "an encrypted private key: its certificate request, or its public key, will do"
            ) from None
        except (ValueError, UnsupportedAlgorithm) as error:
            raise OtherFormat(f"not a private key: {error}") from None
        return cls.from_public_key(public_half(key, der))


def public_half(key: PrivateKeyTypes, der: bytes) -> bytes:
    """The public half of a private key as certificates carry it: SubjectPublicKeyInfo in DER.

    cryptography forgets that a key said of itself to be RSA-PSS, or how it told its curve; and
    another encoding is another pin.

    Args:
        key: the key.
        der: what it was read from.

    Raises:
        CertificateFormatError: a key that certificates may spell in several ways.
    """
    spki = _public(key.public_key())
    is_unusual = ID_RSASSA_PSS in der
    if isinstance(key, ec.EllipticCurvePrivateKey):
        is_unusual = _curve(spki) not in der
    if is_unusual:
        raise CertificateFormatError(SEVERAL_SPELLINGS)
    return spki


def _curve(spki: bytes) -> bytes:
    """The parameters in a key's AlgorithmIdentifier (RFC 5480, section 2.1): a curve's name."""
    start, end = _content(spki, 0, len(spki), SEQUENCE, "subjectPublicKeyInfo")
    start, end = _content(spki, start, end, SEQUENCE, "algorithm")
    _, start = _content(spki, start, end, OBJECT_IDENTIFIER, "algorithm identifier")
    return spki[start:end]


def _public(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def names_of(certified: x509.Certificate | x509.CertificateSigningRequest) -> tuple[str, ...]:
    """The hosts that it names in subjectAltName, addresses last."""
    try:
        names = certified.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return (*names.get_values_for_type(x509.DNSName), *addresses)


def certificate_for(spki: bytes | None = None) -> bytes:
    """A certificate of this key, or of one that nobody has; its signature means nothing.

    Raises:
        ValueError, TypeError, UnsupportedAlgorithm: not a key for certificates.
    """
    signer = ec.generate_private_key(ec.SECP256R1())
    key: Any = signer.public_key() if spki is None else load_der_public_key(spki)
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        issuer_name=x509.Name([]),
        subject_name=x509.Name([]),
        public_key=key,
        serial_number=x509.random_serial_number(),
        not_valid_before=now,
        not_valid_after=now + timedelta(days=1),
    )
    return builder.sign(signer, SHA256()).public_bytes(Encoding.DER)
