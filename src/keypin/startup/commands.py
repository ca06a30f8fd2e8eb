"""Which Python interpreters a command may start, and whether the pins reach them.

There is no list of the programs that start others (`nice`, `flock`, `find -exec`, `sh -c`): every
word of a command that is an interpreter, or a script of one, may be started. Nothing here starts a
process. Scripts of shells, and programs of other kinds, are not read.
"""

from __future__ import annotations

import os
import re
import stat
from functools import lru_cache
from io import FileIO  # not open: eventlet puts another one into builtins
from typing import TYPE_CHECKING, Final, NamedTuple

from .inheritance import BOOTSTRAP, EXECUTABLE, OURS, PATH, PINS, is_own_interpreter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "Start",
    "examine",
    "inside_env",
    "interpreter_options",
    "interpreter_starts",
    "look_up",
    "pins_itself",
    "why_unpinned",
]

LONGEST_CHAIN = 10  # of programs that start each other
MOST_LOOKED_UP = 256  # words; those behind have to be called like an interpreter
LONGEST_SHEBANG = 256  # what Linux reads (BINPRM_BUF_SIZE)

INTERPRETER = re.compile(
    r"(?:python|pypy|graalpy)[\d.]*[a-z]{0,2}(?:-dbg|-intel64)?(?:\.exe)?|pyw?(?:\.exe)?", re.I
)
# a copy of it under any name; the functions are those that its `main` calls
MAIN_OF_INTERPRETER: Final = (b"Py_BytesMain\0", b"Py_Main\0")
BINARY: Final = (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")

ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
OPTION_WITH_VALUE = re.compile(r"--?[\w-]+=(.+)", re.DOTALL)
# options by which programs start others in an environment of their making
CLEARING = re.compile(r"--(?:reset|clear|ignore)-?env\w*")
# what ends a command in a text for a shell
BETWEEN_COMMANDS = re.compile(r"[;|&\n()`]+")

# and what is written around words there, or in a list of them
NO_QUOTES: Final = str.maketrans(",[]", "   ", "\"'")

# GNU coreutils and FreeBSD
ENV_OPTIONS = "0a:iu:vC:P:S:"
ENV_LONG_OPTIONS = (
    *("argv0=", "block-signal", "chdir=", "debug", "default-signal", "ignore-environment"),
    *("ignore-signal", "list-signal-handling", "null", "split-string=", "unset="),
)


class Start(NamedTuple):
    """An interpreter that a command may start.

    Attributes:
        program: its file, or what it is called where there is no such file.
        name: what it is told that it is called (`argv[0]`), by which it finds its packages.
        arguments: without that name.
        environment: what it gets.
        folder: its current folder.
        starter: the program that is given it as an argument; None where the command is itself one.
        roots: folders among the arguments, which may become its root.
    """

    program: str
    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: str
    starter: str | None
    roots: Sequence[str]


class TooLong(Exception):
    """Programs that start each other without end."""


def why_unpinned(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: str = os.curdir,
    name: str | None = None,
) -> str | None:
    """Tell why a command would start a Python interpreter that the pins do not reach.

    Args:
        command: the program and its arguments.
        environment: what the program gets.
        folder: the program's current folder.
        name: what the program is told that it is called; the same as the command unless given.

    Returns:
        The reason and what to do about it; None if the command is not known to escape.
    """
    return examine(command, environment, folder, name)[1]


def examine(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: str = os.curdir,
    name: str | None = None,
) -> tuple[list[Start], str | None]:
    """As `why_unpinned`; with the reason, the interpreters that the command may start."""
    starts: list[Start] = []
    try:
        for start in interpreter_starts(command, environment, folder, name):
            reason = _escape_of(start)
            if reason is not None:
                if start.starter is not None:
                    reason += f" ({start.starter} may start it: it is among its arguments)"
                return starts, reason
            starts.append(start)
    except TooLong:
        reason = f"{command[0]} comes before more than {LONGEST_CHAIN} programs that start others"
        return starts, reason
    return starts, None


def _escape_of(start: Start) -> str | None:
    program, environment = start.program, start.environment
    flags = _isolating_flags(start.arguments)
    if "S" in flags:
        return (
            f"{program} -S does without the module site, which pins a process when it starts;"
            " leave -S out"
        )
    if not environment.get(PINS):
        return f"{program} would start without {PINS} in its environment; leave that there"
    for root in start.roots:
        if _is_below(root, program, environment) and not os.path.isdir(f"{root}{BOOTSTRAP}"):
            return (
                f"there is a {program} below {root}, and no keypin, so if that becomes its root"
                f" folder, nothing pins it; install keypin there as {BOOTSTRAP}"
            )
    if pins_itself(start):
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


def pins_itself(start: Start) -> bool:
    """Whether it is this process's interpreter, with keypin installed where it looks for that."""
    if start.starter is not None and not os.path.dirname(start.name):
        return False  # who starts it may have another PATH
    named = look_up(start.name, start.environment, start.folder)
    return named is not None and all(
        is_own_interpreter(file, start.environment) for file in (start.program, named)
    )


def _is_below(root: str, program: str, environment: Mapping[str, str]) -> bool:
    if os.path.isabs(program):
        return os.path.exists(f"{root}{program}")
    search = [*environment.get("PATH", "").split(os.pathsep), *os.defpath.split(os.pathsep)]
    return any(os.path.exists(f"{root}{folder}/{program}") for folder in search if folder)


def _isolating_flags(arguments: Sequence[str]) -> str:
    """Those of an interpreter's options -I, -E and -S that stand in its arguments."""
    found = ""
    for option in interpreter_options(arguments):
        if not option.startswith("--"):
            for letter in option[1:]:
                if letter in "cmWX":
                    break
                if letter in "IES":
                    found += letter
    return found


def interpreter_options(arguments: Sequence[str]) -> Iterator[str]:
    """The options of an interpreter: what stands before its script, -c or -m.

    Of a word that ends in -c or -m it is what comes before. A value in a word of its own comes
    after its option, joined with it.
    """
    waiting = iter(arguments)
    for argument in waiting:
        if argument.startswith("--") and argument != "--":
            yield argument
            if argument == "--check-hash-based-pycs":
                next(waiting, None)
            continue
        if not argument.startswith("-") or argument in ("-", "--"):
            return
        for position, letter in enumerate(argument[1:], 1):
            if letter in "cm":
                if position > 1:
                    yield argument[:position]
                return
            if letter in "WX":
                if position == len(argument) - 1:
                    argument += next(waiting, "")
                break
        yield argument


# Finding them


def interpreter_starts(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: str = os.curdir,
    name: str | None = None,
) -> Iterator[Start]:
    """Find the interpreters that a command may start.

    Raises:
        TooLong: it cannot be told.
    """
    yield from _Search(environment, folder).of_command(list(command), name)


class _Search:
    """A walk through the words of a command, with what they set for those that come after."""

    def __init__(self, environment: Mapping[str, str], folder: str) -> None:
        self.environment = environment
        self.folder = folder
        self.starter: str | None = None
        self.folders: list[str] = []
        self.scripts: set[str] = set()
        self.listed: dict[str, Listed] = {}  # by the variable PATH
        # a long text has the same words many times; what a file is does not change meanwhile
        self.looked_up: dict[tuple[str, str, str, int], str | None] = {}
        self.known: dict[str, tuple[bool, bool, bool]] = {}
        self.depth = 0

    def of_command(self, words: list[str], name: str | None = None) -> Iterator[Start]:
        """Those of a program and its arguments."""
        if not words:
            return
        self.depth += 1
        if self.depth > LONGEST_CHAIN:
            raise TooLong
        program = self._look_up(words[0])
        if _is_interpreter(program or words[0]):
            yield Start(
                program or words[0],
                words[0] if name is None else name,
                words[1:],
                self.environment,
                self.folder,
                self.starter,
                [root for root in self.folders if root.strip(os.sep)],
            )
            return
        if os.path.basename(words[0]) == "env":
            yield from self._of_env(words[1:])
        elif program is not None and program not in self.scripts and (line := _shebang(program)):
            self.scripts.add(program)
            yield from self.of_command([*line, program, *words[1:]])
        else:
            self._drop_environment(program)
            self.starter = words[0]
            yield from self._of_arguments(words[1:])

    def _of_env(self, words: list[str]) -> Iterator[Start]:
        inside = inside_env(words, self.environment, self.folder)
        if inside is None:
            yield from self._of_arguments(words)
        else:
            words, self.environment, self.folder, name = inside
            yield from self.of_command(words, name)

    def _of_arguments(self, words: list[str]) -> Iterator[Start]:
        """Those of words that may be a program and its arguments, from any of them on."""
        self._note_folders(words[:MOST_LOOKED_UP])
        for position, word in enumerate(words):
            if any(map(str.isspace, word)) or BETWEEN_COMMANDS.search(word):
                yield from self._of_text(word)
            elif assigned := ASSIGNMENT.fullmatch(word):
                self._assign(*assigned.groups())
            elif CLEARING.fullmatch(word):
                self.environment = {"PATH": self.environment.get("PATH", os.defpath)}
            elif word in ("unset", "-u") or word.startswith("--unset"):
                for name in OURS:
                    if any(
                        following.endswith(name) for following in words[position : position + 4]
                    ):
                        self.environment = {**self.environment, name: ""}
            elif _is_called_like_interpreter(value := _value(word)):
                yield from self.of_command([value, *words[position + 1 :]])
                return
            elif position < MOST_LOOKED_UP and (program := self._look_up(value)) is not None:
                if self._is_python(program):
                    yield from self.of_command([value, *words[position + 1 :]])
                    return
                self._drop_environment(program)

    def _of_text(self, text: str) -> Iterator[Start]:
        """Those of a text that may be for a shell."""
        for part in BETWEEN_COMMANDS.split(text):
            words = part.translate(NO_QUOTES).split()
            depth = self.depth
            yield from self._of_arguments(words)
            self.depth = depth

    def _assign(self, name: str, value: str) -> None:
        # in a text for a shell, what is there already can be part of what it is set to
        if name in (*OURS, "PYTHONHOME") and f"${name}" not in value.replace("{", ""):
            self.environment = {**self.environment, name: value}

    def _drop_environment(self, program: str | None) -> None:
        """A program that runs as its file's owner starts others in an environment of its making."""
        if program is not None and self._kind(program)[2]:
            self.environment = {"PATH": self.environment.get("PATH", os.defpath)}

    def _note_folders(self, words: list[str]) -> None:
        """Any of them may become the current folder, or the root."""
        for word in words:
            path = os.path.join(self.folder, _value(word))
            if os.sep in path and len(path) < 4096 and "\0" not in path and os.path.isdir(path):
                self.folders.append(os.path.abspath(path))

    def _is_python(self, program: str) -> bool:
        """Whether it is an interpreter, or a script of anything that is not looked into yet."""
        interpreter, script, _ = self._kind(program)
        return interpreter or (script and program not in self.scripts)

    def _kind(self, program: str) -> tuple[bool, bool, bool]:
        """Whether a file is an interpreter, a script, and runs as its owner."""
        if program not in self.known:
            self.known[program] = (
                _is_interpreter(program),
                bool(_shebang(program)),
                os.stat(program).st_mode & stat.S_ISUID != 0,
            )
        return self.known[program]

    def _look_up(self, word: str) -> str | None:
        key = (word, self.environment.get("PATH", os.defpath), self.folder, len(self.folders))
        if key not in self.looked_up:
            self.looked_up[key] = self._find(word)
        return self.looked_up[key]

    def _find(self, word: str) -> str | None:
        if not word or "\0" in word or len(word) > 4096:
            return None
        if os.path.dirname(word):
            # a script is found again by what its interpreter gets: the path has to stay the same
            here = word if self.folder == os.curdir else os.path.join(self.folder, word)
            paths = (here, *(os.path.join(folder, word) for folder in self.folders))
            return next(filter(_is_executable_file, paths), None)
        search = self.environment.get("PATH", os.defpath)
        if search not in self.listed:
            self.listed[search] = _list_all(search, self.folder)
        return _look_up_name(word, self.listed[search])


def _value(word: str) -> str:
    """The value of an option that is one word with it, else the word."""
    option = OPTION_WITH_VALUE.fullmatch(word)
    return word if option is None else option[1]


def _is_called_like_interpreter(word: str) -> bool:
    name = os.path.basename(word)
    return name == "env" or INTERPRETER.fullmatch(name) is not None


def _is_interpreter(program: str) -> bool:
    if INTERPRETER.fullmatch(os.path.basename(program)):
        return True
    try:
        status = os.stat(program)
    except OSError:
        return False
    state = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    return stat.S_ISREG(status.st_mode) and _is_interpreter_file(program, *state)


@lru_cache(1024)
def _is_interpreter_file(program: str, *_state: int) -> bool:
    from mmap import ACCESS_READ, mmap

    real = os.path.realpath(program)
    if INTERPRETER.fullmatch(os.path.basename(real)) or real == os.path.realpath(EXECUTABLE):
        return True
    try:
        with FileIO(real) as file:
            if not file.read(4).startswith(BINARY):
                return False
            with mmap(file.fileno(), 0, access=ACCESS_READ) as content:
                return any(content.find(name) >= 0 for name in MAIN_OF_INTERPRETER)
    except (OSError, ValueError):
        return False


# the folders of a PATH, each with the names in it
Listed = list[tuple[str, frozenset[str]]]


def look_up(program: str, environment: Mapping[str, str], folder: str = os.curdir) -> str | None:
    """The file that is run by this name."""
    if os.path.dirname(program):
        path = os.path.join(folder, program)
        return path if _is_executable_file(path) else None
    return _look_up_name(program, _list_all(environment.get("PATH", os.defpath), folder))


def _look_up_name(program: str, listed: Listed) -> str | None:
    paths = (os.path.join(folder, program) for folder, names in listed if program in names)
    return next(filter(_is_executable_file, paths), None)


def _list_all(search: str, folder: str) -> Listed:
    folders = [os.path.join(folder, entry) for entry in search.split(os.pathsep)]
    return [(entry, _names_in(entry)) for entry in folders]


def _names_in(folder: str) -> frozenset[str]:
    try:
        return _list(folder, os.stat(folder).st_mtime_ns)
    except OSError:
        return frozenset()


@lru_cache(64)
def _list(folder: str, _changed: int) -> frozenset[str]:
    return frozenset(os.listdir(folder))


def _is_executable_file(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


def _shebang(path: str) -> list[str]:
    """The interpreter that a script names in its first line, and its one argument, if any."""
    try:
        with FileIO(path) as file:
            head = file.read(LONGEST_SHEBANG)
    except OSError:
        return []
    if not head.startswith(b"#!"):
        return []
    return os.fsdecode(head[2:].partition(b"\n")[0].strip()).split(None, 1)


def inside_env(
    words: list[str], environment: Mapping[str, str], folder: str
) -> tuple[list[str], Mapping[str, str], str, str | None] | None:
    """What `env` runs, in which environment and folder, and by which name; None if unknown."""
    from getopt import GetoptError, getopt

    environment = dict(environment)
    name = None
    try:
        options, words = getopt(words, ENV_OPTIONS, ENV_LONG_OPTIONS)
    except GetoptError:
        return None
    for option, value in options:
        if option in ("-i", "--ignore-environment"):
            environment.clear()
        elif option in ("-u", "--unset"):
            environment.pop(value, None)
        elif option in ("-C", "--chdir"):
            folder = os.path.join(folder, value)
        elif option in ("-P",):
            environment["PATH"] = value
        elif option in ("-a", "--argv0"):
            name = value
        elif option in ("-S", "--split-string"):
            from shlex import split

            return inside_env([*split(value), *words], environment, folder)
    if words[:1] == ["-"]:
        environment.clear()
        words = words[1:]
    while words and "=" in words[0]:
        variable, _, environment[variable] = words.pop(0).partition("=")
    return words, environment, folder, name
