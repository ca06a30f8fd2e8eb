"""A file that is replaced is whole, its owner's, and closed, whatever comes between."""

from __future__ import annotations

import gc
import os
import stat
import subprocess
import sys
import tempfile
import warnings
from typing import TYPE_CHECKING

import pytest

from keypin._internal.atomic_file import written_atomically

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import FrameType


def interrupted_at(number: int, do: Callable[[], object]) -> bool:
    """Raise Ctrl-C at the n-th place where Python looks for signals; whether it came so far.

    That is where a function written in Python begins, and after one in C has returned.
    """
    count = 0

    def interrupt(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_return")
        if count == number:
            raise KeyboardInterrupt

    try:
        sys.setprofile(interrupt)
        try:
            do()
        finally:
            sys.setprofile(None)
    except KeyboardInterrupt:
        return True
    return False


@pytest.mark.parametrize("is_new", [True, False])
def test_ctrl_c_at_any_call_leaves_nothing_open_and_nothing_half(
    tmp_path: Path, is_new: bool
) -> None:
    path = tmp_path / "pins.toml"

    def write() -> None:
        with written_atomically(path) as file:
            file.write(b"new")

    number, came = 0, True
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        while came:
            number += 1
            path.unlink(missing_ok=True)
            if not is_new:
                path.write_bytes(b"old")
            came = interrupted_at(number, write)
            assert [str(each.message) for each in told] == [], number
            left = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
            allowed = ({"pins.toml": b"new"}, {} if is_new else {"pins.toml": b"old"})
            assert left in allowed, number
        gc.collect()
    assert told == []
    assert number > 30
    assert path.read_bytes() == b"new"


def test_a_pipe_is_closed_wherever_ctrl_c_comes(tmp_path: Path) -> None:
    number, came = 0, True

    def write() -> None:
        with written_atomically(os.devnull) as file:
            file.write(b"new")

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        while came:
            number += 1
            came = interrupted_at(number, write)
            assert [str(each.message) for each in told] == [], number
        gc.collect()
    assert told == []


posix = pytest.mark.skipif(os.name != "posix", reason="owners as POSIX has them")


@posix
def test_a_new_file_has_the_permissions_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with written_atomically(tmp_path / "new") as file:
            file.write(b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


@posix
def test_nobody_reads_a_new_file_who_may_not_read_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"old")
    path.chmod(0o600)
    with written_atomically(path) as file:
        file.write(b"new")
        file.flush()
        [partial] = tmp_path.glob(".secret.*.part")
        assert stat.S_IMODE(partial.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


REPLACE = """
import os, sys
from keypin._internal.atomic_file import written_atomically
os.setgroups([]); os.setgid({gid}); os.setuid({uid})
try:
    with written_atomically({path!r}) as file:
        file.write(b"new")
except PermissionError as error:
    print(error)
"""


def replace_as(uid: int, gid: int, path: Path) -> str:
    """Replace a file as another user; what was said."""
    program = REPLACE.format(uid=uid, gid=gid, path=str(path))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root, to give files away"
)


@needs_root
def test_a_file_of_another_user_stays_his(tmp_path: Path) -> None:
    path = tmp_path / "pins.toml"
    path.write_bytes(b"old")
    os.chown(path, 1234, 4321)
    path.chmod(0o640)
    with written_atomically(path) as file:
        file.write(b"new")
    status = path.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1234, 4321, 0o640)
    assert path.read_bytes() == b"new"


@needs_root
@pytest.mark.parametrize("owner", [(0, 0), (0, 65534), (65534, 0)], ids=str)
def test_a_file_that_would_become_the_writers_is_not_replaced(
    tmp_path_factory: pytest.TempPathFactory, owner: tuple[int, int]
) -> None:
    """As root's read-only file in a folder that others may write."""
    folder = tmp_path_factory.mktemp("shared")
    for each in (folder, *folder.parents):
        if each.is_relative_to(tempfile.gettempdir()) and str(each) != tempfile.gettempdir():
            each.chmod(0o777)
    path = folder / "pins.toml"
    path.write_bytes(b"old")
    path.chmod(0o444)
    os.chown(path, *owner)
    assert "would become yours" in replace_as(65534, 65534, path)
    status = path.stat()
    assert (status.st_uid, status.st_gid) == owner
    assert path.read_bytes() == b"old"
    assert [each.name for each in folder.iterdir()] == ["pins.toml"]
