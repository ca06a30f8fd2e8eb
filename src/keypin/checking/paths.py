"""Every path from a server's certificates to a trust anchor, verified as clients would verify it.

OpenSSL itself verifies, by the flags and names that a client's context has: it is shown the
certificates in the first two messages of a TLS 1.2 server (RFC 5246, section 7.4), which need no
private key, and goes no further. Only the dates are compared here, so that they can be compared
with another day than today. A client stops at the first path that it finds; which one that is
depends on its trust store, so every path is asked for, one by one.
"""

from __future__ import annotations

import re
import ssl
import sys
import warnings
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID

from .._internal.der import DerError, name_text, read_certificate
from .._internal.pem_files import trusting_context
from ..enforcement.private_ssl import connection_of, verified_chain
from ..errors import CertificateFormatError
from ..pinset import subject_of
from .certificates import facts_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

__all__ = [
    "LONGEST_PATH",
    "UNREADABLE",
    "Paths",
    "TrustStore",
    "VerifierProfile",
    "authority_paths",
    "is_authority",
    "is_for_servers",
    "issued",
    "outdated",
    "parse",
    "server_paths",
]

LONGEST_PATH = 10
MOST_PATHS = 256  # by far more than any server has; a bundle of same-named CAs could have millions

HASHED_NAME = re.compile(r"[0-9a-f]{8}\.[0-9]+")  # as openssl rehash names the files of a folder
NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME

SERVER_USAGES = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}

# A server's first flight in TLS 1.2
HANDSHAKE_RECORD = b"\x16\x03\x03"
LARGEST_RECORD = 2**14
SERVER_HELLO, CERTIFICATE = 2, 11
ECDHE_ECDSA_AES128_GCM_SHA256 = 0xC02B
ECDHE_RSA_AES128_GCM_SHA256 = 0xC02F
SECURE_RENEGOTIATION = bytes.fromhex("0005ff01000100")  # RFC 5746; OpenSSL insists on it

UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""what cryptography raises over certificates that it does not like"""


class VerifierProfile(Enum):
    """Clients that verify alike."""

    LENIENT = "Python 3.11 and 3.12"
    STRICT = "Python 3.13 and later"
    """follows RFC 5280 more closely, and ends at any certificate that is trusted"""

    @classmethod
    def here(cls) -> VerifierProfile:
        """What the Python is that runs this."""
        return cls.STRICT if sys.version_info >= (3, 13) else cls.LENIENT

    def flags(self, strict_x509: bool | None = None) -> int:
        """What `ssl.create_default_context` sets there.

        Args:
            strict_x509: what the client was told of it; see `Pinner.create_context`.
        """
        flags = ssl.VERIFY_X509_TRUSTED_FIRST
        if self is VerifierProfile.STRICT:
            flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if strict_x509 or (strict_x509 is None and self is VerifierProfile.STRICT):
            flags |= ssl.VERIFY_X509_STRICT
        return int(flags)


@dataclass(frozen=True)
class TrustStore:
    """The certificate authorities that some clients trust.

    Args:
        name: for people; "" for the system's.
        anchors: their certificates in DER.
    """

    name: str
    anchors: tuple[bytes, ...]

    @classmethod
    def system(cls) -> TrustStore:
        """What `ssl.create_default_context` trusts on this machine."""
        return cls("", _all_of(trusting_context(), ssl.get_default_verify_paths().capath))

    @classmethod
    def of_folder(cls, folder: Path) -> TrustStore:
        """What a context trusts that has the folder as its `capath`."""
        return cls(str(folder), _all_of(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), folder))

    @cached_property
    def by_subject(self) -> dict[str, list[bytes]]:
        """The anchors of each name."""
        return _by_subject(self.anchors)

    def issuers_of(self, certificate: bytes) -> list[bytes]:
        """The anchors with the name of a certificate's issuer, whether they issued it or not."""
        return self.by_subject.get(_names(certificate)[1], [])


def _all_of(context: ssl.SSLContext, folder: str | Path | None) -> tuple[bytes, ...]:
    """The authorities of a context and of a folder, of which OpenSSL loads only what it needs."""
    for file in sorted(Path(folder).iterdir()) if folder else ():
        if HASHED_NAME.fullmatch(file.name):
            with suppress(OSError):  # as OpenSSL does with what it cannot read there
                context.load_verify_locations(file)
    return tuple(dict.fromkeys(context.get_ca_certs(binary_form=True)))


