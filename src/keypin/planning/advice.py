"""Other ways, when clients break or a policy is impossible: each was tried, and breaks nobody."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .schedule import Impossible, Plan, Policy, Start, make_plan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

__all__ = ["Way", "alternatives"]


@dataclass(frozen=True, slots=True)
class Way:
    """A way that works.

    Args:
        what: what to do differently, as an order.
        options: of `keypin plan`, in place of those for the same; none if the pin file changes.
        plan: what comes of it.
    """

    what: str
    options: str
    plan: Plan


def alternatives(policy: Policy, start: Start, last: date) -> tuple[Way, ...]:
    """Try other ways, and return those in which no client breaks."""
    found = []
    for what, options, other, begin in _candidates(policy, start):
        try:
            plan = make_plan(other, begin, last)
        except Impossible:
            continue
        if not plan.refusals:
            ahead = plan.keys_ahead
            number = "1 key" if ahead == 1 else f"{ahead} keys"
            found.append(
                Way(what.format(keys=number), options.format(ahead=ahead, keys=number), plan)
            )
    return tuple(found)


def _candidates(policy: Policy, start: Start) -> Iterator[tuple[str, str, Policy, Start]]:
    if later := _later(policy, start):
        moved = ", ".join(f"{key} on {day}" for day, key in later.dated)
        yield (
            f"let the pin file's keys go into service later: {moved} (not_before)",
            "",
            policy,
            (later),
        )
    own = replace(policy, hold=0)
    if policy.rotate == "renewal":
        yield (
            "keep the key when renewing (certbot: --reuse-key), with its backup in the pin file",
            "--reuse-key",
            replace(own, rotate="never", keys_ahead=None),
            start,
        )
    if policy.rotate != "never":
        yield (
            "make keys before they are needed, with the pins of the next {keys} in the pin file",
            "--keys-ahead {ahead}",
            replace(own, keys_ahead=None),
            start,
        )
    if policy.at_renewal:
        before = max(policy.renew_before or 0, policy.reach + policy.overlap)
        yield (
            f"renew {before} days before the certificate expires, publish the new pin at once, and"
            f" let servers show the new certificate only {policy.reach} days later",
            f"--renew-before {before}d --hold {policy.reach}d",
            replace(policy, renew_before=before, hold=policy.reach),
            start,
        )


def _later(policy: Policy, start: Start) -> Start | None:
    """The same start with dates at which all clients know the keys; None if they are so already."""
    dated = tuple(
        sorted((max(day, start.everywhere(key, policy.reach)), key) for day, key in start.dated)
    )
    return replace(start, dated=dated) if dated != start.dated else None
