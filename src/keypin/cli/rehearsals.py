"""Rehearsals with files: a candidate, the pin files that clients carry, the CAs that they trust."""

from __future__ import annotations

import base64
import binascii
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from ..checking.candidate import Candidate, OtherFormat
from ..checking.rehearsal import rehearse
from ..errors import CertificateFormatError, HostnameError, KeypinError, PinFormatError
from ..pin import pin_of
from ..pinset import PinSet
from .certificate_files import CERTIFICATE_LABELS, PEM_BLOCK, read_certificates
from .exit_codes import CommandError, ExitCode
from .files import read_file
from .options import trust_store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from ..checking.findings import Finding
    from ..checking.paths import TrustStore

__all__ = ["Surroundings", "read_candidate", "read_surroundings", "rehearse_files"]

READERS: dict[str, Callable[[bytes], Candidate]] = {
    "CERTIFICATE REQUEST": Candidate.from_request,
    "NEW CERTIFICATE REQUEST": Candidate.from_request,
    "PUBLIC KEY": Candidate.from_public_key,
    "PRIVATE KEY": Candidate.from_private_key,
    "RSA PRIVATE KEY": Candidate.from_private_key,
    "EC PRIVATE KEY": Candidate.from_private_key,
    "ENCRYPTED PRIVATE KEY": Candidate.from_private_key,
}


class Surroundings(NamedTuple):
    """What clients have, and the server's address."""

    pins: dict[str, PinSet]
    """by the name of the pin file"""
    stores: list[TrustStore]
    hosts: Sequence[str]
    at: datetime | None
    strict_x509: bool | None = None
    """see `rehearse`"""

    def rehearse(self, candidate: Candidate, name: str) -> list[Finding]:
        """Let a candidate meet these clients.

        Args:
            candidate: what a server would show.
            name: what to call it in errors.

        Raises:
            CommandError: it cannot be judged.
        """
        try:
            return rehearse(
                candidate, self.pins, self.stores, self.hosts, self.at, self.strict_x509
            )
        except HostnameError as error:
            raise CommandError(ExitCode.USAGE, str(error)) from None
        except CertificateFormatError as error:
            raise CommandError(ExitCode.BAD_FILE, f"{name}: {error}") from None


def rehearse_files(
    candidates: Sequence[Path],
    files: Sequence[Path],
    hosts: Sequence[str] = (),
    at: datetime | None = None,
    cafiles: Sequence[Path] = (),
    strict_x509: bool | None = None,
) -> list[Finding]:
    """Tell whether clients with these pin files would accept a server that shows each candidate.

    Args:
        candidates: certificate chains, authorities, certificate requests or keys; PEM or DER.
        files: pin files, present and past.
        hosts: the servers; see `rehearse`.
        at: when, with a time zone; now if None.
        cafiles: what clients trust, each alone; the system's authorities if empty.
        strict_x509: see `rehearse`.

    Raises:
        CommandError: a file that is not what it should be, or something else than a host.
    """
    surroundings = read_surroundings(files, hosts, at, cafiles)._replace(strict_x509=strict_x509)
    findings: list[Finding] = []
    for path in candidates:
        found = surroundings.rehearse(read_candidate(path), str(path))
        findings += [_of(finding, path) for finding in found] if len(candidates) > 1 else found
    return findings


def read_surroundings(
    files: Sequence[Path], hosts: Sequence[str], at: datetime | None, cafiles: Sequence[Path]
) -> Surroundings:
    """Read the pin files and the authorities; the arguments are those of `rehearse_files`.

    Raises:
        CommandError: a file that is not what it should be.
    """
    pins = {}
    for path in files:
        read_file(path)
        try:
            pins[str(path)] = PinSet.load(path)
        except KeypinError as error:
            raise CommandError(ExitCode.BAD_FILE, str(error)) from None
    stores = [trust_store(path) for path in cafiles or (None,)]
    return Surroundings(pins, stores, hosts, at)


def read_candidate(path: Path) -> Candidate:
    """Read a certificate chain, an authority, a certificate request or a key, in PEM or DER.

    Raises:
        CommandError: it is not there, or none of these.
    """
    data = read_file(path)
    blocks = [(block[1].decode("ascii"), block[2]) for block in PEM_BLOCK.finditer(data)]
    try:
        if not any(label in CERTIFICATE_LABELS for label, _ in blocks):
            candidate = _from_pem(blocks) if blocks else _from_der(data)
            if candidate is not None:
                return candidate
        return Candidate.from_certificates(read_certificates(path).certificates)
    except KeypinError as error:
        raise CommandError(ExitCode.BAD_FILE, f"{path}: {error}") from None


def _from_pem(blocks: Sequence[tuple[str, bytes]]) -> Candidate | None:
    found: list[Candidate] = []
    for label, text in blocks:
        if label not in READERS:
            continue
        try:
            der = base64.b64decode(b"".join(text.split()), validate=True)
        except binascii.Error:  # RFC 1421: headers before the text
            raise CertificateFormatError(f"{label}: encrypted, or not base64") from None
        found.append(READERS[label](der))
    if len({pin_of(each.certificates[0]) for each in found}) > 1:
        raise CertificateFormatError("several keys; put the one to rehearse in a file of its own")
    # of a key and its request, the request has the names
    return max(found, key=lambda each: len(each.names), default=None)


def _from_der(data: bytes) -> Candidate | None:
    for read in (Candidate.from_request, Candidate.from_public_key, Candidate.from_private_key):
        with suppress(OtherFormat, PinFormatError):
            return read(data)
    return None


def _of(finding: Finding, candidate: Path) -> Finding:
    where = str(candidate) if finding.where is None else f"{finding.where}, {candidate}"
    return replace(finding, where=where)