@dataclass(frozen=True, slots=True)
class Paths:
    """What a kind of clients with a trust store makes of a server's certificates."""

    verified: tuple[tuple[bytes, ...], ...]
    """each from the server's certificate to the anchor"""
    failure: str = ""
    """why there is none"""


def server_paths(
    sent: Sequence[bytes],
    store: TrustStore,
    kind: VerifierProfile,
    host: str,
    at: datetime,
    strict_x509: bool | None = None,
) -> Paths:
    """Find all verified paths of a server's certificate.

    Args:
        sent: what the server sends, in DER, its own certificate first.
        store: what the clients trust.
        kind: how strict they are.
        host: what they connect to, in normal form.
        at: when, with a time zone.
        strict_x509: what the clients were told of it; see `Pinner.create_context`.

    Raises:
        CertificateFormatError: there are too many paths.
    """
    flags = kind.flags(strict_x509)
    verified: dict[tuple[bytes, ...], None] = {}
    failures: list[str] = []
    trusted = set(store.anchors)
    for path in _candidates(sent, store):
        anchors = [certificate for certificate in path if certificate in trusted]
        shown = [path[0], *(each for each in path[1:] if each not in trusted)]
        try:
            chain = _verify(shown, anchors, flags, host)
        except ssl.SSLError as error:
            failures.append(_why(error))
            continue
        stale = [text for text in (outdated(each, at) for each in chain) if text]
        if stale:
            failures += stale
        else:
            verified[chain] = None
    if verified:
        return Paths(tuple(verified))
    return Paths((), failures[0] if failures else _failure(sent, store, flags, host))


def authority_paths(
    sent: Sequence[bytes], store: TrustStore, at: datetime
) -> tuple[tuple[bytes, ...], ...]:
    """Find all paths of a certificate authority to a trust anchor.

    Names, signatures, CA flags and dates are checked; what else a path may break (limits of length
    or of names) is checked by `server_paths`, once there is a server's certificate.

    Args:
        sent: the authority's certificate first, then others that servers will send, in DER.
        store: what the clients trust.
        at: when, with a time zone.

    Raises:
        CertificateFormatError: there are too many paths.
    """
    return tuple(
        path
        for path in _candidates(sent, store)
        if not any(outdated(certificate, at) for certificate in path)
        and all(issued(below, above) for below, above in pairwise(path))
    )


@lru_cache(maxsize=1024)
def parse(certificate: bytes) -> x509.Certificate:
    """A certificate as cryptography reads it.

    Raises:
        CertificateFormatError: it cannot.
    """
    # cryptography warns of certificates that a later version of it will refuse
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return x509.load_der_x509_certificate(certificate)
        except UNREADABLE as error:
            raise CertificateFormatError(f"an unreadable certificate: {error}") from None


# Which paths there could be: by names alone


def _candidates(sent: Sequence[bytes], store: TrustStore) -> Iterator[tuple[bytes, ...]]:
    """Yield what could be a path, by the names of subjects and issuers."""
    trusted = set(store.anchors)
    untrusted = _by_subject(sent[1:])
    found = 0
    pending: list[tuple[bytes, ...]] = [(sent[0],)]
    while pending:
        path = pending.pop()
        if path[-1] in trusted:
            found += 1
            yield path
        if found > MOST_PATHS or len(pending) > MOST_PATHS:
            raise CertificateFormatError(
                f"more than {MOST_PATHS} paths to trust anchors: leave certificates out that the"
                " server does not send"
            )
        if len(path) < LONGEST_PATH:
            issuer = _names(path[-1])[1]
            issuers = [*untrusted.get(issuer, ()), *store.by_subject.get(issuer, ())]
            keys = {_public_key(certificate) for certificate in path}
            pending += [
                (*path, each) for each in dict.fromkeys(issuers) if _public_key(each) not in keys
            ]


def _by_subject(certificates: Iterable[bytes]) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    for certificate in dict.fromkeys(certificates):
        found.setdefault(_names(certificate)[0], []).append(certificate)
    return found


@lru_cache(maxsize=1024)
def _names(certificate: bytes) -> tuple[str, str]:
    """Subject and issuer as they are compared: any case, any white space (RFC 5280, section 7.1).

    In doubt they are the same here: whether they are is for OpenSSL to say.
    """
    try:
        fields = read_certificate(certificate)
        names = name_text(fields.subject), name_text(fields.issuer)
    except DerError as error:
        raise CertificateFormatError(f"not an X.509 certificate in DER: {error}") from None
    subject, issuer = ("".join(name.lower().split()) for name in names)
    return subject, issuer


