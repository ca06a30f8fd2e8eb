"""How pins pass from a process to those that it starts: by environment.

Of Python's processes only. Nothing here starts one, or changes this one.
"""

from __future__ import annotations

import contextlib
import os
import sys
from functools import cache
from importlib.machinery import PathFinder
from importlib.util import find_spec
from io import FileIO  # not open: eventlet puts another one into builtins
from typing import TYPE_CHECKING, Final

from ..errors import ProtectionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, MutableMapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = [
    "PINS",
    "SentPackages",
    "is_own_interpreter",
    "is_readable_by",
    "missing",
    "named_pin_file",
    "only_reports",
    "propagate_pins",
    "refusing_folder",
    "wanted",
]

PINS: Final = "KEYPIN_PINS"
"""the environment variable that names the pin file"""
REPORT: Final = "report:"
"""what stands before the pin file's name there where nothing but denied keys is refused"""
PACKAGES: Final = "KEYPIN_PACKAGES"
"""the one that names the folders of keypin and idna, for interpreters that lack them"""
PATH: Final = "PYTHONPATH"
OURS: Final = (PINS, PACKAGES, PATH)

HOME: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BOOTSTRAP: Final = os.path.join(HOME, "_bootstrap")
"""the folder of the sitecustomize that pins a process before its program begins"""
NEEDED: Final = (
    os.path.join(BOOTSTRAP, "sitecustomize.py"),
    os.path.join(HOME, "__init__.py"),
    os.path.join(HOME, "_start.py"),
)
"""what a process reads before its program begins"""
EFFECTIVE: Final = os.access in os.supports_effective_ids


def named_pin_file(value: str) -> tuple[str, str]:
    """Take a value of KEYPIN_PINS apart: `REPORT` or nothing, and the name of the pin file.

    Raises:
        ProtectionError: it is also the name of a file, in a folder that is called so.
    """
    name = value.removeprefix(REPORT)
    mode = value[: len(value) - len(name)]
    if mode and name and os.path.exists(value):
        raise ProtectionError(
            f"{PINS}={value} names a file, and asks for report mode with another: write ./{value},"
            f" or the absolute path after {REPORT}"
        )
    return mode, name


def only_reports(environment: Mapping[str, str]) -> bool:
    """Whether what gets this environment refuses nothing but denied keys."""
    return environment.get(PINS, "").startswith(REPORT)


