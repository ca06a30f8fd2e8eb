"""iOS and macOS: NSPinnedDomains in Info.plist, enforced by App Transport Security.

https://developer.apple.com/documentation/bundleresources/information-property-list/nspinneddomains
and the pages below it: NSPinnedLeafIdentities is compared with the server's own key,
NSPinnedCAIdentities with the keys of the CAs of its chain, and where both are given both must
match; NSIncludesSubdomains covers the domain and hosts exactly one label below it; the pins never
expire, and there is no report mode, exclusion or denied key. IP addresses count from iOS 17 on
only, and which of two entries for a host decides is not said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..pinfile import HostEntry
from ._conversion import Draft, Reading, located, only_file, pin_file, without_wildcard
from ._domains import domains, is_public_name
from ._losses import loss
from ._plist import dump, load

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ..pin import Pin
    from ..pinfile import PinFile
    from ._conversion import Certificates, Files, Loss
    from ._domains import Domain
    from ._plist import Table

__all__ = ["TITLE", "export", "read"]

TITLE = "App Transport Security"
FILE = "Info.plist"
LEAF, CA, SPKI = "NSPinnedLeafIdentities", "NSPinnedCAIdentities", "SPKI-SHA256-BASE64"
SUBDOMAINS = "NSIncludesSubdomains"


def export(pins: PinFile, certificates: Certificates) -> Draft:
    """Write the part of Info.plist that pins."""
    losses: list[Loss] = []
    pinned = {
        domain.name: _entry(domain, certificates, losses)
        for domain in domains(pins.rules())
        if domain.pins and is_public_name(domain.name)
    }
    files = {FILE: dump({"NSAppTransportSecurity": {"NSPinnedDomains": pinned}})}
    reading = read(files, ())
    undocumented = [each for each in reading.losses if each.name == "overlap-undocumented"]
    return Draft(files, reading.pins.pin_set(), (*losses, *undocumented))


def _entry(domain: Domain, certificates: Certificates, losses: list[Loss]) -> dict[str, Any]:
    cas = [pin for pin in domain.pins if pin in certificates and certificates[pin].is_ca]
    unknown = [pin for pin in domain.pins if pin not in certificates]
    key, listed = LEAF, list(domain.pins)
    if domain.match == "chain" and cas == listed:
        key = CA
    elif domain.match == "chain":
        listed = [pin for pin in listed if pin not in cas]
        if unknown:
            losses.append(loss("usage-unknown", domain.name, pins=unknown, how=LEAF))
    return {
        SUBDOMAINS: domain.subdomains,
        key: [{SPKI: str(pin).removeprefix("sha256/")} for pin in listed],
    }


def read(files: Files, hosts: Sequence[str]) -> Reading:
    """Read an Info.plist, or a part of one that has NSPinnedDomains in it."""
    root = load(*only_file(files))
    transport_security = root.table("NSAppTransportSecurity") or root
    pinned = transport_security.table("NSPinnedDomains")
    if pinned is None:
        raise root.refuse("no NSAppTransportSecurity > NSPinnedDomains")
    found: list[HostEntry] = []
    losses: list[Loss] = []
    for name, entry in pinned.tables():
        found += _hosts(name, entry, losses)
    losses += _overlaps(found)
    return Reading(pin_file(found), tuple(losses))


def _hosts(name: str, entry: Table, losses: list[Loss]) -> Iterator[HostEntry]:
    entry.expect((SUBDOMAINS, LEAF, CA))
    leaves, cas = _identities(entry, LEAF), _identities(entry, CA)
    if not leaves and not cas:
        raise entry.refuse(f"neither {LEAF} nor {CA}")
    if leaves and cas:
        losses.append(loss("ca-list-not-carried", name))
    elif cas:
        losses.append(loss("ca-or-leaf", name))
    patterns = [name, f"*.{name}"] if entry.boolean(SUBDOMAINS, False) else [name]
    with located(entry.file):
        without_wildcard(name, f"; {SUBDOMAINS} is for that")
        for pattern in patterns:
            yield HostEntry(pattern, leaves or cas, match="leaf" if leaves else None)


def _identities(entry: Table, key: str) -> list[Pin]:
    found = []
    listed = entry.values.get(key, [])
    if not isinstance(listed, list):
        raise entry.refuse("not an array", key)
    for each in listed:
        if not isinstance(each, dict) or set(each) != {SPKI}:
            raise entry.refuse(f"not a dictionary with {SPKI} and nothing else", key)
        found.append(entry.pin(each[SPKI], key))
    return list(dict.fromkeys(found))


def _overlaps(found: Iterable[HostEntry]) -> Iterator[Loss]:
    by_name = {entry.name: entry for entry in found}
    for entry in by_name.values():
        wider = by_name.get("*." + entry.name.partition(".")[2])
        if wider is None or "*" in entry.name:
            continue
        if (set(wider.pins), wider.match) != (set(entry.pins), entry.match):
            where = f"{wider.name.removeprefix('*.')} and its subdomains"
            yield loss("overlap-undocumented", entry.name, target=TITLE, where=where)
