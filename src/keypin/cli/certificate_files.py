"""Certificate files as people have them: DER or PEM, alone or among others."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, NamedTuple

from .._internal.der import DerError, read_certificate
from .._internal.other_formats import mend, recognise
from .exit_codes import CommandError, ExitCode
from .files import read_file

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CertificateFile", "pem", "read_certificates"]

# RFC 7468, section 3: text around the blocks is allowed and means nothing
PEM_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
CERTIFICATE_LABELS = {"CERTIFICATE", "X509 CERTIFICATE"}
OTHER_LABELS = {
    "CERTIFICATE REQUEST": "a certificate request",
    "NEW CERTIFICATE REQUEST": "a certificate request",
    "PKCS7": "a PKCS#7 bundle",
    "CMS": "a PKCS#7 bundle",
    "PUBLIC KEY": "a public key",
    "RSA PUBLIC KEY": "a public key",
    "TRUSTED CERTIFICATE": "a certificate with OpenSSL's own trust settings",
    "X509 CRL": "a revocation list",
}
PEM_LINE = 64


class CertificateFile(NamedTuple):
    """The certificates of a file."""

    form: str
    """ "DER" or "PEM" """
    certificates: tuple[bytes, ...]
    """in DER, at least one"""
    others: tuple[str, ...]
    """what else is in the file, in words"""


def read_certificates(path: Path) -> CertificateFile:
    """Read a file of one certificate in DER, or of any number in PEM.

    Raises:
        CommandError: it is not there, or is something else; the message says what.
    """
    data = read_file(path)
    problem = _problem(data)
    if problem is None:
        return CertificateFile("DER", (data,), ())
    certificates: list[bytes] = []
    others: list[str] = []
    for block in PEM_BLOCK.finditer(data):
        label = block[1].decode("ascii")
        if label in CERTIFICATE_LABELS:
            certificates.append(_decoded(block[2], f"{path}: certificate {len(certificates) + 1}"))
        else:
            others.append(_in_words(label))
    if certificates:
        return CertificateFile("PEM", tuple(certificates), tuple(others))
    found = recognise(data)
    if others:
        what = f"{others[0]}, not a certificate"
    else:
        what = f"not a certificate in DER or PEM ({problem})" if found is None else found.what
    if found is None and path.suffix.lower() in (".toml", ".json"):
        what = f"no certificate; what a pin file says: keypin list --pins {path}"
    advice = [f"{path}: {what}", mend(found, "PEM", str(path))]
    raise CommandError(ExitCode.BAD_FILE, ". ".join(filter(None, advice)))


def pem(der: bytes) -> bytes:
    """Write a certificate in PEM (RFC 7468)."""
    encoded = base64.b64encode(der)
    lines = [encoded[start : start + PEM_LINE] for start in range(0, len(encoded), PEM_LINE)]
    return b"\n".join([b"-----BEGIN CERTIFICATE-----", *lines, b"-----END CERTIFICATE-----", b""])


def _decoded(encoded: bytes, which: str) -> bytes:
    try:
        der = base64.b64decode(b"".join(encoded.split()), validate=True)
    except binascii.Error:
        raise CommandError(ExitCode.BAD_FILE, f"{which} is not base64") from None
    problem = _problem(der)
    if problem is not None:
        found = recognise(der)
        what = f"not a certificate in DER ({problem})" if found is None else found.what
        raise CommandError(ExitCode.BAD_FILE, f"{which} is {what}")
    return der


def _problem(data: bytes) -> str | None:
    """Why these bytes are not one certificate in DER; None if they are."""
    try:
        read_certificate(data)
    except DerError as error:
        return str(error)
    return None


def _in_words(label: str) -> str:
    if label.endswith("PRIVATE KEY"):
        return "a private key"
    return OTHER_LABELS.get(label, f"PEM text ({label})")
