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
    return {
        pattern: tuple(
            dict.fromkeys(
                pin for wider, pins in pins_of.items() if _holds(wider, pattern) for pin in pins
            )
        )
        for pattern in patterns
    }


def _holds(wider: str, pattern: str) -> bool:
    """Whether a pattern matches all hosts that another one decides on."""
    if wider == pattern:
        return True
    stars, _, domain = wider.rpartition("*.")
    _, _, name = pattern.rpartition("*.")
    if wider == domain:
        return False  # an exact name holds for itself only
    if stars:  # "**."
        return name == domain or name.endswith("." + domain)
    return pattern == name and name.partition(".")[2] == domain
