"""A file that gets its name only when all of it is there."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import sys
from contextlib import contextmanager, suppress
from io import FileIO
from typing import TYPE_CHECKING, BinaryIO, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["opened", "written_atomically"]


@contextmanager
def written_atomically(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Give a file to write; a reader finds what was there before, or all of the new content.

    A symbolic link is followed, and the permissions and the owner of a file that is replaced are
    kept. A device or pipe, which has no content to protect, is written to directly.

    Raises:
        OSError: it cannot be written, or its owner not be kept.
        ValueError: no path, such as one with a NUL.
    """
    target = os.path.realpath(path)
    try:
        before = os.stat(target)
    except FileNotFoundError:
        before = None
    if before is not None and not stat.S_ISREG(before.st_mode):
        with opened(target, "wb") as device:
            yield device
        return
    folder, name = os.path.split(target)
    partial = os.path.join(folder, f".{name}.{secrets.token_hex(8)}.part")
    try:
        # Made by open(), so that the user's umask decides who may read a new file.
        with opened(partial, "xb") as file:
            if before is not None:
                _take_after(before, file, partial)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    finally:
        with suppress(OSError):
            os.unlink(partial)


@contextmanager
def opened(path: str | os.PathLike[str], mode: Literal["wb", "xb"]) -> Iterator[BinaryIO]:
    """Open a file, and close it, wherever Ctrl-C comes.

    What `open()` returns is nobody's until a name or a `with` has it, and an interruption between
    leaves it open. Here it has its name before it is opened.
    """
    raw = FileIO.__new__(FileIO)
    try:
        FileIO.__init__(raw, path, mode)
        with open(raw.fileno(), "wb", closefd=False) as file:
            yield file
    finally:
        raw.close()


def _take_after(before: os.stat_result, file: BinaryIO, path: str) -> None:
    """Give a new file the owner and the permissions of the one that it replaces, while it is empty.

    By its descriptor where the system can: in a folder that others may write, the name could lead
    elsewhere by now.
    """
    mode = stat.S_IMODE(before.st_mode)
    if sys.platform == "win32":
        os.chmod(path, mode)
        return
    new = os.fstat(file.fileno())
    if (new.st_uid, new.st_gid) != (before.st_uid, before.st_gid):
        try:
            os.fchown(file.fileno(), before.st_uid, before.st_gid)
        except OSError:
            raise PermissionError(
                errno.EPERM, "it is another user's or group's, and would become yours", path
            ) from None
    if stat.S_IMODE(new.st_mode) != mode:  # some disks have no permissions, and refuse to set them
        os.fchmod(file.fileno(), mode)
