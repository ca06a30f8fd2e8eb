"""Files of a new key: never over others, on the disk when written, removed unless they are used."""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
from contextlib import contextmanager, suppress
from enum import Enum
from typing import TYPE_CHECKING

from .exit_codes import CommandError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["Secrecy", "held_interruptions", "others_may_read", "removed_on_failure"]

OWNER_ONLY = 0o600
# What ends a program; Windows has no SIGHUP
INTERRUPTIONS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class Secrecy(Enum):
    """Who may read a new file."""

    NONE = "whoever the user lets read new files"
    WISHED = "only its owner, where the disk can keep it from others"
    NEEDED = "only its owner, or it is not written"


@contextmanager
def held_interruptions() -> Iterator[Callable[[], None]]:
    """Let nothing interrupt the program, but where it asks for that.

    Gives the function to ask: it raises KeyboardInterrupt if there was an interruption. One that
    comes after the last time of asking comes too late: all is done then.
    """
    held: list[int] = []

    def let_through() -> None:
        if held:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield let_through  # signals arrive elsewhere
        return
    before = {
        number: signal.signal(number, lambda number, _: held.append(number))
        for number in INTERRUPTIONS
    }
    try:
        yield let_through
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def removed_on_failure(
    path: Path, content: bytes, secrecy: Secrecy, unless: Callable[[], bool]
) -> Iterator[None]:
    """Write a file that is not there yet; remove it if what follows fails.

    Args:
        path: its name.
        content: what it holds.
        secrecy: who may read it.
        unless: tells after a failure whether the file has to stay all the same.

    Raises:
        CommandError: it is there, or cannot be written.
    """
    try:
        _write(path, content, secrecy)
    except FileExistsError:
        raise CommandError(
            ExitCode.CANNOT_WRITE, f"{path} exists already; it was left as it is"
        ) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise CommandError(ExitCode.CANNOT_WRITE, f"cannot write {path}: {why}") from None
    try:
        yield
    except BaseException:
        if not unless():
            with suppress(OSError):
                path.unlink()
        raise


def _write(path: Path, content: bytes, secrecy: Secrecy) -> None:
    """Write a file that is not there yet, and have the disk keep it; nothing is left of a failure.

    Raises:
        FileExistsError: it is there.
        OSError: it cannot be written, or not in such secrecy.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    mode = 0o666 if secrecy is Secrecy.NONE else OWNER_ONLY
    descriptor = os.open(path, flags, mode)
    try:
        with open(descriptor, "wb") as file:
            if secrecy is not Secrecy.NONE and sys.platform != "win32":
                with suppress(PermissionError):  # of a disk without permissions
                    os.fchmod(descriptor, OWNER_ONLY)
            if secrecy is Secrecy.NEEDED and others_may_read(path):
                raise OSError("its disk does not keep others from reading it")
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        _keep_name(path)
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise


def others_may_read(path: Path) -> bool:
    """Whether the permissions of a file let others than its owner read it, as far as they tell."""
    return os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077 != 0


def _keep_name(path: Path) -> None:
    """Have the disk keep a new file's name, too, where that can be asked for."""
    with suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
