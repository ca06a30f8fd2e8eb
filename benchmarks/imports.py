"""What `import keypin` adds to a program that has imported `ssl` and `idna` already."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from tempfile import TemporaryDirectory

from measure import Result, Seconds, interleave, stopwatch

__all__ = ["run"]

ROUNDS, QUICK_ROUNDS = 100, 5


def run(quick: bool) -> Iterator[Result]:
    with TemporaryDirectory() as compiled:
        actions = {
            "without": partial(starting, "import ssl, idna", compiled),
            "with": partial(starting, "import ssl, idna, keypin", compiled),
        }
        done = interleave(actions, QUICK_ROUNDS if quick else ROUNDS)
    pairs = zip(done.cpu("with"), done.cpu("without"), strict=True)
    added = [more - less for more, less in pairs]
    yield Result("import keypin, after ssl and idna", added, unit="ms", target="at most 10 ms")


def starting(statement: str, compiled: str) -> Seconds:
    """A fresh interpreter, from its start until the statement is done.

    Args:
        statement: the imports.
        compiled: the folder for compiled modules; the warm-up fills it.
    """
    program = f"{statement}; import time; print(time.process_time())"
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    outputs = []
    spent = stopwatch(
        lambda: outputs.append(
            subprocess.check_output([sys.executable, "-c", program], env=environment)
        )
    )
    return spent._replace(cpu=float(outputs[0]))
