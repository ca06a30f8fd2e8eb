"""`keypin remove`: a pin, or a whole host, taken out of the pin file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..editing.changes import remove_host, remove_pin
from .exit_codes import CommandError, ExitCode
from .pin_file_edits import DryRun, Pins, edit_pin_file

if TYPE_CHECKING:
    from ..editing.changes import Change, Draft

__all__ = ["EXAMPLES", "remove"]

EXAMPLES = """
keypin remove api.example.com "api 2025"
keypin remove api.example.com sha256/...
keypin remove old.example.com --dry-run
"""


def remove(
    host: Annotated[str, typer.Argument(metavar="HOST", hidden=True)],
    key: Annotated[str | None, typer.Argument(metavar="[KEY|PIN]", hidden=True)] = None,
    revoked: Annotated[
        bool,
        typer.Option("--revoked", help="Also one that is revoked or denied: refused no more."),
    ] = False,
    in_service: Annotated[
        bool,
        typer.Option(
            "--in-service",
            help="Also the only active key: clients refuse servers that still show it.",
        ),
    ] = False,
    pins: Pins = Path("pins.toml"),
    dry_run: DryRun = False,
) -> ExitCode:
    """Remove a pin of a host, or the host with all its pins.

    A host keeps at least one pin that is accepted, and one that is in service. Comments on lines of
    their own stay.
    """
    if key is None and (revoked or in_service):
        option = "--revoked" if revoked else "--in-service"
        raise CommandError(ExitCode.USAGE, f"{option} is for one KEY or PIN")

    def change(draft: Draft) -> Change:
        if key is None:
            return remove_host(draft, host)
        return remove_pin(draft, host, key, revoked=revoked, in_service=in_service)

    edit_pin_file(pins, change, dry_run=dry_run)
    return ExitCode.OK
