"""A folder that a server takes its certificate and key from, both changed in one step.

    FOLDER/current -> 20261121T220315Z-5f0c2d9a
    FOLDER/20261121T220315Z-5f0c2d9a/fullchain.pem, privkey.pem
    FOLDER/20261012T030102Z-91c34be0/...     what was served before

`current` is a symbolic link that is replaced as a whole, so no reader finds the certificate of one
and the key of the other.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import sys
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from .exit_codes import CommandError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["CURRENT", "ServedFiles", "ServedFolder"]

CURRENT = "current"
CHAIN, KEY = "fullchain.pem", "privkey.pem"
SERVED = ".served"
"""in the version that the server was told of last"""
VERSION = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}")
KEY_MODE = 0o600


class ServedFiles(NamedTuple):
    """What a server shows, and its private key, in PEM."""

    chain: bytes
    key: bytes


class ServedFolder:
    """The folder; see the module.

    Args:
        path: where it is; made if missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.link: Path = path / CURRENT

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes that change the folder out, for as long as this lasts.

        Raises:
            CommandError: the folder cannot be made or written to.
        """
        if sys.platform == "win32":
            raise CommandError(
                ExitCode.USAGE, "keypin deploy needs a POSIX system (symbolic links, flock)"
            )
        import fcntl

        with self._errors():
            self.path.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(self.link) and not self.link.is_symlink():
                raise CommandError(
                    ExitCode.CANNOT_WRITE,
                    f"{self.link} is there and is not a symbolic link: it is not keypin deploy's",
                )
            folder = os.open(self.path, os.O_RDONLY)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX)
                yield
            finally:
                os.close(folder)

    @property
    def target(self) -> str | None:
        """Where `current` leads; None if there is none."""
        return os.readlink(self.link) if self.link.is_symlink() else None

    def serves(self, files: ServedFiles) -> bool:
        """Whether these are the current files, and the server has been told of them."""
        if not (self.link / SERVED).exists():
            return False
        return all(_content(self.link / name) == data for name, data in _named(files))

    def add(self, files: ServedFiles) -> str:
        """Write a new version, which `current` does not lead to yet; return its name."""
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
        folder = self.path / name
        folder.mkdir()
        _write(folder / CHAIN, files.chain)
        _write(folder / KEY, files.key, KEY_MODE)
        self._keep_access(folder / KEY)
        _sync(folder)
        return name

    def switch(self, target: str | None) -> None:
        """Let `current` lead elsewhere, in one step; None takes it away."""
        if target is None:
            self.link.unlink(missing_ok=True)
        else:
            partial = self.path / f".{CURRENT}.{secrets.token_hex(8)}"
            partial.symlink_to(target)
            try:
                partial.replace(self.link)
            except BaseException:
                partial.unlink()
                raise
        _sync(self.path)

    def last_served(self) -> str | None:
        """The version that the server was told of last; None if there is none.

        `current` leads elsewhere where an earlier run was killed before the server was told. If no
        version is known to be served, it is the best that is known. From now on no other is marked
        as served, so that the mark alone tells it once `current` leads to a new one.
        """
        target = self.target
        marked = sorted(path.name for path in self._versions() if (path / SERVED).exists())
        if target not in marked:
            return marked[-1] if marked else target
        for name in marked:
            if name != target:
                (self.path / name / SERVED).unlink()
                _sync(self.path / name)
        return target

    def told(self) -> None:
        """Note that the server has been told of the current version."""
        _write(self.link / SERVED, b"")
        _sync(self.link)

    def discard(self, version: str) -> None:
        """Remove one version, with its private key."""
        shutil.rmtree(self.path / version)

    def forget(self, *kept: str | None) -> None:
        """Remove all versions but these, and what runs that were killed have left."""
        for folder in self._versions():
            if folder.name not in kept:
                shutil.rmtree(folder)
        for partial in self.path.glob(f".{CURRENT}.*"):
            partial.unlink()

    def _versions(self) -> list[Path]:
        return [path for path in self.path.iterdir() if VERSION.fullmatch(path.name)]

    def _keep_access(self, key: Path) -> None:
        """Let those read the new key who could read the one before."""
        with suppress(FileNotFoundError):
            before = (self.link / KEY).stat()
            own = key.stat()
            same = (before.st_uid, before.st_gid) == (own.st_uid, own.st_gid)
            if sys.platform != "win32" and not same:
                os.chown(key, before.st_uid, before.st_gid)
            key.chmod(stat.S_IMODE(before.st_mode))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = error.filename or self.path
            raise CommandError(
                ExitCode.CANNOT_WRITE, f"cannot write {where}: {error.strerror}"
            ) from None


def _named(files: ServedFiles) -> tuple[tuple[str, bytes], tuple[str, bytes]]:
    return (CHAIN, files.chain), (KEY, files.key)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _write(path: Path, data: bytes, mode: int = 0o666) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Have the names in a folder on the disk, too."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
