"""Processes that a process pinned by KEYPIN_PINS starts: they get the pins, or are refused.

An audit hook would see most of the same, but once there is one, every audited call in the process
gets slower, id() among them: copy.deepcopy takes twice as long.
"""

from __future__ import annotations

import errno
import functools
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from ..errors import ProcessRefused
from . import commands, inheritance, proof
from .inheritance import OURS, PINS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

if sys.platform == "win32":
    raise ImportError("only for systems that start processes as POSIX does")

__all__ = ["hand_on", "watch"]

# the value of KEYPIN_PINS for what names no pins of its own
_pins: str = ""
# What C has for an environment, but for the three variables: `os.environ` need not be the same
# (os.putenv, os.unsetenv), and another thread may change it at any time
_environment: dict[str, str] = {}
_originals: dict[str, Any] = {}


def watch(pins: str) -> None:
    """Give the pins to whatever this process starts, and refuse interpreters that would escape."""
    global _pins
    import _posixsubprocess
    import posix

    _pins = pins
    _environment.update(os.environ)
    for name, watched in WATCHED.items():
        modules = [_posixsubprocess] if name == "fork_exec" else [posix, os]
        original = getattr(modules[0], name, None)
        if original is None:
            continue
        _originals[name] = original
        # like a built-in function, and unlike a def, it does not become a method in a class
        replacement = functools.update_wrapper(functools.partial(watched, original), original)
        for module in modules:
            setattr(module, name, replacement)
        for able in (os.supports_fd, os.supports_dir_fd, os.supports_follow_symlinks):
            if original in able:
                able.add(replacement)
    subprocess = sys.modules.get("subprocess")
    if subprocess is not None:
        subprocess._fork_exec = _posixsubprocess.fork_exec  # type: ignore[attr-defined, unused-ignore]


def hand_on(pins: str) -> None:
    """Give other pins to whatever this process starts from now on, as its user has said."""
    global _pins
    _pins = pins


# The environment of C


def _putenv(original: Any, name: Any, value: Any, /) -> None:
    """Set a variable; what hands the pins on stays part of it."""
    key, text = os.fsdecode(name), os.fsdecode(value)
    if key in OURS:
        wanted = inheritance.wanted({**_environment, key: text}, _pins)
        # kept from C, which starts processes that nobody looks at; those that are get refused
        value = _pins if key == PINS and _disarms(wanted) else wanted[key]
    original(name, value)
    _environment[key] = text


def _unsetenv(original: Any, name: Any, /) -> None:
    """Remove a variable, but for what hands the pins on."""
    key = os.fsdecode(name)
    if key in OURS:
        without = _environment.copy()
        without.pop(key, None)
        _originals["putenv"](key, inheritance.wanted(without, _pins)[key])
    else:
        original(name)
    _environment.pop(key, None)


def _clearenv(original: Any, /) -> None:
    """Remove all variables, but for what hands the pins on (Python 3.15; `os.environ.clear`)."""
    import posix

    for name in posix._create_environ():  # type: ignore[attr-defined, unused-ignore]
        _unsetenv(_originals["unsetenv"], name)
    _environment.clear()


# Starts


def _admit(
    program: Any,
    arguments: Sequence[Any],
    environment: Mapping[Any, Any] | None,
    folder: Any = ".",
    user: int | None = None,
    groups: Iterable[int] | None = None,
) -> tuple[dict[str, str], bool]:
    """Decide on a process to be started.

    Args:
        program: its file.
        arguments: with its name.
        environment: what it is given; None for that of this process.
        folder: its current folder.
        user: whom it becomes; None for the same as this process.
        groups: those that it is a member of then.

    Returns:
        The environment to start it with, and whether it is known to be, or start, an interpreter.

    Raises:
        ProcessRefused: it would escape the pins.
    """
    if environment is None:
        seen = _environment.copy()
    else:
        seen = {os.fsdecode(name): os.fsdecode(value) for name, value in environment.items()}
    seen.update(inheritance.wanted(seen, _pins))
    command = [os.fsdecode(program), *map(os.fsdecode, arguments[1:])]
    name = os.fsdecode(arguments[0]) if arguments else None
    starts, reason = commands.examine(command, seen, os.fsdecode(folder), name)
    if reason is None and any(map(_disarms, (seen, *(start.environment for start in starts)))):
        reason = (
            f"{PINS} asks for report mode, and the pins of this process are enforced; ask for it"
            " where the first process starts: keypin run --report"
        )
    if reason is None and (starts or inheritance.refusing_folder() is None):
        reason = inheritance.missing()
        if reason is None and user is not None:
            reason = _unreadable_by(user, groups or ())
    if reason is None:
        reason = proof.find_unpinned(starts, _originals["posix_spawn"])
    if reason is not None:
        raise _refusal(reason)
    return seen, bool(starts)


def _disarms(environment: Mapping[str, str]) -> bool:
    """Whether a process would let pass what this one refuses, without its user's word."""
    named = {PINS: _pins}
    return inheritance.only_reports(environment) and not inheritance.only_reports(named)


def _refusal(reason: str) -> ProcessRefused:
    return ProcessRefused(errno.EACCES, f"keypin does not start this process: {reason}")


