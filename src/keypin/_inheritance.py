"""How pins pass from a process to those that it starts: by environment; and what would lose them.

Of Python's processes only. Nothing here starts one, or changes this one.
"""

from __future__ import annotations

import os
import re
import sys
from functools import cache
from importlib.machinery import PathFinder
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from .errors import ProtectionError

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = ["PINS", "SentPackages", "find_escape", "pass_on"]

PINS: Final = "KEYPIN_PINS"
"""the environment variable that names the pin file"""
PACKAGES: Final = "KEYPIN_PACKAGES"
"""the one that names the folders of keypin and idna, for interpreters that lack them"""
PATH: Final = "PYTHONPATH"

HOME: Final = os.path.dirname(os.path.abspath(__file__))
BOOTSTRAP: Final = os.path.join(HOME, "_bootstrap")
"""the folder of the sitecustomize that pins a process before its program begins"""

EXECUTABLE: Final = sys.executable or ""  # embedded interpreters have none

LONGEST_CHAIN = 10  # of scripts that interpret scripts
LONGEST_SHEBANG = 256  # what Linux reads (BINPRM_BUF_SIZE)

INTERPRETER = re.compile(
    r"(?:python|pypy|graalpy)[\d.]*[a-z]{0,2}(?:-dbg|-intel64)?(?:\.exe)?|pyw?(?:\.exe)?", re.I
)
# Programs that start the one named by their arguments, in the environment that they have ...
HANDING_ON = frozenset(
    {
        *("catchsegv", "chrt", "dumb-init", "hatch", "ionice", "ltrace", "nice", "nohup"),
        *("numactl", "pdm", "pipenv", "poetry", "runuser", "rye", "setarch", "setpriv", "setsid"),
        *("stdbuf", "strace", "taskset", "time", "timeout", "tini", "unbuffer", "unshare", "uv"),
        "xargs",
    }
)
# ... and in one of their own making
CLEARING = frozenset({"doas", "pkexec", "su", "sudo"})
# GNU coreutils and FreeBSD
ENV_OPTIONS = "0a:iu:vC:P:S:"
ENV_LONG_OPTIONS = (
    *("argv0=", "block-signal", "chdir=", "debug", "default-signal", "ignore-environment"),
    *("ignore-signal", "list-signal-handling", "null", "split-string=", "unset="),
)


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


def pass_on(environment: MutableMapping[str, str], pins: str) -> None:
    """Let a pin file hold in every process that gets this environment.

    Args:
        environment: changed where it does not name a pin file, or not what makes Python heed it.
        pins: the absolute path of the pin file.

    Raises:
        ProtectionError: keypin is installed where PYTHONPATH cannot point to.
    """
    others = environment.get(PATH, "").split(os.pathsep) if environment.get(PATH) else []
    # first, so that no other sitecustomize can take its place
    search = [BOOTSTRAP, *(folder for folder in others if folder != BOOTSTRAP)]
    wanted = {
        PINS: environment.get(PINS, pins),
        PACKAGES: _packages(),
        PATH: os.pathsep.join(search),
    }
    for name, value in wanted.items():
        if environment.get(name) != value:
            environment[name] = value


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


def find_escape(
    command: Sequence[str], environment: Mapping[str, str], folder: str = os.curdir
) -> str | None:
    """Tell why a command would start a Python interpreter that the pins do not reach.

    It looks at the interpreter's options, through scripts (their first line) and through programs
    that start another (`env`, `nice`, `sudo`). It does not look into what shells are told to do.

    Args:
        command: the program and its arguments.
        environment: what the program gets.
        folder: the program's current folder.

    Returns:
        The reason and what to do about it; None if the command is not known to escape.
    """
    command = list(command)
    for _ in range(LONGEST_CHAIN):
        if not command:
            return None
        program = _look_up(command[0], environment, folder)
        name = os.path.basename(command[0])
        if _is_interpreter(program or command[0]):
            return _escape_of_interpreter(program or command[0], command[1:], environment)
        if name == "env":
            command, environment = _inside_env(command[1:], environment)
        elif name in HANDING_ON or name in CLEARING:
            command = _inside(command[1:], environment, folder)
            if name in CLEARING:
                environment = {"PATH": environment.get("PATH", os.defpath)}
        elif program is not None and (shebang := _shebang(program)):
            command = [*shebang, program, *command[1:]]
        else:
            return None
    return f"{command[0]} comes behind more than {LONGEST_CHAIN} programs that start each other"


