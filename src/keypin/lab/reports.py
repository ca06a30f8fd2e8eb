"""What came of a run of the lab, for machines and for pages: JSON, JUnit XML, Markdown.

Their shapes are promised in docs/attack-lab.md.
"""

from __future__ import annotations

import json
import ssl
from itertools import groupby
from platform import python_version
from typing import TYPE_CHECKING, Any

from .._junit import JUnitCase, junit_suite

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from .runner import Played, Report
    from .scenario import Scenario

__all__ = [
    "WORST_FIRST",
    "as_json",
    "by_scenario",
    "json_report",
    "junit_report",
    "markdown_report",
    "state_of",
]

VERSION = 1
WORST_FIRST = ("wrong", "inconclusive", "not claimed", "right")


def as_json(scenario: Scenario) -> dict[str, Any]:
    """What is to be known of a scenario."""
    return {
        "scenario": scenario.identifier,
        "group": scenario.group,
        "story": scenario.story,
        "expected": scenario.expected,
        "source": scenario.source,
        "protocol": scenario.protocol,
        "tls": list(scenario.tls),
        "keys": list(scenario.keys),
        "needs": sorted(scenario.needs),
        "claims": sorted(scenario.claims),
        "control": scenario.control,
    }


def json_report(report: Report) -> str:
    """All of it as one JSON object."""
    from .. import __version__

    content = {
        "version": VERSION,
        "keypin": __version__,
        "python": python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "command": list(report.command),
        "started": _moment(report.started),
        "finished": _moment(report.finished),
        "verdict": report.verdict,
        "counts": {name: report.counts[name] for name in reversed(WORST_FIRST)},
        "cases": [_case(played) for played in report.played],
        "not_applicable": [
            {"scenario": scenario.identifier, "lacks": lacking}
            for scenario, lacking in report.inapplicable.items()
        ],
    }
    return json.dumps(content, indent=2) + "\n"


def junit_report(report: Report) -> bytes:
    """JUnit's XML: a test case for each case.

    What came out wrong is a failure, what is inconclusive an error; what the client does not claim
    and what the command has no place for is skipped.
    """
    cases = [_junit_case(played) for played in report.played]
    for scenario, lacking in report.inapplicable.items():
        why = f"not applicable: the command has no {_places(lacking)}"
        cases.append(JUnitCase(scenario.group, scenario.identifier, "skipped", "", "", why))
    return junit_suite("keypin lab", report.started, report.finished, cases)


def markdown_report(report: Report) -> str:
    """A table of all scenarios, and below it what did not come out right."""
    counts = ", ".join(f"{number} {name}" for name, number in report.counts.items())
    lines = [
        "| scenario | expected | outcome | attempts | what happens |",
        "| --- | --- | --- | --- | --- |",
    ]
    for scenario, cases in by_scenario(report.played):
        outcome, attempts = state_of(cases), sum(it.judgement.attempts for it in cases)
        told = (f"`{scenario.identifier}`", scenario.expected, outcome, str(attempts))
        lines.append(_row(*told, scenario.story))
    for scenario in report.inapplicable:
        told = (f"`{scenario.identifier}`", scenario.expected, "not applicable", "")
        lines.append(_row(*told, scenario.story))
    lines += ["", f"{len(report.played)} cases: {counts}.", ""]
    for played in report.played:
        if played.outcome != "right":
            reasons = "; ".join(played.judgement.reasons)
            lines.append(f"- `{played.case}`: {played.state}. {_plain(reasons)}")
    return "\n".join(lines).rstrip() + "\n"


def by_scenario(played: Iterable[Played]) -> list[tuple[Scenario, list[Played]]]:
    """The cases of each scenario."""
    grouped = groupby(played, key=lambda it: it.case.scenario)
    return [(scenario, list(cases)) for scenario, cases in grouped]


def state_of(played: list[Played]) -> str:
    """One outcome for all cases of a scenario, and how many of them it is if they differ."""
    states = [it.state for it in played]
    worst = min(states, key=WORST_FIRST.index)
    number = states.count(worst)
    return worst if number == len(states) else f"{worst} ({number} of {len(states)})"


def _case(played: Played) -> dict[str, Any]:
    case, judgement = played.case, played.judgement
    last = played.runs[-1] if played.runs else None
    return {
        "scenario": case.scenario.identifier,
        "group": case.scenario.group,
        "expected": case.scenario.expected,
        "source": case.scenario.source,
        "protocol": case.scenario.protocol,
        "tls": case.tls,
        "key": case.key,
        "control": played.is_control,
        "outcome": judgement.outcome,
        "claimed": played.claimed,
        "reasons": list(judgement.reasons),
        "attempts": judgement.attempts,
        "application_bytes": judgement.application_bytes,
        "client_certificates": judgement.client_certificates,
        "exit_code": None if last is None else last.exit_code,
        "seconds": round(played.seconds, 3),
        "output": [] if last is None else last.output,
    }


def _junit_case(played: Played) -> JUnitCase:
    outcomes = {"wrong": "failure", "inconclusive": "error", "not claimed": "skipped"}
    state = played.state
    reasons = played.judgement.reasons
    output = [line for run in played.runs for line in run.output]
    said = [played.case.scenario.story, *reasons, *(["", *output] if output else [])]
    return JUnitCase(
        played.case.scenario.group,
        str(played.case),
        outcomes.get(state, "passed"),  # type: ignore[arg-type]
        "\n".join(said),
        state,
        reasons[0] if state != "not claimed" else f"not claimed: {reasons[0]}",
        played.seconds,
    )


def _places(names: Iterable[str]) -> str:
    return " and no ".join(f"{{{name}}}" for name in names)


def _row(*cells: str) -> str:
    return f"| {' | '.join(map(_plain, cells))} |"


def _plain(text: str) -> str:
    """What cannot end a cell, or be taken for markup of Markdown or HTML."""
    for character in "<>|*_[]":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
