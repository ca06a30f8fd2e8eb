"""`keypin lab run`: a command as the client of every scenario, judged by what servers receive."""

from __future__ import annotations

import difflib
import os
import shutil
import sys
from collections import defaultdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..lab import scenarios
from ..lab.command import places_in
from ..lab.reports import (
    WORST_FIRST,
    by_scenario,
    json_report,
    junit_report,
    markdown_report,
)
from ..lab.runner import ADDRESSES, controls_for, play, unmet_needs
from ..lab.stage import PLACES
from .demo import BAD, GOOD
from .durations import seconds
from .exit_codes import CommandError, ExitCode
from .files import refuse_other_name, written_atomically
from .lab_selection import (
    Group,
    Key,
    Named,
    Protocol,
    Skipped,
    Tls,
    cases_of,
    refuse_unknown_claims,
    select,
)
from .output import Page
from .programs import explained
from .progress import progress_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ..lab import Scenario
    from ..lab.runner import Played, Report, Verdict

__all__ = ["EXAMPLES", "SETTINGS", "run"]

EXAMPLES = """
keypin lab run -- curl -sS --pinnedpubkey {curl_pins} {url}
keypin lab run --group certificates --junit lab.xml -- ./client {url} {pin}
keypin lab run --scenario other-ca --tls 1.3 -- python client.py {url} {pins}
keypin lab run --protocol smtp -- python send_mail.py {host} {port}
"""

# what stands behind the command is the command's
SETTINGS = {"allow_interspersed_args": False}

UNCERTAIN = "bold yellow"
STYLES = {"right": GOOD, "wrong": BAD, "inconclusive": UNCERTAIN, "not claimed": "dim"}
STATE_WIDTH = 14
MOST_JOBS = 64
VERDICTS: dict[Verdict, tuple[str, ExitCode, str]] = {
    "right": ("right", ExitCode.OK, GOOD),
    "bypassed": ("wrong", ExitCode.BYPASSED, BAD),
    "refused": ("wrong", ExitCode.CRITICAL, BAD),
    "inconclusive": ("inconclusive", ExitCode.INCONCLUSIVE, UNCERTAIN),
}


def run(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND...", hidden=True)],
    named: Named = None,
    skipped: Skipped = None,
    group: Group = None,
    protocol: Protocol = None,
    tls: Tls = None,
    key: Key = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            metavar="NUMBER",
            min=1,
            max=MOST_JOBS,
            help="How many commands at a time; one for each processor unless given.",
        ),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            help="End a command that takes longer; one that hangs is wrong.",
            parser=seconds,
        ),
    ] = 30.0,
    proxy_by_environment: Annotated[
        bool,
        typer.Option(
            "--proxy-by-environment",
            help="The command heeds HTTPS_PROXY, and needs no {proxy}.",
        ),
    ] = False,
    disclaimed: Annotated[
        list[str] | None,
        typer.Option(
            "--disclaim",
            metavar="CLAIM",
            help="The client does not claim to do this; what comes of it does not count."
            " Repeatable.",
        ),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
    junit: Annotated[
        Path | None,
        typer.Option("--junit", metavar="FILE", help="Write JUnit XML there, too (.xml)."),
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option(
            "--markdown", metavar="FILE", help="Write a table in Markdown there, too (.md)."
        ),
    ] = None,
) -> ExitCode:
    """Attack a program, and judge it by what servers receive.

    COMMAND is run for each scenario of the catalogue, in each TLS version and with each kind of
    key in which it can come out differently; of the protocols for https, unless options say
    otherwise. It is told what to do by the places {url}, {second_url}, {host}, {port}, {address};
    {cafile}, also in SSL_CERT_FILE and the like; {pin}, {pins} (a pin file), {certificate} (DER),
    {certificates} (a folder), {curl_pins}; {proxy}; {client_certificate}. Exits with 0: all came
    out right, 76: an attacker received something, 2: an honest server was refused, 75:
    inconclusive.
    """
    _refuse_useless(command)
    for path, kind, option in (
        (junit, "JUnit XML", "--junit"),
        (markdown, "Markdown", "--markdown"),
    ):
        if path is not None:
            refuse_other_name(path, kind, option)
    if protocol is None and named is None and group is None:
        protocol = "https"
    chosen = select(named, skipped, group, protocol)
    refuse_unknown_claims(disclaimed or ())
    given = {"proxy"} if proxy_by_environment else set()
    lacking = {
        scenario: places for scenario in chosen if (places := unmet_needs(scenario, command, given))
    }
    playable = [scenario for scenario in chosen if scenario not in lacking]
    if not playable:
        missing = {place for places in lacking.values() for place in places}
        raise CommandError(
            ExitCode.USAGE, f"for these scenarios the command has no {_places(sorted(missing))}"
        )
    cases = cases_of(playable, tls, key)
    cases = [*controls_for(cases, scenarios()), *cases]
    try:
        with progress_of("cases") as progress:
            report = play(
                cases,
                command,
                jobs=jobs or os.cpu_count() or 1,
                timeout=timeout,
                disclaimed=disclaimed or (),
                inapplicable=lacking,
                progress=progress,
            )
    except OSError as error:
        raise explained(command[0], error) from None
    for path, content in ((junit, junit_report), (markdown, _markdown)):
        if path is not None:
            with written_atomically(path) as file:
                file.write(content(report))
    if json_:
        sys.stdout.write(json_report(report))
    else:
        _show(report)
    return VERDICTS[report.verdict][1]


