"""What makes TrustKit throw when the app starts: names that it does not know, and single pins."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

from ._conversion import FormatError
from ._domains import is_public_name
from ._losses import loss

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._conversion import Loss
    from ._domains import Domain

    System = Literal["ios", "android"]

__all__ = ["is_known", "refuse_a_single_pin", "unknown", "without_unknown"]

NAMES = "trustkit_names.txt"
# DomainValidator's expression for Android; iOS takes any ASCII
LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
FEWEST = 2


def without_unknown(
    wanted: Iterable[Domain], system: System, title: str
) -> tuple[list[Domain], list[Loss]]:
    """Leave out names over which TrustKit throws, and tell which.

    Returns:
        The domains that can be written, and why the others cannot; that their hosts are unpinned
        is told by whoever compares.
    """
    names = [domain for domain in wanted if is_public_name(domain.name)]
    kept = [domain for domain in names if is_known(domain.name, domain.subdomains, system)]
    left = [domain.name for domain in names if domain not in kept]
    return kept, [unknown(name, title, "left out") for name in left]


def unknown(name: str, title: str, how: str) -> Loss:
    """Make the loss of a name over which TrustKit throws."""
    return loss("name-unknown-to-target", name, target=title, how=how)


def is_known(name: str, subdomains: bool, system: System) -> bool:
    """Whether TrustKit starts with a name.

    Args:
        name: in normal form.
        subdomains: whether they are included, which iOS refuses for public suffixes.
        system: whose table counts.
    """
    labels = name.split(".")
    if len(labels) < 2 or labels[-1] not in _top_level_domains()[system]:
        return False
    if system == "android":
        return all(map(LABEL.fullmatch, labels))
    return not (subdomains and _is_public_suffix(name))


@cache
def _top_level_domains() -> dict[str, frozenset[str]]:
    text = files(__package__).joinpath(NAMES).read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    found: dict[str, frozenset[str]] = {}
    for section in "\n".join(lines).split("[")[1:]:
        heading, _, names = section.partition("]")
        found[heading] = frozenset(names.split())
    both = found["both"]
    return {system: both | found[system] for system in ("ios", "android")}


def _is_public_suffix(name: str) -> bool:
    """Whether strangers have names below it; not known without the list, which comes with `cli`."""
    try:
        from publicsuffixlist import PublicSuffixList
    except ImportError:
        return False
    suffix: object = _suffixes(PublicSuffixList).publicsuffix(name)
    return suffix == name


@cache
def _suffixes(made_by: type) -> Any:
    return made_by()


def refuse_a_single_pin(wanted: Iterable[Domain]) -> None:
    """Refuse what TrustKit refuses, on both systems, when the app starts.

    Raises:
        FormatError: an enforced host has one pin.
    """
    for domain in wanted:
        if domain.enforce and len(domain.pins) < FEWEST:
            raise FormatError(
                f"{domain.name} has one pin, and TrustKit refuses to start with fewer than two:"
                " add a backup"
            )
