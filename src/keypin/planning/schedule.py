"""What a team does on which day: certificates, keys in service, pin files published.

Pure: no clock, no network. The rules are in docs/plan.md.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from datetime import date
from itertools import chain, count, islice
from typing import TYPE_CHECKING, Literal

from .clients import (
    ONE_DAY,
    Carried,
    Gap,
    Refusal,
    Service,
    Version,
    carried,
    days,
    expired,
    first_refusals,
    refusals,
    without_spare,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "PUBLIC_LIMITS",
    "Certificate",
    "Change",
    "Impossible",
    "Plan",
    "Policy",
    "Start",
    "counted",
    "make_plan",
    "public_limit",
    "reach_in_words",
    "renewed_before",
]

# For how many days public authorities issue certificates, from each of these days on: Baseline
# Requirements of the CA/Browser Forum, section 6.3.2; the last three by ballot SC-081v3.
PUBLIC_LIMITS = (
    (date.min, 825),
    (date(2020, 9, 1), 398),
    (date(2026, 3, 15), 200),
    (date(2027, 3, 15), 100),
    (date(2029, 3, 15), 47),
)
FRACTION_LEFT = 3  # certificates are renewed with a third of their days left, unless told


class Impossible(ValueError):
    """A policy that no schedule can follow, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a team renews certificates, changes keys and brings pin files to its clients.

    Args:
        adoption: days until practically every client has installed what was released.
        refresh: days between two looks for a new pin file by a client that runs.
        lifetime: days for which certificates are issued; None: as long as public authorities do.
        renew_before: days that a certificate has left when it is renewed; None: a third.
        rotate: `"never"`: renewals keep the key; `"renewal"`: each has a new one; or the number
            of days for which a key stays in service.
        keys_ahead: how many keys, made before they are needed, have their pins in the pin file
            besides those in service; None: as many as it takes to have a key to change to at any
            moment. 0, with `rotate="renewal"` only: a key is made when its certificate is.
        hold: days for which a new certificate is held back before servers show it, with keys
            made at renewals.
        overlap: days for which some server may still show the old key after a change.
        expire_after: days after which the pins of a pin file expire; None: new ones as the first.
        public: whether the certificates are those of public authorities.
    """

    adoption: int = 0
    refresh: int = 0
    lifetime: int | None = None
    renew_before: int | None = None
    rotate: Literal["never", "renewal"] | int = "never"
    keys_ahead: int | None = None
    hold: int = 0
    overlap: int = 1
    expire_after: int | None = None
    public: bool = True

    @property
    def reach(self) -> int:
        """The days after which a new pin file is with all clients that update."""
        return self.adoption + self.refresh

    @property
    def at_renewal(self) -> bool:
        """Whether keys are made when their certificates are, as ACME clients do."""
        return self.rotate == "renewal" and self.keys_ahead == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What there is on the first day.

    Args:
        day: the first day.
        issued: when the certificate in service was issued.
        in_service: the keys that servers show.
        since: when they went into service.
        retiring: keys that some server may still show.
        dated: keys that go into service on a certain day, in the order of these.
        planned: keys that were made to be the next ones, in this order.
        version: the newest pin file; None: one that has the keys that the policy wants.
        number: its version.
        older: those that clients may carry until `version` has reached them, the oldest first;
            their own publication dates are not known.
    """

    day: date
    issued: date
    in_service: tuple[str, ...]
    since: date | None = None
    retiring: tuple[str, ...] = ()
    dated: tuple[tuple[date, str], ...] = ()
    planned: tuple[str, ...] = ()
    version: Version | None = None
    number: int = 1
    older: tuple[Version, ...] = ()

    @classmethod
    def anew(cls, day: date, issued: date | None = None) -> Start:
        """A host of which nothing is known but that its pins are with all clients."""
        return cls(day=day, issued=issued or day, in_service=("key 1",))

    def new_keys(self) -> Iterator[str]:
        """Names for the keys that are yet to be made."""
        if self.version is None:
            return (f"key {number}" for number in count(2))
        taken = frozenset[str]().union(*(one.keys or () for one in (self.version, *self.older)))
        names = (f"new key {number}" for number in count(1))
        return (name for name in names if name not in taken)

    def everywhere(self, key: str, reach: int) -> date:
        """The day from which all clients accept a key, whose pin is published by the first day."""
        if self.version is None:
            return self.day
        if not self.version.accepts(key):
            return self.day + days(reach)
        if all(version.accepts(key) for version in self.older):
            return self.day
        return max(self.day, self.version.published + days(reach))

    def spares(self, policy: Policy) -> frozenset[str]:
        """The keys of the newest pin file that the policy never brings into service: backups."""
        if self.version is None or self.version.keys is None:
            return frozenset()
        meant = {*self.in_service, *self.retiring, *(key for _, key in self.dated)}
        if policy.rotate != "never":
            meant.update(self.planned)
        return self.version.keys - meant


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate of the server.

    Args:
        keys: several, where servers have one of each kind.
        issued: the day.
        expires: the first day on which it is not valid any more.
        first: the first day on which a server shows it.
        last: the last.
        limited: whether it was to last longer than public authorities issue for.
    """

    keys: tuple[str, ...]
    issued: date
    expires: date
    first: date
    last: date
    limited: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """A key going into service.

    Args:
        keys: that one.
        issued: when its certificate is issued.
        day: when servers begin to show it.
    """

    keys: tuple[str, ...]
    issued: date
    day: date


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens, and who survives it; every span ends on `last` at the latest."""

    policy: Policy
    start: Start
    last: date
    keys_ahead: int
    certificates: tuple[Certificate, ...]
    changes: tuple[Change, ...]
    """the last ones may be behind the last day"""
    services: tuple[Service, ...]
    versions: tuple[Version, ...]
    carried: tuple[Carried, ...]
    refusals: tuple[Refusal, ...]
    """of clients that update"""
    left_behind: tuple[Refusal, ...]
    """by each version that somebody may never update from, the first"""
    unspared: tuple[Gap, ...]
    expired: tuple[Gap, ...]

    @property
    def everywhere(self) -> dict[str, date]:
        """The day from which each key's pin, published by this plan, is with all clients."""
        found: dict[str, date] = {}
        for version in self.versions:
            for key in version.keys or ():
                if version is self.versions[0]:
                    found[key] = self.start.everywhere(key, self.policy.reach)
                found.setdefault(key, version.published + days(self.policy.reach))
        return found


