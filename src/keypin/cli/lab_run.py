"""`keypin lab run`: a command as the client of every scenario, judged by what servers receive."""

from __future__ import annotations

import difflib
import json
import os
import shutil
import sys
from collections import defaultdict
from contextlib import ExitStack, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from ..lab import scenarios
from ..lab.assessment import NOT_PLAYED, WITHOUT_LOCAL_PROXY
from ..lab.command import places_in
from ..lab.presets import PRESETS, PresetError
from ..lab.reports import (
    harm_lines,
    harm_rank,
    json_report,
    junit_report,
    markdown_report,
    number_of,
    reasons_of,
    totals,
    unplayed,
    worst_of,
)
from ..lab.runner import ADDRESSES, controls_for, play, unmet_needs
from ..lab.stage import PLACES
from .demo import BAD, GOOD
from .durations import seconds
from .exit_codes import CommandError, ExitCode
from .files import refuse_other_name, written_atomically
from .lab_selection import (
    Group,
    Keys,
    Named,
    Protocol,
    Skipped,
    Tls,
    WithoutKeys,
    cases_of,
    kinds_of,
    refuse_unknown_claims,
    select,
)
from .output import Page
from .programs import explained
from .progress import progress_of
from .signals import signals_handled_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from ..lab import KeyKind, Scenario
    from ..lab.assessment import Played
    from ..lab.judge import Harm
    from ..lab.presets import Preset
    from ..lab.runner import Report, Verdict

__all__ = ["EXAMPLES", "SETTINGS", "run"]

EXAMPLES = """
keypin lab run -- curl -sS --pinnedpubkey {curl_pins} {url}
keypin lab run --client go
keypin lab run --group certificates --junit lab.xml -- ./client {url} {pin}
keypin lab run --scenario other-ca --tls 1.3 -- python client.py {url} {pins}
keypin lab run --protocol smtp -- python send_mail.py {host} {port}
"""

# what stands behind the command is the command's
SETTINGS = {"allow_interspersed_args": False}

UNCERTAIN = "bold yellow"
STYLES: dict[str, str] = {
    "right": GOOD,
    "wrong": BAD,
    "same fault": "red",
    "inconclusive": UNCERTAIN,
    "not played": UNCERTAIN,
    "unsupported": "yellow",
    "not claimed": "dim",
}
HARMFUL: dict[Harm, str] = {
    "application-bytes": "GOT BYTES",
    "client-certificate": "GOT CERTIFICATE",
    "hung": "HUNG",
    "success-reported": "right",
    "honest-server-refused": "REFUSED HONEST",
    "failure-reported": "SAID FAILURE",
}
"""What stands before a scenario in which a client did something wrong."""
STATE_WIDTH = 17
MOST_JOBS = 64
CLIENTS_JSON_VERSION = 1
VERDICTS: dict[Verdict, tuple[str, ExitCode, str]] = {
    "right": ("right", ExitCode.OK, GOOD),
    "bypassed": ("bypassed", ExitCode.BYPASSED, BAD),
    "refused": ("refused", ExitCode.CRITICAL, BAD),
    "inconclusive": ("inconclusive", ExitCode.INCONCLUSIVE, UNCERTAIN),
}


