"""Key pairs of every kind that a server may hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from ._der import RSA_ENCRYPTION, RSASSA_PSS, pem, substitute

__all__ = ["KEY_KINDS", "Key", "KeyKind", "PrivateKey", "new_key"]

KeyKind = Literal["rsa-2048", "rsa-pss", "p-256", "p-384", "ed25519"]
KEY_KINDS: tuple[KeyKind, ...] = get_args(KeyKind)

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True, slots=True, eq=False)
class Key:
    """A private key, its kind, and both halves in the bytes that TLS and X.509 carry.

    "rsa-pss" is an RSA key that names itself id-RSASSA-PSS (RFC 4055, section 1.2) and so signs
    with that padding only; `private` does not know the difference, these properties do.
    """

    kind: KeyKind
    private: PrivateKey

    @property
    def spki(self) -> bytes:
        """The SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7) in DER: what a pin is made of."""
        encoded = self.private.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        return self._with_own_algorithm(encoded)

    @property
    def pem(self) -> bytes:
        """The private key, unencrypted, as PKCS #8 (RFC 5958) in PEM."""
        encoded = self.private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return pem("PRIVATE KEY", self._with_own_algorithm(encoded))

    @property
    def signature_hash(self) -> SHA256 | SHA384 | None:
        """What certificates signed with this key are hashed with; None for Ed25519."""
        return {"p-384": SHA384(), "ed25519": None}.get(self.kind, SHA256())

    @property
    def signature_padding(self) -> padding.PSS | None:
        """The padding that certificates signed with this key need, if it is not the usual one."""
        if self.kind != "rsa-pss":
            return None
        return padding.PSS(padding.MGF1(SHA256()), SHA256.digest_size)

    def sign(self, data: bytes, digest: HashAlgorithm | None = None) -> bytes:
        """Sign in the way that certificates are signed, or with another hash."""
        private = self.private
        if isinstance(private, ed25519.Ed25519PrivateKey):
            return private.sign(data)
        digest = digest or self.signature_hash or SHA256()
        if isinstance(private, ec.EllipticCurvePrivateKey):
            return private.sign(data, ec.ECDSA(digest))
        return private.sign(data, self.signature_padding or padding.PKCS1v15(), digest)

    def _with_own_algorithm(self, encoded: bytes) -> bytes:
        # cryptography writes every RSA key, also one it read as id-RSASSA-PSS, as rsaEncryption.
        if self.kind != "rsa-pss":
            return encoded
        return substitute(encoded, RSA_ENCRYPTION, RSASSA_PSS)


def new_key(kind: KeyKind = "p-256") -> Key:
    """Make a key pair.

    Raises:
        ValueError: not one of `KEY_KINDS`.

    >>> new_key("ed25519").kind
    'ed25519'
    """
    match kind:
        case "rsa-2048" | "rsa-pss":
            return Key(kind, rsa.generate_private_key(public_exponent=65537, key_size=2048))
        case "p-256":
            return Key(kind, ec.generate_private_key(ec.SECP256R1()))
        case "p-384":
            return Key(kind, ec.generate_private_key(ec.SECP384R1()))
        case "ed25519":
            return Key(kind, ed25519.Ed25519PrivateKey.generate())
        case _:
            raise ValueError(f"no such kind of key: {kind!r}; there are {', '.join(KEY_KINDS)}")
