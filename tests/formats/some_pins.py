"""Pin files to convert: a few by hand, and all kinds of them by hypothesis."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import strategies as st

from keypin import Pin
from keypin.pinfile import Defaults, HostEntry, PinFile

if TYPE_CHECKING:
    from collections.abc import Sequence

PINS = [Pin.from_digest(hashlib.sha256(bytes([number])).digest()) for number in range(6)]
FIRST, SECOND, THIRD = PINS[:3]
ALL_KINDS = ("", "*.", "**.")
# Close to each other, so that patterns meet
NAMES = ("example.com", "a.example.com", "b.a.example.com", "x.b.a.example.com", "example.org")


def need_parser(name: str) -> None:
    """Skip what cannot be read on this Python."""
    if name.startswith("okhttp"):
        pytest.importorskip("tree_sitter", reason="no wheel of tree-sitter for this Python")


def pin_file(*hosts: HostEntry, **defaults: str) -> PinFile:
    return PinFile(hosts, defaults=Defaults(**defaults))


def host(name: str = "api.example.com", *pins: Pin, **more: object) -> HostEntry:
    """A host with two pins, unless others are given."""
    if "exclude" in more:
        return HostEntry(name, **more)
    return HostEntry(name, pins or (FIRST, SECOND), **more)


@st.composite
def pin_files(
    draw: st.DrawFn,
    *,
    kinds: Sequence[str] = ALL_KINDS,
    names: Sequence[str] = NAMES,
    fewest_pins: int = 1,
    one_kind_a_name: bool = False,
    exclude: bool = False,
    deny: bool = False,
    matches: Sequence[str] = ("chain",),
    modes: Sequence[str] = ("enforce",),
    fail_open: bool = False,
    unlisted: Sequence[str] = ("allow",),
) -> PinFile:
    """Pin files that say no more than what is named."""
    chosen = draw(
        st.lists(
            st.tuples(st.sampled_from(kinds), st.sampled_from(names)),
            min_size=1,
            max_size=6,
            unique_by=(lambda both: both[1]) if one_kind_a_name else None,
            unique=not one_kind_a_name,
        )
    )
    entries = []
    for kind, name in chosen:
        if exclude and draw(st.integers(0, 3)) == 0:
            entries.append(HostEntry(kind + name, exclude=True))
            continue
        pins = draw(st.lists(st.sampled_from(PINS), min_size=fewest_pins, max_size=4, unique=True))
        denied = [pin for pin in PINS if pin not in pins and deny and draw(st.booleans())]
        expires = None
        if fail_open and draw(st.booleans()):
            expires = datetime(2027, 1, draw(st.integers(1, 28)), tzinfo=UTC)
        entries.append(
            HostEntry(
                kind + name,
                pins,
                denied,
                match=draw(st.sampled_from(matches)),
                mode=draw(st.sampled_from(modes)),
                expires=expires,
                on_expiry=None if expires is None else "allow",
            )
        )
    return _without_idle_exclusions(entries, draw(st.sampled_from(unlisted)))


def _without_idle_exclusions(entries: list[HostEntry], unlisted: str) -> PinFile:
    from keypin.formats._conversion import FormatError
    from keypin.formats._conversion import pin_file as put_together

    try:
        return put_together(entries, unlisted)
    except FormatError:  # nothing but exclusions
        return put_together([*entries, HostEntry("example.net", PINS[:2])], unlisted)