def run(
    command: Annotated[list[str] | None, typer.Argument(metavar="COMMAND...", hidden=True)] = None,
    client: Annotated[
        str | None,
        typer.Option(
            "--client",
            metavar="NAME",
            help="A common client in place of COMMAND, see --list-clients.",
        ),
    ] = None,
    list_clients: Annotated[
        bool,
        typer.Option("--list-clients", help="List the clients for --client, and how each is run."),
    ] = False,
    named: Named = None,
    skipped: Skipped = None,
    group: Group = None,
    protocol: Protocol = None,
    tls: Tls = None,
    keys: Keys = None,
    without_keys: WithoutKeys = None,
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
            help="The command heeds HTTPS_PROXY, and needs no {proxy}. Go's clients do not, for"
            " localhost.",
        ),
    ] = False,
    unclaimed: Annotated[
        list[str] | None,
        typer.Option(
            "--without-claim",
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
    {certificates} (a folder), {curl_pins}; {proxy}; {client_certificate}. What it does not know
    it refuses; {{name}} stands for {name} itself. Exits with 0: all came out right, 76: an attacker
    received something, 2: an honest server was refused, 75: inconclusive, 130: Ctrl-C, after it has
    shown and written what was played until then.
    """
    for path, kind, option in (
        (junit, "JUnit XML", "--junit"),
        (markdown, "Markdown", "--markdown"),
    ):
        if path is not None:
            refuse_other_name(path, kind, option)
    if list_clients:
        return _list_clients(as_json=json_)
    with ExitStack() as running:
        if (client is None) == (command is None):
            raise CommandError(
                ExitCode.USAGE,
                "what is to be attacked? One of: --client NAME, or -- COMMAND...\n"
                "Try: keypin lab run --help",
            )
        preset = None if client is None else _prepared(client, running)
        words = list(command or ()) if preset is None else list(preset.command)
        extra = () if preset is None else preset.with_certificate
        if preset is None:
            _refuse_useless(words)
        if protocol is None and named is None and group is None:
            protocol = "https"
        chosen = select(named, skipped, group, protocol)
        refuse_unknown_claims(unclaimed or ())
        takes_proxy = proxy_by_environment or (preset is not None and preset.takes_proxy)
        lacking = _lacking(chosen, [*words, *extra], {"proxy"} if takes_proxy else set())
        playable = [scenario for scenario in chosen if scenario not in lacking]
        cases = cases_of(playable, tls, kinds_of(keys, without_keys))
        cases = [*controls_for(cases, scenarios()), *cases]
        lines = _Lines()
        signals: list[int] = []
        try:
            # lines that come are progress enough, and would get into the bar's way
            with (
                # noted, so that no line is interrupted
                signals_handled_by(lambda number, frame: signals.append(number)),
                _bar(shown=json_ or not sys.stdout.isatty()) as progress,
            ):
                report = play(
                    cases,
                    words,
                    with_certificate=extra,
                    jobs=jobs or os.cpu_count() or 1,
                    timeout=timeout,
                    unclaimed={*(unclaimed or ()), *(preset.unclaimed if preset else ())},
                    inapplicable=lacking,
                    progress=progress,
                    tell=(lambda played: None) if json_ else lines.tell,
                    is_ended=lambda: bool(signals),
                )
        except OSError as error:
            raise explained(words[0], error) from None
    for path, content in ((junit, junit_report), (markdown, _markdown)):
        if path is not None:
            with written_atomically(path) as file:
                file.write(content(report))
    if json_:
        sys.stdout.write(json_report(report))
    else:
        lines.end(report)
    return ExitCode.INTERRUPTED if report.interrupted else VERDICTS[report.verdict][1]


def _bar(*, shown: bool) -> AbstractContextManager[Callable[[int, int], None]]:
    return progress_of("cases") if shown else nullcontext(lambda done, known: None)


def _list_clients(*, as_json: bool) -> ExitCode:
    if as_json:
        found = [
            {
                "client": preset.name,
                "about": preset.about,
                "compares": preset.compares,
                "needs": preset.needs(),
                "build": list(preset.build),
                "command": list(preset.command),
                "with_certificate": list(preset.with_certificate),
                "unclaimed": sorted(preset.unclaimed),
            }
            for preset in PRESETS.values()
        ]
        content = {"version": CLIENTS_JSON_VERSION, "clients": found}
        sys.stdout.write(json.dumps(content, indent=2) + "\n")
        return ExitCode.OK
    page = Page()
    width = max(map(len, PRESETS)) + 2
    for preset in PRESETS.values():
        page.line(f"{preset.about}; compares {preset.compares}", head=f"{preset.name:<{width}}")
        for line in preset.lines():
            page.verbatim(line, indent=width)
        if preset.unclaimed:
            page.line(f"does not claim {', '.join(sorted(preset.unclaimed))}", indent=width)
        if lacking := preset.needs():
            page.line(("not here", UNCERTAIN), f": it needs {lacking}", indent=width)
    return ExitCode.OK


def _prepared(name: str, running: ExitStack) -> Preset:
    """A preset, compiled where it has to be."""
    if name not in PRESETS:
        raise CommandError(
            ExitCode.USAGE, f"no such client: {name!r} (--client); there are {', '.join(PRESETS)}"
        )
    folder = Path(running.enter_context(TemporaryDirectory(prefix="keypin-lab-")))
    try:
        return PRESETS[name].prepared(folder)
    except PresetError as error:
        raise CommandError(ExitCode.CANNOT_RUN, str(error)) from None


def _lacking(
    chosen: Sequence[Scenario], words: Sequence[str], given: set[str]
) -> dict[Scenario, list[str]]:
    """The scenarios that the command has not all places for, and which it lacks."""
    lacking = {
        scenario: places for scenario in chosen if (places := unmet_needs(scenario, words, given))
    }
    if len(lacking) == len(chosen):
        missing = {place for places in lacking.values() for place in places}
        raise CommandError(
            ExitCode.USAGE, f"for these scenarios the command has no {_places(sorted(missing))}"
        )
    return lacking


def _refuse_useless(command: Sequence[str]) -> None:
    """Say what is wrong with the command once, and not in every case."""
    for name in sorted(places_in(command) - PLACES.keys()):
        close = difflib.get_close_matches(name.lower(), PLACES, n=1)
        hint = f" Did you mean {{{close[0]}}}?" if close else ""
        places = ", ".join(f"{{{place}}}" for place in PLACES)
        raise CommandError(
            ExitCode.USAGE,
            f"the command has {{{name}}}, which is no place.{hint}\n"
            f"There are {places}.\n"
            f"Where the program is to get {{{name}}} as it stands: {{{{{name}}}}}",
        )
    if not places_in(command) & ADDRESSES:
        raise CommandError(
            ExitCode.USAGE,
            "the command is not told where to connect: put {url}, or {host} and {port}, into it",
        )
    program = command[0]
    if shutil.which(program) is None and not os.path.exists(program):
        raise explained(program, FileNotFoundError())


def _markdown(report: Report) -> bytes:
    return markdown_report(report).encode()


class _Lines:
    """What came of the scenarios, for people, one after the other."""

    def __init__(self) -> None:
        self._page = Page()
        self._group: str | None = None

    def tell(self, played: list[Played]) -> None:
        """Show a scenario: a line, and one for what did not come out right."""
        some = [it for it in played if it.state != "not played"]
        if not some:
            return  # told at the end
        scenario = some[0].case.scenario
        if scenario.group != self._group:
            if self._group is not None:
                self._page.line()
            self._group = scenario.group
            self._page.line((scenario.group, "bold"))
        _show_scenario(self._page, scenario, some)

    def end(self, report: Report) -> None:
        """Show what is to be said of all of them together."""
        page = self._page
        if self._group is not None:
            page.line()
        if report.inapplicable:
            page.line(("not applicable", "bold"))
            grouped: defaultdict[str, list[str]] = defaultdict(list)
            for scenario, lacking in report.inapplicable.items():
                grouped[_places(lacking)].append(scenario.identifier)
            for places, left_out in grouped.items():
                page.line(", ".join(left_out), indent=2, head=f"without {places}: ")
            page.line()
        if not_played := unplayed(report):
            page.line((NOT_PLAYED, UNCERTAIN))
            for why, scenarios_left in not_played.items():
                page.line(why.removeprefix(f"{NOT_PLAYED}: "), indent=2)
                page.line(", ".join(it.identifier for it in scenarios_left), indent=4)
            page.line()
        _show_output(page, report)
        _show_verdict(page, report)


def _show_scenario(page: Page, scenario: Scenario, played: list[Played]) -> None:
    worst = worst_of(played)
    attempts = sum(it.judgement.attempts for it in played)
    unsupported = [it for it in played if it.state == "unsupported"]
    lost = f", {len(unsupported)} unsupported" if 0 < len(unsupported) < len(played) else ""
    numbers = f"{number_of(len(played), 'case')}{lost}, {number_of(attempts, 'attempt')}"
    page.line(
        (f"{_word(worst):<{STATE_WIDTH}}", STYLES[worst.state]),
        f"{scenario.identifier}: must {scenario.expected}  ",
        (f"({numbers})", "dim"),
        indent=2,
    )
    failed = [it for it in played if it.state not in ("right", "unsupported")]
    if scenario.control or len(unsupported) == len(played):
        failed += unsupported  # elsewhere it is the same again
    if failed:
        claims = ", ".join(sorted(scenario.claims))
        asks = f" It asks for {claims} (--without-claim)." if claims else ""
        page.line(f"{scenario.story}{asks}", indent=2 + STATE_WIDTH)
    for reasons, alike in _by_reasons(failed).items():
        head = f"{_variants(alike, played)}: "
        page.line("; ".join(reasons), indent=2 + STATE_WIDTH, head=head)


def _word(played: Played) -> str:
    """What to call it: the harm, where the client has done any."""
    if played.state != "wrong" or played.harm is None:
        return played.state
    return HARMFUL[played.harm]


def _by_reasons(played: Iterable[Played]) -> dict[tuple[str, ...], list[Played]]:
    found: defaultdict[tuple[str, ...], list[Played]] = defaultdict(list)
    for it in played:
        found[reasons_of(it)].append(it)
    return found


def _variants(some: list[Played], of: list[Played]) -> str:
    if len(some) == len(of) > 1:
        return "in all cases"
    return ", ".join(f"TLS {it.case.tls} with {it.case.key}" for it in some)


def _show_output(page: Page, report: Report) -> None:
    """What the command wrote in the first case that is to blame for the verdict."""
    blamed = [it for it in report.played if it.state in ("wrong", "inconclusive") and it.runs]
    blamed.sort(key=lambda it: (not it.is_control, harm_rank(it.harm)))
    for it in blamed[:1]:
        lines = it.runs[-1].output
        if lines:
            page.line(f"What the command wrote in {it.case}, at the end:")
            for line in lines:
                page.line((line, "dim"), indent=2)
            page.line()


def _show_verdict(page: Page, report: Report) -> None:
    word, _, style = VERDICTS[report.verdict]
    if report.interrupted and report.verdict == "inconclusive":
        word = "interrupted"
    page.line((word.upper(), style), f": {totals(report)}")
    for line in harm_lines(report):
        page.line(line, indent=2)
    for line in _conclusions(report):
        page.line(line, indent=2)


def _conclusions(report: Report) -> Iterator[str]:
    """What the verdict means, and what to do."""
    if report.verdict == "refused":
        yield "The client refuses an honest server: its users would be locked out."
    controls = [it for it in report.played if it.is_control]
    failed = [it for it in controls if it.state in ("wrong", "inconclusive")]
    if failed and any(it.outcome == "right" for it in controls):
        yield (
            f"The client does not get through to an honest server in"
            f" {', '.join(str(it.case) for it in failed)}: what it rejects there proves nothing."
            " --tls and --without-key leave out what it need not support."
        )
    elif failed:
        yield (
            "The client could not even reach the honest server, so that its rejections prove"
            " nothing. It has to trust the authorities in {cafile} (SSL_CERT_FILE and the like name"
            " them, too), to pin {pin} or what else stands for it, to send a request to {url}, and"
            " to exit with 0 when that is answered."
        )
    for kind, versions in _unsupported_keys(report).items():
        yield (
            f"The client does not support keys of the kind {kind} (TLS {' and '.join(versions)}):"
            f" a server with such a key would lock it out. --without-key {kind} leaves them out."
        )
    if any(WITHOUT_LOCAL_PROXY in it.judgement.reasons for it in report.played):
        yield (
            "The client takes no proxy from the environment for this machine's own names, as Go"
            " does not: tell it the proxy by {proxy}, or leave these scenarios out."
        )


def _unsupported_keys(report: Report) -> dict[KeyKind, list[str]]:
    """The kinds of key that the client does not support, and in which TLS versions."""
    found: dict[KeyKind, list[str]] = {}
    for it in report.played:
        if it.is_control and it.state == "unsupported":
            versions = found.setdefault(it.case.key, [])
            versions += [it.case.tls] * (it.case.tls not in versions)
    return found


def _places(names: Iterable[str]) -> str:
    return " and no ".join(f"{{{name}}}" for name in names)
