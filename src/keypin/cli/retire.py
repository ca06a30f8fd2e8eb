"""`keypin retire`: a key goes out of service, or is revoked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..editing.changes import retire as retired
from .exit_codes import ExitCode
from .pin_file_edits import DryRun, Pins, edit_pin_file

if TYPE_CHECKING:
    from ..editing.changes import Change, Draft

__all__ = ["EXAMPLES", "retire"]

EXAMPLES = """
keypin retire api.example.com "api 2026"
keypin retire api.example.com "api 2026" --revoke
"""


def retire(
    host: Annotated[str, typer.Argument(metavar="HOST", hidden=True)],
    key: Annotated[str, typer.Argument(metavar="KEY|PIN", hidden=True)],
    revoke: Annotated[
        bool,
        typer.Option(
            "--revoke", help="It was lost or stolen: whatever its role, clients refuse it."
        ),
    ] = False,
    pins: Pins = Path("pins.toml"),
    dry_run: DryRun = False,
) -> ExitCode:
    """Take a key out of service; it is still accepted.

    With --revoke it is revoked, and refused by every client that has the new file. A host keeps at
    least one pin that is accepted.
    """

    def change(draft: Draft) -> Change:
        return retired(draft, host, key, revoke=revoke)

    edit_pin_file(pins, change, dry_run=dry_run)
    return ExitCode.OK
