"""Certificate authorities, and the credentials that they issue to servers and clients."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509

from ._der import pem
from .certificates import CertificateFields, Issuer, Profile, certify
from .keys import Key, KeyKind, new_key

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self, Unpack

    from ..pin import Pin

__all__ = ["Authority", "Credential", "CredentialFiles", "Key", "new_key", "self_signed"]


class CredentialFiles(NamedTuple):
    """Where a credential was written."""

    certificate: Path
    """the first certificate alone, in DER"""
    chain: Path
    """all that is sent, in PEM"""
    key: Path
    """the private key, unencrypted, in PEM"""


@dataclass(frozen=True, slots=True, eq=False)
class Credential:
    """Certificates to show, and a private key.

    Args:
        chain: the certificates sent, in DER, the holder's own first, by default without the root.
        key: what the holder signs with.
        profile: what the first certificate says; needed to renew it.
        issuer: who issued it; None where it signed itself.
    """

    chain: tuple[bytes, ...]
    key: Key
    profile: Profile = field(default_factory=Profile)
    issuer: Authority | None = None

    @property
    def certificate(self) -> bytes:
        """The first certificate of the chain, in DER."""
        return self.chain[0]

    @property
    def pin(self) -> Pin:
        """The pin of the first certificate."""
        from ..pin import Pin

        return Pin.from_certificate(self.certificate)

    @property
    def chain_pem(self) -> bytes:
        """The certificates sent, in PEM."""
        return b"".join(pem("CERTIFICATE", certificate) for certificate in self.chain)

    @property
    def key_pem(self) -> bytes:
        """The private key, unencrypted, in PEM."""
        return self.key.pem

    def with_chain(self, *certificates: bytes) -> Self:
        """Send these certificates instead, the holder's own first, whether they fit or not."""
        return replace(self, chain=certificates)

    def renew(
        self, issuer: Authority | None = None, **fields: Unpack[CertificateFields]
    ) -> Credential:
        """Certify the same key and names anew: another serial number, and dates that start now.

        Args:
            issuer: another authority than the one before.
            fields: what the new certificate shall say differently.
        """
        changes: CertificateFields = {"not_before": None, "not_after": None, **fields}
        return _issue(replace(self.profile, **changes), self.key, issuer or self.issuer)

    def as_authority(self) -> Authority:
        """Issue with this credential, whether it is a CA's or not."""
        return Authority.from_credential(self)

    def write(self, folder: Path) -> CredentialFiles:
        """Write certificate.cer, chain.pem and key.pem into a folder, which is made if missing."""
        folder.mkdir(parents=True, exist_ok=True)
        files = CredentialFiles(
            folder / "certificate.cer", folder / "chain.pem", folder / "key.pem"
        )
        files.certificate.write_bytes(self.certificate)
        files.chain.write_bytes(self.chain_pem)
        files.key.touch(mode=0o600)
        files.key.write_bytes(self.key_pem)
        return files


class Authority:
    """A certificate authority: by construction a root, see `intermediate` for the others.

    It issues whatever it is asked for, so every fault that a certificate can have can be had here.

    Args:
        name: the common name.
        key: a kind of key to make, or a key.
        fields: what else its certificate shall say.

    >>> root = Authority("example root")
    >>> leaf = root.intermediate("example issuing CA").issue("www.example.com", "127.0.0.1")
    >>> len(leaf.chain)
    2
    """

    credential: Credential
    """the authority's own certificate and key"""
    chain: tuple[bytes, ...]
    """what its holders send behind their own certificate: this one up to, without, the root"""

    def __init__(
        self,
        name: str = "keypin lab root",
        *,
        key: KeyKind | Key = "p-256",
        **fields: Unpack[CertificateFields],
    ) -> None:
        said: CertificateFields = {"common_name": name, "ca": True, **fields}
        self.credential = self_signed(key=key, **said)
        self.chain = ()

    @classmethod
    def from_credential(cls, credential: Credential) -> Self:
        """Issue with a credential, whose whole chain is then sent along."""
        authority = cls.__new__(cls)
        authority.credential = credential
        authority.chain = credential.chain
        return authority

    @property
    def certificate(self) -> bytes:
        """The authority's certificate in DER."""
        return self.credential.certificate

    @property
    def pem(self) -> str:
        """The authority's certificate in PEM: text, as `ssl` takes it for `cadata`."""
        return pem("CERTIFICATE", self.certificate).decode("ascii")

    @property
    def key(self) -> Key:
        """The authority's key."""
        return self.credential.key

    @property
    def pin(self) -> Pin:
        """The pin of the authority's certificate."""
        return self.credential.pin

    def issue(
        self, *names: str, key: KeyKind | Key = "p-256", **fields: Unpack[CertificateFields]
    ) -> Credential:
        """Issue a certificate, for a server unless `fields` say otherwise.

        Args:
            names: DNS names, also with wildcards and other oddities, and IP addresses;
                "DNS:127.0.0.1" is an address written as a DNS name. Without any there is no
                subjectAltName.
            key: a kind of key to make, or a key.
            fields: what else the certificate shall say.
        """
        return _issue(Profile(names, **fields), _key(key), self)

    def intermediate(
        self,
        name: str,
        *,
        key: KeyKind | Key = "p-256",
        **fields: Unpack[CertificateFields],
    ) -> Authority:
        """Set up an authority below this one.

        Args:
            name: its common name; another authority may have the same.
            key: a kind of key to make, or a key.
            fields: what else its certificate shall say; `path_length` is 0 unless given, so that
                no authority may stand below it.
        """
        usual: CertificateFields = {"common_name": name, "ca": True, "path_length": 0}
        said: CertificateFields = {**usual, **fields}
        return self.issue(key=key, **said).as_authority()

    def cross_sign(self, other: Authority, **fields: Unpack[CertificateFields]) -> Authority:
        """Certify another authority's name and key: the same authority on an alternate path.

        Args:
            other: a root or an intermediate.
            fields: what the new certificate shall say differently from the one `other` has.
        """
        return other.credential.renew(self, **fields).as_authority()


def self_signed(
    *names: str, key: KeyKind | Key = "p-256", **fields: Unpack[CertificateFields]
) -> Credential:
    """Make a certificate that is its own issuer; the arguments are those of `Authority.issue`."""
    return _issue(Profile(names, **fields), _key(key), None)


def _key(key: KeyKind | Key) -> Key:
    return key if isinstance(key, Key) else new_key(key)


def _issue(profile: Profile, key: Key, authority: Authority | None) -> Credential:
    if authority is None:
        return Credential((certify(profile, key),), key, profile)
    certificate = certify(profile, key, _signer(authority.credential))
    return Credential((certificate, *authority.chain), key, profile, authority)


def _signer(credential: Credential) -> Issuer:
    certificate = x509.load_der_x509_certificate(credential.certificate)
    if certificate.version is x509.Version.v1:
        identifier = x509.SubjectKeyIdentifier.from_public_key(certificate.public_key())
    else:
        kind = x509.SubjectKeyIdentifier
        identifier = certificate.extensions.get_extension_for_class(kind).value
    return Issuer(certificate.subject, credential.key, identifier.digest)
