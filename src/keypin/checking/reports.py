"""What a check found, for machines: JSON, JSON Lines, JUnit XML, Prometheus.

Their shapes are promised in docs/check.md.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from .._internal.junit import JUnitCase, junit_suite
from ..pinset import subject_of
from .certificates import facts_of, pins_of
from .findings import Finding, Severity, as_json, by_host, exit_code, host_counts, worst

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from ..pin import Pin
    from ..pinfile import HostEntry
    from .live import ScanResult

__all__ = [
    "Report",
    "finding_line",
    "json_report",
    "junit_report",
    "prometheus_report",
    "server_line",
    "summary_line",
]

VERSION = 1
INTERRUPTED = 130  # as shells say of what Ctrl-C ended


@dataclass(frozen=True, slots=True)
class Report:
    """A check that is over.

    Args:
        started: with a time zone.
        finished: the same.
        findings: all of them.
        fail_on: see `exit_code`.
        results: what servers showed.
        seen: of each entry of the file that servers were seen for, which pins they showed.
        entries: those entries of the file that were checked.
        interrupted: it was ended by Ctrl-C, and much is not known.
    """

    started: datetime
    finished: datetime
    findings: list[Finding]
    fail_on: Severity = Severity.WARNING
    results: list[ScanResult] = field(default_factory=list)
    seen: Mapping[str, frozenset[Pin]] = field(default_factory=dict)
    entries: list[HostEntry] = field(default_factory=list)
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """What the command exits with."""
        if self.interrupted:
            return INTERRUPTED
        return exit_code(self.findings, self.fail_on)


def json_report(report: Report) -> str:
    """All of it as one JSON object."""
    content = {
        **_summary(report),
        "findings": [as_json(finding) for finding in report.findings],
        "servers": [_server(result) for result in report.results],
    }
    return json.dumps(content, indent=2) + "\n"


def server_line(result: ScanResult) -> str:
    """One line of JSON Lines for what a server showed."""
    return _line("server", _server(result))


def finding_line(finding: Finding) -> str:
    """One line of JSON Lines for a finding."""
    return _line("finding", as_json(finding))


def summary_line(report: Report) -> str:
    """The last line of JSON Lines."""
    return _line("summary", _summary(report))


def junit_report(report: Report) -> bytes:
    """JUnit's XML: a test case for each host.

    What is critical, and a warning unless warnings pass, is a failure; what is unknown an error.
    """
    return junit_suite(
        "keypin check",
        report.started,
        report.finished,
        [
            _junit_case(host, findings, report.fail_on)
            for host, findings in by_host(report.findings).items()
        ],
    )


def _junit_case(host: str, findings: list[Finding], fail_on: Severity) -> JUnitCase:
    worst_one = next(each for each in findings if each.severity is worst(findings))
    return JUnitCase(
        "keypin check",
        host,
        _outcome(findings, fail_on),
        "\n".join(map(_sentence, findings)),
        worst_one.code,
        _placed(worst_one),
    )


def prometheus_report(report: Report) -> str:
    """Metrics in Prometheus' text format, for the textfile collector of its node exporter."""
    lines: list[str] = []
    for name, text, samples in _metrics(report):
        lines += [f"# HELP keypin_{name} {text}", f"# TYPE keypin_{name} gauge"]
        for labels, value in samples:
            shown = ",".join(f'{label}="{_escaped(each)}"' for label, each in labels.items())
            lines.append(f"keypin_{name}{{{shown}}} {value}" if shown else f"keypin_{name} {value}")
    return "\n".join(lines) + "\n"


Samples = list[tuple[dict[str, str], str]]


