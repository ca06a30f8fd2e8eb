"""A plan as events: what happens on which day, and what to do."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Literal

from .clients import Gap, days
from .schedule import PUBLIC_LIMITS, counted, reach_in_words, renewed_before

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date

    from .clients import Refusal, Version
    from .schedule import Certificate, Plan

__all__ = ["Event", "Kind", "first_break", "notes", "settings", "tell"]

Kind = Literal[
    "start", "publish", "everywhere", "issue", "serve", "renew", "break", "expire", "limit"
]
ORDER: tuple[Kind, ...] = (
    "start", "limit", "issue", "publish", "everywhere", "serve", "renew", "break", "expire"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens.

    Args:
        day: at its first moment, UTC.
        kind: a word for programs.
        what: what happens.
        do: what to do then; may be empty.
    """

    day: date
    kind: Kind
    what: str
    do: str = ""


def tell(plan: Plan) -> tuple[Event, ...]:
    """Tell what happens, day by day."""
    events = [
        _beginning(plan),
        *_limits(plan),
        *_publications(plan),
        *_changes(plan),
        *_renewals(plan),
        *_breaks(plan),
        *_expiries(plan),
    ]
    return tuple(sorted(events, key=lambda event: (event.day, ORDER.index(event.kind))))


def settings(plan: Plan) -> tuple[tuple[str, str], ...]:
    """Say what the plan goes by: what it is about, and how it is."""
    policy, ahead = plan.policy, plan.keys_ahead
    clients = "a new pin file is with all that update "
    clients += f"after {reach_in_words(policy)}" if policy.reach else "on the day it is published"
    if policy.rotate == "renewal":
        keys = "each renewal has a new one"
    elif policy.rotate == "never":
        keys = "renewals keep it"
    else:
        keys = f"each is in service for {counted(policy.rotate)}"
    if policy.at_renewal:
        keys += ", made then"
        keys += f", and shown {counted(policy.hold)} later" if policy.hold else ""
    elif policy.rotate != "never":
        keys += (
            f"; the next {ahead} are in the pin file"
            if ahead > 1
            else "; the next is in the pin file"
        )
    lifetime = (plan.certificates[0].expires - plan.certificates[0].issued).days
    before = f"renewed {counted(renewed_before(policy, lifetime))} before they expire"
    if policy.lifetime is None:
        lasting = f"as long as public authorities issue them, {counted(lifetime)} at first"
    else:
        lasting = f"of {counted(policy.lifetime)}"
    return ("clients", clients), ("keys", keys), ("renewal", f"certificates {lasting}, {before}")


def first_break(plan: Plan) -> str | None:
    """Say on which day which clients break first; None if none do."""
    if not plan.refusals:
        return None
    first = plan.refusals[0]
    together = [one for one in plan.refusals if (one.first, one.key) == (first.first, first.key)]
    return (
        f"C{_clients(one.version for one in together)[1:]} break on {first.first}: they refuse"
        f" {first.key}, {_since_when(plan, first.key)}."
    )


def notes(plan: Plan) -> tuple[str, ...]:
    """Say what else should be known."""
    return (*_about_spares(plan), *_about_expiry(plan), *_about_lifetimes(plan))


def _beginning(plan: Plan) -> Event:
    start, newest = plan.start, plan.versions[0]
    pinned = _and(sorted(newest.keys or (), key=_natural))
    what = f"{_and(start.in_service)} in service; pin file {newest.name}: {pinned}"
    if start.older:
        reached = newest.published + days(plan.policy.reach)
        older = _and(version.name for version in start.older)
        what += f"; published on {newest.published}, some clients have {older} until {reached}"
    return Event(start.day, "start", what)


def _limits(plan: Plan) -> Iterator[Event]:
    if not plan.policy.public:
        return
    for begin, limit in PUBLIC_LIMITS:
        wished = plan.policy.lifetime
        if plan.start.day < begin <= plan.last and (wished is None or wished > limit):
            yield Event(
                begin,
                "limit",
                f"public authorities issue certificates for at most {limit} days from now on",
                "renew more often",
            )


def _publications(plan: Plan) -> Iterator[Event]:
    serving = {key: change.day for change in plan.changes for key in change.keys}
    known: set[str] = set(plan.versions[0].keys or ())
    for before, version in pairwise(plan.versions):
        old, keys = before.keys or frozenset(), version.keys or frozenset()
        new, gone = sorted(keys - old, key=_natural), sorted(old - keys, key=_natural)
        parts = [f"with {_and(new)}"] if new else []
        parts += [f"without {_and(gone)}"] if gone else []
        parts = parts or ["the same pins"]
        if version.expires is not None and plan.policy.expire_after is not None:
            parts.append(f"to expire on {version.expires}")
        orders = []
        if made := [key for key in new if key not in known]:
            known.update(made)
            if not plan.policy.at_renewal:
                orders.append(f"make {_and(made)}")
        orders.append(f"publish {version.name}")
        needed = [serving[key] for key in new if key in serving]
        if needed:
            latest = min(needed) - days(plan.policy.reach)
            orders[-1] += f", on {latest} at the latest" if latest > version.published else ""
        yield Event(
            version.published, "publish", f"pin file {version.name}: {', '.join(parts)}",
            "; ".join(orders)
        )  # fmt: skip
        reached = version.published + days(plan.policy.reach)
        if new and plan.policy.reach and reached <= plan.last:
            yield Event(
                reached,
                "everywhere",
                f"{version.name} is with all clients that update",
                f"{_and(new)} may go into service from now on",
            )


