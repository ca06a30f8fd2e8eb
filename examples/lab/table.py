"""The page that tells what came of a run of the lab against many clients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from keypin.lab.reports import state_of

if TYPE_CHECKING:
    from datetime import datetime

    from adapters import Adapter

    from keypin.lab import Scenario
    from keypin.lab.assessment import Played

__all__ = ["Column", "page"]

MARKS = {
    "right": "✓",
    "wrong": "**✗**",
    "same fault": "✗",
    "inconclusive": "?",
    "not played": "?",
    "unsupported": "○",
    "not claimed": "·",
    "not applicable": "",
}
LEGEND = (
    "✓ came out right in every variant; **✗** wrong in at least one: an attacker received"
    " something, or an honest server was turned away; · did not come out right, and the client"
    " does not claim that it would; ✗ the same fault as in another scenario, and counted there;"
    " ○ the client does not support what it is made of; ? could not be told; empty: it cannot be"
    " put to this test."
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
    def states(self) -> dict[str, str]:
        """The outcome of each scenario, by its identifier."""
        grouped: dict[str, list[Played]] = {}
        for played in self.played:
            grouped.setdefault(played.case.scenario.identifier, []).append(played)
        # "wrong (1 of 2)" counts as wrong
        return {name: state_of(some).partition(" (")[0] for name, some in grouped.items()}

    @property
    def failures(self) -> list[Played]:
        """What did not come out right though it had to."""
        return [it for it in self.played if it.claimed and it.outcome != "right"]

    @property
    def summary(self) -> str:
        """How many scenarios came out how."""
        if self.adapter.lacking:
            return f"not run: needs {self.adapter.lacking}"
        states = list(self.states.values())
        counts = {name: states.count(name) for name in MARKS}
        counts["not applicable"] = len(self.inapplicable)
        return ", ".join(f"{number} {name}" for name, number in counts.items() if number)


def page(columns: list[Column], chosen: list[Scenario], started: datetime, versions: str) -> str:
    """All of it in Markdown."""
    run = [column for column in columns if not column.adapter.lacking]
    lines = [
        "# Who passes the attack lab",
        "",
        f"Written by `make lab` on {started:%Y-%m-%d} with {versions}. {len(chosen)} scenarios,"
        f" {sum(len(column.played) for column in columns)} runs of clients. What each scenario"
        " does: `keypin lab list`, or the end of this page.",
        "",
        "Each client is set up as its own documentation says (`examples/lab/clients`), makes the"
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
    lines += ["", "## The scenarios", "", LEGEND, ""]
    numbers = [str(columns.index(column) + 1) for column in run]
    for expected, title in (("reject", "To be rejected"), ("accept", "To be accepted")):
        lines += [f"### {title}", "", f"| scenario | {' | '.join(numbers)} |"]
        lines.append(f"| --- |{' :-: |' * len(run)}")
        for scenario in chosen:
            if scenario.expected == expected:
                cells = [_cell(column, scenario) for column in run]
                lines.append(f"| `{scenario.identifier}` | {' | '.join(cells)} |")
        lines.append("")
    lines += ["## What the scenarios do", ""]
    for scenario in chosen:
        lines.append(f"- `{scenario.identifier}` ({scenario.source}): {scenario.story}")
    return "\n".join(lines) + "\n"


def _cell(column: Column, scenario: Scenario) -> str:
    return MARKS[column.states.get(scenario.identifier, "not applicable")]