def _escape_of_interpreter(
    program: str, arguments: Sequence[str], environment: Mapping[str, str]
) -> str | None:
    flags = _isolating_flags(arguments)
    if "S" in flags:
        return (
            f"{program} -S does without the module site, which pins a process when it starts;"
            " leave -S out"
        )
    if not environment.get(PINS):
        return f"{program} would start without {PINS} in its environment; leave that there"
    if _is_own_interpreter(program, environment):
        return None
    if flags:
        return (
            f"{program} -{flags[0]} ignores {PATH}, by which the pins reach it; leave -{flags[0]}"
            " out, or install keypin in that interpreter's environment and start it with the"
            " keypin there"
        )
    if environment.get(PATH, "").split(os.pathsep)[0] != BOOTSTRAP:
        return (
            f"{program} would start without keypin's folder at the head of {PATH}; set {PATH}"
            " before keypin run, not behind it"
        )
    return None


def _isolating_flags(arguments: Sequence[str]) -> str:
    """Those of an interpreter's options -I, -E and -S that stand in its arguments."""
    found = ""
    waiting = iter(arguments)
    for argument in waiting:
        if argument.startswith("--") and argument != "--":
            if argument == "--check-hash-based-pycs":
                next(waiting, None)
            continue
        if not argument.startswith("-") or argument in ("-", "--"):
            break
        for position, letter in enumerate(argument[1:], 2):
            if letter in "cm":
                return found
            if letter in "WX":
                if position == len(argument):
                    next(waiting, None)
                break
            if letter in "IES":
                found += letter
    return found


def _is_own_interpreter(program: str, environment: Mapping[str, str]) -> bool:
    """Whether it is this process's interpreter, in whose environment keypin.pth pins it anyway."""
    if environment.get("PYTHONHOME") != os.environ.get("PYTHONHOME") or not _has_hook():
        return False
    own = os.path.abspath(EXECUTABLE)
    program = os.path.abspath(program)
    return program == own or (
        os.path.dirname(program) == os.path.dirname(own)
        and os.path.realpath(program) == os.path.realpath(own)
    )


@cache
def _has_hook() -> bool:
    import site

    return any(os.path.isfile(os.path.join(f, "keypin.pth")) for f in site.getsitepackages())


def _is_interpreter(program: str) -> bool:
    real = os.path.realpath(program)
    return (
        INTERPRETER.fullmatch(os.path.basename(program)) is not None
        or INTERPRETER.fullmatch(os.path.basename(real)) is not None
        or real == os.path.realpath(EXECUTABLE)
    )


def _look_up(program: str, environment: Mapping[str, str], folder: str) -> str | None:
    """The file that is run by this name."""
    if os.path.dirname(program):
        candidates = [os.path.join(folder, program)]
    else:
        search = environment.get("PATH", os.defpath).split(os.pathsep)
        candidates = [os.path.join(folder, entry, program) for entry in search]
    return next(filter(_is_executable_file, candidates), None)


def _is_executable_file(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


def _shebang(path: str) -> list[str]:
    """The interpreter that a script names in its first line, and its one argument, if any."""
    try:
        with open(path, "rb") as file:
            head = file.read(LONGEST_SHEBANG)
    except OSError:
        return []
    if not head.startswith(b"#!"):
        return []
    return os.fsdecode(head[2:].partition(b"\n")[0].strip()).split(None, 1)


def _inside_env(
    words: list[str], environment: Mapping[str, str]
) -> tuple[list[str], Mapping[str, str]]:
    """What `env` runs, and in which environment."""
    from getopt import GetoptError, getopt

    environment = dict(environment)
    try:
        options, words = getopt(words, ENV_OPTIONS, ENV_LONG_OPTIONS)
    except GetoptError:
        return [], environment
    for option, value in options:
        if option in ("-i", "--ignore-environment"):
            environment.clear()
        elif option in ("-u", "--unset"):
            environment.pop(value, None)
        elif option in ("-S", "--split-string"):
            from shlex import split

            return _inside_env([*split(value), *words], environment)
    if words[:1] == ["-"]:
        environment.clear()
        words = words[1:]
    while words and "=" in words[0]:
        name, _, environment[name] = words.pop(0).partition("=")
    return words, environment


def _inside(words: list[str], environment: Mapping[str, str], folder: str) -> list[str]:
    """What a program runs that starts another: from the first of its words that is a program."""
    for position, word in enumerate(words):
        if not word.startswith("-") and (
            _look_up(word, environment, folder) or _is_interpreter(word)
        ):
            return words[position:]
    return []
