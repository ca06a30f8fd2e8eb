"""What `import keypin` adds to a program that has imported `ssl` and `idna` already."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from tempfile import TemporaryDirectory

from measure import Result, cpu_of_python, interleave

__all__ = ["run"]

ROUNDS, QUICK_ROUNDS = 100, 5


def run(quick: bool) -> Iterator[Result]:
    with TemporaryDirectory() as compiled:
        actions = {
            "without": partial(cpu_of_python, "import ssl, idna", compiled),
            "with": partial(cpu_of_python, "import ssl, idna, keypin", compiled),
        }
        done = interleave(actions, QUICK_ROUNDS if quick else ROUNDS)
    pairs = zip(done.cpu("with"), done.cpu("without"), strict=True)
    added = [more - less for more, less in pairs]
    yield Result("import keypin, after ssl and idna", added, unit="ms", target="at most 10 ms")
