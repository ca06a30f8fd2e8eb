"""The options that several commands have, and what they mean."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import HostnameError
from ..hostnames import normalise
from .exit_codes import CommandError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Cafile", "Capath", "Force", "ServerName", "Timeout", "authority_errors", "server_name"]


def positive(seconds: float) -> float:
    if not 0 < seconds < float("inf"):
        raise typer.BadParameter("a number of seconds above 0")
    return seconds


Cafile = Annotated[
    Path | None,
    typer.Option(
        "--cafile",
        metavar="FILE",
        help="Trust the certificate authorities in this PEM file (a private CA) instead of the"
        " system's.",
    ),
]
Capath = Annotated[
    Path | None,
    typer.Option(
        "--capath", metavar="FOLDER", help="The same for a folder made by 'openssl rehash'."
    ),
]
ServerName = Annotated[
    str | None,
    typer.Option(
        "--servername",
        metavar="NAME",
        help="Ask for and verify this name instead of HOST.",
    ),
]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        help="Give up when one step (connecting, the handshake, an answer) takes longer.",
        callback=positive,
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that exists.")]


@contextmanager
def authority_errors(cafile: Path | None, capath: Path | None) -> Iterator[None]:
    """Turn errors over --cafile and --capath into those of commands."""
    if capath is not None and not capath.is_dir():
        raise CommandError(ExitCode.NO_FILE, f"no such folder: {capath} (--capath)")
    try:
        yield
    except ssl.SSLError as error:
        raise CommandError(ExitCode.BAD_FILE, f"--cafile {error}") from None
    except FileNotFoundError:
        raise CommandError(ExitCode.NO_FILE, f"no such file: {cafile} (--cafile)") from None
    except OSError as error:
        raise CommandError(
            ExitCode.NO_FILE, f"cannot read {cafile} (--cafile): {error.strerror}"
        ) from None


def server_name(option: str | None) -> str | None:
    """The --servername in normal form.

    Raises:
        CommandError: not a host.
    """
    try:
        return None if option is None else normalise(option)
    except HostnameError as error:
        raise CommandError(ExitCode.USAGE, f"{error} (--servername)") from None
