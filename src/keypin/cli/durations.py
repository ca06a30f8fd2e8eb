"""Times as all options take them: 30d, 2w, 48h, 90s; a number alone counts days, or seconds.

A year has 365 days. There are no months: "m" is as often meant for minutes.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Literal

import typer

__all__ = ["days", "duration", "seconds", "some_days"]

Unit = Literal["ms", "s", "min", "h", "d", "w", "y"]

DURATION = re.compile(r"([0-9]{1,7}(?:\.[0-9]{1,6})?)(ms|s|min|h|d|w|y)?")
UNITS: dict[Unit | str, timedelta] = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
    "y": timedelta(days=365),
}
DAY = timedelta(days=1)
LONGEST = 100 * UNITS["y"]


def duration(text: str, unit: Unit = "d") -> timedelta:
    """Read a time.

    Args:
        text: a number, and a unit of `UNITS`.
        unit: what a number alone counts.

    Raises:
        typer.BadParameter: it is none, or more than a hundred years.
    """
    match = DURATION.fullmatch(text)
    if match is None:
        raise typer.BadParameter(
            f"{text!r} is not a time: 30d, 6w, 48h, 15min or 90s; a number alone counts"
            f" {'seconds' if unit == 's' else 'days'}"
        )
    time = float(match[1]) * UNITS[match[2] or unit]
    if time > LONGEST:
        raise typer.BadParameter(f"{text!r} is more than 100y")
    return time


def seconds(text: str | float) -> float:
    """Read a time above 0, in seconds if it has no unit; a default, too."""
    time = duration(str(text), "s").total_seconds()
    if not time:
        raise typer.BadParameter(f"{text!r} is no time")
    return time


def days(text: str) -> int:
    """Read a number of whole days."""
    try:
        count, rest = divmod(duration(text), DAY)
    except typer.BadParameter as error:
        raise typer.BadParameter(f"{error.message}. Here it is in {WHOLE_DAYS}") from None
    if rest:
        raise typer.BadParameter(f"{text!r} is not a time in {WHOLE_DAYS}")
    return count


def some_days(text: str) -> int:
    """Read a number of whole days, one at least."""
    if count := days(text):
        return count
    raise typer.BadParameter(f"{text!r} is no time: 1d is the least")


WHOLE_DAYS = "whole days: 30d, 6w (of 7 days), 2y (of 365 days) or 48h; up to a day counts as 1d"
