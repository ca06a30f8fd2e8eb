"""The benchmarks: what pinning costs, mostly as ratios to the same without pins.

    python benchmarks/run.py                       all of them
    python benchmarks/run.py connections imports   some
    python benchmarks/run.py --quick               to see that they run; the numbers mean little
    python benchmarks/run.py --write-docs          all, and put the tables into docs/benchmarks.md

Nothing fails because it is slow.
"""

from __future__ import annotations

import argparse
import platform
import ssl
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from measure import COLUMNS, WIDTHS

SUBJECTS = (
    "connections",
    "transfer",
    "decision",
    "imports",
    "libraries",
    "installed",
    "replace",
    "pinfile",
    "checking",
    "soak",
)
DOCUMENT = Path(__file__).parent.parent / "docs" / "benchmarks.md"
BEGIN, END = "<!-- written by benchmarks/run.py -->", "<!-- to here -->"


def main() -> None:
    arguments = parse(sys.argv[1:])
    lines = []
    for line in report(arguments.subjects or SUBJECTS, quick=arguments.quick):
        print(line, flush=True)
        lines.append(line)
    if arguments.write_docs:
        write(lines)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=", ".join(SUBJECTS))
    parser.add_argument("--quick", action="store_true", help="few rounds, in less than a minute")
    parser.add_argument("--write-docs", action="store_true", help="only after a whole run")
    parsed = parser.parse_args(arguments)
    if unknown := set(parsed.subjects) - set(SUBJECTS):
        parser.error(f"no such subject: {', '.join(sorted(unknown))}")
    if parsed.write_docs and (parsed.subjects or parsed.quick):
        parser.error("--write-docs goes with neither subjects nor --quick")
    return parsed


def report(subjects: list[str] | tuple[str, ...], *, quick: bool) -> Iterator[str]:
    """Run; yields lines of Markdown."""
    yield from machine()
    for subject in subjects:
        module = import_module(subject)
        yield ""
        yield f"### {subject}"
        yield module.__doc__.strip()
        yield ""
        yield row(COLUMNS)
        yield row("-" * width for width in WIDTHS)
        for result in module.run(quick):
            yield row(result.cells())


def row(cells: Iterator[str] | tuple[str, ...]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True))
    return f"| {' | '.join(padded)} |"


def machine() -> Iterator[str]:
    command = " ".join(["python", "benchmarks/run.py", *sys.argv[1:]])
    yield f"- `{command}` on {datetime.now(UTC):%Y-%m-%d}"
    yield f"- {processor()}, {platform.system()}"
    yield f"- {platform.python_implementation()} {platform.python_version()}, {ssl.OPENSSL_VERSION}"


def processor() -> str:
    try:
        described = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    names = (line for line in described.splitlines() if line.startswith("model name"))
    return next(names, platform.machine()).partition(":")[2].strip() or platform.machine()


def write(lines: list[str]) -> None:
    """Put the report between the marks in the document."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"{DOCUMENT} has no marks for the results")
    results = "\n".join(line.rstrip() for line in lines)
    DOCUMENT.write_text(f"{before}{BEGIN}\n{results}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
