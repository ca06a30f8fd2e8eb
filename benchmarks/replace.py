"""`Pinner.replace()` while many connections are open."""

from __future__ import annotations

import itertools
import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from measure import Result, interleave, stopwatch
from scene import HOST, Scene, connect, scene

from keypin import Pin, Pinner, PinSet

__all__ = ["run"]

ROUNDS, QUICK_ROUNDS = 50, 3
REFUSING_ROUNDS, QUICK_REFUSING_ROUNDS = 3, 1
CONNECTIONS, QUICK_CONNECTIONS = 1000, 20
OTHER_FILES = 100


def run(quick: bool) -> Iterator[Result]:
    count = QUICK_CONNECTIONS if quick else CONNECTIONS
    allow_open_files(count + OTHER_FILES)
    what = f"replace(), {count:,} open connections"
    with scene() as there:
        spent = approving(there, count, QUICK_ROUNDS if quick else ROUNDS)
        yield Result(f"{what} satisfy the new pins", spent, unit="ms")
        yield Result("the same, for each of them", [one / count for one in spent], unit="us")
        spent = refusing(there, count, QUICK_REFUSING_ROUNDS if quick else REFUSING_ROUNDS)
        yield Result(f"{what} do not", spent, unit="ms")
        yield Result("the same, for each of them", [one / count for one in spent], unit="us")


def approving(there: Scene, count: int, rounds: int) -> list[float]:
    """CPU seconds of each call."""
    with connections(there, count) as pinner:
        new_pins = itertools.cycle([there.pins(), there.pins()])
        action = partial(stopwatch, lambda: pinner.replace(next(new_pins)))
        return interleave({"replace": action}, rounds).cpu("replace")


def refusing(there: Scene, count: int, rounds: int) -> list[float]:
    """CPU seconds of each call, with new connections for each."""
    other_pins = PinSet({HOST: [Pin.from_digest(bytes(32))]})
    spent = []
    for _ in range(rounds):
        with connections(there, count) as pinner:
            spent.append(stopwatch(lambda: pinner.replace(other_pins)).cpu)
    return spent


@contextmanager
def connections(there: Scene, count: int) -> Iterator[Pinner]:
    """Open so many connections; yields whose pins they satisfy."""
    pinner = Pinner(there.pins())
    context = pinner.create_context(cadata=there.root.pem)
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(connect(context, there.address))
        yield pinner


def allow_open_files(count: int) -> None:
    """Raise the limit of open files, which the server inherits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