def _metrics(report: Report) -> Iterator[tuple[str, str, Samples]]:
    """Name, help and samples of each metric."""
    finished = _number(report.finished.timestamp())
    yield "check_timestamp_seconds", "When the last check ended.", [({}, finished)]
    seconds = _number((report.finished - report.started).total_seconds())
    yield "check_duration_seconds", "How long it took.", [({}, seconds)]
    code = str(report.exit_code)
    help_text = "0 ok, 1 warning, 2 critical, 3 unknown."
    yield "check_exit_code", f"Exit code of the last check: {help_text}", [({}, code)]
    counts = host_counts(report.findings).items()
    severities = [({"severity": each.value}, str(count)) for each, count in counts]
    yield "check_hosts", "Hosts of each severity.", severities
    hosts = [
        ({"host": host}, str(worst(some).exit_code))
        for host, some in by_host(report.findings).items()
    ]
    yield "check_host_status", f"The worst finding of each host: {help_text}", hosts
    yield (
        "certificate_expiry_timestamp_seconds",
        "When the first certificate of the verified chain expires.",
        list(_certificate_expiries(report.results)),
    )
    yield (
        "pins_expiry_timestamp_seconds",
        "When the pins of an entry of the pin file expire.",
        [
            ({"host": entry.name}, _number(entry.expires.timestamp()))
            for entry in report.entries
            if entry.expires is not None
        ],
    )
    yield "pin_seen", "Whether a server showed the pinned key.", list(_pins_seen(report))


def _certificate_expiries(results: Iterable[ScanResult]) -> Iterator[tuple[dict[str, str], str]]:
    """The earliest of each address and type of key, behind which there may be several servers."""
    found: dict[tuple[str, ...], datetime] = {}
    for result in results:
        chain = result.inspection.verified if result.inspection is not None else ()
        ends = [end for der in chain if (end := facts_of(der).not_after) is not None]
        if ends:
            place = result.target.host, result.address or "", str(result.port)
            labels: tuple[str, ...] = (*place, result.key or "")
            found[labels] = min(ends) if labels not in found else min(*ends, found[labels])
    for labels, end in found.items():
        names = ("host", "address", "port", "key")
        yield dict(zip(names, labels, strict=True)), _number(end.timestamp())


def _pins_seen(report: Report) -> Iterator[tuple[dict[str, str], str]]:
    for entry in report.entries:
        seen = report.seen.get(entry.name)
        if seen is None:
            continue
        for each in entry.pins:
            labels = {"host": entry.name, "pin": str(each.pin), "role": each.role}
            yield labels, "1" if each.pin in seen else "0"


def _summary(report: Report) -> dict[str, Any]:
    return {
        "version": VERSION,
        "started": _moment(report.started),
        "finished": _moment(report.finished),
        "severity": worst(report.findings).value,
        "exit_code": report.exit_code,
        "hosts": {each.value: count for each, count in host_counts(report.findings).items()},
    }


def _server(result: ScanResult) -> dict[str, Any]:
    target, inspection = result.target, result.inspection
    shown: dict[str, Any] = {
        "host": target.host,
        "address": result.address,
        "port": result.port,
        "starttls": target.starttls,
        "key": result.key,
        "other_key": result.other_key,
        "connections": result.connections,
        "shown_in": result.shown_in,
        "error": result.error,
        "verified": None,
        "reason": None,
        "tls_version": None,
        "broken_off": None,
        "chain": [],
    }
    if inspection is not None:
        shown |= {
            "verified": inspection.is_verified,
            "reason": inspection.failure,
            "tls_version": inspection.tls_version,
            "broken_off": inspection.broken_off,
            "chain": [
                _certificate(der, pin)
                for der, pin in zip(inspection.verified, pins_of(inspection.verified), strict=True)
            ],
        }
    return shown


def _certificate(der: bytes, pin: Pin | None) -> dict[str, str | None]:
    end = facts_of(der).not_after
    return {
        "pin": None if pin is None else str(pin),
        "subject": subject_of(der),
        "not_after": None if end is None else _moment(end),
    }


def _line(kind: str, content: Mapping[str, Any]) -> str:
    return json.dumps({"kind": kind, **content}) + "\n"


def _outcome(findings: list[Finding], fail_on: Severity) -> Literal["passed", "failure", "error"]:
    severity = worst(findings)
    if severity is Severity.UNKNOWN:
        return "error"
    return "failure" if exit_code(findings, fail_on) else "passed"


def _sentence(finding: Finding) -> str:
    advice = f" {finding.advice}" if finding.advice else ""
    return f"{finding.severity}: {_placed(finding)} ({finding.code}){advice}"


def _placed(finding: Finding) -> str:
    return f"{finding.where}: {finding.text}" if finding.where else finding.text


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
