"""Pins from the certificate files that a program carries: DER X.509, CA-issued, nothing else."""

from __future__ import annotations

import re
from importlib.resources import abc
from typing import TYPE_CHECKING

from ._der import DerError, read_certificate, read_public_key
from ._text import cut, shown
from .errors import CertificateFormatError, CertificateNotFound
from .pin import Pin

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.resources.abc import Traversable
    from pathlib import Path

__all__ = ["describe_other_format", "pins_from_files", "read_server_certificate"]

HOW_TO_GET_ONE = (
    "What is needed is the server's CA-issued certificate in DER:"
    " openssl s_client -connect HOST:443 -servername HOST </dev/null | openssl x509 -outform der"
    " -out myCertificate.cer"
)

# Traversables raise the last, which Python has from 3.12 on
NOT_READABLE = (OSError, ValueError, getattr(abc, "TraversalError", OSError))

PRIVATE_KEY = "a private key, which must not be in a program"

PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,60})-----")  # anywhere: tools write text above it
SEQUENCE = b"\x30"
# How the content of the outermost SEQUENCE begins, and that of a SEQUENCE directly inside it
BEGINNINGS = (
    (bytes.fromhex("06092a864886f70d0107"), "a PKCS#7 bundle"),
    (bytes.fromhex("02010330"), "a PKCS#12 store"),  # version 3
    (bytes.fromhex("020100"), PRIVATE_KEY),  # version 0 of PKCS#8 and PKCS#1
    (bytes.fromhex("020101"), PRIVATE_KEY),  # version 1 of PKCS#8 and SEC 1
    (bytes.fromhex("02"), "a public key"),  # PKCS#1: the modulus
)
INNER_BEGINNINGS = (
    (bytes.fromhex("02010030"), "a certificate request"),  # version 0, then the subject
    (bytes.fromhex("02010130"), "a list of revoked certificates"),  # version 1, then the algorithm
    (bytes.fromhex("06092a864886f70d0105"), f"{PRIVATE_KEY} (encrypted)"),  # PKCS#5
    (bytes.fromhex("060a2a864886f70d010c01"), f"{PRIVATE_KEY} (encrypted)"),  # PKCS#12
)


def pins_from_files(folder: Path | Traversable, names: str | Iterable[str]) -> list[Pin]:
    """Read the certificates of these names and pin their public keys.

    Args:
        folder: where the program's certificates are; nothing outside is looked at.
        names: one file name or several, relative to the folder, with `/` between parts.

    Raises:
        CertificateNotFound: a name that is not a file in the folder.
        CertificateFormatError: a file that is something else; the message says what it is.
    """
    return [
        Pin.from_certificate(read_server_certificate(_read(folder, name), name))
        for name in ([names] if isinstance(names, str) else list(names))
    ]


def _read(folder: Path | Traversable, name: str) -> bytes:
    parts = str(name).split("/")
    # Windows takes a part of dots and spaces for "." or "..", and a colon for a drive or a stream
    if any(not part.strip(". ") or "\\" in part or ":" in part for part in parts):
        raise CertificateNotFound(
            f"{shown(name)} is not a name inside the folder of certificates: give a plain file name"
        )
    file = folder
    try:
        for part in parts:  # one by one: not every Traversable takes several
            file = file / part
        return file.read_bytes()
    except NOT_READABLE as error:
        raise CertificateNotFound(
            f"no certificate file {shown(name)} in {folder}: {error}"
        ) from None


def read_server_certificate(data: bytes, name: str) -> bytes:
    """Check that `data` is one CA-issued certificate in DER, and return it.

    Raises:
        CertificateFormatError: it is something else; the message says what, and what is needed.
    """
    try:
        fields = read_certificate(data)
    except DerError as error:
        found = describe_other_format(data) or f"not a certificate in DER ({error})"
        raise CertificateFormatError(f"{cut(name, 300)}: {found}. {HOW_TO_GET_ONE}") from None
    if fields.issuer == fields.subject:
        raise CertificateFormatError(
            f"{cut(name, 300)}: a self-signed certificate. Pins add to the verification by a"
            f" certificate authority and cannot replace it. {HOW_TO_GET_ONE}"
        )
    return data


def describe_other_format(data: bytes) -> str | None:
    """What the bytes are instead, where it can be told."""
    if not data:
        return "an empty file"
    if armour := PEM.search(data):
        return f"PEM text ({armour[1].decode('ascii')}), not DER"
    if not data.startswith(SEQUENCE):
        return None
    declared = _size_of_header(data) + _size_of_content(data)
    if declared > len(data):
        return "a file cut off before its end"
    structure = data[:declared]
    try:
        read_certificate(structure)
    except DerError:
        return _other_structure(structure)
    return f"a certificate with {len(data) - declared} bytes after its end"


def _other_structure(structure: bytes) -> str | None:
    try:
        read_public_key(structure)
    except DerError:
        pass
    else:
        return "a public key, not a certificate"
    content = structure[_size_of_header(structure) :]
    for beginning, found in BEGINNINGS:
        if content.startswith(beginning):
            return f"{found}, not a certificate"
    content = content[_size_of_header(content) :] if content.startswith(SEQUENCE) else b""
    for beginning, found in INNER_BEGINNINGS:
        if content.startswith(beginning):
            return f"{found}, not a certificate"
    return None


def _size_of_header(element: bytes) -> int:
    return 2 + _length_octets(element)


def _size_of_content(element: bytes) -> int:
    octets = _length_octets(element)
    return int.from_bytes(element[2 : 2 + octets] if octets else element[1:2], "big")


def _length_octets(element: bytes) -> int:
    first = element[1] if len(element) > 1 else 0
    return first & 0x7F if first >= 0x80 else 0
