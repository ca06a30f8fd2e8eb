"""`keypin check`: a pin file against its servers, against itself, against what is to come."""

from __future__ import annotations

import re
import socket
import sys
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..checking.findings import Severity
from ..checking.judgement import Judge
from ..checking.lint import lint
from ..checking.live import Contexts, Manner, look_at
from ..checking.reports import (
    Report,
    finding_line,
    json_report,
    junit_report,
    prometheus_report,
    server_line,
    summary_line,
)
from ..checking.starttls import PORTS
from ..checking.targets import Where, targets_of
from ..errors import HostnameError
from ..hostnames import normalise
from .exit_codes import CommandError, ExitCode
from .files import read_pin_file, written_atomically
from .finding_lines import list_findings, summary_of
from .options import Cafile, Capath, Timeout, authority_errors
from .output import Page
from .progress import progress_of
from .rehearsals import rehearse_files
from .targets import Address

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..checking.findings import Finding
    from ..checking.live import Sighting
    from ..checking.targets import HostAndPort, Target
    from ..pin import Pin
    from ..pinfile import HostEntry

__all__ = ["EXAMPLES", "check"]

EXAMPLES = """
keypin check
keypin check api.example.com --cafile private-ca.pem
keypin check --also www.example.com --starttls mail.example.com=smtp
keypin check --lint --expires-within 60d --junit keypin.xml
keypin check --candidate new-chain.pem --at 2027-01-01 --against pins-6.toml
"""

DAYS = re.compile(r"([0-9]{1,5})d?")
MOST_WORKERS = 1000


