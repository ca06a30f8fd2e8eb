"""Findings of a check as lines of text, host by host."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from ..checking.findings import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..checking.findings import Finding
    from .output import Page

__all__ = ["list_findings", "summary_of"]

STYLES = {
    Severity.OK: "green",
    Severity.WARNING: "yellow",
    Severity.UNKNOWN: "magenta",
    Severity.CRITICAL: "bold red",
}
WIDTH = max(map(len, Severity)) + 2
INDENT = 2


def list_findings(page: Page, findings: Iterable[Finding], *, quiet: bool = False) -> None:
    """Write findings, those of a host together.

    Args:
        page: where to.
        findings: in any order.
        quiet: leave out what is ok.
    """
    by_host: defaultdict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        if not (quiet and finding.severity is Severity.OK):
            by_host[finding.host or "the pin file"].append(finding)
    for host, some in by_host.items():
        page.line((host, "bold"))
        for finding in some:
            _write(page, finding)


def summary_of(findings: Iterable[Finding]) -> str:
    """One line: how many findings of each kind, the worst first."""
    counts = Counter(finding.severity for finding in findings)
    named = [
        f"{counts[each]} {each}{'s' if each is Severity.WARNING and counts[each] > 1 else ''}"
        for each in reversed(Severity)
        if counts[each]
    ]
    return ", ".join(named) or "nothing was checked"


def _write(page: Page, finding: Finding) -> None:
    where = f"{finding.where}: " if finding.where else ""
    page.line(
        (f"{finding.severity:<{WIDTH}}", STYLES[finding.severity]),
        f"{where}{finding.text}",
        (f"  ({finding.code})", "dim"),
        indent=INDENT,
    )
    if finding.advice:
        page.line(finding.advice, indent=INDENT + WIDTH)