def _unreadable_by(user: int, groups: Iterable[int]) -> str | None:
    if inheritance.is_readable_by(user, groups):
        return None
    return (
        f"the user {user} cannot read what would pin it ({inheritance.HOME}): install keypin where"
        " that user can read it"
    )


def _fork_exec(
    original: Any,
    arguments: Sequence[Any],
    candidates: Sequence[Any],
    close_fds: Any,
    pass_fds: Any,
    folder: Any,
    environment: Sequence[Any] | None,
    *more: Any,
) -> Any:
    """What `subprocess` and `multiprocessing` call."""
    entries: list[Any] | None = None
    variables = None
    if environment is not None:
        # Whatever else is in there is passed on as it is; of two with one name the first counts
        entries = [entry for entry in environment if _name_in(entry) not in OURS]
        variables = dict(map(_split, reversed(environment)))
    # the first file that is there, seen from its folder, is the one that will be run
    paths = (os.path.join(os.fsencode(folder or "."), os.fsencode(path)) for path in candidates)
    there = map(os.path.isfile, paths)
    program = next((path for path, found in zip(candidates, there, strict=False) if found), None)
    program = candidates[0] if program is None else program
    *options, group, groups, user, umask, prepare = more[:16]
    admitted, starts_interpreter = _admit(
        program, arguments, variables, folder or ".", *_identity(user, group, groups)
    )
    if entries is None:
        entries = [os.fsencode(f"{name}={value}") for name, value in admitted.items()]
    else:
        entries += [os.fsencode(f"{name}={admitted[name]}") for name in OURS]
    if prepare is not None:
        prepare = _checked_afterwards(prepare, starts_interpreter)
    more = (*options, group, groups, user, umask, prepare, *more[16:])
    return original(arguments, candidates, close_fds, pass_fds, folder, entries, *more)


def _name_in(entry: Any) -> str:
    return _split(entry)[0]


def _split(entry: Any) -> tuple[str, str]:
    name, _, value = os.fsdecode(entry).partition("=")
    return name, value


def _identity(user: Any, group: Any, groups: Any) -> tuple[int | None, list[int] | None]:
    """Whom a process becomes, and in which groups; None if it stays who it is."""
    if user is None and group is None and groups is None:
        return None, None
    own = os.getgroups() if groups is None else groups
    return (
        os.geteuid() if user is None else user,
        [os.getegid() if group is None else group, *own],
    )


def _checked_afterwards(prepare: Callable[[], Any], starts_interpreter: bool) -> Any:
    """What a program does in the new process may make it another user's, or change its root."""

    @functools.wraps(prepare)
    def prepare_and_check() -> None:
        prepare()
        refusing = inheritance.refusing_folder()
        if starts_interpreter or refusing is None or not os.access(refusing, os.X_OK):
            reason = inheritance.missing()
            if reason is not None:
                raise _refusal(reason)

    return prepare_and_check


def _execv(original: Any, path: Any, arguments: Sequence[Any], /) -> Any:
    admitted, _ = _admit(_file(path), arguments, None)
    return _originals["execve"](path, arguments, admitted)


def _execve(original: Any, path: Any, argv: Sequence[Any], env: Mapping[Any, Any]) -> Any:
    return original(path, argv, _admit(_file(path), argv, env)[0])


def _posix_spawn(
    original: Any, path: Any, argv: Sequence[Any], env: Mapping[Any, Any] | None, /, **more: Any
) -> Any:
    return original(path, argv, _spawned(_file(path), argv, env, more), **more)


def _posix_spawnp(
    original: Any, path: Any, argv: Sequence[Any], env: Mapping[Any, Any] | None, /, **more: Any
) -> Any:
    # it is looked for by the variable PATH of this process, not by the new one's
    program = commands.look_up(os.fsdecode(path), _environment) or path
    return original(path, argv, _spawned(program, argv, env, more), **more)


def _spawned(
    path: Any, argv: Sequence[Any], env: Mapping[Any, Any] | None, more: dict[str, Any]
) -> Mapping[Any, Any] | None:
    if env is None and sys.version_info < (3, 13):
        return None  # a TypeError
    identity: tuple[int | None, list[int] | None] = (None, None)
    if more.get("resetids"):
        identity = (os.getuid(), [os.getgid(), *os.getgroups()])
    return _admit(path, argv, env, ".", *identity)[0]


def _system(original: Any, command: Any) -> Any:
    text = os.fsdecode(command)
    admitted, _ = _admit("/bin/sh", ["sh", "-c", text], None)
    from shlex import quote

    # C hands its own environment on, which other threads may change until the shell has it
    exports = " ".join(f"{name}={quote(admitted[name])}" for name in OURS)
    return original(os.fsencode(f"export {exports}; {text}"))


def _file(path: Any) -> str:
    """The path of a file that is not looked up on PATH, or the number of an open one."""
    return f"/dev/fd/{path}" if isinstance(path, int) else os.path.join(".", os.fsdecode(path))


WATCHED: Final[dict[str, Any]] = {
    "fork_exec": _fork_exec,
    "execve": _execve,
    "execv": _execv,
    "posix_spawn": _posix_spawn,
    "posix_spawnp": _posix_spawnp,
    "system": _system,
    "putenv": _putenv,
    "unsetenv": _unsetenv,
    "_clearenv": _clearenv,
}