def _changes(plan: Plan) -> Iterator[Event]:
    before = plan.start.in_service
    for change in plan.changes:
        if change.day > change.issued and change.issued <= plan.last:
            yield Event(
                change.issued,
                "issue",
                f"a certificate for {_and(change.keys)}, a new key",
                f"do not show it before {change.day}",
            )
        if change.day <= plan.last:
            overlap = plan.policy.overlap
            until = f" within {overlap} days" if overlap > 1 else ""
            yield Event(
                change.day,
                "serve",
                f"{_and(change.keys)} goes into service, {_and(before)} out of it{until}",
                f"let all servers show the certificate for {_and(change.keys)}",
            )
        before = change.keys


def _renewals(plan: Plan) -> Iterator[Event]:
    """Renewals that keep the key: one event for all in a row that are as far apart."""
    pairs = pairwise(plan.certificates)
    renewals = [
        (certificate, (certificate.first - before.first).days)
        for before, certificate in pairs
        if certificate.keys == before.keys
    ]
    for (keys, every), group in groupby(renewals, key=lambda pair: (pair[0].keys, pair[1])):
        certificates = [certificate for certificate, _ in group]
        yield Event(
            certificates[0].first, "renew", _renewed(certificates, every), f"keep {_and(keys)}"
        )


def _renewed(certificates: list[Certificate], every: int) -> str:
    lifetime = (certificates[0].expires - certificates[0].issued).days
    what = f"the certificate is renewed with the same key, for {lifetime} days"
    if len(certificates) == 1:
        return what
    return f"{what}; and so every {every} days, the last time on {certificates[-1].first}"


def _breaks(plan: Plan) -> Iterator[Event]:
    together: dict[tuple[date, str], list[Refusal]] = defaultdict(list)
    for one in plan.refusals:
        together[one.first, one.key].append(one)
    for (first, key), refusals in together.items():
        last = max(one.last for one in refusals)
        yield Event(
            first,
            "break",
            f"{_clients(one.version for one in refusals)} BREAK, until {last}: they refuse {key}",
            f"keep {key} out of service, {_since_when(plan, key)}",
        )


def _since_when(plan: Plan, key: str) -> str:
    """How long a key's pin has been on its way."""
    published = next(one.published for one in plan.versions if one.accepts(key))
    return (
        f"whose pin is published on {published} and with all clients from {plan.everywhere[key]} on"
    )


def _expiries(plan: Plan) -> Iterator[Event]:
    opens = {version.name: version.fails_open for version in _all(plan)}
    for gap in plan.expired:
        name = str(gap.version)
        then = "accept any key" if opens[name] else "enforce them on, and log it"
        yield Event(
            gap.first,
            "expire",
            f"the pins of {name} have expired: {_clients([name])} {then}",
            f"publish new ones {plan.policy.reach} days before" if plan.policy.reach else "",
        )


def _about_spares(plan: Plan) -> Iterator[str]:
    if not plan.unspared:
        return
    first, *others = plan.unspared
    if first == Gap(None, plan.start.day, plan.last):
        when = "At no time"
    else:
        more = f", and {len(others)} more times" if others else ""
        when = f"Between {first.first} and {first.last}{more}, at no time"
    yield (
        f"{when} is there a spare key that all clients accept: if the key in service were lost or"
        " stolen then, replacing it would break clients. Keep a backup key's pin in every pin file"
        ' (role = "backup"), or more keys ahead.'
    )


def _about_expiry(plan: Plan) -> Iterator[str]:
    opens = {version.name for version in _all(plan) if version.fails_open}
    open_gaps = [gap for gap in plan.expired if gap.version in opens]
    if open_gaps:
        first = min(open_gaps, key=lambda gap: gap.first)
        yield (
            f"From {first.first} on, {_clients([str(first.version)])} are not protected: their pins"
            ' have expired, and on_expiry = "allow" lets any key pass.'
        )


def _about_lifetimes(plan: Plan) -> Iterator[str]:
    limited = [certificate for certificate in plan.certificates if certificate.limited]
    if limited:
        first = limited[0]
        lasts = (first.expires - first.issued).days
        yield (
            f"Public authorities do not issue certificates of {plan.policy.lifetime} days: one"
            f" issued on {first.issued} lasts {lasts} days at most, and the plan goes by that."
        )


def _all(plan: Plan) -> tuple[Version, ...]:
    return (*plan.start.older, *plan.versions)


def _clients(versions: Iterable[str]) -> str:
    return f"clients with {_and(versions)}"


def _and(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def _natural(key: str) -> tuple[int, str]:
    """Sort key 10 behind key 9."""
    return len(key), key
