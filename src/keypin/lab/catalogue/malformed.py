"""Certificate messages that are too big, or that are none; of an attacker that holds its key."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..scenario import Scenario
from ..servers.malformed import MalformedServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..servers.contexts import TlsVersion
    from ..servers.malformed import CertificateList
    from ..stage import Stage

    Body = Callable[[CertificateList, bytes], bytes]

__all__ = ["SCENARIOS"]

BIG = 10 * 1024 * 1024  # bytes
MANY = 10_000
STATUS = b"\x01\0\0\x01\0"  # of OCSP, one byte (RFC 8446, section 4.4.2.1)
EXTENSION = b"\0\x05\0\x05" + STATUS  # status_request
TLS12 = "RFC 5246, section 7.4.2"
BOTH: tuple[TlsVersion, ...] = ("1.2", "1.3")


def _build(stage: Stage, body: Body) -> None:
    def make(certificates: CertificateList) -> bytes:
        return body(certificates, stage.cast.pinned.certificate)

    stage.attacker(MalformedServer(stage.cast.impostor, make, tls=[stage.tls]))


def _entries(certificates: CertificateList) -> list[bytes]:
    return [certificates.entry(certificate) for certificate in certificates.chain]


def _big(certificates: CertificateList, pinned: bytes) -> bytes:
    return certificates.message(*_entries(certificates), certificates.entry(bytes(BIG)))


def _many(certificates: CertificateList, pinned: bytes) -> bytes:
    return certificates.message(*_entries(certificates), *[certificates.entry(pinned)] * MANY)


def _no_certificate(certificates: CertificateList, pinned: bytes) -> bytes:
    return certificates.message()


def _nothing(certificates: CertificateList, pinned: bytes) -> bytes:
    return b""


def _empty_first(certificates: CertificateList, pinned: bytes) -> bytes:
    return certificates.message(certificates.entry(b""), *_entries(certificates))


def _empty_last(certificates: CertificateList, pinned: bytes) -> bytes:
    return certificates.message(*_entries(certificates), certificates.entry(b""))


def _trailing(certificates: CertificateList, pinned: bytes) -> bytes:
    return certificates.message(*_entries(certificates)) + certificates.entry(pinned)


def _trailing_inside(certificates: CertificateList, pinned: bytes) -> bytes:
    first, *others = certificates.chain
    entries = [certificates.entry(first + pinned), *map(certificates.entry, others)]
    return certificates.message(*entries)


def _list_too_long(certificates: CertificateList, pinned: bytes) -> bytes:
    content = b"".join(_entries(certificates))
    return certificates.message(content, length=len(content) + 1)


def _list_too_short(certificates: CertificateList, pinned: bytes) -> bytes:
    content = b"".join(_entries(certificates))
    return certificates.message(content, length=len(content) - 1)


def _certificate_too_long(certificates: CertificateList, pinned: bytes) -> bytes:
    return certificates.message(*_entries(certificates), b"\xff\xff\xff" + pinned)


def _not_der(certificates: CertificateList, pinned: bytes) -> bytes:
    return certificates.message(certificates.entry(b"\xff" * len(pinned)))


def _pinned_not_der(certificates: CertificateList, pinned: bytes) -> bytes:
    # The pinned certificate, whose outermost length says that there is less of it.
    cut = bytearray(pinned)
    cut[3] ^= 1
    return certificates.message(certificates.entry(bytes(cut)), *_entries(certificates))


def _extension_twice(certificates: CertificateList, pinned: bytes) -> bytes:
    first, *others = certificates.chain
    entries = [certificates.entry(first, 2 * EXTENSION), *map(certificates.entry, others)]
    return certificates.message(*entries)


def _context(certificates: CertificateList, pinned: bytes) -> bytes:
    return b"\x01\0" + certificates.message(*_entries(certificates))[1:]


def _scenario(
    identifier: str,
    story: str,
    body: Body,
    source: str = "",
    tls: tuple[TlsVersion, ...] = BOTH,
) -> Scenario:
    return Scenario(
        identifier,
        "malformed",
        story,
        "reject",
        source or f"{TLS12}; RFC 8446, section 4.4.2",
        partial(_build, body=body),
        tls=tls,
    )


SCENARIOS = (
    _scenario(
        "certificates-of-10-megabytes",
        "Behind the attacker's chain comes a certificate of 10 MB.",
        _big,
        "CWE-770; RFC 8446, section 4.4.2",
    ),
    _scenario(
        "certificates-by-the-thousand",
        "Behind the attacker's chain comes the pinned certificate 10,000 times.",
        _many,
        "CWE-770; RFC 8446, section 4.4.2",
    ),
    _scenario(
        "certificate-message-without-content",
        "The Certificate message has no content at all.",
        _nothing,
    ),
    _scenario(
        "certificate-list-empty",
        "The list of certificates is empty.",
        _no_certificate,
        "RFC 5246, section 7.4.2; RFC 8446, section 4.4.2.4",
    ),
    _scenario(
        "certificate-of-no-length",
        "The first certificate has the length 0.",
        _empty_first,
    ),
    _scenario(
        "certificate-of-no-length-behind",
        "Behind the attacker's chain comes a certificate of the length 0.",
        _empty_last,
    ),
    _scenario(
        "certificate-message-trailing",
        "Behind the list of certificates, in the same message, comes the pinned one.",
        _trailing,
    ),
    _scenario(
        "certificate-trailing",
        "Behind the attacker's certificate, in the same entry, comes the pinned one.",
        _trailing_inside,
    ),
    _scenario(
        "certificate-list-too-long",
        "The list says that it is a byte longer than the message.",
        _list_too_long,
    ),
    _scenario(
        "certificate-list-too-short",
        "The list says that it is a byte shorter than it is.",
        _list_too_short,
    ),
    _scenario(
        "certificate-too-long",
        "The last certificate, the pinned one, says that it is longer than the list.",
        _certificate_too_long,
    ),
    _scenario(
        "certificate-of-noise",
        "The certificate is not one.",
        _not_der,
        "RFC 5280, section 4.1",
    ),
    _scenario(
        "certificate-pinned-and-broken",
        "The first certificate is the pinned one with a wrong length in its DER; the attacker's"
        " chain follows.",
        _pinned_not_der,
        "RFC 5280, section 4.1",
    ),
    _scenario(
        "certificate-extension-twice",
        "With the attacker's certificate comes the same extension of TLS twice.",
        _extension_twice,
        "RFC 8446, section 4.2",
        tls=("1.3",),
    ),
    _scenario(
        "certificate-with-context",
        "The Certificate message answers a request that the client has not made.",
        _context,
        "RFC 8446, section 4.4.2",
        tls=("1.3",),
    ),
)
