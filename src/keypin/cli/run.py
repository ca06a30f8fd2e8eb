"""`keypin run`: a program that nobody changes, with its TLS connections pinned."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from ..errors import KeypinError
from ..pinset import PinSet
from ..startup import commands, inheritance, proof
from .exit_codes import CommandError, ExitCode
from .files import read_file
from .output import complain
from .pin_file_edits import DEFAULT
from .programs import explained
from .programs_without_python import Unpinned, unpinned_program

__all__ = ["EXAMPLES", "SETTINGS", "run"]

EXAMPLES = """
keypin run -- python app.py --verbose
keypin run --report -- python -m app
keypin run --pins config/pins.toml -- gunicorn app:application
"""

# what stands behind the command is the command's
SETTINGS = {"allow_interspersed_args": False}


def run(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND...", hidden=True)],
    pins: Annotated[
        Path | None,
        typer.Option(
            "--pins",
            metavar="FILE",
            help="The pin file; unless given, the one that KEYPIN_PINS names, or pins.toml.",
        ),
    ] = None,
    report: Annotated[
        bool,
        typer.Option("--report", help="Refuse nothing but denied keys, and log every mismatch."),
    ] = False,
    allow_unpinned: Annotated[
        bool,
        typer.Option("--allow-unpinned", help="Run the command although no Python is seen in it."),
    ] = False,
) -> int:
    """Run a program that nobody changed, and pin it.

    Every CPython, from 3.11 on, that the command starts, or that is started below it, holds to
    the pin file, also in other virtual environments, or does not run at all. Nothing else is
    pinned: a client that is no Python, such as curl, is refused. The exit code is the command's.
    """
    environment = dict(os.environ)
    environment[inheritance.PINS] = file = _checked(pins, report=report)
    try:
        inheritance.propagate_pins(environment, file)
    except KeypinError as error:
        raise CommandError(ExitCode.NOT_PINNED, str(error)) from None
    if sys.platform != "win32":
        from ..startup import process_starts

        process_starts.hand_on(file)  # where other pins hold in this process itself
    starts, escape = commands.examine(command, environment)
    if escape is None and os.name == "posix":
        escape = proof.find_unpinned(starts)
    if escape is not None:
        raise CommandError(ExitCode.NOT_PINNED, f"not run, it would not be pinned: {escape}")
    if not allow_unpinned:
        _tell_of_unpinned(command, environment, starts_python=bool(starts))
    try:
        return _execute(command, environment)
    except OSError as error:
        raise explained(command[0], error) from None


def _tell_of_unpinned(
    command: list[str], environment: dict[str, str], *, starts_python: bool
) -> None:
    found = unpinned_program(command, environment, starts_python=starts_python)
    if found is None:
        return
    if found.is_certain:
        raise CommandError(
            ExitCode.NOT_PINNED,
            f"not run, it would not be pinned: {found.reason}. To run it unpinned:"
            " --allow-unpinned",
        )
    seen = "" if starts_python else "no Python is seen in this command. "
    complain(
        f"warning: {seen}Connections that {found.program} makes itself"
        " are not pinned; only a Python that it starts is (--allow-unpinned: that is known)"
        if type(found) is Unpinned
        else f"warning: {seen}{found.reason} (--allow-unpinned: that is known)"
    )


def _checked(option: Path | None, *, report: bool) -> str:
    """The value of KEYPIN_PINS, once the pin file has been found to be good."""
    try:
        mode, name = inheritance.named_pin_file(os.environ.get(inheritance.PINS, ""))
    except KeypinError as error:
        raise CommandError(ExitCode.USAGE, str(error)) from None
    if option is not None or not name:
        mode, name = "", str(option or DEFAULT)
        if option is None and not DEFAULT.exists():
            raise CommandError(
                ExitCode.NO_FILE,
                f"no such file: {DEFAULT}. Make it: keypin add HOST --from live; or name another:"
                " --pins FILE",
            )
    if report:
        mode = inheritance.REPORT
    path = Path(os.path.abspath(name))
    read_file(path)
    try:
        PinSet.load(path)
    except KeypinError as error:
        raise CommandError(ExitCode.BAD_FILE, str(error)) from None
    return f"{mode}{path}"


def _execute(command: list[str], environment: dict[str, str]) -> int:
    """Become the command; where a process cannot do that, wait for the command."""
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name == "nt":
        return _wait_for(command, environment)
    _become(command, environment)


def _become(command: list[str], environment: dict[str, str]) -> NoReturn:
    # Python ignores these for itself, and the command would inherit it
    for name in ("SIGPIPE", "SIGXFSZ"):
        number = getattr(signal, name, None)
        if number is not None:
            signal.signal(number, signal.SIG_DFL)
    os.execvpe(command[0], command, environment)  # noqa: S606 - what the user said


def _wait_for(command: list[str], environment: dict[str, str]) -> int:
    with subprocess.Popen(command, env=environment) as process:  # noqa: S603 - what the user said
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue  # Windows sends Ctrl-C to the command as well, which decides what to do
