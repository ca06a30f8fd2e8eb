"""Rules of which any that matches a host will do, made into rules of which the most specific does.

Both tell hosts apart by the same patterns, so that nothing is lost: each pattern gets the pins of
all that match what it decides on, and where two patterns meet in one name that name gets a rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..pin import Pin

__all__ = ["most_specific"]


def most_specific(pins_of: Mapping[str, Iterable[Pin]]) -> dict[str, tuple[Pin, ...]]:
    """Make the rules.

    Args:
        pins_of: the pins of each host pattern, in normal form.
    """
    patterns = dict.fromkeys(pins_of)
    for pattern in pins_of:
        stars, _, domain = pattern.rpartition("*.")
        if stars == "*" and "*." + domain.partition(".")[2] in pins_of:
            patterns[domain] = None  # the name itself, of which both hold
    order = {pattern: number for number, pattern in enumerate(pins_of)}
    return {
        pattern: tuple(
            dict.fromkeys(
                pin
                for wider in sorted(_that_hold(pattern) & order.keys(), key=order.__getitem__)
                for pin in pins_of[wider]
            )
        )
        for pattern in patterns
    }


def _that_hold(pattern: str) -> set[str]:
    """Return the patterns that match all hosts that a pattern decides on."""
    _, _, name = pattern.rpartition("*.")
    labels = name.split(".")
    found = {pattern, *(f"**.{'.'.join(labels[start:])}" for start in range(len(labels)))}
    if pattern == name:
        found.add("*." + ".".join(labels[1:]))
    return found
