"""What there is on the first day, from a pin file and older ones that clients may still carry."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from itertools import pairwise
from typing import TYPE_CHECKING

from ..hostnames import normalise_pattern
from .clients import ONE_DAY, Version, days
from .schedule import Impossible, Start

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..pin import Pin
    from ..pinfile import HostEntry, PinEntry, PinFile

__all__ = ["start_of"]

SHORT_PIN = len("sha256/") + 8


def start_of(
    file: PinFile,
    host: str | None,
    day: date,
    *,
    issued: date | None = None,
    published: date | None = None,
    older: Sequence[PinFile] = (),
    reach: int = 0,
) -> Start:
    """Read what holds for one host.

    Args:
        file: the newest pin file.
        host: a host, or the name of an entry; None if the file pins one only.
        day: the first day.
        issued: when the certificate in service was issued; the first day if None.
        published: when the newest pin file was published. None: so long ago that all clients have
            it; if there are older ones, on the first day.
        older: pin files that clients may carry until the newest has reached them.
        reach: in how many days that is.

    Raises:
        Impossible: nothing can be planned for the host, and why.
        HostnameError: not a host.
    """
    entry = _entry(file, host)
    if older and published is None:
        published = day
    if published is not None and published > day:
        raise Impossible(f"published on {published}: that is behind the first day, {day}")
    names = _names(entry)
    servers = [one for one in entry.pins if one.authority is None]
    active = [one for one in servers if one.role == "active" and not _is_later(one, day)]
    if not active and any(one.authority and one.role == "active" for one in entry.pins):
        raise Impossible(
            f"of {entry.name}, only authorities' keys are in service: clients accept every key that"
            " these certify, so that no change of a server's key breaks them, and only a change of"
            " authority does. A plan is about the keys of servers"
        )
    if not active:
        raise Impossible(
            f"no key of {entry.name} is in service on {day}: the pin file has none with role"
            " 'active', or only such as go into service later"
        )
    in_service = tuple(names[one.pin] for one in active)
    dated = sorted(
        (one.not_before.date(), names[one.pin])
        for one in servers
        if one.not_before is not None
        and (one.role == "planned" or (one.role == "active" and _is_later(one, day)))
    )
    name = entry.name if host is None else normalise_pattern(host)
    first = published or day
    earlier = [
        _version(f"version {one.version}", first, _older_entry(one, name), one, names)
        for one in _ascending(older, file)
    ]
    if published is not None and published + days(reach) > day:
        # Nothing is known of them but that they let clients in today.
        earlier = earlier or [Version("an older version", first, frozenset(in_service))]
    elif older:
        raise Impossible(
            f"published on {published}, version {file.version} is with all clients by {day}: no"
            " older pin file matters, except to clients that never update; leave it out"
        )
    return Start(
        day=day,
        issued=issued or day,
        in_service=in_service,
        since=max((one.not_before.date() for one in active if one.not_before), default=None),
        retiring=tuple(names[one.pin] for one in servers if one.role == "retiring"),
        dated=tuple(dated),
        planned=tuple(
            names[one.pin] for one in servers if one.role == "planned" and one.not_before is None
        ),
        version=_version(f"version {file.version}", first, entry, file, names),
        number=file.version,
        older=tuple(earlier),
    )


def _entry(file: PinFile, host: str | None) -> HostEntry:
    pinned = [entry for entry in file.hosts if not entry.exclude]
    if host is None:
        if len(pinned) == 1:
            return pinned[0]
        listed = ", ".join(entry.name for entry in pinned[:10]) + ", …" * (len(pinned) > 10)
        raise Impossible(f"one host at a time, and the pin file has {len(pinned)}: {listed}")
    name = normalise_pattern(host)
    found = _find(file, name)
    if found is None or found.exclude:
        raise Impossible(f"the pin file does not pin {name}")
    return found


def _find(file: PinFile, name: str) -> HostEntry | None:
    """The entry that decides on a host, or that has this name."""
    found = next((entry for entry in file.hosts if entry.name == name), None)
    if found is not None or "*" in name:
        return found
    rule = file.pin_set().rule_for(name)
    if rule is None:
        return None
    return next((entry for entry in file.hosts if entry.name == rule.host), None)


def _older_entry(file: PinFile, name: str) -> HostEntry | None:
    found = _find(file, name)
    if found is None and "*" in name:
        raise Impossible(
            f"version {file.version} has no entry {name}, and which of its entries decides depends"
            " on the host: name one host"
        )
    return found


def _ascending(older: Iterable[PinFile], newest: PinFile) -> list[PinFile]:
    files = sorted(older, key=lambda file: file.version)
    for file, following in pairwise([*files, newest]):
        if file.version >= following.version:
            raise Impossible(
                f"an older pin file has version {file.version}, and a newer one"
                f" {following.version}: versions have to ascend"
            )
    return files


def _version(
    name: str, published: date, entry: HostEntry | None, file: PinFile, names: dict[Pin, str]
) -> Version:
    if entry is None or entry.exclude:
        refuses = entry is None and file.defaults.unlisted == "refuse"
        return Version(name, published, frozenset() if refuses else None)
    rule = entry.rule(file.defaults)
    expires = rule.expires
    authorities = {one.pin for one in entry.pins if one.authority is not None}
    return Version(
        name,
        published,
        frozenset(
            names.get(pin) or _unused(_short(pin), names)
            for pin in rule.pins
            if pin not in authorities
        ),
        None if expires is None else _first_day_from(expires),
        rule.on_expiry == "allow",
    )


def _names(entry: HostEntry) -> dict[Pin, str]:
    """What each key is called: as its owner does, or by the beginning of its pin."""
    names = {one.pin: one.key for one in entry.pins if one.key is not None}
    for one in entry.pins:
        if one.pin not in names:
            names[one.pin] = _unused(_short(one.pin), names)
    return names


def _short(pin: Pin) -> str:
    return str(pin)[:SHORT_PIN] + "…"


def _unused(name: str, names: dict[Pin, str]) -> str:
    taken = set(names.values())
    while name in taken:
        name += "…"
    return name


def _is_later(entry: PinEntry, day: date) -> bool:
    return entry.not_before is not None and entry.not_before.date() > day


def _first_day_from(moment: datetime) -> date:
    """The first day that lies behind a moment as a whole."""
    midnight = datetime.combine(moment.date(), time.min, UTC)
    return moment.date() + (ONE_DAY if moment > midnight else days(0))
