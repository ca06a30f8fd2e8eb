"""`keypin check`: a pin file against its servers, against itself, against what is to come."""

from __future__ import annotations

import socket
import sys
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..checking.findings import Finding, Severity
from ..checking.judgement import Code, FileChecker
from ..checking.lint import lint
from ..checking.live import Contexts, ScanOptions, scan
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
from ..checking.targets import ConnectOptions, targets_of
from ..errors import HostnameError
from ..hostnames import normalise
from .durations import duration
from .exit_codes import CommandError, ExitCode
from .files import PROMETHEUS, read_pin_file, refuse_other_name, written_atomically
from .finding_lines import list_findings, summary_of
from .options import Cafile, Capath, StrictX509, Timeout, authority_errors, trust_store
from .output import Page, complain
from .progress import progress_of
from .rehearsals import rehearse_files
from .targets import Address

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..checking.live import ScanResult
    from ..checking.targets import HostAndPort, Target
    from ..pin import Pin
    from ..pinfile import HostEntry

__all__ = ["EXAMPLES", "check"]

EXAMPLES = """
keypin check
keypin check api.example.com --cafile private-ca.pem
keypin check --extra-host www.example.com --starttls mx.example.com=smtp
keypin check --lint --expires-within 60d --junit keypin.xml
keypin check --candidate new.pem --at 2027-01-01 --older-pins pins-6.toml
"""

MOST_WORKERS = 1000
MOST_CONNECTIONS = 1000


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
        bool, typer.Option("--lint", help="Look for faults in the pin file alone; no network.")
    ] = False,
    also: Annotated[
        list[str] | None,
        typer.Option(
            "--extra-host",
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
    repeat: Annotated[
        int,
        typer.Option(
            "--repeat",
            metavar="NUMBER",
            min=1,
            max=MOST_CONNECTIONS,
            help="Connect so often to each address: a load balancer may have servers with different"
            " keys behind it.",
        ),
    ] = 3,
    cafile: Cafile = None,
    capath: Capath = None,
    strict_x509: StrictX509 = None,
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
            metavar="TIME",
            parser=duration,
            help="Warn of pins and certificates that expire sooner: 30d unless given, or 6w,"
            " 48h; 30 is 30d.",
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
        typer.Option(
            "--at",
            metavar="DATE",
            parser=_moment,
            help="With --candidate: on that day, such as 2027-01-01; now unless given.",
        ),
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(
            "--older-pins",
            metavar="FILE",
            help="With --candidate: for clients that still carry this pin file, too. Repeatable.",
        ),
    ] = None,
    fail_on: Annotated[
        Literal["warning", "critical"],
        typer.Option(
            "--fail-on",
            help="From what on the exit code is not 0. With critical, warnings are listed, and the"
            " code is 0; what is unknown is 3 with either.",
        ),
    ] = "warning",
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Do not list what is ok.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Write JSON instead of text.")] = False,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Write JSON Lines instead, each as soon as it is known.")
    ] = False,
    junit: Annotated[
        Path | None,
        typer.Option("--junit", metavar="FILE", help="Write JUnit XML there, too (.xml)."),
    ] = None,
    prometheus: Annotated[
        Path | None,
        typer.Option(
            "--prometheus",
            metavar="FILE",
            help="Write metrics for the textfile collector there, too (.prom).",
        ),
    ] = None,
) -> int:
    """Check a pin file against its servers and what is to come.

    Without HOST, all hosts of the file are checked, at each of their addresses. Servers get
    handshakes and nothing else. With --candidate nothing is connected to: it tells whether clients
    would accept a certificate or key that no server shows yet.

    Exit codes: 0 all is well; 1 warning, it works today; 2 critical, clients are refused or not
    protected; 3 unknown, such as a host that cannot be reached; 130 Ctrl-C.
    """
    _refuse_contradictions(
        {"--json": json_, "--jsonl": jsonl},
        {"--ipv4": ipv4, "--ipv6": ipv6},
        {"--candidate": bool(candidate), "--lint": lint_only},
    )
    if not candidate and (at is not None or against):
        raise CommandError(ExitCode.USAGE, "--at and --older-pins are for --candidate")
    if candidate and capath is not None:
        raise CommandError(ExitCode.USAGE, "--capath is not for --candidate: use --cafile")
    for path, kind, option in (
        (junit, "JUnit XML", "--junit"),
        (prometheus, PROMETHEUS, "--prometheus"),
    ):
        if path is not None:
            refuse_other_name(path, kind, option)
    named = [_host_and_port(text) for text in hosts or ()]
    more = [_host_and_port(text) for text in also or ()]
    where = ConnectOptions(
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
        inquiry.found(rehearse_files(candidate, files, names, at, cafiles, strict_x509))
    else:
        file = read_pin_file(pins)
        store = None
        if not lint_only:
            with authority_errors(cafile, capath):
                contexts = Contexts(cafile, capath, strict_x509=strict_x509)
            store = trust_store(cafile, capath)
        judge = FileChecker(file, inquiry.started, expires_within, store, strict_x509)
        if not lint_only:
            options = ScanOptions(timeout, workers, not one_key, repeat, family)
            targets = targets_of(file, where, named, more)
            _refuse_strangers(where, judge, targets)
            inquiry.look(judge, targets, contexts, options)
        if not inquiry.interrupted:
            if not lint_only:
                inquiry.found(judge.summing_up(whole_file=not named))
            only = [host for host, _ in (*named, *more)] if named else None
            inquiry.read(judge, _entries(judge, only), expires_within)
    report = inquiry.report()
    if inquiry.interrupted:
        output.end(report)
        unwritten = [str(path) for path in (junit, prometheus) if path is not None]
        complain(f"interrupted{_listed_as_unwritten(unwritten)}")
        return report.exit_code
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
        self._sightings: list[ScanResult] = []
        self._entries: list[HostEntry] = []
        self._seen: dict[str, frozenset[Pin]] = {}
        self.interrupted = False

    def found(self, findings: Iterable[Finding]) -> None:
        """Keep findings."""
        for finding in findings:
            self._findings.append(finding)
            self._output.finding(finding)

    def look(
        self,
        judge: FileChecker,
        targets: Sequence[Target],
        contexts: Contexts,
        options: ScanOptions,
    ) -> None:
        """Look at servers, and judge what they show; Ctrl-C ends it, and what is known stays."""
        due: list[Target] = []
        for target in targets:
            if (reason := judge.unnecessary(target)) is not None:
                self.found([reason])
            else:
                due.append(target)
        try:
            with progress_of("hosts") as progress:
                for seen in scan(due, contexts, options, progress):
                    for result in seen:
                        self._output.server(result)
                        self.found(judge.judge(result))
                    self.found(judge.compare(seen))
                    self._sightings += seen
        except KeyboardInterrupt:
            self.interrupted = True
            self.found(_not_reached(target) for target in due if not self._is_known(target))
        # they answered in an order of their own
        order = {target: number for number, target in enumerate(due)}
        self._sightings.sort(key=lambda each: (order[each.target], each.address or "", each.port))

    def _is_known(self, target: Target) -> bool:
        """Whether all addresses of a server have answered, or failed."""
        seen = [each for each in self._sightings if each.target == target]
        return bool(seen) and len({(each.address, each.port) for each in seen}) >= max(
            each.addresses for each in seen
        )

    def read(self, judge: FileChecker, entries: list[HostEntry], expires_within: timedelta) -> None:
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
            self.interrupted,
        )


