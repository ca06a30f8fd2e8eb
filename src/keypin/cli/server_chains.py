"""The certificates that a server is to send: found by its key, put in order, and checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .._internal.der import name_text, read_certificate
from ..checking.candidate import names_of
from ..checking.certificates import facts_of
from ..checking.paths import (
    UNREADABLE,
    TrustStore,
    VerifierProfile,
    is_authority,
    is_for_servers,
    issued,
    outdated,
    parse,
    server_paths,
)
from ..errors import CertificateFormatError
from ..pin import Pin
from ..pinset import subject_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

__all__ = ["NAMELESS", "ServerChain", "faults", "order", "unverified", "warnings_about"]

NAMELESS = "it names no host in subjectAltName, and most clients look nowhere else"


class ServerChain(NamedTuple):
    """What a server sends, and what became of the certificates that were given."""

    certificates: tuple[bytes, ...]
    """in DER, the server's own first, without the root"""
    reordered: bool
    left_out: tuple[str, ...] = ()
    """each with the reason, for people"""


def order(given: Sequence[bytes], spki: bytes) -> ServerChain:
    """Find the certificate of a key, and behind it each one's issuer.

    A root is left out: clients have it, or do not trust it (RFC 8446, section 4.4.2).

    Args:
        given: certificates in DER, in any order.
        spki: the key, as SubjectPublicKeyInfo.

    Raises:
        CertificateFormatError: none is the key's, or one belongs to no path from that.
    """
    certificates = list(dict.fromkeys(given))
    for certificate in certificates:
        parse(certificate)
    path = [_own(certificates, spki)]
    while not _self_signed(path[-1]):
        issuers = [each for each in certificates if each not in path and issued(path[-1], each)]
        if not issuers:
            break
        path.append(issuers[0])
    left_out = _left_out(certificates, path)
    if len(path) > 1 and _self_signed(path[-1]):
        left_out.append(f"{subject_of(path.pop())}: a root, which clients have or do not trust")
    names = [read_certificate(certificate).subject for certificate in path]
    if len(set(names)) < len(names):
        raise CertificateFormatError(
            "two certificates of one subject on the path; Java finds issuers by their names alone"
        )
    kept = [certificate for certificate in certificates if certificate in path]
    return ServerChain(tuple(path), kept != path, tuple(left_out))


def _own(certificates: Sequence[bytes], spki: bytes) -> bytes:
    own = [each for each in certificates if read_certificate(each).public_key == spki]
    if len(own) == 1:
        return own[0]
    if own:
        raise CertificateFormatError(
            f"{len(own)} certificates of the key; leave in it the one to serve"
        )
    if any(_spki(each) == spki for each in certificates):
        raise CertificateFormatError(
            "the certificate tells of its key in a way that Java may not take it for, such as"
            " RSA-PSS or an unnamed curve"
        )
    first = certificates[0]
    raise CertificateFormatError(
        "no certificate of the key is in it: the key's pin is"
        f" {Pin.from_public_key(spki)}, that of {subject_of(first)} {Pin.from_certificate(first)}"
    )


def _spki(certificate: bytes) -> bytes:
    """The key of a certificate in the usual spelling; b"" if it cannot be read."""
    try:
        key = parse(certificate).public_key()
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except UNREADABLE:
        return b""


def _left_out(certificates: Sequence[bytes], path: Sequence[bytes]) -> list[str]:
    keys = {read_certificate(certificate).public_key for certificate in path}
    others = [certificate for certificate in certificates if certificate not in path]
    for other in others:
        if read_certificate(other).public_key not in keys:
            raise CertificateFormatError(
                f"{subject_of(other)} is on no path from {subject_of(path[0])}: that ends with the"
                f" certificate issued by {_issuer(path[-1])}, whose own is missing, or is not for"
                " this server; put the missing one in, or take the other out"
            )
    return [f"{subject_of(other)}: the same key is certified on the path" for other in others]


def faults(chain: Sequence[bytes], now: datetime) -> list[str]:
    """Say why no client will accept these certificates from a server.

    Args:
        chain: in DER, the server's own first.
        now: with a time zone.
    """
    own = chain[0]
    found = [
        outdated(certificate, now)
        for certificate in chain
        if (end := facts_of(certificate).not_after) is not None and end < now
    ]
    if not is_for_servers(own):
        found.append(
            f"{subject_of(own)} is not for servers: its extended key usage lacks serverAuth"
        )
    if is_authority(own) and not _self_signed(own):
        found.append(f"{subject_of(own)} is a certificate authority's, not a server's")
    return found


def warnings_about(chain: Sequence[bytes], now: datetime) -> list[str]:
    """Say what may keep clients from accepting them; the arguments are those of `faults`."""
    own = chain[0]
    found = [
        outdated(certificate, now)
        for certificate in chain
        if (begin := facts_of(certificate).not_before) is not None and begin > now
    ]
    if _self_signed(own):
        found.append(
            "it is self-signed: pin_trusted_certificate_public_key() will refuse it, and so will"
            " every client that does not have it as a trust anchor"
        )
    return found


def unverified(chain: Sequence[bytes], store: TrustStore, now: datetime) -> str:
    """Say why clients with these authorities would not verify a server; "" if they would.

    Args:
        chain: in DER, the server's own first.
        store: whom they trust.
        now: when, with a time zone; later where a certificate begins later.
    """
    names = _names(chain[0])
    if not names:
        return NAMELESS
    begins = [facts_of(certificate).not_before or now for certificate in chain]
    host = names[0].replace("*", "www", 1)
    try:
        return server_paths(chain, store, VerifierProfile.LENIENT, host, max(now, *begins)).failure
    except (CertificateFormatError, ValueError) as error:
        return str(error)


def _names(certificate: bytes) -> tuple[str, ...]:
    try:
        return names_of(parse(certificate))
    except UNREADABLE:
        return ()


def _self_signed(certificate: bytes) -> bool:
    """Whether a certificate ends a path; one that only bears its issuer's name does not."""
    fields = read_certificate(certificate)
    if fields.subject != fields.issuer:
        return False
    own = parse(certificate)
    try:
        own.verify_directly_issued_by(own)
    except (InvalidSignature, *UNREADABLE):
        return False
    return True


def _issuer(certificate: bytes) -> str:
    return name_text(read_certificate(certificate).issuer)
