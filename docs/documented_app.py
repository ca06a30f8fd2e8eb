"""The command line as Typer documents it: the examples of each command as code."""

from __future__ import annotations

from typing import Any

import typer

from keypin.cli.app import app as application

__all__ = ["app"]


class DocumentedGroup(typer.core.TyperGroup):
    """All commands, once more, to change what their help ends in."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        fence_examples(self)


def fence_examples(command: Any) -> None:
    """Make the examples of a command, and of those below it, a block of code."""
    if command.epilog:
        lines = command.epilog.strip().splitlines()
        shown = [line if line.startswith(" ") else f"$ {line}" for line in lines]
        command.epilog = "\n".join(["**Examples**:", "", "```console", *shown, "```"])
    for below in getattr(command, "commands", {}).values():
        fence_examples(below)


app = application
app.info.cls = DocumentedGroup