def _days(text: str) -> timedelta:
    if (read := DAYS.fullmatch(text)) is None:
        raise typer.BadParameter(f"a number of days, such as 30d, not {text!r}")
    return timedelta(days=int(read[1]))


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or (moment.tzinfo is None and moment.time() != time.min):
        raise typer.BadParameter(
            f"a date, such as 2027-01-01, or a moment with its zone, not {text!r}"
        )
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def check(
    hosts: Annotated[
        list[str] | None, typer.Argument(metavar="[HOST[:PORT]...]", hidden=True)
    ] = None,
    pins: Annotated[Path, typer.Option("--pins", metavar="FILE", help="The pin file.")] = Path(
        "pins.toml"
    ),
    lint_only: Annotated[
        bool, typer.Option("--lint", help="Only read the file; no network.")
    ] = False,
    also: Annotated[
        list[str] | None,
        typer.Option(
            "--also",
            metavar="HOST[:PORT]",
            help="Check this host, too: one that a pattern such as *.example.com is for."
            " Repeatable.",
        ),
    ] = None,
    port: Annotated[
        list[str] | None,
        typer.Option(
            "--port",
            metavar="[HOST=]PORT",
            help="The TCP port of one host or all. Repeatable.",
        ),
    ] = None,
    starttls: Annotated[
        list[str] | None,
        typer.Option(
            "--starttls",
            metavar="[HOST=]PROTOCOL",
            help=f"Ask for TLS in this protocol, for one host or all: {', '.join(PORTS)}."
            " Repeatable.",
        ),
    ] = None,
    connect_to: Annotated[
        list[str] | None,
        typer.Option(
            "--connect-to",
            metavar="HOST=ADDRESS[:PORT]",
            help="Connect there instead of to the addresses of HOST. Repeatable.",
        ),
    ] = None,
    ipv4: Annotated[bool, typer.Option("-4", "--ipv4", help="Only IPv4 addresses.")] = False,
    ipv6: Annotated[bool, typer.Option("-6", "--ipv6", help="Only IPv6 addresses.")] = False,
    one_key: Annotated[
        bool,
        typer.Option(
            "--one-key",
            help="Look at the key that each server prefers, and do not ask for the other type (RSA"
            " or ECDSA).",
        ),
    ] = False,
    cafile: Cafile = None,
    capath: Capath = None,
    timeout: Timeout = 10.0,
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            metavar="NUMBER",
            min=1,
            max=MOST_WORKERS,
            help="How many connections at a time.",
        ),
    ] = 32,
    expires_within: Annotated[
        timedelta,
        typer.Option(
            "--expires-within",
            metavar="DAYS",
            parser=_days,
            help="Warn of pins and certificates that expire sooner.",
            show_default=False,
        ),
    ] = "30d",  # type: ignore[assignment]
    candidate: Annotated[
        list[Path] | None,
        typer.Option(
            "--candidate",
            metavar="FILE",
            help="Rehearse: would clients accept this chain, key, CSR or authority? No network."
            " Repeatable.",
        ),
    ] = None,
    at: Annotated[
        datetime | None,
        typer.Option("--at", metavar="DATE", parser=_moment, help="Rehearse for that day."),
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(
            "--against",
            metavar="FILE",
            help="Rehearse for clients with this older pin file, too. Repeatable.",
        ),
    ] = None,
    fail_on: Annotated[
        Literal["warning", "critical"],
        typer.Option("--fail-on", help="What is not ok; what is unknown never is."),
    ] = "warning",
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Do not list what is ok.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Write JSON Lines, each as soon as it is known.")
    ] = False,
    junit: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Write JUnit XML there, too.")
    ] = None,
    prometheus: Annotated[
        Path | None,
        typer.Option(
            "--prometheus",
            metavar="FILE",
            help="Write metrics for the textfile collector there, too.",
        ),
    ] = None,
) -> int:
    """Check a pin file against its servers and what is to come.

    Without HOST it checks all hosts of the file, at each of their addresses. It sends them
    nothing but the handshake.

    Exit codes: 0 ok, 1 warning, 2 critical, 3 unknown; unreachable is unknown.
    """
    _refuse_contradictions(
        {"--json": json_, "--jsonl": jsonl},
        {"--ipv4": ipv4, "--ipv6": ipv6},
        {"--candidate": bool(candidate), "--lint": lint_only},
    )
    if not candidate and (at is not None or against):
        raise CommandError(ExitCode.USAGE, "--at and --against are for --candidate")
    if candidate and capath is not None:
        raise CommandError(ExitCode.USAGE, "--capath is not for --candidate: use --cafile")
    named = [_host_and_port(text) for text in hosts or ()]
    more = [_host_and_port(text) for text in also or ()]
    where = Where(
        {host: _port(text) for host, text in map(_for_one_or_all, port or ())},
        {host: _protocol(text) for host, text in map(_for_one_or_all, starttls or ())},
        _addresses(connect_to or ()),
    )
    family = socket.AF_INET if ipv4 else socket.AF_INET6 if ipv6 else socket.AF_UNSPEC
    output = _Output(json=json_, jsonl=jsonl, quiet=quiet)
    inquiry = _Inquiry(output, Severity(fail_on))
    if candidate:
        cafiles = [cafile] if cafile is not None else []
        names = [host for host, _ in (*named, *more)]
        files = [pins, *(against or ())]
        inquiry.found(rehearse_files(candidate, files, names, at, cafiles))
    else:
        file = read_pin_file(pins)
        judge = Judge(file, inquiry.started, expires_within)
        if not lint_only:
            with authority_errors(cafile, capath):
                contexts = Contexts(cafile, capath)
            manner = Manner(timeout, workers, not one_key, family)
            targets = targets_of(file, where, named, more)
            _refuse_strangers(where, judge, targets)
            inquiry.look(judge, targets, contexts, manner)
            inquiry.found(judge.summing_up(whole_file=not named))
        only = [host for host, _ in (*named, *more)] if named else None
        inquiry.read(judge, _entries(judge, only), expires_within)
    report = inquiry.report()
    if junit is not None:
        _write(junit, junit_report(report))
    if prometheus is not None:
        _write(prometheus, prometheus_report(report).encode())
    output.end(report)
    return report.exit_code


class _Inquiry:
    """A check under way: what it has found so far."""

    def __init__(self, output: _Output, fail_on: Severity) -> None:
        self.started = datetime.now(UTC)
        self._output = output
        self._fail_on = fail_on
        self._findings: list[Finding] = []
        self._sightings: list[Sighting] = []
        self._entries: list[HostEntry] = []
        self._seen: dict[str, frozenset[Pin]] = {}

    def found(self, findings: Iterable[Finding]) -> None:
        """Keep findings."""
        for finding in findings:
            self._findings.append(finding)
            self._output.finding(finding)

    def look(
        self, judge: Judge, targets: Sequence[Target], contexts: Contexts, manner: Manner
    ) -> None:
        """Look at servers, and judge what they show."""
        due = []
        for target in targets:
            if (reason := judge.unnecessary(target)) is not None:
                self.found([reason])
            else:
                due.append(target)
        with progress_of("connections") as progress:
            for seen in look_at(due, contexts, manner, progress):
                for sighting in seen:
                    self._sightings.append(sighting)
                    self._output.server(sighting)
                    self.found(judge.judge(sighting))
        # they answered in an order of their own
        order = {target: number for number, target in enumerate(due)}
        self._sightings.sort(key=lambda each: (order[each.target], each.address or "", each.port))

    def read(self, judge: Judge, entries: list[HostEntry], expires_within: timedelta) -> None:
        """Look at the file itself."""
        self.found(lint(judge.file, self.started, expires_within, hosts=entries, seen=judge.seen))
        self._entries = entries
        for entry in entries:
            if (seen := judge.seen(entry)) is not None:
                self._seen[entry.name] = seen

    def report(self) -> Report:
        """All of it."""
        hosts = [each.target.host for each in self._sightings]
        hosts += [finding.host or "" for finding in self._findings]
        order = {host: number for number, host in reversed(list(enumerate(hosts)))}
        findings = sorted(
            self._findings, key=lambda each: (order[each.host or ""], each.where or "~")
        )
        return Report(
            self.started,
            datetime.now(UTC),
            findings,
            self._fail_on,
            self._sightings,
            self._seen,
            self._entries,
        )


