"""Rules as many systems have them: a domain, and whether it includes what is below it."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..pin import Pin
    from ..pinfile import PinFile
    from ..pinset import Match, Rule

__all__ = [
    "Domain",
    "domains",
    "exact_hosts",
    "first_date_after",
    "has_begun_everywhere",
    "is_name",
    "is_public_name",
]

FIRST_MIDNIGHT = timedelta(hours=14)  # UTC+14, where each day begins first
LAST_MIDNIGHT = time(12)  # UTC-12
DAY = timedelta(days=1)


class Domain(NamedTuple):
    """One entry of such a system.

    Attributes:
        name: a host name or IP address.
        subdomains: whether it holds for what is below the name as well.
        pins: empty for a domain that is excluded from a wider entry.
        deny: keys that are never accepted.
        match: where a pinned key may be, as in a rule.
        enforce: whether a mismatch is refused.
        fails_open: when it stops being enforced; None for never.
    """

    name: str
    subdomains: bool
    pins: tuple[Pin, ...]
    deny: tuple[Pin, ...]
    match: Match
    enforce: bool
    fails_open: datetime | None


def domains(rules: Iterable[Rule]) -> list[Domain]:
    """Write rules as entries, each domain once.

    `*.` and `**.` become the flag. Rules that differ in nothing else are put together; what that
    changes is found by comparing the result with the rules.
    """
    by_name: dict[str, list[Rule]] = {}
    for rule in rules:
        by_name.setdefault((rule.host or "").rpartition("*.")[2], []).append(rule)
    return [_together(name, some) for name, some in by_name.items()]


def _together(name: str, rules: Sequence[Rule]) -> Domain:
    pinned = [rule for rule in rules if not rule.exclude]
    subdomains = any(rule.host != name for rule in pinned or rules)
    moments = [rule.expires if rule.on_expiry == "allow" else None for rule in pinned]
    return Domain(
        name,
        subdomains,
        tuple(dict.fromkeys(pin for rule in pinned for pin in rule.pins)),
        tuple(dict.fromkeys(pin for rule in pinned for pin in rule.deny)),
        "chain" if any(rule.match == "chain" for rule in pinned) else "leaf",
        any(rule.mode == "enforce" for rule in pinned),
        max((moment for moment in moments if moment), default=None) if all(moments) else None,
    )


def exact_hosts(pins: PinFile) -> dict[str, Rule]:
    """Return the pinned hosts that a pin file names, with the rule that decides on each.

    For systems without patterns: of `**.example.com` that is example.com, of `*.example.com` none.
    """
    found = {}
    pin_set = pins.pin_set()
    for rule in pin_set.rules:
        host = (rule.host or "").removeprefix("**.")
        decides = None if "*" in host else pin_set.rule_for(host)
        if decides is not None and not decides.exclude:
            found[host] = decides
    return found


def is_name(host: str) -> bool:
    """Whether this is a name, and no IP address."""
    return ":" not in host and not host[-1].isdigit()


def is_public_name(host: str) -> bool:
    """Whether this may be a name in the public DNS: no IP address, and more than one label."""
    return is_name(host) and "." in host


def has_begun_everywhere(moment: datetime) -> bool:
    """Whether a moment in UTC is that at which a date has begun in the last time zone, UTC-12."""
    return moment.time() == LAST_MIDNIGHT


def first_date_after(moment: datetime, *, device_time: bool) -> date | None:
    """Return the first date whose midnight is not before a moment; None past the year 9999.

    A moment at which a date has begun everywhere stands for that date: it was read from one.

    Args:
        moment: in UTC.
        device_time: whether it is midnight wherever the device is, or in UTC.
    """
    if device_time and has_begun_everywhere(moment):
        return moment.date()
    try:
        latest = moment + (FIRST_MIDNIGHT if device_time else timedelta())
        day = datetime.combine(latest.date(), time.min, UTC)
        return (day if day == latest else day + DAY).date()
    except OverflowError:
        return None
