"""The page that tells what came of a run of the lab against many clients."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keypin.lab.reports import HARM_WORDS, worst_of

if TYPE_CHECKING:
    from datetime import datetime

    from adapters import Adapter

    from keypin.lab import Scenario
    from keypin.lab.assessment import Played

__all__ = ["Column", "data", "page"]

HARM_MARKS: dict[str, str] = {
    "application-bytes": "**B**",
    "client-certificate": "**C**",
    "hung": "**H**",
    "honest-server-refused": "R",
    "failure-reported": "F",
}
MARKS: dict[str, str] = {
    "right": "✓",
    "wrong": "**✗**",
    "same fault": "c",
    "inconclusive": "?",
    "not played": "?",
    "unsupported": "○",
    "not claimed": "·",
    "not applicable": "",
}
FINE = frozenset({MARKS["right"], MARKS["not applicable"]})
LEGEND = (
    "✓ came out right in every variant. Wrong in at least one: "
    + "; ".join(f"{mark} {HARM_WORDS[harm]}" for harm, mark in HARM_MARKS.items())
    + "; c the client's certificate again, by the same fault as in another scenario. · did not come"
    " out right, and the client does not claim that it would; ○ the client does not support what it"
    " is made of; ? could not be told; empty: it cannot be put to this test."
)


@dataclass(frozen=True)
class Column:
    """What came of all scenarios with one client."""

    adapter: Adapter
    played: list[Played]
    inapplicable: dict[Scenario, list[str]]

    @property
    def is_keypin(self) -> bool:
        """Whether it is one of those that must pass everything."""
        return self.adapter.name.startswith("keypin")

    @property
    def worst(self) -> dict[str, Played]:
        """The worst case of each scenario, by its identifier."""
        found: dict[str, Played] = {}
        for played in self.played:
            name = played.case.scenario.identifier
            found[name] = worst_of([found.get(name, played), played])
        return found

    @property
    def failures(self) -> list[Played]:
        """What did not come out right though it had to."""
        return [it for it in self.played if it.claimed and it.outcome != "right"]

    @property
    def summary(self) -> str:
        """How many scenarios came out how."""
        if self.adapter.lacking:
            return f"not run: needs {self.adapter.lacking}"
        states = [it.state for it in self.worst.values()]
        counts = {name: states.count(name) for name in MARKS if name in states}
        if self.inapplicable:
            counts["not applicable"] = len(self.inapplicable)
        told = ", ".join(f"{number} {name}" for name, number in counts.items())
        wrong = [it.harm for it in self.worst.values() if it.state == "wrong"]
        harms = [f"{wrong.count(it)} {mark}" for it, mark in HARM_MARKS.items() if it in wrong]
        return f"{told} ({', '.join(harms)})" if harms else told


def page(columns: list[Column], chosen: list[Scenario], started: datetime, versions: str) -> str:
    """All of it in Markdown."""
    run = [column for column in columns if not column.adapter.lacking]
    lines = [
        "# Who passes the attack lab",
        "",
        f"Written by `make lab` on {started:%Y-%m-%d} with {versions}. {len(chosen)} scenarios,"
        f" {sum(len(column.played) for column in columns)} runs of clients. What each scenario"
        " does: `keypin lab list`. All results, as data: [lab-results.json](lab-results.json).",
        "",
        "Each client is set up as its own documentation says (`examples/lab/clients`,"
        " `keypin lab run --list-clients`), makes the"
        " calls that it is told to make, and is judged by what the servers received."
        " Every client of keypin carries a client certificate in every scenario; the others carry"
        " one only where the scenario is about that.",
        "",
        "## The clients",
        "",
        "| | client | version | compares | scenarios |",
        "| --- | --- | --- | --- | --- |",
    ]
    for number, column in enumerate(columns, start=1):
        adapter = column.adapter
        told = (adapter.name, adapter.version, adapter.about, column.summary)
        lines.append(f"| {number} | {' | '.join(told)} |")
    apart = [it for it in chosen if any(_cell(column, it) not in FINE for column in run)]
    lines += [
        "",
        "## Where clients differ",
        "",
        f"The {len(apart)} scenarios that did not come out right with every client that can be put"
        f" to them; the other {len(chosen) - len(apart)} did. {LEGEND}",
        "",
    ]
    numbers = [str(columns.index(column) + 1) for column in run]
    for expected, title in (("reject", "To be rejected"), ("accept", "To be accepted")):
        lines += [f"### {title}", "", f"| scenario | {' | '.join(numbers)} |"]
        lines.append(f"| --- |{' :-: |' * len(run)}")
        for scenario in apart:
            if scenario.expected == expected:
                cells = [_cell(column, scenario) for column in run]
                lines.append(f"| `{scenario.identifier}` | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def data(columns: list[Column], chosen: list[Scenario], started: datetime, versions: str) -> str:
    """All results in JSON: the worst of each scenario, by client."""
    clients = [
        {
            "name": column.adapter.name,
            "version": column.adapter.version,
            "lacking": column.adapter.lacking,
            "results": {
                name: {"state": worst.state, "harm": worst.harm}
                for name, worst in sorted(column.worst.items())
            },
            "not_applicable": sorted(it.identifier for it in column.inapplicable),
        }
        for column in columns
    ]
    found = {
        "version": 1,
        "started": started.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "versions": versions,
        "scenarios": [it.identifier for it in chosen],
        "clients": clients,
    }
    return json.dumps(found, indent=1) + "\n"


def _cell(column: Column, scenario: Scenario) -> str:
    worst = column.worst.get(scenario.identifier)
    if worst is None:
        return MARKS["not applicable"]
    if worst.state == "wrong" and worst.harm is not None:
        return HARM_MARKS[worst.harm]
    return MARKS[worst.state]
