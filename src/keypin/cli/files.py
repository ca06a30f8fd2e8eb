"""Files: read with an error that names them, written whole or not at all."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from .._internal import atomic_file
from ..errors import KeypinError
from ..pinfile import PinFile
from .exit_codes import CommandError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "new_file",
    "read_file",
    "read_pin_file",
    "refuse_other_name",
    "refuse_to_overwrite",
    "written_atomically",
]

PROMETHEUS, SVG = "metrics for Prometheus", "SVG"
ENDINGS = {
    PROMETHEUS: (".prom",),
    SVG: (".svg",),
    "JUnit XML": (".xml",),
    "Markdown": (".md", ".markdown"),
    "a certificate in DER": (".der", ".cer", ".crt"),
    "a PKCS #12 store": (".p12", ".pfx"),
    "android": (".xml",),
    "trustkit-android": (".xml",),
    "ios": (".plist", ".xml"),
    "trustkit-ios": (".plist", ".xml"),
    "okhttp": (".kt", ".kts"),
    "okhttp-java": (".java",),
    "chromium": (".json",),
    "python": (".py",),
}
"""what files of each kind are called"""
OTHER_ENDINGS = frozenset(
    {".csv", ".gif", ".html", ".jks", ".jpeg", ".jpg", ".jsonl", ".key", ".pdf", ".pem", ".png"}
    | {".toml", ".yaml", ".yml", ".zip"}
)
"""of what no command writes, or only where it says so"""
EVERY_ENDING = OTHER_ENDINGS.union(*ENDINGS.values())
ENDING_DEMANDED = frozenset({PROMETHEUS})
"""where others read nothing else"""


def read_file(path: Path) -> bytes:
    """Read a file.

    Raises:
        CommandError: it is not there, or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise CommandError(ExitCode.NO_FILE, f"no such file: {path}") from None
    except (OSError, ValueError) as error:
        raise CommandError(ExitCode.NO_FILE, f"cannot read {path}: {_why(error)}") from None


def read_pin_file(path: Path) -> PinFile:
    """Read a pin file.

    Raises:
        CommandError: it is not there, cannot be read, or is not right.
    """
    read_file(path)
    try:
        return PinFile.load(path)
    except KeypinError as error:
        raise CommandError(ExitCode.BAD_FILE, str(error)) from None


def refuse_to_overwrite(path: Path, *, force: bool) -> None:
    """Let only a user who says so lose what is in a file.

    Raises:
        CommandError: it exists, and not `force`.
    """
    if os.path.lexists(path) and not force:
        raise CommandError(
            ExitCode.CANNOT_WRITE, f"{path} exists already; --force replaces what is in it"
        )


def refuse_other_name(path: Path, kind: str, option: str) -> None:
    """Refuse a name that says of a file that it is of another kind.

    Names without a known ending are no lie; devices and pipes can be called anything.

    Args:
        path: what is to be written.
        kind: one of `ENDINGS`; another is refused nothing.
        option: by which it was named.

    Raises:
        CommandError: it is called like something else.
    """
    endings, ending = ENDINGS.get(kind, ()), path.suffix.lower()
    is_device = path.is_relative_to("/dev") or (path.exists() and not path.is_file())
    if not endings or ending in endings or is_device:
        return
    if ending in EVERY_ENDING or kind in ENDING_DEMANDED:
        names = " or ".join(endings)
        raise CommandError(
            ExitCode.USAGE, f"{path}: {option} writes {kind}, and its name ends in {names}"
        )


def new_file(path: Path, content: bytes, *, force: bool) -> None:
    """Write a file of this content; one that exists is replaced only with `force`.

    Raises:
        CommandError: it exists, or cannot be written.
    """
    refuse_to_overwrite(path, force=force)
    with written_atomically(path) as file:
        file.write(content)


@contextmanager
def written_atomically(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write; it gets its name only when all of it is there.

    A device or pipe, which has no content to protect, is written to directly.

    Raises:
        CommandError: it cannot be written.
    """
    try:
        with atomic_file.written_atomically(path) as file:
            yield file
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        raise CommandError(ExitCode.CANNOT_WRITE, f"cannot write {path}: {_why(error)}") from None


def _why(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
