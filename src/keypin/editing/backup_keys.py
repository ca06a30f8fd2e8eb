"""A backup key: made, encrypted, with its certificate request and its pin. Writes no files."""

from __future__ import annotations

import ipaddress
import os
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from ..lab._der import pem, sequence
from ..pin import Pin

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["BackupKey", "certificate_names_of", "new_backup_key", "pin_of_private_key"]

RSA_BITS = 3072  # as strong as P-256 (NIST SP 800-57 part 1, table 2)
LONGEST_COMMON_NAME = 64  # RFC 5280, appendix A.1: ub-common-name

# scrypt (RFC 7914) with 16 MiB: the most that OpenSSL reads, so repeated instead of larger
COST, BLOCK_SIZE, PARALLELIZATION, KEY_SIZE = 2**14, 8, 5, 32
SALT_SIZE = IV_SIZE = 16
# Object identifiers, in DER
PBES2 = bytes.fromhex("06092a864886f70d01050d")
SCRYPT = bytes.fromhex("06092b06010401da47040b")
AES_256_CBC = bytes.fromhex("060960864801650304012a")


class BackupKey(NamedTuple):
    """A new private key, which is in memory only."""

    private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

    @property
    def pin(self) -> Pin:
        """What clients are to know of it."""
        return _pin_of(self.private)

    def encrypted(self, passphrase: str) -> bytes:
        """The private key as PKCS #8 in PEM, encrypted (RFC 5958, section 3).

        With PBES2 (RFC 8018, section 6.2), scrypt (RFC 7914, section 7) and AES-256-CBC. What
        cryptography itself writes is derived from the passphrase in 2,048 rounds of PBKDF2, which
        is soon guessed at.
        """
        salt, iv = os.urandom(SALT_SIZE), os.urandom(IV_SIZE)
        kdf = Scrypt(salt, KEY_SIZE, COST, BLOCK_SIZE, PARALLELIZATION)
        encryptor = Cipher(
            algorithms.AES(kdf.derive(passphrase.encode())), modes.CBC(iv)
        ).encryptor()
        padder = PKCS7(algorithms.AES.block_size).padder()
        padded = padder.update(self._pkcs8(Encoding.DER)) + padder.finalize()
        encrypted = encryptor.update(padded) + encryptor.finalize()
        numbers = map(_integer, (COST, BLOCK_SIZE, PARALLELIZATION, KEY_SIZE))
        derivation = sequence(SCRYPT + sequence(_octets(salt) + b"".join(numbers)))
        scheme = sequence(AES_256_CBC + _octets(iv))
        algorithm = sequence(PBES2 + sequence(derivation + scheme))
        return pem("ENCRYPTED PRIVATE KEY", sequence(algorithm + _octets(encrypted)))

    def unencrypted(self) -> bytes:
        """The private key as PKCS #8 in PEM, for anybody who can read the file."""
        return self._pkcs8(Encoding.PEM)

    def request(self, names: Iterable[str]) -> bytes:
        """A certificate request (RFC 2986) in PEM.

        Args:
            names: the hosts of the certificate; see `certificate_names_of`.
        """
        names = list(names)
        common_name = next((name for name in names if len(name) <= LONGEST_COMMON_NAME), None)
        subject = [] if common_name is None else [_common_name(common_name)]
        builder = x509.CertificateSigningRequestBuilder(x509.Name(subject)).add_extension(
            x509.SubjectAlternativeName(map(_general_name, names)), critical=not subject
        )
        return builder.sign(self.private, SHA256()).public_bytes(Encoding.PEM)

    def _pkcs8(self, encoding: Encoding) -> bytes:
        return self.private.private_bytes(encoding, PrivateFormat.PKCS8, NoEncryption())


def new_backup_key(*, use_rsa: bool = False) -> BackupKey:
    """Make a key: EC P-256, or RSA of 3,072 bits."""
    if use_rsa:
        return BackupKey(rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS))
    return BackupKey(ec.generate_private_key(ec.SECP256R1()))


def pin_of_private_key(data: bytes, passphrase: str | None) -> Pin:
    """Read a file that was written with a key of this module, and pin that key.

    Args:
        data: PKCS #8 in PEM.
        passphrase: None if it is not encrypted.

    Raises:
        ValueError: it cannot be read with this passphrase.
    """
    key = load_pem_private_key(data, None if passphrase is None else passphrase.encode())
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise ValueError("another kind of key")
    return _pin_of(key)


def certificate_names_of(pattern: str) -> list[str]:
    """The names of a certificate that serves the hosts of a pattern, as far as one can.

    >>> certificate_names_of("**.example.com")
    ['example.com', '*.example.com']
    """
    if pattern.startswith("**."):
        return [pattern[3:], pattern[1:]]
    return [pattern]


def _pin_of(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> Pin:
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Pin.from_public_key(public)


def _common_name(name: str) -> x509.NameAttribute[str]:
    return x509.NameAttribute(NameOID.COMMON_NAME, name)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _octets(content: bytes) -> bytes:
    return _element(0x04, content)


def _integer(number: int) -> bytes:
    return _element(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def _element(tag: int, content: bytes) -> bytes:
    # a SEQUENCE but for its tag, whose length is written in the same way
    return bytes([tag]) + sequence(content)[1:]
