"""Commands that start what nothing pins, and whether they could start a Python all the same.

What `keypin run` is given to pin is pinned by Python only. A client with TLS of its own would run
as if there were no pins, and nobody would notice.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from ..startup import commands

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Unpinned", "unpinned_program"]

# clients that start no other programs, but for one that asks for a password
CLIENTS = frozenset(("aria2c", "curl", "gnutls-cli", "openssl", "wget", "wget2", "xh"))
# programs that have others started elsewhere: by a daemon, in a container, on another machine
DELEGATES = frozenset(
    (
        *("at", "batch", "crontab", "machinectl", "screen", "systemd-run", "tmux"),
        *("buildah", "crictl", "ctr", "distrobox", "docker", "docker-compose", "incus", "kubectl"),
        *("lxc", "lxc-attach", "nerdctl", "oc", "podman", "toolbox"),
        *("flatpak", "snap", "mosh", "rsh", "slogin", "ssh", "vagrant", "wsl"),
    )
)
# programs that become the one among their arguments
LAUNCHERS = frozenset(
    (
        *("chrt", "doas", "ionice", "nice", "nohup", "setsid", "stdbuf", "strace", "sudo"),
        *("taskset", "time", "timeout"),
    )
)
# runtimes of other languages, and what fetches: in a text for a shell nothing else tells of them
OTHERS = frozenset(
    ("bun", "deno", "git", "go", "java", "node", "npm", "npx", "perl", "php", "pwsh", "ruby")
)
NAMED = re.compile(
    rb"(?<![\w.-])(" + "|".join(sorted(CLIENTS)).encode() + rb")(?![\w.-])"
    # of names that are words of English, too, only what stands where a command begins
    rb"|(?:^|[;&|(`\n]|\b(?:exec|then|do|else|sudo|nohup)\s)\s*(?:\w+=\S*\s+)*(?:[^\s;&|()`]*/)?("
    + "|".join(sorted(DELEGATES | OTHERS)).encode()
    + rb")(?=[\s;&|)`]|$)"
)
SHELLS = frozenset(("ash", "bash", "dash", "ksh", "sh", "zsh"))
PYTHON_NAMED = re.compile(rb"\b(?:python|pypy|graalpy)")
# what has Python in itself, such as uWSGI
EMBEDDED_PYTHON = (b"Py_Initialize", b"libpython")
# what PyInstaller, Nuitka, cx_Freeze and PyOxidizer make of a program: it ignores the environment
PACKED_PYTHON = (
    b"_PYI_",
    b"_MEIPASS",
    b"PyInstaller",
    b"NUITKA_",
    b"cx_Freeze",
    b"oxidized_import",
)
GO_PROGRAM = b"Go buildinf:"  # of which the names of functions stay in the file
GO_STARTS_PROGRAMS = (b"syscall.forkExec", b"os.StartProcess")
BINARY = (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"MZ")
MOST_READ = 256 * 1024**2


class Unpinned(NamedTuple):
    """A program that is not pinned itself.

    Attributes:
        program: what it is called.
        is_certain: whether it can start no Python that is pinned either.
    """

    program: str
    is_certain: bool

    @property
    def reason(self) -> str:
        """Why it is not pinned, and what to do."""
        return (
            f"{self.program} is no Python, and its TLS is pinned by its own settings only"
            " (keypin export has some)"
        )


class Delegate(Unpinned):
    """A program that has others started elsewhere."""

    __slots__ = ()

    @property
    def reason(self) -> str:
        """Likewise."""
        return (
            f"what {self.program} starts runs elsewhere (by a daemon, in a container, on another"
            " machine), where these pins do not hold; start keypin run there"
        )


class Packed(Unpinned):
    """A Python program that was packed into one file, with an interpreter."""

    __slots__ = ()

    @property
    def reason(self) -> str:
        """Likewise."""
        return (
            f"the Python that is packed into {self.program} ignores the environment, by which the"
            " pins would reach it; call keypin.install in its code"
        )


def unpinned_program(
    command: Sequence[str], environment: Mapping[str, str], *, starts_python: bool = False
) -> Unpinned | None:
    """Tell which program a command comes down to that nothing pins.

    Args:
        command: the program and its arguments.
        environment: what it gets.
        starts_python: whether an interpreter was seen among these.

    Returns:
        None if it has Python in it, or cannot be run.
    """
    words = _behind_launchers(list(command), environment)
    program = commands.look_up(words[0], environment) if words else None
    if program is None:
        return None
    name = os.path.basename(words[0])
    plain = name.lower().removesuffix(".exe")
    if plain in CLIENTS:
        return Unpinned(name, is_certain=True)
    head = _content(program, 256)
    if plain in DELEGATES and not head.startswith(b"#!"):  # a script may be anybody's
        return Delegate(name, is_certain=True)
    if name in SHELLS or _is_shell_script(head):
        texts = map(_content, (program, *words[1:]))
        return _named_in([*map(os.fsencode, words[1:]), *texts])
    if starts_python:
        return None
    content = _content(program)
    if content.startswith(b"#!"):
        return None if PYTHON_NAMED.search(content) else Unpinned(name, is_certain=False)
    if any(mark in content for mark in PACKED_PYTHON):
        return Packed(name, is_certain=True)
    if any(mark in content for mark in EMBEDDED_PYTHON):
        return None
    # one that may not be read is of no known kind either
    if content and not content.startswith(BINARY):
        return None
    is_certain = GO_PROGRAM in content and not any(mark in content for mark in GO_STARTS_PROGRAMS)
    return Unpinned(name, is_certain)


def _is_shell_script(content: bytes) -> bool:
    words = content.partition(b"\n")[0].removeprefix(b"#!").split()
    names = {os.path.basename(os.fsdecode(word)) for word in words[:2]}
    return content.startswith(b"#!") and bool(names & SHELLS)


def _named_in(texts: Iterable[bytes]) -> Unpinned | None:
    """A program that a shell is told to start; the shell itself connects to nobody."""
    for text in texts:
        if not text.startswith(BINARY) and (found := NAMED.search(text)):
            name = os.fsdecode(found[1] or found[2])
            kind = Delegate if name in DELEGATES else Unpinned
            return kind(name, is_certain=False)
    return None


def _behind_launchers(words: list[str], environment: Mapping[str, str]) -> list[str]:
    """The command that env, timeout and the like are given to start."""
    while words:
        name = os.path.basename(words[0])
        if name == "env":
            inside = commands.inside_env(words[1:], environment, os.curdir)
            if inside is None:
                return words
            words, environment, *_ = inside
        elif name in LAUNCHERS:
            places = [
                place
                for place, word in enumerate(words)
                if place and commands.look_up(word, environment) is not None
            ]
            if not places:
                return words
            words = words[places[0] :]
        else:
            return words
    return words


def _content(program: str, most: int = MOST_READ) -> bytes:
    try:
        if not os.path.isfile(program):  # what is read of a pipe is lost to the command
            return b""
        with open(program, "rb") as file:
            return file.read(most)
    except (OSError, ValueError):
        return b""
