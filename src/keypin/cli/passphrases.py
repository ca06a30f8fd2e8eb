"""A new passphrase: from the terminal, unseen and twice, from a file, or from the environment."""

from __future__ import annotations

import getpass
import os
import warnings
from typing import TYPE_CHECKING

from .exit_codes import CommandError, ExitCode
from .files import read_file
from .output import complain

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["TRIES", "VARIABLE", "new_passphrase"]

VARIABLE = "KEYPIN_PASSPHRASE"
TRIES = 3
"""how often a terminal is asked"""
SHORTEST = 12
"""characters; who has the file can guess without being noticed"""


def new_passphrase(file: Path | None, what: str = "key") -> str:
    """Get the passphrase that a new key, or a store, is to be encrypted with.

    Args:
        file: holds it as its only line; None: `KEYPIN_PASSPHRASE`, or else the terminal.
        what: what it is for, as the terminal is told.

    Raises:
        CommandError: there is none, or it is too short.
    """
    if file is not None:
        return _fit(_only_line(file), str(file))
    if VARIABLE in os.environ:
        return _fit(os.environ[VARIABLE], VARIABLE)
    return _ask_until_it_fits(what)


def _ask_until_it_fits(what: str) -> str:
    for _ in range(TRIES):
        try:
            passphrase = _fit(
                _asked(f"Passphrase of the new {what}, at least {SHORTEST} characters: "),
                "the passphrase",
            )
        except _Unfit as error:
            complain(error.message)
            continue
        if _asked("The same again: ") == passphrase:
            return passphrase
        complain("the two passphrases differ")
    raise CommandError(ExitCode.USAGE, f"no passphrase in {TRIES} tries; nothing was written")


def _only_line(file: Path) -> str:
    try:
        lines = read_file(file).decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise CommandError(ExitCode.BAD_FILE, f"{file} is not UTF-8 (--passphrase-file)") from None
    if len(lines) != 1:
        raise CommandError(
            ExitCode.BAD_FILE, f"{file} has {len(lines)} lines; a passphrase is one line"
        )
    return lines[0]


def _fit(passphrase: str, where: str) -> str:
    if len(passphrase) < SHORTEST:
        raise _Unfit(ExitCode.USAGE, f"{where}: shorter than {SHORTEST} characters")
    try:
        passphrase.encode()
    except UnicodeEncodeError:
        raise _Unfit(ExitCode.USAGE, f"{where}: not UTF-8") from None
    return passphrase


class _Unfit(CommandError):
    """A passphrase that may not be one."""


def _asked(prompt: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)  # it would show what is typed
            return getpass.getpass(prompt)
    except (getpass.GetPassWarning, EOFError):
        raise CommandError(
            ExitCode.USAGE,
            "there is no terminal to ask for a passphrase on: --passphrase-file FILE, or"
            f" {VARIABLE} in the environment",
        ) from None
