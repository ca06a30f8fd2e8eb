"""Certificates that say whatever they are told to, true or not."""

from __future__ import annotations

import ipaddress
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple, TypedDict

from cryptography import x509
from cryptography.hazmat.primitives.hashes import MD5, SHA1
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ._der import bit_string, content, elements, explicit, sequence
from .keys import new_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .keys import Key

__all__ = [
    "CertificateFields",
    "ExtendedKeyUsage",
    "Issuer",
    "KeyUsage",
    "NameConstraints",
    "Profile",
    "WeakHash",
    "certify",
    "general_name",
]

KeyUsage = Literal[
    "digitalSignature",
    "nonRepudiation",
    "keyEncipherment",
    "dataEncipherment",
    "keyAgreement",
    "keyCertSign",
    "cRLSign",
]
ExtendedKeyUsage = Literal["serverAuth", "clientAuth", "codeSigning", "anyExtendedKeyUsage"]

EXTENDED_KEY_USAGES: dict[ExtendedKeyUsage, x509.ObjectIdentifier] = {
    "serverAuth": ExtendedKeyUsageOID.SERVER_AUTH,
    "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "codeSigning": ExtendedKeyUsageOID.CODE_SIGNING,
    "anyExtendedKeyUsage": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
}

# A certificate is good from an hour ago, so that a clock that was set back does not break a test.
BACKDATED = timedelta(hours=1)
CA_LIFETIME = timedelta(days=3650)
LEAF_LIFETIME = timedelta(days=90)

WeakHash = Literal["sha1", "md5"]

# AlgorithmIdentifiers by hash and kind of the signing key (RFC 3279, section 2.2)
WEAK_ALGORITHMS: dict[tuple[WeakHash, str], bytes] = {
    ("sha1", "rsa-2048"): bytes.fromhex("300d06092a864886f70d0101050500"),
    ("md5", "rsa-2048"): bytes.fromhex("300d06092a864886f70d0101040500"),
    ("sha1", "p-256"): bytes.fromhex("300906072a8648ce3d0401"),
    ("sha1", "p-384"): bytes.fromhex("300906072a8648ce3d0401"),
}

DNS_PREFIX = "DNS:"
COMMON_NAME_LIMIT = 64  # RFC 5280, appendix A.1: ub-common-name


@dataclass(frozen=True, slots=True)
class NameConstraints:
    """The names that an authority may issue for (RFC 5280, section 4.2.1.10).

    Args:
        permitted: DNS names, which include all below them, and IP networks ("10.0.0.0/8").
        excluded: the same; these win.
    """

    permitted: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()


class CertificateFields(TypedDict, total=False):
    """The fields that can be set on any certificate; those left out get what is usual."""

    common_name: str
    """an empty one leaves the subject empty; otherwise the first of the names that can be one"""
    further_subject: Sequence[tuple[x509.ObjectIdentifier, str]]
    """attributes of the subject, of any length, behind the common name"""
    not_before: datetime | None
    not_after: datetime | None
    ca: bool
    path_length: int | None
    key_usage: Sequence[KeyUsage]
    """() leaves the extension out"""
    extended_key_usage: Sequence[ExtendedKeyUsage]
    """() leaves the extension out"""
    name_constraints: NameConstraints | None
    subject_key_identifier: bytes
    """for one who imitates another key's certificate"""
    further_extensions: Sequence[tuple[x509.ExtensionType, bool]]
    """each with its criticality; they come last, also where there is one of the kind already"""
    version_1: bool
    """a certificate of X.509 version 1, which has no extension at all"""
    signature_hash: WeakHash
    """sign with this instead of what is usual for the issuer's key"""


@dataclass(frozen=True, slots=True)
class Profile:
    """What a certificate says, apart from its key, its issuer and its serial number."""

    names: tuple[str, ...] = ()
    common_name: str | None = None
    further_subject: Sequence[tuple[x509.ObjectIdentifier, str]] = ()
    not_before: datetime | None = None
    not_after: datetime | None = None
    ca: bool = False
    path_length: int | None = None
    key_usage: Sequence[KeyUsage] | None = None
    extended_key_usage: Sequence[ExtendedKeyUsage] | None = None
    name_constraints: NameConstraints | None = None
    subject_key_identifier: bytes | None = None
    further_extensions: Sequence[tuple[x509.ExtensionType, bool]] = ()
    version_1: bool = False
    signature_hash: WeakHash | None = None

    @property
    def subject(self) -> x509.Name:
        """The subject: a common name or nothing, and whatever else it shall have."""
        name = self.common_name
        if name is None:
            names = (name.removeprefix(DNS_PREFIX) for name in self.names)
            name = next((name for name in names if len(name) <= COMMON_NAME_LIMIT), "")
        common = [(NameOID.COMMON_NAME, name)] if name else []
        attributes = [*common, *self.further_subject]
        return x509.Name([_attribute(kind, text) for kind, text in attributes])

    @property
    def validity(self) -> tuple[datetime, datetime]:
        """The two dates; one that is not given lies a usual lifetime away from the other."""
        lifetime = CA_LIFETIME if self.ca else LEAF_LIFETIME
        begin = datetime.now(UTC) - BACKDATED
        if self.not_before is not None:
            begin = self.not_before
        elif self.not_after is not None:
            begin = min(begin, self.not_after - lifetime)
        return begin, self.not_after or begin + lifetime


class Issuer(NamedTuple):
    """Who signs a certificate."""

    subject: x509.Name
    key: Key
    key_identifier: bytes


