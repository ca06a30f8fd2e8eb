"""Which pin files clients carry on which day, and which of them refuse a key that is served.

Everything happens at the first moment of its day, UTC. Nothing here knows why a file was published
or a key served.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import accumulate, chain
from operator import attrgetter
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = [
    "Carried",
    "Gap",
    "Refusal",
    "Service",
    "Version",
    "carried",
    "days",
    "expired",
    "first_refusals",
    "refusals",
    "without_spare",
]


def days(number: int) -> timedelta:
    """A number of days."""
    return timedelta(days=number)


ONE_DAY = days(1)


@dataclass(frozen=True, slots=True)
class Version:
    """A pin file, as far as one host is concerned."""

    name: str
    published: date
    keys: frozenset[str] | None
    """those that are accepted; None: the host is not pinned, any will do"""
    expires: date | None = None
    """the first day on which its pins have expired"""
    fails_open: bool = False
    """whether any key is accepted from then on"""

    def accepts(self, key: str) -> bool:
        """Whether a client lets a server with this key pass, before the pins expire."""
        return self.keys is None or key in self.keys


@dataclass(frozen=True, slots=True)
class Carried:
    """A pin file is what some client goes by, on each day from `first` to `last`."""

    version: Version
    first: date
    last: date


@dataclass(frozen=True, slots=True)
class Service:
    """A key is shown by some server, on each day from `first` to `last`."""

    key: str
    first: date
    last: date


@dataclass(frozen=True, slots=True)
class Refusal:
    """Clients that carry a version refuse a key that is served, from `first` to `last`."""

    version: str
    key: str
    first: date
    last: date


@dataclass(frozen=True, slots=True)
class Gap:
    """Something holds from `first` to `last`; `version` is whom it concerns, None for all."""

    version: str | None
    first: date
    last: date


Span = TypeVar("Span", bound=Carried | Service)


def carried(
    versions: Sequence[Version], reach: int | None, first: date, last: date
) -> tuple[Carried, ...]:
    """Tell which versions clients carry.

    A client goes by a version from the day of its publication at the earliest, and `reach` days
    after it at the latest. So a version is carried until the next one has reached everybody.

    Args:
        versions: in the order of their publication; the first is with clients from the beginning.
        reach: in days; None for clients that stop updating at any moment, and keep what they have.
        first: the first day to look at.
        last: the last.
    """
    found = []
    for version, following in zip(versions, [*versions[1:], None], strict=True):
        end = last
        if following is not None and reach is not None:
            end = min(last, following.published + days(reach) - ONE_DAY)
        begin = max(first, version.published)
        if begin <= end:
            found.append(Carried(version, begin, end))
    return tuple(found)


def refusals(carried: Iterable[Carried], services: Sequence[Service]) -> tuple[Refusal, ...]:
    """Tell which clients refuse which key, and when; the earliest first."""
    found = chain.from_iterable(_refused_by_each(carried, services))
    return tuple(sorted(found, key=attrgetter("first")))


def first_refusals(carried: Iterable[Carried], services: Sequence[Service]) -> tuple[Refusal, ...]:
    """Tell which key the clients with each version refuse first; the earliest first."""
    found = (next(refused, None) for refused in _refused_by_each(carried, services))
    return tuple(sorted((one for one in found if one is not None), key=attrgetter("first")))


def _refused_by_each(
    carried: Iterable[Carried], services: Sequence[Service]
) -> Iterator[Iterator[Refusal]]:
    services = sorted(services, key=attrgetter("first"))
    begins = [service.first for service in services]
    ends = list(accumulate((service.last for service in services), max))
    for clients in carried:
        # no service before the one of these is still on, none behind the other has begun
        near = range(bisect_left(ends, clients.first), bisect_right(begins, clients.last))
        yield _refused_by(clients, (services[index] for index in near))


def _refused_by(clients: Carried, services: Iterable[Service]) -> Iterator[Refusal]:
    version, last = clients.version, clients.last
    if version.fails_open and version.expires is not None:
        last = min(last, version.expires - ONE_DAY)
    for service in services:
        first, end = max(clients.first, service.first), min(last, service.last)
        if first <= end and not version.accepts(service.key):
            yield Refusal(version.name, service.key, first, end)


def expired(carried: Iterable[Carried]) -> tuple[Gap, ...]:
    """Tell which clients go by pins that have expired."""
    return tuple(
        Gap(clients.version.name, max(clients.first, clients.version.expires), clients.last)
        for clients in carried
        if clients.version.expires is not None and clients.version.expires <= clients.last
    )


def without_spare(
    carried: Sequence[Carried], services: Sequence[Service], last: date
) -> tuple[Gap, ...]:
    """Tell when the key in service could not be replaced at once, should it be lost or stolen.

    On each other day there is a key that is out of service and that all clients accept.
    """
    spans: list[Carried | Service] = [*carried, *services]
    changes = sorted(
        {day for span in spans for day in (span.first, span.last + ONE_DAY) if day <= last}
    )
    gaps: list[Gap] = []
    for day, following, clients, serving in zip(
        changes,
        [*changes[1:], last + ONE_DAY],
        _on_each(changes, carried),
        _on_each(changes, services),
        strict=True,
    ):
        pinned = [one.version.keys for one in clients if one.version.keys is not None]
        served = {service.key for service in serving}
        if not pinned or frozenset.intersection(*pinned) - served:
            continue
        if gaps and gaps[-1].last == day - ONE_DAY:
            gaps[-1] = Gap(None, gaps[-1].first, following - ONE_DAY)
        else:
            gaps.append(Gap(None, day, following - ONE_DAY))
    return tuple(gaps)


def _on_each(dates: Iterable[date], spans: Iterable[Span]) -> Iterator[list[Span]]:
    """The spans that each of these days, which ascend, is in."""
    waiting = sorted(spans, key=attrgetter("first"), reverse=True)
    now: list[Span] = []
    for day in dates:
        while waiting and waiting[-1].first <= day:
            now.append(waiting.pop())
        now = [span for span in now if span.last >= day]
        yield now
