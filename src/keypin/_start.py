"""The start of a process that the environment variable KEYPIN_PINS pins.

`keypin.pth` and `_bootstrap/sitecustomize.py` call it before the program begins. It has no way to
fail but to end the process.
"""

from __future__ import annotations

import errno
import functools
import os
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

from ._inheritance import PINS, SentPackages, find_escape, pass_on
from .errors import KeypinError, ProcessRefused, ProtectionError
from .pinner import install

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping, Sequence

__all__ = ["start"]

NOT_PINNED: Final = 78  # EX_CONFIG; cli.ExitCode.NOT_PINNED

# the absolute path of the pin file, once it is in force
_pins: str | None = None


def start() -> None:
    """Install the pins of KEYPIN_PINS in this process and, by environment, in those it starts.

    Once; further calls do nothing. If anything goes wrong, the process ends.
    """
    global _pins
    if _pins is not None:
        return
    try:
        pins = _pin_file()
        install(pins)
        os.environ[PINS] = pins
        sys.meta_path.append(SentPackages)
        pass_on(os.environ, pins)
        _pins = pins
        if os.name == "posix":
            _watch_starts()
    except BaseException as error:  # noqa: BLE001 - Python would go on without pins
        _end(error)


def _pin_file() -> str:
    name = os.environ.get(PINS)
    if not name:
        raise ProtectionError(f"{PINS} is {'empty' if name == '' else 'not set'}")
    return os.path.abspath(name)


def _end(error: BaseException) -> NoReturn:
    try:
        told = isinstance(error, KeypinError | OSError)
        sys.stderr.write(
            "keypin: the program was not started, because it could not be pinned\n"
            f"  why: {error if told else f'{type(error).__name__}: {error}'}\n"
            f"  {PINS}: {os.environ.get(PINS, 'not set')}\n"
            f"Name a pin file in {PINS}, or start the program without keypin.\n"
        )
        sys.stderr.flush()
    finally:
        os._exit(NOT_PINNED)


# Processes that this one starts. An audit hook would see most of the same, but once there is one,
# every audited call in the process gets slower, id() among them: copy.deepcopy takes twice as long.


def _watch_starts() -> None:
    """Give the pins to whatever this process starts, and refuse interpreters that would escape."""
    import _posixsubprocess
    import posix

    for name, watched in WATCHED.items():
        modules = [_posixsubprocess] if name == "fork_exec" else [posix, os]
        original = getattr(modules[0], name, None)
        if original is not None:
            # like a built-in function, and unlike a def, it does not become a method in a class
            replacement = functools.update_wrapper(functools.partial(watched, original), original)
            for module in modules:
                setattr(module, name, replacement)
    subprocess = sys.modules.get("subprocess")
    if subprocess is not None:
        subprocess._fork_exec = _posixsubprocess.fork_exec  # type: ignore[attr-defined]


def _admit(
    program: Any, arguments: Sequence[Any], environment: Mapping[Any, Any] | None, folder: Any = "."
) -> Mapping[Any, Any] | None:
    """Decide on a process to be started.

    Returns:
        The environment to start it with: what was given, if that is None or this process's own.

    Raises:
        ProcessRefused: it would escape the pins.
    """
    assert _pins is not None  # noqa: S101 - nothing is watched before
    seen: MutableMapping[str, str] = os.environ
    if environment is not None and environment is not os.environ:
        seen = {os.fsdecode(name): os.fsdecode(value) for name, value in environment.items()}
        environment = seen
    pass_on(seen, _pins)
    command = [os.fsdecode(program), *map(os.fsdecode, arguments[1:])]
    reason = find_escape(command, seen, os.fsdecode(folder))
    if reason is not None:
        raise ProcessRefused(errno.EACCES, f"keypin does not start this process: {reason}")
    return environment


def _fork_exec(
    original: Any,
    arguments: Sequence[Any],
    candidates: Sequence[Any],
    close_fds: Any,
    pass_fds: Any,
    folder: Any,
    environment: Sequence[bytes] | None,
    *more: Any,
) -> Any:
    """What `subprocess` and `multiprocessing` call."""
    variables = None
    if environment is not None:
        variables = dict(entry.split(b"=", 1) for entry in environment)
    # the first file that is there is the one that will be run
    program = next(filter(os.path.isfile, candidates), candidates[0])
    given = _admit(program, arguments, variables, folder or ".")
    if given is not None:
        environment = [os.fsencode(f"{name}={value}") for name, value in given.items()]
    return original(arguments, candidates, close_fds, pass_fds, folder, environment, *more)


def _execv(original: Any, path: Any, arguments: Sequence[Any]) -> Any:
    _admit(_file(path), arguments, None)
    return original(path, arguments)


def _execve(original: Any, path: Any, argv: Sequence[Any], env: Mapping[Any, Any]) -> Any:
    return original(path, argv, _admit(_file(path), argv, env))


def _posix_spawn(
    original: Any, path: Any, argv: Sequence[Any], env: Mapping[Any, Any] | None, /, **more: Any
) -> Any:
    return original(path, argv, _admit(_file(path), argv, env), **more)


def _posix_spawnp(
    original: Any, path: Any, argv: Sequence[Any], env: Mapping[Any, Any] | None, /, **more: Any
) -> Any:
    return original(path, argv, _admit(path, argv, env), **more)


def _system(original: Any, command: Any) -> Any:
    assert _pins is not None  # noqa: S101
    pass_on(os.environ, _pins)
    return original(command)


def _file(path: Any) -> str:
    """The path of a file that is not looked up on PATH, or the number of an open one."""
    return f"/dev/fd/{path}" if isinstance(path, int) else os.path.join(".", os.fsdecode(path))


WATCHED: Final[dict[str, Any]] = {
    "fork_exec": _fork_exec,
    "execv": _execv,
    "execve": _execve,
    "posix_spawn": _posix_spawn,
    "posix_spawnp": _posix_spawnp,
    "system": _system,
}
