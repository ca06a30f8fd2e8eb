"""`install()`, for the whole process: what HTTP clients pay that know nothing of it.

Each kind of client is there several times, with plain contexts of its own: without pins, with pins
installed for the server, and with pins installed for another host. CPU time per request, and
requests per second by the clock on the wall. Then what a program pays at its start.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from libraries import (
    HOST,
    TARGET,
    UNPINNED,
    Request,
    on_kept_connection,
    on_new_connections,
    with_aiohttp,
    with_httpx2,
    with_requests,
    with_urllib3,
)
from measure import Result, Seconds, cpu_of_python, interleave, stopwatch
from scene import Scene, connect, scene

from keypin import Pinner, PinSet

__all__ = ["run"]

ROUNDS, QUICK_ROUNDS = 150, 2
ALONE = "python alone"
AGAIN, PINNED, UNLISTED = "unpinned, again", "installed", "installed, host in no rule"
LIBRARIES = {
    "urllib3": with_urllib3,
    "requests": with_requests,
    "httpx2": with_httpx2,
    "aiohttp": with_aiohttp,
}


def run(quick: bool) -> Iterator[Result]:
    rounds = QUICK_ROUNDS if quick else ROUNDS
    with scene() as there, ExitStack() as stack:
        yield from connections(there, rounds)
        for name, library in LIBRARIES.items():
            # a client of its own for each way
            clients = {way: library(there, stack)[UNPINNED] for way in pinners(there)}
            yield from compare(f"{name}, new connections", there, clients, rounds, kept=False)
            yield from compare(f"{name}, kept connections", there, clients, rounds, kept=True)
    yield from start_up(QUICK_ROUNDS if quick else 40)


def pinners(there: Scene) -> dict[str, Pinner | None]:
    return {
        UNPINNED: None,
        AGAIN: None,
        PINNED: Pinner(there.pins(host=HOST)),
        UNLISTED: Pinner(there.pins(host="elsewhere.example")),
    }


def connections(there: Scene, rounds: int) -> Iterator[Result]:
    def connect_often() -> None:
        for _ in range(10):
            connect(context, there.address, HOST).close()

    context = there.plain()
    ways = {
        name: partial(under, pinner, lambda: stopwatch(connect_often))
        for name, pinner in pinners(there).items()
    }
    done = interleave(ways, rounds)
    for name in (AGAIN, PINNED, UNLISTED):
        what = f"sockets, new connections: {name}"
        yield Result(what, done.cpu_ratios(name, UNPINNED), target=TARGET if name != AGAIN else "")


def compare(
    what: str, there: Scene, clients: dict[str, Request], rounds: int, *, kept: bool
) -> Iterator[Result]:
    measure = on_kept_connection if kept else on_new_connections
    ways = {
        name: partial(under, pinner, partial(measure, clients[name]))
        for name, pinner in pinners(there).items()
    }
    done = interleave(ways, rounds)
    yield Result(f"{what}: {UNPINNED}", done.cpu(UNPINNED), unit="us")
    for name in (AGAIN, PINNED, UNLISTED):
        target = TARGET if name != AGAIN else ""
        yield Result(f"{what}: {name}", done.cpu_ratios(name, UNPINNED), target=target)
    per_second = done.speed_ratios(PINNED, UNPINNED)
    yield Result(f"{what}: {PINNED}, requests per second", per_second)


def under(pinner: Pinner | None, measure: Callable[[], Seconds]) -> Seconds:
    with nullcontext() if pinner is None else pinner.installed():
        return measure()


def start_up(rounds: int) -> Iterator[Result]:
    with TemporaryDirectory() as folder:
        file = Path(folder, "pins.toml")
        PinSet({"api.example.com": ["sha256/" + "A" * 43 + "="]}).dump(file)
        run = (sys.executable, "-m", "keypin", "run", "--pins", str(file), "--")
        ways = {
            ALONE: partial(cpu_of_python, "pass", folder),
            "KEYPIN_PINS": partial(
                cpu_of_python, "pass", folder, variables={"KEYPIN_PINS": str(file)}
            ),
            "keypin run": partial(cpu_of_python, "pass", folder, *run),  # exec goes on counting
        }
        done = interleave(ways, rounds)
    yield Result(f"start-up: {ALONE}", done.cpu(ALONE), unit="ms")
    for name in ("KEYPIN_PINS", "keypin run"):
        pairs = zip(done.cpu(name), done.cpu(ALONE), strict=True)
        yield Result(f"start-up: {name} adds", [more - less for more, less in pairs], unit="ms")
