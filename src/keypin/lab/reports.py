"""What came of a run of the lab, for machines and for pages: JSON, JUnit XML, Markdown.

Their shapes are promised in docs/attack-lab.md.
"""

from __future__ import annotations

import json
import ssl
from itertools import groupby
from platform import python_version
from typing import TYPE_CHECKING, Any

from .._internal.junit import JUnitCase, junit_suite
from .judge import HARMS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from .._internal.junit import JUnitOutcome
    from .assessment import Played, State
    from .judge import Harm
    from .runner import Report
    from .scenario import Scenario

__all__ = [
    "HARM_WORDS",
    "WORST_FIRST",
    "as_json",
    "by_scenario",
    "harm_lines",
    "harm_rank",
    "harms_json",
    "json_report",
    "junit_report",
    "markdown_report",
    "number_of",
    "reasons_of",
    "state_of",
    "totals",
    "unplayed",
    "worst_of",
]

VERSION = 1
WORST_FIRST: tuple[State, ...] = (
    "wrong",
    "same fault",
    "inconclusive",
    "not played",
    "not claimed",
    "right",
    "unsupported",
)
JUNIT_OUTCOMES: dict[State, JUnitOutcome] = {
    "wrong": "failure",
    "same fault": "skipped",
    "inconclusive": "error",
    "not played": "error",
    "unsupported": "skipped",
    "not claimed": "skipped",
    "right": "passed",
}
HARM_WORDS: dict[Harm, str] = {
    "application-bytes": "an attacker received application bytes",
    "client-certificate": "an attacker received the client's certificate, and no more",
    "hung": "the client hung",
    "success-reported": "no attacker received anything, but the client reports success",
    "honest-server-refused": "an honest server was refused",
    "failure-reported": "an honest server answered, but the client reports failure",
}


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
        "harms": harms_json(report),
        "interrupted": report.interrupted > 0,
        "left": report.interrupted,
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
    or support, what is counted elsewhere and what the command has no place for is skipped. How
    many cases there are of each harm is in the suite's properties.
    """
    cases = [_junit_case(played) for played in report.played]
    for scenario, lacking in report.inapplicable.items():
        why = f"not applicable: the command has no {_places(lacking)}"
        cases.append(JUnitCase(scenario.group, scenario.identifier, "skipped", "", "", why))
    if report.interrupted:
        why = f"interrupted: {number_of(report.interrupted, 'case')} not played"
        cases.append(JUnitCase("keypin lab", "interrupted", "error", why, "interrupted", why))
    numbers: dict[str, str] = {it: str(len(played)) for it, played in report.harms.items()}
    return junit_suite("keypin lab", report.started, report.finished, cases, numbers)


def markdown_report(report: Report) -> str:
    """A table of all scenarios, and below it what did not come out right."""
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
    lines += ["", f"{totals(report)}.", ""]
    lines += [f"- {_plain(line)}" for line in harm_lines(report)]
    lines += [""] * bool(report.harms)
    for why, left_out in unplayed(report).items():
        names = ", ".join(f"`{scenario.identifier}`" for scenario in left_out)
        lines.append(f"- {names}: {_plain(why)}.")
    for it in report.played:
        if it.outcome != "right" and it.state != "not played":
            lines.append(f"- `{it.case}`: {it.state}. {_plain('; '.join(reasons_of(it)))}")
    return "\n".join(lines).rstrip() + "\n"


def unplayed(report: Report) -> dict[str, list[Scenario]]:
    """The scenarios that could not be played, in all or some of their cases, by the reason."""
    found: dict[str, list[Scenario]] = {}
    for it in report.played:
        if it.state == "not played":
            scenarios = found.setdefault(it.judgement.reasons[0], [])
            scenarios += [it.case.scenario] * (it.case.scenario not in scenarios)
    return found


def totals(report: Report) -> str:
    """How many cases came out how."""
    counts = ", ".join(f"{report.counts[it]} {it}" for it in WORST_FIRST if report.counts[it])
    missing = f"; interrupted before {report.interrupted} more" if report.interrupted else ""
    return f"{number_of(len(report.played), 'case')}: {counts or 'nothing'}{missing}"


def harm_lines(report: Report) -> list[str]:
    """How many cases there are of each harm, and which of them ask for more than is usual."""
    return [f"{HARM_WORDS[harm]}: {_told(played)}" for harm, played in report.harms.items()]


def harms_json(report: Report) -> dict[str, Any]:
    """The same for JSON."""
    return {
        harm: {
            "cases": len(played),
            "scenarios": list(dict.fromkeys(it.case.scenario.identifier for it in played)),
        }
        for harm, played in report.harms.items()
    }


def number_of(count: int, what: str) -> str:
    """A number and what it counts."""
    return f"{count} {what}{'s' * (count != 1)}"


def reasons_of(played: Played) -> tuple[str, ...]:
    """Why it came out like this, and where it is counted."""
    reasons = played.judgement.reasons
    if played.counted_in is None:
        return reasons
    return (*reasons, f"the same fault as in {played.counted_in}, and counted there")


def _told(played: Sequence[Played]) -> str:
    """How many cases and scenarios, and which claims those make that make one."""
    scenarios = list(dict.fromkeys(it.case.scenario for it in played))
    told = f"{number_of(len(played), 'case')} of {number_of(len(scenarios), 'scenario')}"
    asking = [it for it in scenarios if it.claims]
    if not asking:
        return told
    claims = ", ".join(sorted({claim for it in asking for claim in it.claims}))
    which = "all of them ask" if len(asking) == len(scenarios) else f"{len(asking)} of these ask"
    which = "it asks" if len(scenarios) == 1 else which.replace("1 of these ask", "1 of these asks")
    return f"{told}; {which} for more than to compare the server's key (--without-claim): {claims}"


def by_scenario(played: Iterable[Played]) -> list[tuple[Scenario, list[Played]]]:
    """The cases of each scenario."""
    grouped = groupby(played, key=lambda it: it.case.scenario)
    return [(scenario, list(cases)) for scenario, cases in grouped]


def state_of(played: list[Played]) -> str:
    """One outcome for all cases of a scenario, and how many of them it is if they differ."""
    worst = worst_of(played)
    number = [it.state for it in played].count(worst.state)
    harm = worst.harm if worst.state == "wrong" else None
    told = worst.state if harm is None else f"{worst.state}: {harm.replace('-', ' ')}"
    return told if number == len(played) else f"{told} ({number} of {len(played)})"


def worst_of(played: Iterable[Played]) -> Played:
    """The case of a scenario by which it is called."""
    return min(played, key=lambda it: (WORST_FIRST.index(it.state), harm_rank(it.harm)))


def harm_rank(harm: Harm | None) -> int:
    """A number that is the lower, the worse it is."""
    return len(HARMS) if harm is None else HARMS.index(harm)


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
        "state": played.state,
        "harm": judgement.harm,
        "counted_in": played.counted_in,
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
    state = played.state
    reasons = reasons_of(played)
    output = [line for run in played.runs for line in run.output]
    said = [played.case.scenario.story, *reasons, *(["", *output] if output else [])]
    prefix = f"{state}: " if JUNIT_OUTCOMES[state] == "skipped" else ""
    return JUnitCase(
        played.case.scenario.group,
        str(played.case),
        JUNIT_OUTCOMES[state],
        "\n".join(said),
        played.harm if state == "wrong" and played.harm else state,
        prefix + reasons[0],
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
