"""What `import keypin` adds to a program that has imported `ssl` and `idna` already."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from measure import Result, Seconds, interleave, stopwatch

__all__ = ["run"]

ROUNDS, QUICK_ROUNDS = 100, 5


def run(quick: bool) -> Iterator[Result]:
    actions = {
        "without": lambda: starting("import ssl, idna"),
        "with": lambda: starting("import ssl, idna, keypin"),
    }
    done = interleave(actions, QUICK_ROUNDS if quick else ROUNDS)
    pairs = zip(done.cpu("with"), done.cpu("without"), strict=True)
    added = [more - less for more, less in pairs]
    yield Result("import keypin, after ssl and idna", added, unit="ms", target="at most 10 ms")


def starting(statement: str) -> Seconds:
    """A fresh interpreter, from its start until the statement is done."""
    program = f"{statement}; import time; print(time.process_time())"
    command = [sys.executable, "-c", program]
    spent = stopwatch(lambda: outputs.append(subprocess.check_output(command)))
    return spent._replace(cpu=float(outputs.pop()))


outputs: list[bytes] = []
