"""Certificate files that stand for pins, in systems with one list for all hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._internal.other_formats import mend, recognise
from ..errors import CertificateFormatError
from ..pin import Pin
from ..pinfile import HostEntry
from ..pinset import PinSet
from ._conversion import FormatError, Reading, located, pin_file
from ._losses import loss

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..pinfile import PinFile
    from ..pinset import Match
    from ._conversion import Certificate, Certificates, Files, Loss

__all__ = ["chosen", "meaning", "read_certificates"]

SUFFIX = ".cer"


def chosen(
    pins: PinFile, certificates: Certificates, title: str, *, leaves_only: bool
) -> tuple[list[Certificate], list[Loss]]:
    """Find the certificates of all pins.

    Args:
        pins: the pin file.
        certificates: those that there are.
        title: the target, in words.
        leaves_only: leave out those of CAs.

    Raises:
        FormatError: a host has pins, but no certificate is there for any of them.
    """
    found: dict[Pin, Certificate] = {}
    losses = []
    for rule in pins.rules():
        if rule.exclude:
            continue
        usable = {
            pin: certificates[pin]
            for pin in rule.pins
            if pin in certificates and not (leaves_only and certificates[pin].is_ca)
        }
        if not usable:
            which = "servers' certificates" if leaves_only else "certificate"
            raise FormatError(
                f"{title} needs certificates, and there are no {which} for any pin of {rule.host}:"
                " put them in a folder and name it with --certificates"
            )
        if missing := [pin for pin in rule.pins if pin not in usable]:
            losses.append(loss("certificate-missing", rule.host, target=title, pins=missing))
        found |= usable
    return list(found.values()), losses


def meaning(certificates: Iterable[Certificate], match: Match) -> PinSet:
    """Return the rule of such a system: any of the keys, for whatever host."""
    pins = [Pin.from_certificate(certificate.der) for certificate in certificates]
    return PinSet.for_every_host(pins, match=match)


def read_certificates(files: Files, hosts: Sequence[str], match: Match | None) -> Reading:
    """Read the certificate files of a folder as the pins of hosts that the user names.

    Raises:
        FormatError: no certificates, one that is none, or no hosts.
    """
    found: dict[Pin, None] = {}
    for name, content in files.items():
        if name.endswith(SUFFIX):
            try:
                found[Pin.from_certificate(content)] = None
            except CertificateFormatError as error:
                other = recognise(content)
                said = [str(error) if other is None else other.what, mend(other, "DER", name)]
                raise FormatError(". ".join(filter(None, said)), name) from None
    if not found:
        others = [
            f"; {name} is {other.what}. {mend(other, 'DER', name)}"
            for name, content in files.items()
            if (other := recognise(content)) and other.what.startswith("PEM")
        ]
        raise FormatError(f"no {SUFFIX} files in the folder{''.join(others[:1])}")
    if not hosts:
        raise FormatError(
            "certificates name no host to pin: give each with --host NAME, such as"
            " --host api.example.com"
        )
    with located("--host"):
        entries = [HostEntry(host, found, match=match) for host in dict.fromkeys(hosts)]
    # every host was held to the list, so that those not named now must not pass
    return Reading(pin_file(entries, "refuse"), (loss("keys-compared"),))
