"""Findings of a check as lines of text, host by host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..checking.findings import Severity, by_host, host_counts

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
    shown = [each for each in findings if not (quiet and each.severity is Severity.OK)]
    for host, some in by_host(shown).items():
        page.line((host, "bold"))
        for finding in some:
            _write(page, finding)


def summary_of(findings: Iterable[Finding]) -> str:
    """One line: how many hosts there are of each severity, the worst first."""
    counts = host_counts(findings)
    total = sum(counts.values())
    if not total:
        return "nothing was checked"
    named = [f"{counts[each]} {each}" for each in reversed(Severity) if counts[each]]
    return f"{total} host{'s' if total > 1 else ''}: {', '.join(named)}"


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
