"""iOS and macOS: NSPinnedDomains in Info.plist, enforced by App Transport Security.

https://developer.apple.com/documentation/bundleresources/information-property-list/nspinneddomains
and the pages below it: NSPinnedLeafIdentities is compared with the server's own key,
NSPinnedCAIdentities with the keys of the CAs of its chain, and where both are given both must
match; NSIncludesSubdomains covers the domain and hosts exactly one label below it; the pins never
expire, and there is no report mode, exclusion or denied key. IP addresses count from iOS 17 on
only, and which of two entries for a host decides is not said.

A pin file need not say whether a key is a server's or an authority's, and a wrong guess has every
server refused: so the keys in service have to be known, from `match = "leaf"`, `authority` or a
certificate. Of others, such as backups, a server's is taken, which never accepts more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..pinfile import HostEntry, PinEntry
from ._conversion import (
    Draft,
    FormatError,
    Reading,
    only_file,
    pin_file,
    without_wildcard,
)
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
SHOWN = 5


class _Keys(NamedTuple):
    """What is known of the keys of a domain.

    Attributes:
        in_service: those that a server may show, neither planned nor backup; all, if none is said
            to be in service.
        servers: those that are servers'.
        authorities: those that are authorities'.
        fitting: which list they may stand in; None if in either every server might be refused.
    """

    in_service: list[Pin]
    servers: set[Pin]
    authorities: set[Pin]

    @property
    def fitting(self) -> str | None:
        if self.servers.intersection(self.in_service):
            return LEAF
        return CA if self.authorities.issuperset(self.in_service) else None

    @property
    def unknown(self) -> list[Pin]:
        """Those in service of which too little is known."""
        return [pin for pin in self.in_service if pin not in self.authorities] or self.in_service


def export(pins: PinFile, certificates: Certificates) -> Draft:
    """Write the part of Info.plist that pins."""
    losses: list[Loss] = []
    wanted = [each for each in domains(pins.rules()) if each.pins and is_public_name(each.name)]
    entries: dict[str, list[PinEntry]] = {}
    for host in pins.hosts:
        entries.setdefault(host.name.rpartition("*.")[2], []).extend(host.pins)
    known = {each.name: _keys(each, entries[each.name], certificates) for each in wanted}
    unknown = {name: keys.unknown for name, keys in known.items() if keys.fitting is None}
    if unknown:
        named = {entry.pin: entry.key for host in pins.hosts for entry in host.pins if entry.key}
        raise FormatError(_refusal(unknown, named))
    pinned = {domain.name: _entry(domain, known[domain.name], losses) for domain in wanted}
    files = {FILE: dump({"NSAppTransportSecurity": {"NSPinnedDomains": pinned}})}
    reading = read(files, ())
    undocumented = [each for each in reading.losses if each.name == "overlap-undocumented"]
    return Draft(files, reading.pins.pin_set(), (*losses, *undocumented))


def _keys(domain: Domain, entries: Iterable[PinEntry], certificates: Certificates) -> _Keys:
    shown = {entry.pin for entry in entries if entry.role in ("active", "retiring")}
    authorities = {entry.pin for entry in entries if entry.authority}
    authorities.update(pin for pin, certificate in certificates.items() if certificate.is_ca)
    servers = set(domain.pins if domain.match == "leaf" else certificates) - authorities
    return _Keys(
        [pin for pin in domain.pins if pin in shown] or list(domain.pins),
        servers,
        authorities if domain.match == "chain" else set(),
    )


def _refusal(unknown: dict[str, list[Pin]], named: dict[Pin, str]) -> str:
    def called(pin: Pin) -> str:
        return f"{named[pin]} ({pin})" if pin in named else str(pin)

    listed = [f"{name}: {', '.join(map(called, pins))}" for name, pins in unknown.items()]
    more = f"; and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return (
        f"of these keys it is not known whether they are servers' ({LEAF}) or authorities' ({CA}),"
        f" and in the wrong list {TITLE} refuses every server: {'; '.join(listed[:SHOWN])}{more}."
        ' Say so in the pin file, match = "leaf" for a host with servers\' keys or authority ='
        ' "own" or "other" for an authority\'s key, or give their certificates (--certificates)'
    )


def _entry(domain: Domain, keys: _Keys, losses: list[Loss]) -> dict[str, Any]:
    key = keys.fitting or LEAF
    listed = [pin for pin in domain.pins if (pin in keys.authorities) == (key == CA)]
    unknown = [pin for pin in listed if pin not in keys.servers | keys.authorities]
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
    with entry.located():
        without_wildcard(name, f"; {SUBDOMAINS} is for that")
        for pattern in patterns:
            if leaves:
                yield HostEntry(pattern, leaves, match="leaf")
            else:
                yield HostEntry(pattern, [PinEntry(pin, authority="other") for pin in cas])


def _identities(entry: Table, key: str) -> list[Pin]:
    found = []
    listed = entry.values.get(key, [])
    if not isinstance(listed, list):
        raise entry.refuse("not an array", key)
    for index, each in enumerate(listed):
        if not isinstance(each, dict) or set(each) != {SPKI}:
            raise entry.refuse(f"not a dictionary with {SPKI} and nothing else", key, index)
        found.append(entry.pin(each[SPKI], key, index, SPKI))
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
