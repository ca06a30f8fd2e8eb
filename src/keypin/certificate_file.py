"""Pins from the certificate files that a program carries: DER X.509, CA-issued, nothing else."""

from __future__ import annotations

from importlib.resources import abc
from typing import TYPE_CHECKING

from ._internal.der import DerError, read_certificate
from ._internal.other_formats import mend, recognise
from ._internal.text import cut, shown
from .errors import CertificateFormatError, CertificateNotFound
from .pin import Pin

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.resources.abc import Traversable
    from pathlib import Path

__all__ = ["pins_from_files", "read_server_certificate"]

HOW_TO_GET_ONE = (
    "What is needed is the server's CA-issued certificate in DER:"
    " openssl s_client -connect HOST:443 -servername HOST </dev/null | openssl x509 -outform der"
    " -out myCertificate.cer"
)

# Traversables raise the last, which Python has from 3.12 on
NOT_READABLE = (OSError, ValueError, getattr(abc, "TraversalError", OSError))


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
        found = recognise(data)
        what = f"not a certificate in DER ({error})" if found is None else found.what
        advice = [f"{cut(name, 300)}: {what}", mend(found, "DER", cut(name, 300)), HOW_TO_GET_ONE]
        raise CertificateFormatError(". ".join(filter(None, advice))) from None
    if fields.issuer == fields.subject:
        raise CertificateFormatError(
            f"{cut(name, 300)}: a self-signed certificate. Pins add to the verification by a"
            f" certificate authority and cannot replace it. {HOW_TO_GET_ONE}"
        )
    return data
