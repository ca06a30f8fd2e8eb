"""What a conversion gives: files or a pin file, and a report of what was lost on the way."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from ..errors import HostnameError, KeypinError, PinFileError, PinFormatError, PinSetError
from ..pinfile import Defaults, PinFile
from ..pinfile.checks import file_problems

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ..pin import Pin
    from ..pinfile import HostEntry
    from ..pinset import PinSet, Unlisted

    Files = Mapping[str, bytes]  # by names, relative and with "/" between their parts
    Certificates = Mapping[Pin, "Certificate"]

__all__ = [
    "Certificate",
    "Direction",
    "Draft",
    "FormatError",
    "Loss",
    "Reading",
    "located",
    "only_file",
    "pin_file",
    "text_of",
    "without_wildcard",
]


class FormatError(KeypinError, ValueError):
    """A file that does not say what its format says, or pins that a format cannot say at all.

    Args:
        text: what is wrong, and what to do.
        file: in which file.
        line: where in it, counted from 1.
    """

    def __init__(self, text: str, file: str | None = None, line: int | None = None) -> None:
        where = [file, None if line is None else f"line {line}"]
        place = ", ".join(part for part in where if part)
        super().__init__(f"{place}: {text}" if place else text)
        self.text = text
        self.file = file
        self.line = line


class Direction(StrEnum):
    """Which way a loss changes the meaning."""

    LESS_SAFE = "less-safe"
    """a server is accepted that the pins in the source refuse"""
    STRICTER = "stricter"
    """a server is refused that the pins in the source accept"""
    INFORMATION = "information"
    """the same servers are accepted"""


class Loss(NamedTuple):
    """Something that a conversion could not carry over.

    Attributes:
        name: by which it is allowed: `--allow NAME`.
        direction: a `Direction`.
        host: whose rule it is; None for the whole file.
        text: what the result does instead.
    """

    name: str
    direction: Direction
    host: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that may stand for a pin.

    Args:
        name: a plain file name, in letters that need no quoting anywhere.
        der: the certificate.
        is_ca: whether its key signs certificates (basicConstraints).
    """

    name: str
    der: bytes
    is_ca: bool


@dataclass(frozen=True, slots=True)
class Draft:
    """What a format makes of a pin file.

    Args:
        files: what to write.
        meaning: the rules that the target goes by once it has these files, as its own reader or
            documents have it. The report is the difference between this and the pin file.
        losses: what no rules tell.
    """

    files: Mapping[str, bytes]
    meaning: PinSet
    losses: tuple[Loss, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """What a format's reader makes of a foreign file."""

    pins: PinFile
    losses: tuple[Loss, ...] = ()


@contextmanager
def located(
    file: str | None = None, line: int | None = None, *, host: str | None = None
) -> Iterator[None]:
    """Say of a wrong pin or host where it stands, and of a pin whose it is."""
    try:
        yield
    except FormatError as error:
        raise FormatError(error.text, file, line) from None
    except PinFormatError as error:
        raise FormatError(f"{host}: {error}" if host else str(error), file, line) from None
    except (HostnameError, PinSetError) as error:
        raise FormatError(str(error), file, line) from None


def without_wildcard(name: str, advice: str = "") -> str:
    """Return a name of a system that has no patterns; to keypin it would be one.

    Raises:
        FormatError: it has a wildcard.
    """
    if "*" in name:
        raise FormatError(f"a wildcard, which is not read here: {name!r:.80}{advice}")
    return name


def only_file(files: Mapping[str, bytes]) -> tuple[str, bytes]:
    """Return the name and the content of the one file that a format has.

    Raises:
        FormatError: there are several, or none.
    """
    if len(files) != 1:
        raise FormatError(f"this format is one file, not {len(files)}")
    [(name, content)] = files.items()
    return name, content


def text_of(files: Mapping[str, bytes]) -> tuple[str, str]:
    """Return the name and the text of the one file that a format has.

    Raises:
        FormatError: there are several, or none, or it is not UTF-8.
    """
    name, content = only_file(files)
    try:
        return name, content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError("not UTF-8", name, content.count(b"\n", 0, error.start) + 1) from None


def pin_file(hosts: Iterable[HostEntry], unlisted: Unlisted = "allow") -> PinFile:
    """Put hosts together; exclusions that exclude nothing are left out.

    Raises:
        FormatError: no host with pins, or two entries for one host.
    """
    entries = list(hosts)
    while idle := _idle_exclusions(entries, unlisted):
        entries = [entry for index, entry in enumerate(entries) if index not in idle]
    if not any(entry.pins for entry in entries):
        raise FormatError("no host with pins: nothing would be pinned")
    try:
        return PinFile(entries, defaults=Defaults(unlisted=unlisted))
    except PinFileError as error:
        raise FormatError(str(error)) from None


def _idle_exclusions(entries: list[HostEntry], unlisted: Unlisted) -> set[int]:
    names = [entry.name for entry in entries]
    problems = file_problems(names, [entry.exclude for entry in entries], unlisted)
    return {int(path[1]) for path, _ in problems if len(path) == 3 and path[2] == "exclude"}
