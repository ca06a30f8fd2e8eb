"""Programs of other people that a command runs: why one cannot be run."""

from __future__ import annotations

import shutil

from .exit_codes import CommandError, ExitCode

__all__ = ["explained"]


def explained(program: str, error: OSError) -> CommandError:
    """Say why a program could not be run.

    Args:
        program: as it was named.
        error: raised by the attempt.
    """
    if not isinstance(error, FileNotFoundError):
        return CommandError(ExitCode.CANNOT_RUN, f"cannot run {program}: {error.strerror}")
    if shutil.which(program) is None:
        return CommandError(ExitCode.NO_COMMAND, f"no such program: {program}")
    return CommandError(
        ExitCode.CANNOT_RUN, f"cannot run {program}: the interpreter in its first line is not there"
    )
