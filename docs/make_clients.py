"""Run the matrix of clients, and write docs/clients.md: python docs/make_clients.py [SOURCE ...].

A SOURCE is an interpreter to run it with, which has everything that the tests need, or the report
of such a run (`pytest --junitxml=FILE.xml tests/matrix/test_matrix.py`). By default it is this
interpreter.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from keypin.enforcement.uncovered import UNCOVERED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matrix.client import Client

ROOT = Path(__file__).parent.parent
HEAD = """# Clients

Made by `python docs/make_clients.py` from a run of `tests/matrix`; do not edit.

Each client below was driven through its own public API against real servers, and pinned by
`pinner.installed()` alone: no context of keypin's was given to it, but for keypin's own adapter,
for which nothing was installed. This was on
{runtimes}, with TLS 1.2 and with TLS 1.3.

**Covered** says that all of this held:

- The pinned server is reached. A server with another key, of the same name and from the same
  authority, is refused and receives no application byte. It is all the same whether the pins are
  installed before the client is set up or after.
- When the pins are replaced between two requests, the second one fails, and no byte of it arrives.
- A client certificate is shown to the pinned server, and to no other.
- Through a CONNECT proxy the pinned server is reached, and the other one is refused.
- mitmproxy, with a certificate that the client trusts, sees nothing of a request.
- Without pins, every one of these servers receives the request.

Where a client takes no certificate or no proxy, or was not used with one here, it says "none".

*Error* is what a program sees of a server that is refused. `keypin.find_error` finds the
`PinMismatch` in it, unless it says "unexplained". In brackets: what may be seen instead when the
pins are replaced under an open connection. *Attempts* is the number of connections that the
refused request made.
"""
COLUMNS = (
    *("client", "versions", "covered", "error", "attempts", "client certificate", "proxy"),
    "notes",
)
UNCOVERED_HEAD = """## Not covered

These bring a TLS of their own. [Other TLS stacks](other-tls-stacks.md) tells how each is pinned
by its own settings.
"""
UNCOVERED_COLUMNS = ("library", "TLS from", "its own settings can pin", "to pinned hosts")


class Told:
    """What the runs tell of one client."""

    def __init__(self) -> None:
        self.properties: defaultdict[str, set[str]] = defaultdict(set)
        self.passed: set[str] = set()
        self.failed: set[str] = set()

    def add(self, case: ElementTree.Element, properties: dict[str, str]) -> None:
        """Take in one test."""
        test = case.attrib["name"].partition("[")[0].removeprefix("test_").replace("_", " ")
        for name, value in properties.items():
            self.properties[name].add(value)
        if case.find("failure") is not None or case.find("error") is not None:
            self.failed.add(test)
        elif case.find("skipped") is None:
            self.passed.add(test)

    def all(self, name: str) -> list[str]:
        """The values of a property."""
        return sorted(self.properties[name])


def page(sources: Iterable[str]) -> str:
    """Tell what was seen in all these runs of the matrix."""
    runtimes = []
    told: defaultdict[str, Told] = defaultdict(Told)
    for source in sources:
        suite = read(Path(source)) if source.endswith(".xml") else run(source)
        runtimes.append(properties_of(suite)["runtime"])
        for case in suite.iter("testcase"):
            properties = properties_of(case)
            if "client" in properties:  # a client that is not there tells nothing
                told[properties["client"]].add(case, properties)
    rows = [row_of(client, told[client.name]) for client in clients()]
    uncovered = [
        (found.name, found.tls, found.pins, "refused" if found.refused else "not pinned")
        for found in UNCOVERED
    ]
    head = HEAD.format(runtimes=", ".join(runtimes))
    return "\n".join(
        [head, table(COLUMNS, rows), UNCOVERED_HEAD, table(UNCOVERED_COLUMNS, uncovered)]
    )


def run(interpreter: str) -> ElementTree.Element:
    """Run the matrix once; return the report."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [interpreter, "-m", "pytest", "--quiet", f"--junitxml={report}"]
        subprocess.run([*command, "tests/matrix/test_matrix.py"], cwd=ROOT, check=False)
        return read(report)


def read(report: Path) -> ElementTree.Element:
    """Read a report (JUnit's XML)."""
    (suite,) = ElementTree.parse(report).getroot()
    return suite


def properties_of(element: ElementTree.Element) -> dict[str, str]:
    """What a test, or the whole run, has recorded."""
    found = element.iterfind("properties/property")
    return {entry.attrib["name"]: entry.attrib["value"] for entry in found}


def clients() -> list[Client]:
    """The clients of the matrix, in the order of their names."""
    sys.path.insert(0, str(ROOT / "tests"))
    from matrix.clients import all_clients

    return sorted(all_clients(), key=lambda client: client.name.lower())


def row_of(client: Client, told: Told) -> tuple[str, ...]:
    """What the table says of a client."""
    return (
        client.name,
        "; ".join(told.all("versions")) or "Python's own",
        covered(told),
        errors(client, told),
        span(told.all("attempts")),
        "tried" if client.client_certificate else "none",
        "tried" if client.proxy else "none",
        client.notes,
    )


def covered(told: Told) -> str:
    """Whether it is covered, and where it is not."""
    if told.failed:
        return f"**no**: {'; '.join(sorted(told.failed))}"
    return "yes" if told.passed else "not tried"


def errors(client: Client, told: Told) -> str:
    """What its users see."""
    seen = ", ".join(f"`{error}`" for error in told.all("error"))
    unexplained = "" if client.explains else ", unexplained"
    later = sorted(set(told.all("error after replace")) - set(told.all("error")))
    bracket = f" ({', '.join(f'`{error}`' for error in later)})" if later else ""
    return f"{seen}{unexplained}{bracket}"


def span(numbers: Iterable[str]) -> str:
    """A number, or the lowest and the highest one."""
    ordered = sorted({int(number) for number in numbers})
    return "" if not ordered else " to ".join(map(str, dict.fromkeys((ordered[0], ordered[-1]))))


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    columns = list(columns)
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    text = page(sys.argv[1:] or [sys.executable])
    Path(__file__).with_name("clients.md").write_text(text, "utf-8")
