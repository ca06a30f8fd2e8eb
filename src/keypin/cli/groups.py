"""Commands, and groups of them, whose help ends in examples."""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from .exit_codes import ExitCode

__all__ = ["Command", "Group", "help_unless_invoked", "new_group"]


class Group(TyperGroup):
    """Several commands, listed by task; the help ends in examples, the epilog."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, those of each help panel under its name."""
        panels: dict[str, list[tuple[str, str]]] = {}
        room = formatter.width - 6 - max(map(len, self.commands))
        for name, command in self.commands.items():
            panel = getattr(command, "rich_help_panel", None) or "Commands"
            panels.setdefault(panel, []).append((name, command.get_short_help_str(room)))
        width = max(map(len, self.commands))
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl([(f"{name:<{width}}", help_) for name, help_ in rows])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples."""
        _write_examples(self.epilog, formatter)


class Command(TyperCommand):
    """A command whose help ends in examples, its epilog."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The arguments as they are written, without more brackets around them."""
        arguments = [p.metavar for p in self.params if p.param_type_name == "argument"]
        return ["[OPTIONS]", *(metavar for metavar in arguments if metavar)]

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples."""
        _write_examples(self.epilog, formatter)


def new_group(examples: str) -> typer.Typer:
    """Make a group without commands.

    Args:
        examples: for its help, a line each.
    """
    return typer.Typer(
        cls=Group,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog=examples,
    )


def help_unless_invoked(context: typer.Context) -> None:
    """Show a group's help where none of its commands was named, which is a mistake."""
    if context.invoked_subcommand is None:
        sys.stdout.write(context.get_help() + "\n")
        raise typer.Exit(ExitCode.USAGE)


def _write_examples(examples: str | None, formatter: Any) -> None:
    formatter.write_paragraph()
    formatter.write_heading("Examples")
    for line in (examples or "").strip().splitlines():
        formatter.write(f"  {line}\n")
