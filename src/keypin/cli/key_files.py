"""The pin of a file, whatever it is: a certificate, request, public or private key, DER or PEM."""

from __future__ import annotations

import base64
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
    load_pem_public_key,
)

from .._internal.der import INTEGER, SEQUENCE, DerError, _content, read_certificate, read_public_key
from .._internal.other_formats import mend, recognise
from ..checking.candidate import public_half
from ..errors import CertificateFormatError, PinFormatError
from ..pin import Pin
from .certificate_files import CERTIFICATE_LABELS, PEM_BLOCK, read_certificates
from .exit_codes import CommandError, ExitCode
from .files import read_file

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

__all__ = ["FoundKey", "pin_of_request", "read_key"]

REQUEST_LABELS = {"CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"}
UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm)


class FoundKey(NamedTuple):
    """The public key of a file."""

    pin: Pin
    what: str
    """what the file is, in words"""
    chain: tuple[bytes, ...] = ()
    """its certificates, in DER, from the one whose key it is"""


def read_key(path: Path, depth: int = 0) -> FoundKey:
    """Find the public key of a file.

    Args:
        path: a certificate or several, a request, a public key, or an unencrypted private key.
        depth: of several certificates, which; 0 is the first.

    Raises:
        CommandError: it is none of these, or holds several keys.
    """
    data = read_file(path)
    labels = {block[1].decode("ascii") for block in PEM_BLOCK.finditer(data)}
    if labels & CERTIFICATE_LABELS or _is(read_certificate, data):
        chain = read_certificates(path).certificates
        if depth >= len(chain):
            count = f"{len(chain)} certificates" if len(chain) > 1 else "one certificate"
            raise CommandError(ExitCode.USAGE, f"{path} holds {count}: none at depth {depth}")
        return FoundKey(Pin.from_certificate(chain[depth]), "a certificate", chain[depth:])
    if depth:
        raise CommandError(ExitCode.USAGE, f"{path} holds no certificate: there is no depth")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of cryptography, over keys that it will refuse one day
        keys = list(_in_pem(path, data) if labels else _in_der(path, data))
    if not keys:
        found = None if labels else recognise(data)
        what = "neither a certificate nor a request nor a key" if found is None else found.what
        advice = [what, mend(found, "PEM", str(path))]
        raise _bad(path, ". ".join(filter(None, advice)))
    if len({key.pin for key in keys}) > 1:
        raise _bad(path, "several keys; put the one to pin in a file of its own")
    return keys[0]


def pin_of_request(der: bytes) -> Pin:
    """Pin the public key of a certificate request (RFC 2986, section 4.1), of its raw bytes.

    Raises:
        DerError: not a request.
    """
    start, end = _content(der, 0, len(der), SEQUENCE, "CertificationRequest")
    start, end = _content(der, start, end, SEQUENCE, "certificationRequestInfo")
    _, start = _content(der, start, end, INTEGER, "version")
    _, start = _content(der, start, end, SEQUENCE, "subject")
    _, end = _content(der, start, end, SEQUENCE, "subjectPKInfo")
    return Pin.from_public_key(read_public_key(der[start:end]))


def _in_pem(path: Path, data: bytes) -> Iterator[FoundKey]:
    for block in PEM_BLOCK.finditer(data):
        label, text = block[1].decode("ascii"), block[0]
        try:
            if label in REQUEST_LABELS:
                yield _request(path, x509.load_pem_x509_csr(text))
            elif label == "PUBLIC KEY":
                yield FoundKey(Pin.from_public_key(_decoded(block)), "a public key")
            elif label == "RSA PUBLIC KEY":
                yield FoundKey(_pin(load_pem_public_key(text)), "a public key")
            elif label == "ENCRYPTED PRIVATE KEY" or b"ENCRYPTED" in block[2]:
                raise _encrypted(path)
            elif label.endswith("PRIVATE KEY"):
                yield _private(path, load_pem_private_key(text, None), _decoded(block))
        except UNREADABLE as error:
            raise _bad(path, f"{label} that cannot be read: {error}") from None


def _in_der(path: Path, data: bytes) -> Iterator[FoundKey]:
    if _is(read_public_key, data):
        yield FoundKey(Pin.from_public_key(data), "a public key")
    elif _is(pin_of_request, data):
        try:
            yield _request(path, x509.load_der_x509_csr(data))
        except UNREADABLE as error:
            raise _bad(path, f"a certificate request that cannot be read: {error}") from None
    else:
        with suppress(ValueError, UnsupportedAlgorithm):
            try:
                yield _private(path, load_der_private_key(data, None), data)
            except TypeError:
                raise _encrypted(path) from None


def _request(path: Path, request: x509.CertificateSigningRequest) -> FoundKey:
    if not request.is_signature_valid:
        raise _bad(path, "a certificate request whose signature is not by its own key")
    return FoundKey(pin_of_request(request.public_bytes(Encoding.DER)), "a certificate request")


def _private(path: Path, key: PrivateKeyTypes, der: bytes) -> FoundKey:
    """Pin the public half of a private key in the way that certificates carry it."""
    try:
        return FoundKey(Pin.from_public_key(public_half(key, der)), "a private key")
    except CertificateFormatError:
        raise _bad(
            path,
            "a private key of a kind that certificates carry in more than one way: name its"
            f" certificate, its request, or its public key (openssl pkey -in {path} -pubout)",
        ) from None


def _pin(public: PublicKeyTypes) -> Pin:
    return Pin.from_public_key(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _decoded(block: re.Match[bytes]) -> bytes:
    return base64.b64decode(b"".join(block[2].split()), validate=True)


def _is(read: Callable[[bytes], object], data: bytes) -> bool:
    try:
        read(data)
    except (DerError, PinFormatError):
        return False
    return True


def _encrypted(path: Path) -> CommandError:
    return _bad(
        path,
        "an encrypted private key; name its certificate, its request, or its public key"
        f" (openssl pkey -in {path} -pubout)",
    )


def _bad(path: Path, what: str) -> CommandError:
    return CommandError(ExitCode.BAD_FILE, f"{path}: {what}")