@dataclass(frozen=True, slots=True)
class _Output:
    """Standard output in one of its three forms."""

    json: bool
    jsonl: bool
    quiet: bool

    def server(self, sighting: Sighting) -> None:
        """What a server showed, just now."""
        if self.jsonl:
            sys.stdout.write(server_line(sighting))

    def finding(self, finding: Finding) -> None:
        """A finding, just made."""
        if self.jsonl:
            sys.stdout.write(finding_line(finding))

    def end(self, report: Report) -> None:
        """The whole, or what is still to be said."""
        if self.jsonl:
            sys.stdout.write(summary_line(report))
        elif self.json:
            sys.stdout.write(json_report(report))
        else:
            page = Page()
            list_findings(page, report.findings, quiet=self.quiet)
            page.line(summary_of(report.findings))


def _entries(judge: Judge, hosts: Sequence[str] | None) -> list[HostEntry]:
    """The entries that decide on these hosts; those of the whole file if None."""
    if hosts is None:
        return [entry for entry in judge.file.hosts if not entry.exclude]
    found = {
        entry.name: entry
        for host in hosts
        if (entry := judge.entry_of(host)) is not None and not entry.exclude
    }
    return list(found.values())


def _write(path: Path, content: bytes) -> None:
    with written_atomically(path) as file:
        file.write(content)


def _refuse_contradictions(*alternatives: dict[str, bool]) -> None:
    for options in alternatives:
        if all(options.values()):
            raise CommandError(ExitCode.USAGE, f"{' or '.join(options)}, not both")


def _refuse_strangers(where: Where, judge: Judge, targets: Iterable[Target]) -> None:
    """Refuse to say how to connect to what is no host of the file, and so is most likely mistyped.

    Options may name hosts that this check leaves out, so that one set of them does for all checks.
    """
    known = {None, *(target.host for target in targets)}
    for option, hosts in (
        ("--port", where.ports),
        ("--starttls", where.starttls),
        ("--connect-to", where.addresses),
    ):
        for host in hosts:
            if host not in known and judge.entry_of(host or "") is None:
                raise CommandError(ExitCode.USAGE, f"{option}: {host} is in no entry of the file")


def _host_and_port(text: str) -> HostAndPort:
    """Read HOST[:PORT]; a port of None was not given."""
    address = Address.parse(text)
    if address.starttls is not None:
        raise CommandError(
            ExitCode.USAGE,
            f"{text}: STARTTLS is asked for by --starttls {address.host}={address.starttls}",
        )
    try:
        return normalise(address.host), address.port
    except HostnameError as error:
        raise CommandError(ExitCode.USAGE, str(error)) from None


def _for_one_or_all(text: str) -> tuple[str | None, str]:
    """Read [HOST=]VALUE."""
    host, equals, value = text.rpartition("=")
    if not equals:
        return None, value
    try:
        return normalise(host), value
    except HostnameError as error:
        raise CommandError(ExitCode.USAGE, str(error)) from None


def _port(text: str) -> int:
    if text.isascii() and text.isdecimal() and 0 < int(text) < 2**16:
        return int(text)
    raise CommandError(ExitCode.USAGE, f"not a port: {text!r} (--port)")


def _protocol(text: str) -> str:
    if text in PORTS:
        return text
    raise CommandError(
        ExitCode.USAGE, f"no such protocol: {text!r}; there are {', '.join(PORTS)} (--starttls)"
    )


def _addresses(texts: Sequence[str]) -> dict[str, list[HostAndPort]]:
    found: defaultdict[str, list[HostAndPort]] = defaultdict(list)
    for text in texts:
        host, address = _for_one_or_all(text)
        if host is None:
            raise CommandError(ExitCode.USAGE, f"not HOST=ADDRESS[:PORT]: {text!r} (--connect-to)")
        found[host].append(_host_and_port(address))
    return dict(found)
