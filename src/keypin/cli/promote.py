"""`keypin promote`: a planned or backup key goes into service."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..editing.changes import promote as promoted
from ..errors import PinFileError
from ..pinset import PinSet
from .exit_codes import CommandError, ExitCode
from .files import read_file
from .pin_file_edits import DryRun, Pins, edit_pin_file

if TYPE_CHECKING:
    from ..editing.changes import Change, Draft

__all__ = ["EXAMPLES", "promote"]

EXAMPLES = """
keypin promote api.example.com "api 2027"
keypin promote api.example.com "api 2027" --older-pins released/pins-v6.toml
keypin promote api.example.com "api 2027 RSA" --replaces "api 2026 RSA"
"""


def promote(
    host: Annotated[str, typer.Argument(metavar="HOST", hidden=True)],
    key: Annotated[str, typer.Argument(metavar="KEY|PIN", hidden=True)],
    against: Annotated[
        list[Path] | None,
        typer.Option(
            "--older-pins",
            metavar="FILE",
            help="A pin file that clients still carry: refuse, if it does not have the key."
            " Repeatable.",
        ),
    ] = None,
    replaces: Annotated[
        list[str] | None,
        typer.Option(
            "--replaces",
            metavar="KEY",
            help="Where several keys are active: the one that retires for it. Repeatable.",
        ),
    ] = None,
    beside: Annotated[
        bool, typer.Option("--beside", help="No key retires for it: both are in service.")
    ] = False,
    pins: Pins = Path("pins.toml"),
    dry_run: DryRun = False,
) -> ExitCode:
    """Put a key into service; the one before it is retiring.

    It is refused before the key's not_before, and if a pin file given by --older-pins, which
    clients still carry, does not have the key. When a pin was published, the file itself cannot
    tell.
    """
    if beside and replaces:
        raise CommandError(ExitCode.USAGE, "--replaces or --beside: which?")
    carried = {str(path): _carried(path) for path in against or ()}

    def change(draft: Draft) -> Change:
        return promoted(
            draft,
            host,
            key,
            now=datetime.now(UTC),
            replaces=replaces or (),
            beside=beside,
            against=carried,
        )

    edit_pin_file(pins, change, dry_run=dry_run)
    return ExitCode.OK


def _carried(path: Path) -> PinSet:
    read_file(path)
    try:
        return PinSet.load(path)
    except PinFileError as error:
        raise CommandError(ExitCode.BAD_FILE, f"{error} (--older-pins)") from None