def public_limit(day: date) -> int:
    """For how many days public authorities may issue a certificate on a day."""
    begins = [begin for begin, _ in PUBLIC_LIMITS]
    return PUBLIC_LIMITS[bisect_right(begins, day) - 1][1]


def make_plan(policy: Policy, start: Start, last: date) -> Plan:
    """Work out what happens from the first day to the last, and who survives it.

    Raises:
        Impossible: no schedule can follow the policy.
    """
    _check(policy, start)
    ahead = policy.keys_ahead
    certificates, changes = _certificates(policy, start, last)
    if ahead is None:
        ahead = _keys_needed(policy, start, last, changes)
    versions = _versions(policy, start, last, changes, ahead)
    services = _services(policy, start, last, changes)
    carrying = carried([*start.older, *versions], policy.reach, start.day, last)
    forever = carried([*start.older, *versions], None, start.day, last)
    return Plan(
        policy,
        start,
        last,
        ahead,
        certificates,
        changes,
        services,
        versions,
        carrying,
        refusals(carrying, services),
        first_refusals(forever, services),
        without_spare(carrying, services, last),
        expired(carrying),
    )


def _check(policy: Policy, start: Start) -> None:
    if policy.hold and not policy.at_renewal:
        raise Impossible(
            "a certificate is held back until the pin of its key, made at the renewal, is with"
            " the clients; keys made ahead have no need of it"
        )
    if policy.keys_ahead == 0 and not policy.at_renewal:
        raise Impossible(
            "without a key ahead, the next key's pin would be published with the key itself; only"
            " where renewals make new keys is that how it is"
        )
    if policy.at_renewal and start.dated:
        day, key = start.dated[0]
        raise Impossible(
            f"the pin file has {key} go into service on {day}, but where every renewal makes a new"
            " key of its own, no other key ever does: have it renew with the keys of the pin file"
            " (one or more keys ahead), or take the date out"
        )
    if policy.expire_after is not None and policy.expire_after <= policy.reach:
        raise Impossible(
            f"pins that expire {counted(policy.expire_after)} after their publication have expired"
            f" before they are with all clients, which takes {reach_in_words(policy)}"
        )