@dataclass(frozen=True, slots=True)
class _Output:
    """Standard output in one of its three forms."""

    json: bool
    jsonl: bool
    quiet: bool

    def server(self, result: ScanResult) -> None:
        """What a server showed, just now."""
        if self.jsonl:
            sys.stdout.write(server_line(result))

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


def _entries(judge: FileChecker, hosts: Sequence[str] | None) -> list[HostEntry]:
    """The entries that decide on these hosts; those of the whole file if None."""
    if hosts is None:
        return [entry for entry in judge.file.hosts if not entry.exclude]
    found = {
        entry.name: entry
        for host in hosts
        if (entry := judge.entry_of(host)) is not None and not entry.exclude
    }
    return list(found.values())


def _not_reached(target: Target) -> Finding:
    text = "the check was interrupted before all addresses of this host had answered"
    return Finding(Severity.UNKNOWN, Code.NOT_CHECKED, target.host, text, f"port {target.port}")


def _listed_as_unwritten(paths: Sequence[str]) -> str:
    return f"; not written: {', '.join(paths)}" if paths else ""


def _write(path: Path, content: bytes) -> None:
    with written_atomically(path) as file:
        file.write(content)


def _refuse_contradictions(*alternatives: dict[str, bool]) -> None:
    for options in alternatives:
        if all(options.values()):
            raise CommandError(ExitCode.USAGE, f"{' or '.join(options)}, not both")


def _refuse_strangers(where: ConnectOptions, judge: FileChecker, targets: Iterable[Target]) -> None:
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
    if text.lower().endswith((".toml", ".json")):
        raise CommandError(ExitCode.USAGE, f"{text} is no host: a pin file is named by --pins")
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