class SentPackages:
    """Finds keypin and idna, and nothing else, where KEYPIN_PACKAGES says.

    Asked last, it does not stand before what the program's own environment has.
    """

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module, as `importlib.abc.MetaPathFinder` specifies it."""
        if name not in ("keypin", "idna"):
            return None
        folders = os.environ.get(PACKAGES, "").split(os.pathsep)
        return PathFinder.find_spec(name, [folder for folder in folders if folder])


def propagate_pins(environment: MutableMapping[str, str], pins: str) -> None:
    """Let a pin file hold in every process that gets this environment.

    Args:
        environment: changed where it does not name a pin file, or not what makes Python heed it.
        pins: the absolute path of the pin file.

    Raises:
        ProtectionError: keypin is installed where PYTHONPATH cannot point to.
    """
    environment.update(wanted(environment, pins))


def wanted(environment: Mapping[str, str], pins: str) -> dict[str, str]:
    """What the three variables have to be in an environment."""
    others = environment.get(PATH, "").split(os.pathsep) if environment.get(PATH) else []
    # first, so that no other sitecustomize can take its place
    folders = [BOOTSTRAP, *filter(None, [refusing_folder()])]
    return {
        PINS: environment.get(PINS) or pins,
        PACKAGES: _packages(),
        PATH: os.pathsep.join(folders + [other for other in others if other not in folders]),
    }


@cache
def _packages() -> str:
    idna = find_spec("idna")
    assert idna is not None  # noqa: S101 - the core depends on it
    assert idna.origin is not None  # noqa: S101
    folders = [os.path.dirname(HOME), os.path.dirname(os.path.dirname(idna.origin))]
    for folder in folders:
        if os.pathsep in folder:
            raise ProtectionError(
                f"{folder}: no {os.pathsep!r} may be in the name of the folder that keypin is"
                " installed in, because it separates the folders in PYTHONPATH"
            )
    return os.pathsep.join(dict.fromkeys(folders))


# Where the bootstrap cannot be read


def missing() -> str | None:
    """Why a process that is started now would not find what pins it; None if it would."""
    for file in NEEDED:
        if not os.access(file, os.R_OK, effective_ids=EFFECTIVE):
            return (
                f"what would pin it cannot be read any more ({file}): start this program anew, or"
                " install keypin where the process can read it"
            )
    return None


def is_readable_by(user: int, groups: Iterable[int]) -> bool:
    """Whether a user, and a member of these groups, can read what pins a process."""
    groups = set(groups)
    return user == 0 or all(
        _allows(part, user, groups, 0o4 if part == file else 0o1)
        for file in NEEDED
        for part in (file, *_folders_above(file))
    )


def _allows(path: str, user: int, groups: set[int], right: int) -> bool:
    try:
        status = os.stat(path)
    except OSError:
        return False
    if status.st_uid == user:
        right <<= 6
    elif status.st_gid in groups:
        right <<= 3
    return status.st_mode & right != 0


def _folders_above(path: str) -> list[str]:
    folders = []
    while path != os.path.dirname(path):
        path = os.path.dirname(path)
        folders.append(path)
    return folders


def refusing_folder() -> str | None:
    """A folder with a copy of the bootstrap, where every user can read it, or None.

    Python skips a folder that it cannot read, or that is not there any more: a process of another
    user, say, or one that a shell starts after keypin was moved. It then finds the copy, which
    ends it if there is no keypin for it. Not in a folder for temporary files: there it could be
    removed, and another user's put in its place.
    """
    global _refusing
    known, _refusing = _refusing, None
    if known is not None and os.path.isfile(os.path.join(known, "sitecustomize.py")):
        _refusing = known
    elif sys.platform != "win32":
        with contextlib.suppress(OSError):  # a system that nothing can be written to
            _refusing = _make_refusing_folder()
    return _refusing


_refusing: str | None = None


def _make_refusing_folder() -> str:
    if sys.platform == "win32":
        raise OSError("users and permissions are others there")
    from hashlib import sha256

    with FileIO(NEEDED[0]) as file:
        text = file.read()
    if os.geteuid() == 0:
        home = "/run/keypin"
    else:
        cache_home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        home = os.path.join(cache_home, "keypin")
    folder = os.path.join(home, "bootstrap-" + sha256(text).hexdigest()[:16])
    if os.pathsep in folder or not os.path.isabs(folder):
        raise FileNotFoundError(folder)
    path = os.path.join(folder, "sitecustomize.py")
    if not os.path.isfile(path):
        os.makedirs(folder, exist_ok=True)
        for part in (home, folder):
            os.chmod(part, 0o755)  # noqa: S103 - for every user to read
        new = f"{path}.{os.getpid()}"
        with FileIO(new, "w") as file:
            file.write(text)
        os.chmod(new, 0o644)
        os.replace(new, path)
    for part in (home, folder, path):
        status = os.lstat(part)
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
            raise PermissionError(part)
    with FileIO(path) as file:
        if file.read() != text:
            raise FileNotFoundError(path)
    return folder


# The interpreter of this process

EXECUTABLE: Final = sys.executable or ""  # embedded interpreters have none


def is_own_interpreter(program: str, environment: Mapping[str, str]) -> bool:
    """Whether it is this process's interpreter, which pins itself by what is installed with it."""
    if environment.get("PYTHONHOME") != os.environ.get("PYTHONHOME") or not _has_hook():
        return False
    own = os.path.abspath(EXECUTABLE)
    program = os.path.abspath(program)
    return program == own or (
        os.path.dirname(program) == os.path.dirname(own)
        and os.path.realpath(program) == os.path.realpath(own)
    )


def _has_hook() -> bool:
    import site

    # From 3.15 on (PEP 829) either will do; they have different names, because the line in the
    # .pth file is left out where there is a .start file of that name, even one that fails
    hooks = []
    if sys.version_info < (3, 18):
        hooks.append(["keypin.pth"])
    if sys.version_info >= (3, 15):
        hooks.append(["_keypin_start.start", "_keypin_start.py"])
    return any(
        all(os.access(os.path.join(folder, name), os.R_OK) for name in hook)
        for folder in site.getsitepackages()
        for hook in hooks
    )