def _check_lifetime(policy: Policy, issued: date, lifetime: int) -> None:
    """Refuse what cannot be done with certificates issued on this day."""
    before = renewed_before(policy, lifetime)
    lasts = f"certificates of {counted(lifetime)}" + (
        f", as public authorities issue on {issued}," if lifetime != policy.lifetime else ""
    )
    if policy.at_renewal and policy.reach >= lifetime:
        raise Impossible(
            f"with a new key at each renewal, and {lasts} made for it then, the pin file can never"
            " be everywhere before the key is served: that takes"
            f" {reach_in_words(policy)}, and by then the certificate has expired"
        )
    if before >= lifetime:
        raise Impossible(
            f"{lasts} cannot be renewed {counted(before)} before they expire: the next one would be"
            " due at once"
        )
    if policy.hold + policy.overlap > before:
        held = f"held back for {counted(policy.hold)} and " if policy.hold else ""
        raise Impossible(
            f"{lasts} are renewed {counted(before)} before they expire, but the new one is"
            f" {held}on all servers only {counted(policy.hold + policy.overlap)} later: the old one"
            " would have expired where it is still shown"
        )


def renewed_before(policy: Policy, lifetime: int) -> int:
    """How many days a certificate has left when it is renewed."""
    if policy.renew_before is None:
        return max(1, lifetime // FRACTION_LEFT)
    return policy.renew_before


def counted(number: int) -> str:
    """Days, in words."""
    return "1 day" if number == 1 else f"{number} days"


def reach_in_words(policy: Policy) -> str:
    """How long a new pin file takes to be with all clients, and why."""
    parts = []
    if policy.adoption:
        parts.append(f"{policy.adoption} to install it")
    if policy.refresh:
        parts.append(f"{policy.refresh} to look for it")
    return counted(policy.reach) + (f" ({', '.join(parts)})" if len(parts) > 1 else "")


def _lifetime(policy: Policy, issued: date) -> tuple[int, bool]:
    """The days of a certificate, and whether they are fewer than was wished."""
    limit = public_limit(issued)
    if policy.lifetime is None:
        return limit, False
    if policy.public and policy.lifetime > limit:
        return limit, True
    return policy.lifetime, False


def _certificates(
    policy: Policy, start: Start, last: date
) -> tuple[tuple[Certificate, ...], tuple[Change, ...]]:
    """Renew certificates and change keys until the last day."""
    certificates: list[Certificate] = []
    changes: list[Change] = []
    sequence = _sequence(policy, start)
    dates = [day for day, _ in reversed(start.dated)]
    keys, upcoming = start.in_service, next(sequence, None)
    issued = first = start.issued
    changed = start.since or start.day
    while issued <= last:
        lifetime, limited = _lifetime(policy, issued)
        _check_lifetime(policy, issued, lifetime)
        expires = issued + days(lifetime)
        if expires <= start.day:
            raise Impossible(
                f"a certificate issued on {issued} for {counted(lifetime)} has expired on {expires}"
            )
        certificates.append(Certificate(keys, issued, expires, first, last, limited))
        renewal = max(start.day, issued + ONE_DAY, expires - days(renewed_before(policy, lifetime)))
        change: date | None = None
        if dates:
            change = max(dates[-1], start.day)
        elif upcoming is not None and policy.rotate != "never":
            due = renewal if policy.rotate == "renewal" else changed + days(policy.rotate)
            ready = start.day if policy.at_renewal else start.everywhere(upcoming, policy.reach)
            change = max(due, ready)
        issued = renewal if change is None else min(change, renewal)
        # the first certificate may expire before all the days of holding back are over
        first = min(issued + days(policy.hold), max(issued, expires - days(policy.overlap)))
        if issued == change and upcoming is not None:
            keys, upcoming = (upcoming,), next(sequence, None)
            changes.append(Change(keys, issued, first))
            changed = first
            dates = dates[:-1]
    shown = [certificate for certificate in certificates if certificate.first <= last]
    shown[0] = replace(shown[0], first=start.day)
    for index, following in enumerate(shown[1:]):
        end = min(following.first + days(policy.overlap), shown[index].expires) - ONE_DAY
        shown[index] = replace(shown[index], last=min(max(shown[index].first, end), last))
    return tuple(shown), tuple(changes)


def _sequence(policy: Policy, start: Start) -> Iterator[str]:
    """The keys in the order in which they go into service after those that are."""
    if policy.at_renewal:
        return start.new_keys()
    dated = [key for _, key in start.dated]
    if policy.rotate != "never":
        return chain(dated, start.planned, start.new_keys())
    # without changes to come, there should still be a key to change to if this one is lost
    return chain(dated, () if start.spares(policy) else islice(start.new_keys(), 1))


def _keys_needed(policy: Policy, start: Start, last: date, changes: Sequence[Change]) -> int:
    """The fewest keys ahead with which each is published early enough.

    With so many, a key is published as the one that many places before it is settled in. One more,
    if there is no backup: so there is a key to change to at once, also just after a change.
    """
    spare = 0 if policy.rotate == "never" or start.spares(policy) else 1
    for ahead in range(1, len(changes) + 1):
        pairs = zip(changes, changes[ahead:], strict=False)
        if all(
            before.day + days(policy.overlap + policy.reach) <= change.day
            for before, change in pairs
            if change.day <= last
            and not (start.version is not None and start.version.accepts(change.keys[0]))
        ):
            return ahead + spare
    return 1 + spare


def _services(
    policy: Policy, start: Start, last: date, changes: Sequence[Change]
) -> tuple[Service, ...]:
    """When which key is shown."""
    overlap = days(policy.overlap) - ONE_DAY
    found = [Service(key, start.day, min(start.day + overlap, last)) for key in start.retiring]
    spans = [(start.in_service, start.day), *((change.keys, change.day) for change in changes)]
    ends = [change.day + overlap for change in changes]
    for (keys, first), end in zip(spans, [*ends, last], strict=True):
        if first <= last:
            found += [Service(key, first, min(end, last)) for key in keys]
    return tuple(found)


def _versions(
    policy: Policy, start: Start, last: date, changes: Sequence[Change], ahead: int
) -> tuple[Version, ...]:
    """The pin files: published on each day on which another set of keys is wanted."""
    settled = [change.day + days(policy.overlap) for change in changes]
    issued = [change.issued for change in changes]
    sequence = [start.in_service, *((key,) for key in _first(policy, start, len(changes) + ahead))]

    def wanted(day: date) -> frozenset[str]:
        current = bisect_right(settled, day)
        end = max(current + ahead, bisect_right(issued, day) if policy.at_renewal else 0) + 1
        return frozenset(chain.from_iterable(sequence[current:end]))

    published = [start.version or _version(policy, start, 0, start.day, wanted(start.day))]

    def publish(day: date, keys: frozenset[str]) -> None:
        published.append(_version(policy, start, len(published), day, keys))

    def stay_unexpired(until: date) -> None:
        while policy.expire_after is not None and published[-1].expires is not None:
            day = max(start.day, published[-1].expires - days(policy.reach))
            if day >= until or (len(published) > 1 and day <= published[-1].published):
                break
            publish(day, published[-1].keys or frozenset())

    gone = 0
    for day in sorted({start.day, *settled, *(issued if policy.at_renewal else ())}):
        if day > last:
            break
        current = bisect_right(settled, day)
        before = published[-1].keys or frozenset()
        keys = before.difference(*sequence[gone:current]) | wanted(day)
        gone = current
        if keys == before:
            continue
        if day >= start.day + days(policy.overlap):
            keys -= frozenset(start.retiring)
        stay_unexpired(day)
        publish(day, keys)
    stay_unexpired(last + ONE_DAY)
    return tuple(published)


def _first(policy: Policy, start: Start, number: int) -> Iterator[str]:
    return islice(_sequence(policy, start), number)


def _version(policy: Policy, start: Start, index: int, day: date, keys: frozenset[str]) -> Version:
    expires, fails_open = None, False
    if start.version is not None:
        expires, fails_open = start.version.expires, start.version.fails_open
    if policy.expire_after is not None:
        expires = day + days(policy.expire_after)
    return Version(f"version {start.number + index}", day, keys, expires, fails_open)
