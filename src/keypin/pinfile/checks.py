"""What must hold between the fields of a pin file, and between its hosts.

Nothing here depends on the clock: a file that was read yesterday is read today.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._internal.text import shown
from ..hostnames import LONGEST_NAME

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from datetime import datetime

    from ..pin import Pin
    from .file import PinEntry
    from .toml_spans import Path

    Problem = tuple[Path, str]


def host_problems(
    given: Collection[str],
    pins: Sequence[PinEntry | None],
    deny: Sequence[Pin | None],
    expires: datetime | None,
    exclude: bool,
) -> Iterator[Problem]:
    """Tell what is wrong between the fields of one host.

    Args:
        given: the names of the fields that the host has.
        pins: None for what was wrong in itself.
        deny: None for what was wrong in itself.
        expires: in UTC.
        exclude: whether the host is left out of pinning.
    """
    if exclude:
        for name in given:
            if name not in ("name", "exclude"):
                yield (name,), "an excluded host is not pinned, so this can hold for nothing"
        return
    if not pins:
        yield ("pins",), "a host needs pins; to leave it unpinned on purpose: exclude = true"
    elif all(entry is not None and entry.role == "revoked" for entry in pins):
        yield ("pins",), "all of them are revoked: no server could be accepted"
    yield from _repeated_pins(pins, deny)
    for index, entry in enumerate(pins):
        if entry and entry.not_before and expires and entry.not_before >= expires:
            yield (
                ("pins", index, "not_before"),
                f"not before the pins expire ({expires:%Y-%m-%d %H:%M} UTC): the key would never be"
                " in service",
            )


def _repeated_pins(
    pins: Sequence[PinEntry | None], deny: Sequence[Pin | None]
) -> Iterator[Problem]:
    first: dict[Pin, str] = {}
    named: dict[str, str] = {}
    for index, entry in enumerate(pins):
        if entry is None:
            continue
        where = f"pins[{index}]"
        if (earlier := first.setdefault(entry.pin, where)) != where:
            yield ("pins", index), f"the same pin as {earlier}: give it once, with one role"
        elif entry.key and (earlier := named.setdefault(entry.key, where)) != where:
            yield ("pins", index, "key"), f"{shown(entry.key)} is already the name of {earlier}"
    for index, pin in enumerate(deny):
        where = f"deny[{index}]"
        if pin is not None and (earlier := first.setdefault(pin, where)) != where:
            yield ("deny", index), f"the same pin as {earlier}"


def file_problems(
    names: Sequence[str | None], excluded: Sequence[bool], unlisted: str | None
) -> Iterator[Problem]:
    """Tell what is wrong between the hosts of a file.

    Args:
        names: of each host, in normal form; None for what was wrong in itself.
        excluded: whether it is excluded, for each.
        unlisted: None for what was wrong in itself.
    """
    if not names:
        yield ("host",), "no host: the file would pin nothing"
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        if name is not None and (earlier := seen.setdefault(name, index)) != index:
            yield ("host", index, "name"), f"{name!r} is the same host as host[{earlier}]"
    for name, index in seen.items():
        if _out_of_reach(name, seen):
            yield ("host", index, "name"), f"no host is left for {name!r} to match"
    if None in names:
        return  # it may be the one that an exclusion is from
    for name, index in seen.items():
        if excluded[index] and all(
            unlisted == "allow" if wider is None else excluded[seen[wider]]
            for wider in _next_wider(name, seen)
        ):
            yield (
                ("host", index, "exclude"),
                f"has no effect: without this entry, {name!r} would not be pinned either",
            )


def _out_of_reach(name: str, names: Collection[str]) -> bool:
    """Whether no host name is short enough for a pattern, or left by more specific patterns."""
    stars, _, domain = name.rpartition("*.")
    room = LONGEST_NAME - len(domain)
    if not stars and name == domain:
        return False  # an exact name
    if not stars:
        return room < len("a.")
    return domain in names and (room < len("a.") or (room < len("a.a.") and "*." + domain in names))


def _next_wider(name: str, names: Collection[str]) -> set[str | None]:
    """Tell which patterns decide on a pattern's hosts when it is taken away.

    None stands for no pattern; for the order see `PinSet.rule_for`.
    """
    stars, _, domain = name.rpartition("*.")
    _, _, parent = domain.partition(".")
    if name == domain:
        candidates = [["**." + name, "*." + parent, *_all_below(parent)]]
    elif not stars:  # the hosts one label below
        candidates = [list(_all_below(domain))]
    else:  # those below, and the domain itself
        candidates = [list(_all_below(parent))]
        if domain not in names:
            candidates.append(["*." + parent, *_all_below(parent)])
    return {next((each for each in some if each in names), None) for some in candidates}


def _all_below(domain: str) -> Iterator[str]:
    while domain:
        yield "**." + domain
        _, _, domain = domain.partition(".")
