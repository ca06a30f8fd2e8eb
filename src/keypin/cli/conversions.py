"""What export and import have in common: formats, and the report of what was lost."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ..formats import FORMATS, LOSSES, Direction, group_losses
from .exit_codes import CommandError, ExitCode
from .output import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from ..formats import Loss

__all__ = ["All", "Allow", "ForeignFormat", "Json", "Strict", "report"]

FEW = 3  # of one kind: each is told; of more, so many are named


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
Json = Annotated[
    bool, typer.Option("--json", help="Write the report as JSON, every loss by itself.")
]
All = Annotated[
    bool,
    typer.Option("--all", help="Tell every loss by itself, however many hosts have the same."),
]


def report(
    losses: Sequence[Loss],
    allowed: Collection[str] | None,
    *,
    strict: bool,
    as_json: bool,
    all_: bool,
) -> None:
    """Tell on standard error what is lost.

    Args:
        losses: all of it.
        allowed: names of what may be less safe.
        strict: whether nothing may be lost.
        as_json: whether it is told as JSON.
        all_: whether each loss is told by itself in text, too.

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
        lines = _every_line(losses) if all_ else _lines(losses)
        sys.stderr.write("".join(f"{printable(line)}\n" for line in lines))
    if refused:
        raise CommandError(ExitCode.NOT_ALLOWED, _refusal(refused, strict=strict))


def _every_line(losses: Iterable[Loss]) -> Iterator[str]:
    for each in losses:
        where = f"  {each.host}" if each.host else ""
        yield f"{each.direction:<11}  {each.name}{where}"
        yield f"             {each.text}"


def _lines(losses: Iterable[Loss]) -> Iterator[str]:
    is_short = False
    for group in group_losses(losses):
        if len(group.losses) <= FEW:
            yield from _every_line(group.losses)
            continue
        is_short = True
        hosts = list(dict.fromkeys(each.host for each in group.losses if each.host))
        named = f"  {', '.join(hosts[:FEW])}, …" if hosts else ""
        yield f"{group.direction:<11}  {group.name}{named}  ({len(hosts or group.losses)} in all)"
        first = group.losses[0]
        own = first.host and len({each.text for each in group.losses}) > 1
        yield f"             {f'{first.host}: ' if own else ''}{first.text}"
    if is_short:
        yield "Of losses that many hosts have, the first is told. All of them: --all, or --json"


def _refusal(refused: Iterable[Loss], *, strict: bool) -> str:
    names = dict.fromkeys(each.name for each in refused)
    if strict:
        return f"nothing written (--strict), because of: {', '.join(names)}"
    allow = " ".join(f"--allow {name}" for name in names)
    return f"nothing written: the result would be less safe. If that is accepted: {allow}"
