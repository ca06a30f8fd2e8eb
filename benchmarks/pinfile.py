"""Pin files of 10 to 1,000,000 hosts: loading, looking a host up, and the memory for it.

Half of the hosts are exact names, a quarter each `*.` and `**.` patterns, with two pins each. Files
are loaded by a fresh interpreter, which tells its CPU time; another one counts what it allocates.
The time for a look-up is the mean over 10,000 hosts, a third of them in no entry.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from measure import Result

from keypin import Pin
from keypin.pinfile import Format, HostEntry, PinEntry, PinFile

__all__ = ["run"]

SIZES = (10, 1_000, 10_000, 100_000, 1_000_000)
QUICK_SIZES = (10, 1_000)
ROUNDS = {10: 20, 1_000: 20, 10_000: 5, 100_000: 3, 1_000_000: 1}
QUICK_ROUNDS = 2
FORMATS: tuple[Format, ...] = ("toml", "json")
PATTERNS = ("host-{}.example.com", "host-{}.example.org", "*.host-{}.example", "**.host-{}.test")
LOOK_UPS = 10_000

TIME = """
import json, sys, time
import datetime, tomllib
from keypin import PinSet
import keypin.pinfile

began = time.process_time()
pins = PinSet.load(sys.argv[1])
loaded = time.process_time() - began
hosts = json.load(sys.stdin)
began = time.process_time()
for host in hosts:
    pins.rule_for(host)
print(json.dumps([loaded, (time.process_time() - began) / len(hosts)]))
"""
MEMORY = """
import json, sys, tracemalloc
import datetime, tomllib
from keypin import PinSet
import keypin.pinfile

tracemalloc.start()
pins = PinSet.load(sys.argv[1])
print(json.dumps(tracemalloc.get_traced_memory()))
"""


def run(quick: bool) -> Iterator[Result]:
    for size in QUICK_SIZES if quick else SIZES:
        rounds = QUICK_ROUNDS if quick else ROUNDS[size]
        with TemporaryDirectory() as folder:
            file = PinFile(hosts(size))
            wanted = json.dumps(look_ups(size))
            for form in FORMATS:
                path = Path(folder, f"pins.{form}")
                file.dump(path)
                times = [ask(TIME, path, wanted) for _ in range(rounds)]
                loaded, looked_up = zip(*times, strict=True)
                kept, highest = ask(MEMORY, path)
                what = f"{size:,} hosts, {form}"
                length = path.stat().st_size
                yield Result(f"{what} ({length:,} bytes): load", loaded, unit="ms")
                yield Result(f"{what}: memory while loading", [highest], unit="bytes")
            yield Result(f"{size:,} hosts: memory kept", [kept], unit="bytes")
            yield Result(f"{size:,} hosts: look-up", looked_up, unit="us")


def hosts(size: int) -> Iterator[HostEntry]:
    for number in range(size):
        pins = (
            Pin.from_digest(sha256(f"{number} {which}".encode()).digest()) for which in range(2)
        )
        active, backup = pins
        yield HostEntry(
            PATTERNS[number % len(PATTERNS)].format(number), [active, PinEntry(backup, "backup")]
        )


def look_ups(size: int) -> list[str]:
    """Different hosts, so that none is remembered from the time before."""
    chosen = random.Random(0)
    below = ("{}", "{}", "a.{}", "a.b.{}")
    wanted = []
    for number in range(LOOK_UPS):
        entry = chosen.randrange(size)
        kind = entry % len(PATTERNS)
        name = PATTERNS[kind].format(entry).removeprefix("**.").removeprefix("*.")
        if number % 3 == 0:
            name = f"www.elsewhere-{number}.example.net"
        wanted.append(below[kind].format(name))
    return wanted


def ask(program: str, path: Path, wanted: str = "") -> list[float]:
    """Load in a fresh interpreter, and return what it tells."""
    command = [sys.executable, "-c", program, path]
    said = subprocess.run(command, input=wanted, check=True, capture_output=True, text=True).stdout
    told: list[float] = json.loads(said)
    return told
