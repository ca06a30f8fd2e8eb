"""A file that gets its name only when all of it is there."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["written_atomically"]


@contextmanager
def written_atomically(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Give a file to write; a reader finds what was there before, or all of the new content.

    A symbolic link is followed, and the permissions of a file that is replaced are kept. A device
    or pipe, which has no content to protect, is written to directly.

    Raises:
        OSError: it cannot be written.
        ValueError: no path, such as one with a NUL.
    """
    target = os.path.realpath(path)
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        mode = None
    if mode is not None and not stat.S_ISREG(mode):
        with open(target, "wb") as device:
            yield device
        return
    folder, name = os.path.split(target)
    partial = os.path.join(folder, f".{name}.{secrets.token_hex(8)}.part")
    try:
        # Made by open(), so that the user's umask decides who may read a new file.
        with open(partial, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            os.chmod(partial, stat.S_IMODE(mode))
        os.replace(partial, target)
    finally:
        with suppress(OSError):
            os.unlink(partial)
