"""What export and import have in common: formats, and the report of what was lost."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ..formats import FORMATS, LOSSES, Direction
from .exit_codes import CommandError, ExitCode
from .output import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from ..formats import Loss

__all__ = ["Allow", "ForeignFormat", "Json", "Strict", "report"]


def _known(name: str) -> str:
    if name not in FORMATS:
        raise typer.BadParameter(f"no such format: {name}; there are {', '.join(FORMATS)}")
    return name


def _allowable(names: list[str] | None) -> list[str]:
    less_safe = [name for name, (direction, _) in LOSSES.items() if direction == "less-safe"]
    for name in names or []:
        if name not in less_safe:
            raise typer.BadParameter(
                f"{name} is nothing to allow; what makes the result less safe is called"
                f" {', '.join(less_safe)}"
            )
    return names or []


ForeignFormat = Annotated[str, typer.Argument(metavar="FORMAT", hidden=True, callback=_known)]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        metavar="NAME",
        help="Accept what makes the result less safe, by its name in the report. Repeatable.",
        callback=_allowable,
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Write nothing if anything at all is lost.")]
Json = Annotated[bool, typer.Option("--json", help="Write the report as JSON.")]


def report(
    losses: Sequence[Loss], allowed: Collection[str] | None, *, strict: bool, as_json: bool
) -> None:
    """Tell on standard error what is lost.

    Raises:
        CommandError: it is too much: it makes the result less safe and is not allowed, or anything
            is lost and `strict`.
        typer.Exit: likewise, where the report is JSON, which says so itself.
    """
    refused = [
        each
        for each in losses
        if strict or (each.direction is Direction.LESS_SAFE and each.name not in (allowed or ()))
    ]
    if as_json:
        content = [{**each._asdict(), "refused": each in refused} for each in losses]
        sys.stderr.write(json.dumps({"version": 1, "losses": content}, indent=2) + "\n")
        if refused:
            raise typer.Exit(ExitCode.NOT_ALLOWED)
    elif losses:
        sys.stderr.write("".join(f"{printable(line)}\n" for line in _lines(losses)))
    if refused:
        raise CommandError(ExitCode.NOT_ALLOWED, _refusal(refused, strict=strict))


def _lines(losses: Iterable[Loss]) -> Iterable[str]:
    for each in losses:
        where = f"  {each.host}" if each.host else ""
        yield f"{each.direction:<11}  {each.name}{where}"
        yield f"             {each.text}"


def _refusal(refused: Iterable[Loss], *, strict: bool) -> str:
    names = dict.fromkeys(each.name for each in refused)
    if strict:
        return f"nothing written (--strict), because of: {', '.join(names)}"
    allow = " ".join(f"--allow {name}" for name in names)
    return f"nothing written: the result would be less safe. If that is accepted: {allow}"
