"""A PKCS #12 store (RFC 7292) that Java reads, slow to guess at in each of its parts."""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat
from cryptography.hazmat.primitives.serialization.pkcs12 import (
    PBES,
    load_pkcs12,
    serialize_key_and_certificates,
)

from .._internal.der import INTEGER, OBJECT_IDENTIFIER, SEQUENCE, _content
from ..checking.paths import parse
from ..editing.backup_keys import _integer, _octets
from ..lab._der import sequence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12PrivateKeyTypes

__all__ = ["make_store"]

ROUNDS = 600_000
"""of each derivation from the passphrase; Java refuses more than 5,000,000"""

OCTET_STRING = 0x04
EXPLICIT_0 = 0xA0
SHA_256 = bytes.fromhex("300d06096086480165030402010500")  # AlgorithmIdentifier (RFC 5754)
MAC_KEY = 3  # RFC 7292, appendix B.3: what is derived
BLOCK_SIZE = 64
SALT_SIZE = 16


def make_store(
    alias: str, key: PKCS12PrivateKeyTypes, chain: Sequence[bytes], passphrase: str
) -> bytes:
    """Make a store of one private key and its certificates.

    Both are encrypted with PBES2, PBKDF2 with HMAC-SHA-256 and AES-256-CBC (RFC 8018), and the
    whole is authenticated with HMAC-SHA-256: what Java itself writes since version 16, and reads
    from 8u301, 11.0.12 and 17 on.

    Args:
        alias: the entry's name.
        key: of the first certificate.
        chain: in DER, in order.
        passphrase: printable ASCII; Java takes no other for some of its algorithms.

    Raises:
        ValueError: what was made could not be read again.
    """
    encryption = (
        PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(ROUNDS)
        .key_cert_algorithm(PBES.PBESv2SHA256AndAES256CBC)
        .hmac_hash(SHA256())
        .build(passphrase.encode("ascii"))
    )
    own, *others = map(parse, chain)
    made = serialize_key_and_certificates(alias.encode("ascii"), key, own, others, encryption)
    store = _authenticated(made, passphrase)
    _read_again(store, key, chain, passphrase)
    return store


def _authenticated(store: bytes, passphrase: str) -> bytes:
    """Authenticate a store with as many rounds as it is encrypted with.

    cryptography always takes 2,048, through which passphrases would be guessed much sooner.
    """
    start, end = _content(store, 0, len(store), SEQUENCE, "PFX")
    _, after_version = _content(store, start, end, INTEGER, "version")
    begin, after_content = _content(store, after_version, end, SEQUENCE, "authSafe")
    _, begin = _content(store, begin, after_content, OBJECT_IDENTIFIER, "contentType")
    begin, stop = _content(store, begin, after_content, EXPLICIT_0, "content")
    begin, stop = _content(store, begin, stop, OCTET_STRING, "data")
    salt = os.urandom(SALT_SIZE)
    mac = hmac.digest(_mac_key(passphrase, salt), store[begin:stop], "sha256")
    mac_data = sequence(sequence(SHA_256 + _octets(mac)) + _octets(salt) + _integer(ROUNDS))
    return sequence(store[start:after_content] + mac_data)


def _mac_key(passphrase: str, salt: bytes) -> bytes:
    """Derive the key of the MAC (RFC 7292, appendix B.2), which fits into one block."""
    password = (passphrase + "\0").encode("utf-16-be")
    key = bytes([MAC_KEY]) * BLOCK_SIZE + _filled(salt) + _filled(password)
    for _ in range(ROUNDS):
        key = hashlib.sha256(key).digest()
    return key


def _filled(octets: bytes) -> bytes:
    """Repeat octets up to the end of a block."""
    size = -(-len(octets) // BLOCK_SIZE) * BLOCK_SIZE
    return (octets * size)[:size]


def _read_again(
    store: bytes, key: PKCS12PrivateKeyTypes, chain: Sequence[bytes], passphrase: str
) -> None:
    """Make sure that the store holds what it should, before a server relies on it."""
    found = load_pkcs12(store, passphrase.encode("ascii"))
    certificates = [found.cert, *found.additional_certs]
    read = [each.certificate.public_bytes(Encoding.DER) for each in certificates if each]
    if read != list(chain) or found.key is None or found.key.public_key() != key.public_key():
        raise ValueError("the store made is not the store meant")