def certify(profile: Profile, key: Key, issuer: Issuer | None = None) -> bytes:
    """Issue a certificate with a new serial number for a key; without an issuer it signs itself.

    Nothing is checked: a false statement is as good as a true one here.

    Returns:
        The certificate in DER.
    """
    own_identifier = _key_identifier(profile, key)
    issuer = issuer or Issuer(profile.subject, key, own_identifier.digest)
    builder = _builder(profile, key, issuer.subject)
    for extension, critical in _extensions(profile, key):
        builder = builder.add_extension(extension, critical)
    builder = builder.add_extension(own_identifier, critical=False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier(issuer.key_identifier, None, None), critical=False
    )
    certificate = builder.sign(
        issuer.key.private, issuer.key.signature_hash, rsa_padding=issuer.key.signature_padding
    )
    return _rewritten(certificate.public_bytes(Encoding.DER), profile, key, issuer.key)


def _attribute(kind: x509.ObjectIdentifier, text: str) -> x509.NameAttribute[str]:
    with warnings.catch_warnings():
        # of texts longer than their attribute allows, which are what is asked for
        warnings.simplefilter("ignore", UserWarning)
        return x509.NameAttribute(kind, text, _validate=False)


def _builder(profile: Profile, key: Key, issuer: x509.Name) -> x509.CertificateBuilder:
    not_before, not_after = profile.validity
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=profile.subject,
        public_key=key.private.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=not_before,
        not_valid_after=not_after,
    )


def _extensions(profile: Profile, key: Key) -> Iterator[tuple[x509.ExtensionType, bool]]:
    """Yield the extensions that the profile decides, each with its criticality."""
    yield x509.BasicConstraints(ca=profile.ca, path_length=profile.path_length), True
    if usages := _key_usages(profile, key):
        yield _key_usage_extension(usages), True
    if purposes := _purposes(profile):
        yield x509.ExtendedKeyUsage([EXTENDED_KEY_USAGES[name] for name in purposes]), False
    if profile.names:
        # RFC 5280, section 4.2.1.6: critical where the subject is empty
        names = map(general_name, profile.names)
        yield x509.SubjectAlternativeName(names), not profile.subject.rdns
    if constraints := profile.name_constraints:
        permitted = [_constrained_name(name) for name in constraints.permitted]
        excluded = [_constrained_name(name) for name in constraints.excluded]
        yield x509.NameConstraints(permitted or None, excluded or None), True


def _key_usages(profile: Profile, key: Key) -> Sequence[KeyUsage]:
    if profile.key_usage is not None:
        return profile.key_usage
    if profile.ca:
        return ("keyCertSign", "cRLSign")
    if key.kind == "rsa-2048":
        # the RSA key exchange of TLS 1.2
        return ("digitalSignature", "keyEncipherment")
    return ("digitalSignature",)


def _key_usage_extension(usages: Sequence[KeyUsage]) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature="digitalSignature" in usages,
        content_commitment="nonRepudiation" in usages,
        key_encipherment="keyEncipherment" in usages,
        data_encipherment="dataEncipherment" in usages,
        key_agreement="keyAgreement" in usages,
        key_cert_sign="keyCertSign" in usages,
        crl_sign="cRLSign" in usages,
        encipher_only=False,
        decipher_only=False,
    )


def _purposes(profile: Profile) -> Sequence[ExtendedKeyUsage]:
    if profile.extended_key_usage is not None:
        return profile.extended_key_usage
    return () if profile.ca else ("serverAuth",)


def general_name(name: str) -> x509.GeneralName:
    """A host as it stands in a certificate: an IP address, or a DNS name."""
    if name.startswith(DNS_PREFIX):
        return x509.DNSName(name.removeprefix(DNS_PREFIX))
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _constrained_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_network(name))
    except ValueError:
        return x509.DNSName(name)


def _key_identifier(profile: Profile, key: Key) -> x509.SubjectKeyIdentifier:
    if profile.subject_key_identifier is not None:
        return x509.SubjectKeyIdentifier(profile.subject_key_identifier)
    return x509.SubjectKeyIdentifier.from_public_key(key.private.public_key())


def _rewritten(der: bytes, profile: Profile, key: Key, issuer_key: Key) -> bytes:
    """Say also what cryptography cannot be told to say; sign again if that changes anything."""
    old_tbs, algorithm, _ = elements(der)
    version, serial, _, issuer, validity, subject, _, extensions = elements(old_tbs)
    digest = None
    if (weak := profile.signature_hash) is not None:
        algorithm = _weak_algorithm(weak, issuer_key)
        digest = SHA1() if weak == "sha1" else MD5()  # noqa: S303 - what a client must refuse
    if profile.further_extensions:
        (listed,) = elements(extensions)
        further = _encoded(profile.further_extensions)
        extensions = explicit(3, sequence(content(listed) + further))
    if profile.version_1:
        version = extensions = b""
    # the key as it encodes itself
    fields = (version, serial, algorithm, issuer, validity, subject, key.spki, extensions)
    tbs = sequence(b"".join(fields))
    if tbs == old_tbs:
        return der
    return sequence(tbs + algorithm + bit_string(issuer_key.sign(tbs, digest)))


def _weak_algorithm(weak: WeakHash, issuer_key: Key) -> bytes:
    try:
        return WEAK_ALGORITHMS[weak, issuer_key.kind]
    except KeyError:
        raise ValueError(f"a {issuer_key.kind} key makes no signature with {weak}") from None


def _encoded(extensions: Sequence[tuple[x509.ExtensionType, bool]]) -> bytes:
    """Extensions in DER, without the SEQUENCE around them: cut out of another certificate."""
    profile, key = Profile(), new_key()
    builder = _builder(profile, key, profile.subject)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    certificate = builder.sign(key.private, key.signature_hash)
    (listed,) = elements(elements(certificate.tbs_certificate_bytes)[-1])
    return content(listed)
