"""A new passphrase: from the terminal, unseen and twice, from a file, or from the environment."""

from __future__ import annotations

import getpass
import os
import warnings
from typing import TYPE_CHECKING

from .exit_codes import CommandError, ExitCode
from .files import read_file

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["VARIABLE", "new_passphrase"]

VARIABLE = "KEYPIN_PASSPHRASE"
SHORTEST = 12
"""characters; who has the file can guess without being noticed"""


def new_passphrase(file: Path | None) -> str:
    """Get the passphrase that a new key is to be encrypted with.

    Args:
        file: holds it as its only line; None: `KEYPIN_PASSPHRASE`, or else the terminal.

    Raises:
        CommandError: there is none, or it is too short.
    """
    if file is not None:
        return _fit(_only_line(file), str(file))
    if VARIABLE in os.environ:
        return _fit(os.environ[VARIABLE], VARIABLE)
    passphrase = _fit(_asked("Passphrase of the new key: "), "the passphrase")
    if _asked("The same again: ") != passphrase:
        raise CommandError(ExitCode.USAGE, "the two passphrases differ; nothing was written")
    return passphrase


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
        raise CommandError(ExitCode.USAGE, f"{where}: shorter than {SHORTEST} characters")
    try:
        passphrase.encode()
    except UnicodeEncodeError:
        raise CommandError(ExitCode.USAGE, f"{where}: not UTF-8") from None
    return passphrase


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