def _refuse_useless(command: Sequence[str]) -> None:
    """Say what is wrong with the command once, and not in every case."""
    if not places_in(command) & ADDRESSES:
        raise CommandError(
            ExitCode.USAGE,
            "the command is not told where to connect: put {url}, or {host} and {port}, into it",
        )
    for name in sorted(places_in(command) - PLACES.keys()):
        for close in difflib.get_close_matches(name, PLACES, n=1, cutoff=0.8):
            raise CommandError(
                ExitCode.USAGE, f"the command has {{{name}}}; did you mean {{{close}}}?"
            )
    program = command[0]
    if shutil.which(program) is None and not os.path.exists(program):
        raise explained(program, FileNotFoundError())


def _markdown(report: Report) -> bytes:
    return markdown_report(report).encode()


def _show(report: Report) -> None:
    page = Page()
    for group, members in groupby(by_scenario(report.played), lambda it: it[0].group):
        page.line((group, "bold"))
        for scenario, played in members:
            _show_scenario(page, scenario, played)
        page.line()
    if report.inapplicable:
        page.line(("not applicable", "bold"))
        grouped: defaultdict[str, list[str]] = defaultdict(list)
        for scenario, lacking in report.inapplicable.items():
            grouped[_places(lacking)].append(scenario.identifier)
        for places, left_out in grouped.items():
            page.line(", ".join(left_out), indent=2, head=f"without {places}: ")
        page.line()
    _show_output(page, report)
    _show_verdict(page, report)


def _show_scenario(page: Page, scenario: Scenario, played: list[Played]) -> None:
    """One line, and one for each case that did not come out right."""
    worst = next(state for state in WORST_FIRST if any(it.state == state for it in played))
    attempts = sum(it.judgement.attempts for it in played)
    numbers = f"{_number(len(played), 'case')}, {_number(attempts, 'attempt')}"
    style = STYLES[worst]
    page.line(
        (f"{worst.upper() if style == BAD else worst:<{STATE_WIDTH}}", style),
        f"{scenario.identifier}: must {scenario.expected}  ",
        (f"({numbers})", "dim"),
        indent=2,
    )
    failed = [it for it in played if it.state != "right"]
    if failed:
        claims = ", ".join(sorted(scenario.claims))
        asks = f" It asks for {claims} (--disclaim)." if claims else ""
        page.line(f"{scenario.story}{asks}", indent=2 + STATE_WIDTH)
    for reasons, alike in _by_reasons(failed).items():
        head = f"{_variants(alike, played)}: "
        page.line("; ".join(reasons), indent=2 + STATE_WIDTH, head=head)


def _by_reasons(played: Iterable[Played]) -> dict[tuple[str, ...], list[Played]]:
    found: defaultdict[tuple[str, ...], list[Played]] = defaultdict(list)
    for it in played:
        found[it.judgement.reasons].append(it)
    return found


def _variants(some: list[Played], of: list[Played]) -> str:
    if len(some) == len(of) > 1:
        return "in all cases"
    return ", ".join(f"TLS {it.case.tls} with {it.case.key}" for it in some)


def _show_output(page: Page, report: Report) -> None:
    """What the command wrote in the first case that is to blame for the verdict."""
    blamed = [it for it in report.played if it.state in ("wrong", "inconclusive") and it.runs]
    blamed.sort(key=lambda it: not it.is_control)
    for it in blamed[:1]:
        lines = it.runs[-1].output
        if lines:
            page.line(f"What the command wrote in {it.case}, at the end:")
            for line in lines:
                page.line((line, "dim"), indent=2)
            page.line()


def _show_verdict(page: Page, report: Report) -> None:
    word, _, style = VERDICTS[report.verdict]
    counts = ", ".join(f"{report.counts[it]} {it}" for it in WORST_FIRST if report.counts[it])
    page.line((word.upper(), style), f": {_number(len(report.played), 'case')}: {counts}")
    for line in _conclusions(report):
        page.line(line, indent=2)


def _conclusions(report: Report) -> Iterator[str]:
    """What the verdict means, and what to do."""
    if report.verdict == "bypassed":
        yield "An attacker received something of the client, or it hung: see WRONG above."
    if report.verdict == "refused":
        yield "The client refuses an honest server: its users would be locked out."
    if any(it.is_control and it.outcome != "right" for it in report.played):
        yield (
            "The client could not even reach the honest server, so that its rejections prove"
            " nothing. It has to trust the authorities in {cafile} (SSL_CERT_FILE and the like name"
            " them, too), to pin {pin} or what else stands for it, to send a request to {url}, and"
            " to exit with 0 when that is answered."
        )
    if any(
        it.outcome == "right"
        and it.case.scenario.expected == "reject"
        and it.runs
        and it.runs[-1].exit_code == 0
        for it in report.played
    ):
        yield "Where it was refused, its exit code was 0 all the same: does it notice that?"


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _places(names: Iterable[str]) -> str:
    return " and no ".join(f"{{{name}}}" for name in names)
