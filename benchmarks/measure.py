"""How everything here is measured: interleaved, in CPU time, as ratios, with their spread."""

from __future__ import annotations

import gc
import math
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

__all__ = [
    "COLUMNS",
    "WIDTHS",
    "Action",
    "Result",
    "Seconds",
    "cpu_of_python",
    "interleave",
    "stopwatch",
]

COLUMNS = ("what", "target", "median", "95 % confidence", "middle half", "rounds")
WIDTHS = (64, 13, 10, 16, 16, 6)
SCALES = {"": 1.0, "ns": 1e9, "us": 1e6, "ms": 1e3, "bytes": 1.0}
WARM_UP_ROUNDS = 2


class Seconds(NamedTuple):
    """What something took."""

    cpu: float
    """of this process: the servers are others"""
    wall: float


Action = Callable[[], Seconds]


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the table.

    Args:
        what: was measured.
        values: one of each round: ratios, seconds or bytes.
        unit: "" for ratios, "ns", "us" or "ms" for seconds, "bytes".
        target: the number to hold, as text.
    """

    what: str
    values: Sequence[float]
    unit: str = ""
    target: str = ""

    def cells(self) -> tuple[str, ...]:
        """The text of the `COLUMNS`."""
        values = sorted(value * SCALES[self.unit] for value in self.values)
        return (
            self.what,
            self.target,
            self._text(statistics.median(values)),
            self._span(*median_interval(values)),
            self._span(*quartiles(values)),
            str(len(values)),
        )

    def _span(self, low: float, high: float) -> str:
        return f"{self._number(low)} to {self._number(high)}"

    def _text(self, value: float) -> str:
        return f"{self._number(value)} {self.unit}".rstrip()

    def _number(self, value: float) -> str:
        if self.unit == "bytes":
            return f"{value:.0f}"
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Where the true median lies with 95 % confidence, whatever the distribution; of sorted values.

    The sign test turned round: as many values lie below the median as a fair coin shows heads.
    """
    half_width = 1.96 * math.sqrt(len(values)) / 2
    low = max(0, math.floor(len(values) / 2 - half_width))
    return values[low], values[len(values) - 1 - low]


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """Between which half of the values lie."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4)
    return low, high


def stopwatch(work: Callable[[], object], times: int = 1) -> Seconds:
    """Time `work`, as the mean of so many calls."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(times):
        work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Seconds(cpu / times, wall / times)


def cpu_of_python(
    statement: str, compiled: str, *before: str, variables: dict[str, str] | None = None
) -> Seconds:
    """A fresh interpreter, from its start until a statement is done.

    Args:
        statement: Python code.
        compiled: the folder for compiled modules; the warm-up fills it.
        before: a command that starts the interpreter, in the same process.
        variables: more of the environment.
    """
    program = f"{statement}; import time; print(time.process_time())"
    command = [*before, sys.executable, "-c", program]
    environment = {**os.environ, **(variables or {}), "PYTHONPYCACHEPREFIX": compiled}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    outputs = []
    spent = stopwatch(lambda: outputs.append(subprocess.check_output(command, env=environment)))
    return spent._replace(cpu=float(outputs[0]))


class Interleaved(NamedTuple):
    """What several ways of doing one thing took, round by round."""

    seconds: dict[str, list[Seconds]]

    def cpu(self, name: str) -> list[float]:
        """CPU seconds of one way."""
        return [spent.cpu for spent in self.seconds[name]]

    def cpu_ratios(self, name: str, base: str) -> list[float]:
        """CPU time of one way through that of another, in the same round."""
        pairs = zip(self.seconds[name], self.seconds[base], strict=True)
        return [one.cpu / other.cpu for one, other in pairs]

    def speed_ratios(self, name: str, base: str) -> list[float]:
        """Work per second by the clock on the wall, likewise."""
        pairs = zip(self.seconds[name], self.seconds[base], strict=True)
        return [other.wall / one.wall for one, other in pairs]


def interleave(actions: dict[str, Action], rounds: int) -> Interleaved:
    """Do each of the actions once a round, each round in a new order.

    What disturbs the machine for longer than a round thus disturbs all of them, and so do the
    caches that one leaves behind for the next. The garbage collector runs as it always does, but
    does not look at what was there before.
    """
    names = list(actions)
    shuffle = random.Random(0).shuffle
    seconds: dict[str, list[Seconds]] = {name: [] for name in names}
    for _ in range(WARM_UP_ROUNDS):
        for action in actions.values():
            action()
    gc.collect()
    gc.freeze()
    for _ in range(rounds):
        shuffle(names)
        for name in names:
            seconds[name].append(actions[name]())
    gc.unfreeze()
    return Interleaved(seconds)
