"""What a check finds: how bad, which kind, where, in words; and the exit code of all of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Finding", "Severity", "as_json", "by_host", "exit_code", "host_counts", "worst"]


class Severity(StrEnum):
    """How bad a finding is, from the best to the worst."""

    OK = "ok"
    WARNING = "warning"
    """works today, and will not for ever"""
    UNKNOWN = "unknown"
    """could not be found out, so nothing may be concluded"""
    CRITICAL = "critical"
    """clients are refused, or are not protected"""

    @property
    def exit_code(self) -> int:
        """What a check exits with if this is its worst; the numbers of monitoring plugins."""
        return EXIT_CODES[self]


WORSE_AND_WORSE = tuple(Severity)
EXIT_CODES = {
    Severity.OK: 0,
    Severity.WARNING: 1,
    Severity.CRITICAL: 2,
    Severity.UNKNOWN: 3,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found out.

    Args:
        severity: how bad it is.
        code: the kind, lower case with hyphens; scripts go by it, so it never changes its meaning.
        host: the server, or the host pattern of the pin file; None: the file as a whole.
        text: what was found; one line that can stand alone behind the host.
        where: on which of the host's servers or in which file: `127.0.0.1:443, ECDSA`.
        advice: what to do; "" if nothing.
        pin: the pin that it is about, as text.
    """

    severity: Severity
    code: str
    host: str | None
    text: str
    where: str | None = None
    advice: str = ""
    pin: str | None = None


def worst(findings: Iterable[Finding]) -> Severity:
    """The severity of several findings together; without any it is unknown: nothing was checked."""
    return max(
        (finding.severity for finding in findings),
        key=WORSE_AND_WORSE.index,
        default=Severity.UNKNOWN,
    )


def by_host(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """The findings of each host; those without one are of "the pin file"."""
    found: defaultdict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        found[finding.host or "the pin file"].append(finding)
    return dict(found)


def host_counts(findings: Iterable[Finding]) -> dict[Severity, int]:
    """How many hosts there are of each severity, each by its worst finding."""
    counts = Counter(worst(some) for some in by_host(findings).values())
    return {severity: counts[severity] for severity in Severity}


def exit_code(findings: Iterable[Finding], fail_on: Severity = Severity.WARNING) -> int:
    """The exit code of a command that found these.

    Args:
        findings: all of them, also the good ones.
        fail_on: `WARNING`, or `CRITICAL` to let warnings pass. What is unknown never passes.
    """
    severity = worst(findings)
    passes = severity is Severity.WARNING and fail_on is not Severity.WARNING
    return 0 if passes else severity.exit_code


def as_json(finding: Finding) -> dict[str, str | None]:
    """A finding in the shape that docs/check.md promises."""
    return {
        "severity": finding.severity.value,
        "code": finding.code,
        "host": finding.host,
        "where": finding.where,
        "text": finding.text,
        "advice": finding.advice or None,
        "pin": finding.pin,
    }