def _public_key(certificate: bytes) -> bytes:
    return read_certificate(certificate).public_key


# Whether it is one


def _verify(
    shown: Sequence[bytes], anchors: Sequence[bytes], flags: int, host: str
) -> tuple[bytes, ...]:
    """Let OpenSSL verify what a server shows, whatever the date; return the chain that it built.

    Raises:
        ssl.SSLError: it does not verify.
    """
    context = _client_context(anchors, flags)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=host)
    incoming.write(_first_flight(shown))
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        pass  # it was content with the certificates, and waits for the server to go on
    except ssl.SSLCertVerificationError:
        raise
    except ssl.SSLError:
        # about something that it looks at later, such as whether the key fits the cipher
        if not verified_chain(connection_of(client)):
            raise
    return verified_chain(connection_of(client))


def _client_context(anchors: Sequence[bytes], flags: int) -> ssl.SSLContext:
    """A client's context that trusts these authorities and no others, at any time."""
    # not create_default_context, which trusts the system's where it is given none
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if anchors:
        context.load_verify_locations(cadata=b"".join(anchors))
    context.hostname_checks_common_name = False
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags = ssl.VerifyFlags(flags | NO_CHECK_TIME)
    return context


def _first_flight(shown: Sequence[bytes]) -> bytes:
    """ServerHello and Certificate of a TLS 1.2 server, in records (RFC 5246, section 7.4)."""
    is_rsa = facts_of(shown[0]).key == "RSA"
    cipher = ECDHE_RSA_AES128_GCM_SHA256 if is_rsa else ECDHE_ECDSA_AES128_GCM_SHA256
    random, no_session, no_compression = bytes(32), b"\0", b"\0"
    hello = b"\x03\x03" + random + no_session + cipher.to_bytes(2, "big") + no_compression
    certificates = b"".join(_vector(certificate) for certificate in shown)
    messages = b"".join(
        bytes([kind]) + _vector(body)
        for kind, body in (
            (SERVER_HELLO, hello + SECURE_RENEGOTIATION),
            (CERTIFICATE, _vector(certificates)),
        )
    )
    pieces = [
        messages[start : start + LARGEST_RECORD]
        for start in range(0, len(messages), LARGEST_RECORD)
    ]
    return b"".join(HANDSHAKE_RECORD + len(piece).to_bytes(2, "big") + piece for piece in pieces)


def _vector(content: bytes) -> bytes:
    return len(content).to_bytes(3, "big") + content


def issued(below: bytes, above: bytes) -> bool:
    """Whether a certificate was issued by an authority with that other one.

    Raises:
        CertificateFormatError: one cannot be read.
    """
    issuer = parse(above)
    try:
        parse(below).verify_directly_issued_by(issuer)
    except (InvalidSignature, *UNREADABLE):
        return False
    return is_authority(above)


def is_authority(certificate: bytes) -> bool:
    """Whether a certificate is a CA's (RFC 5280, section 4.2.1.9).

    Raises:
        CertificateFormatError: it cannot be read.
    """
    try:
        extensions = parse(certificate).extensions
    except UNREADABLE as error:
        raise CertificateFormatError(f"an unreadable certificate: {error}") from None
    try:
        return extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def is_for_servers(certificate: bytes) -> bool:
    """Whether its extended key usage, if it has one, is good for TLS servers.

    Raises:
        CertificateFormatError: it cannot be read.
    """
    with suppress(x509.ExtensionNotFound, *UNREADABLE):
        extensions = parse(certificate).extensions
        usages = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        return not SERVER_USAGES.isdisjoint(usages)
    return True


def outdated(certificate: bytes, at: datetime) -> str:
    """What is wrong with a certificate's dates; "" if nothing is."""
    facts = facts_of(certificate)
    name = subject_of(certificate)
    if facts.not_before is None or facts.not_after is None:
        return f"{name} has no dates that can be read"
    if at < facts.not_before:
        return f"{name} is not valid before {facts.not_before:%Y-%m-%d %H:%M} UTC"
    if at > facts.not_after:
        return f"{name} expires on {facts.not_after:%Y-%m-%d %H:%M} UTC"
    return ""


# Why there is no path


def _failure(sent: Sequence[bytes], store: TrustStore, flags: int, host: str) -> str:
    try:
        _verify(sent, store.anchors, flags, host)
    except ssl.SSLError as error:
        return _why(error)
    return "no path to a trust anchor was found"


def _why(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message.rstrip(".")
    return (error.reason or str(error)).replace("_", " ").lower()
