"""Deployments killed wherever the disk changes, and what the next one makes of what they left.

Run with a folder; prints how often each was killed, or what is wrong.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keypin.cli.deploy import _put
from keypin.cli.exit_codes import CommandError
from keypin.cli.served_folder import ServedFiles, ServedFolder

if TYPE_CHECKING:
    from collections.abc import Callable

# All by which the disk is changed or that it is asked to keep, and the reload
CHANGES = ("mkdir", "open", "fsync", "chmod", "chown", "symlink", "replace", "unlink", "rmdir")
A, B, C, D = (ServedFiles(name, name.lower()) for name in (b"A", b"B", b"C", b"D"))


class Scene:
    """A folder, and a server that copies what it is told of."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self.served = ServedFolder(folder / "tls")
        self.server = folder / "server"
        self.works = ["cp", str(self.served.link / "fullchain.pem"), str(self.server)]
        self.fails = ["false"]

    def deploy(self, files: ServedFiles, reload: list[str]) -> bool:
        """Whether it succeeded."""
        try:
            _put(files, self.served, reload, 60)
        except CommandError:
            return False
        return True

    def is_there(self, chain: bytes) -> bool:
        return any(
            (path / "fullchain.pem").read_bytes() == chain
            and (path / "privkey.pem").read_bytes() == chain.lower()
            for path in self.served.path.iterdir()
            if not path.is_symlink()
            if (path / "fullchain.pem").exists() and (path / "privkey.pem").exists()
        )

    @property
    def current(self) -> bytes:
        assert (self.served.link / "privkey.pem").exists()
        return (self.served.link / "fullchain.pem").read_bytes()


def killed_at(number: int, when: str, do: Callable[[], object]) -> bool:
    """Do it in a process that is killed at its n-th change; whether it came so far."""
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        assert status == 0 or os.WIFSIGNALED(status), "it ended with an error"
        return status != 0
    left = number

    def change(real: Callable[..., object], *arguments: Any, **more: Any) -> object:
        nonlocal left
        left -= 1
        is_last = left == 0
        if is_last and when == "before":
            os.kill(os.getpid(), 9)
        try:
            return real(*arguments, **more)
        finally:
            if is_last:
                os.kill(os.getpid(), 9)

    for name in CHANGES:
        setattr(os, name, partial(change, getattr(os, name)))
    subprocess.run = partial(change, subprocess.run)
    # what removes folders looks for these two by what they are
    os.supports_dir_fd |= {os.unlink, os.rmdir, os.open, os.mkdir}
    try:
        do()
        os._exit(0)
    finally:
        traceback.print_exc()
        os._exit(1)


def check(scene: Scene, before: bytes, tried: list[bytes], at: object) -> None:
    """What is served is there and current, after a deployment whose reload failed."""
    serving = scene.server.read_bytes()
    assert scene.is_there(serving), f"{at}: {serving!r} is served and gone"
    if serving == before:
        assert scene.current == before, f"{at}: {before!r} is served, {scene.current!r} current"
    else:  # it was told, and could not say so any more: either will do
        assert serving in tried, at
        assert scene.current in (before, serving), at


def kill_once(folder: Path, when: str, second: ServedFiles) -> int:
    """Kill B's deployment anywhere; then the second one's reload fails."""
    number, was_killed = 0, True
    while was_killed:
        number += 1
        scene = Scene(folder)
        assert scene.deploy(D, scene.works)  # so that there is one before
        assert scene.deploy(A, scene.works)
        was_killed = killed_at(number, when, partial(scene.deploy, B, scene.works))
        if was_killed:
            failed = not scene.deploy(second, scene.fails)
            if failed:
                check(scene, b"A", [b"B"], (number, when))
            else:  # it was all done, but for what is left of older ones
                assert scene.current == scene.server.read_bytes() == b"B"
        assert scene.deploy(C, scene.works)
        assert scene.current == scene.server.read_bytes() == b"C"
        assert len([path for path in scene.served.path.iterdir() if path.name[0] != "."]) == 3
        assert not list(scene.served.path.glob(".*"))
    return number - 1


def kill_twice(folder: Path, when: str, step: int) -> int:
    """Kill B's, and then that of C, whose reload fails; then one more fails."""
    first, was_killed, times = 0, True, 0
    while was_killed:
        first += step
        second, was_killed_again = first % 3, True
        while was_killed_again:
            second += step
            scene = Scene(folder)
            assert scene.deploy(A, scene.works)
            was_killed = killed_at(first, when, partial(scene.deploy, B, scene.works))
            was_killed_again = killed_at(second, when, partial(scene.deploy, C, scene.fails))
            if was_killed:
                assert not scene.deploy(D, scene.fails)
                check(scene, b"A", [b"B"], (first, second, when))
                times += 1
    return times


def kill_the_first(folder: Path, when: str) -> int:
    """Kill the first deployment of all; what it left is better than nothing."""
    number, was_killed = 0, True
    while was_killed:
        number += 1
        scene = Scene(folder)
        was_killed = killed_at(number, when, partial(scene.deploy, A, scene.works))
        if was_killed and not scene.deploy(B, scene.fails) and scene.server.exists():
            assert scene.is_there(scene.server.read_bytes()), number
            assert scene.current == b"A"
        assert scene.deploy(C, scene.works)
        assert scene.current == b"C"
    return number - 1


if __name__ == "__main__":
    place = Path(sys.argv[1]) / "scene"
    for moment in ("before", "after"):
        print(kill_once(place, moment, C), kill_once(place, moment, B), end=" ")
        print(kill_the_first(place, moment), kill_twice(place, moment, 7))
