"""Whether an interpreter is pinned before its program begins: it is asked, once.

`sitecustomize` is found by the folders of `sys.path`, and what an environment has in its own
`.pth` files comes first: it can put another one before keypin's. So an interpreter that is new
here, or has changed, is started with the same options and environment, to say whether it is pinned.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final

from .commands import interpreter_options, pins_itself
from .handover import NOT_PINNED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .commands import Start

if sys.platform == "win32":
    raise ImportError("only for systems that start processes as POSIX does")

__all__ = ["find_unpinned"]

QUESTION: Final = """
import os, sys
start = sys.modules.get("keypin._start")
files = []
for folder in sys.path:
    files.append(folder)
    if os.path.isdir(folder):
        names = [name for name in os.listdir(folder) if name.endswith((".pth", ".start"))]
        files += [os.path.join(folder, name) for name in names]
pinned = start is not None and getattr(start, "_pins", None) is not None
answer = ["pinned" if pinned else "unpinned", *files]
os.write(1, "\\0".join(answer).encode(errors="surrogateescape"))
os._exit(0)
"""
PINNED: Final = "pinned"

# what was asked of, and the files by which it can change, with their state then
_proved: dict[object, tuple[list[str], list[object]]] = {}
MOST_PROVED: Final = 1024


def find_unpinned(starts: Iterable[Start], spawn: Any = None) -> str | None:
    """Tell which of these interpreters would run a program unpinned, and why.

    Args:
        starts: those that nothing is known against.
        spawn: starts a process, as `posix.posix_spawn` does.
    """
    for start in starts:
        if not pins_itself(start):
            reason = _unpinned(start, spawn)
            if reason is not None:
                return reason
    return None


def _unpinned(start: Start, spawn: Any) -> str | None:
    options = list(interpreter_options(start.arguments))
    if any(map(_is_question, options)):
        return None  # it answers and runs nothing
    program = os.path.abspath(start.program)
    name = start.name
    if os.path.dirname(name):
        name = os.path.join(os.path.abspath(start.folder), name)
    state = _state([program])
    if state == [None]:
        return None  # it is not there: the start itself will tell
    key = (program, name, *state, *options, frozenset(start.environment.items()))
    known = _proved.get(key)
    if known is not None and _state(known[0]) == known[1]:
        return None
    answer, files = _ask(spawn, program, [name, *options], start.environment)
    if answer != PINNED:
        return answer
    if len(_proved) >= MOST_PROVED:
        _proved.clear()
    _proved[key] = (files, _state(files))
    return None


def _is_question(option: str) -> bool:
    if option.startswith("--"):
        return option.startswith(("--help", "--version"))
    return any(letter in "hV?" for letter in option.partition("W")[0].partition("X")[0])


def _state(files: list[str]) -> list[object]:
    states: list[object] = []
    for file in files:
        try:
            status = os.stat(file)
        except OSError:
            states.append(None)
        else:
            states.append((status.st_ino, status.st_size, status.st_mtime_ns))
    return states


def _ask(
    spawn: Any, program: str, words: list[str], environment: Mapping[str, str]
) -> tuple[str | None, list[str]]:
    """Start it with a question for a program: what it says, and where it found its packages."""
    # Not those of `os`, where gevent and eventlet put functions that let other greenlets run, which
    # there may be none of: this can be a process that gevent forked, which has no event loop until
    # it becomes another program. What gevent's `close` is given stays open there for good.
    import posix

    reading, writing = posix.pipe()
    actions = [
        (os.POSIX_SPAWN_DUP2, writing, 1),  # first: it may be 0 or 2 in a daemon
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
    ]
    try:
        try:
            command = [*words, "-c", QUESTION]
            child = (spawn or posix.posix_spawn)(
                program, command, dict(environment), file_actions=actions
            )
        except OSError:
            return PINNED, []  # it cannot be run; the start itself will tell
        finally:
            posix.close(writing)
        parts = iter(lambda: posix.read(reading, 65536), b"")
        answer, *files = b"".join(parts).decode(errors="surrogateescape").split("\0")
    finally:
        posix.close(reading)
    try:
        code = os.waitstatus_to_exitcode(posix.waitpid(child, 0)[1])
    except ChildProcessError:  # the program waits for all its children
        code = None
    if answer == PINNED or (answer == "" and code == NOT_PINNED):
        return PINNED, files
    if answer == "":
        return f"{program} could not be asked whether it is pinned (exit code {code})", []
    return (
        f"{program} runs what comes before keypin (another sitecustomize, put there by a .pth file"
        " of its environment?), and is not pinned when its program begins; install keypin in that"
        " environment"
    ), []
