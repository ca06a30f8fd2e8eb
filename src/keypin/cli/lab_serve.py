"""`keypin lab serve`: the servers of the scenarios, kept up for a phone or a browser."""

from __future__ import annotations

import errno
import signal
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import HostnameError
from ..lab import scenarios
from ..lab.cast import ADDRESS, HOST, Cast, is_address
from ..lab.live import Changes, LiveLab
from ..lab.live_page import StatusPage
from ..lab.runner import controls_for
from .exit_codes import CommandError, ExitCode
from .lab_events import JsonEvents, TextEvents
from .lab_run import VERDICTS
from .lab_selection import KEYS, Group, KeyName, Named, Protocol, Skipped, select
from .signals import signals_handled_by

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..lab import Case, KeyKind, Scenario
    from .lab_events import Events

__all__ = ["EXAMPLES", "serve"]

EXAMPLES = """
keypin lab serve
keypin lab serve --group redirects --key rsa
keypin lab serve --host 192.168.1.5
keypin lab serve --host lab.example --address 192.168.1.5 --page-port 8080
"""
GLANCE = 0.25  # seconds between two looks at what has come
MANY_FILES = 8192


def serve(
    named: Named = None,
    skipped: Skipped = None,
    group: Group = None,
    protocol: Protocol = None,
    tls: Annotated[
        Literal["1.2", "1.3"] | None,
        typer.Option("--tls", help="Only in this TLS version; 1.3 where it can be, unless given."),
    ] = None,
    key: Annotated[
        KeyName,
        typer.Option("--key", help="The kind of the servers' keys."),
    ] = "ecdsa",
    host: Annotated[
        str | None,
        typer.Option(
            "--host", metavar="NAME|ADDRESS", help="What clients call the servers; localhost."
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option("--address", metavar="IP", help="Where the servers listen; 127.0.0.1."),
    ] = None,
    page_port: Annotated[
        int,
        typer.Option(
            "--page-port",
            metavar="NUMBER",
            min=0,
            max=65535,
            help="The port of the page; a free one unless given.",
        ),
    ] = 0,
    json_: Annotated[
        bool,
        typer.Option("--json", help="Write JSON: a line for the list, and one for each event."),
    ] = False,
) -> ExitCode:
    """Keep the lab's servers up, for a phone or a browser.

    Each scenario is played in one case, all with the same authorities and the same pinned key. The
    list says what to call, what the client is to trust and to pin, and where the page is; then
    there is a line whenever something has come to a server, until Ctrl-C. Of the protocols it is
    https, unless options say otherwise. Exits with 0: all that was called came out right, 76: an
    attacker received something, 2: an honest server was refused, 75: inconclusive.
    """
    if protocol is None and named is None and group is None:
        protocol = "https"
    kind = KEYS[key][0]
    cases, left_out = _cases(select(named, skipped, group, protocol), tls, kind)
    cast = _cast(kind, host, address)
    show: Events = JsonEvents() if json_ else TextEvents()
    _allow_many_files()
    asked_to_end: list[int] = []

    def end_if_asked() -> None:
        if asked_to_end:
            raise KeyboardInterrupt

    with ExitStack() as running:
        running.enter_context(signals_handled_by(signal.default_int_handler))
        try:
            # noted, so that no folder or socket is made and then nobody's
            with signals_handled_by(lambda number, frame: asked_to_end.append(number)):
                lab = running.enter_context(LiveLab(cases, cast, end_if_asked))
                left_out |= {case.scenario.identifier: why for case, why in lab.unavailable.items()}
                page = running.enter_context(StatusPage(lab, left_out, page_port))
            end_if_asked()
        except OSError as error:
            advice = "It must be an address of this machine, and the port of the page must be free."
            if error.errno == errno.EMFILE:
                advice = "Choose fewer scenarios, or allow more open files: ulimit -n."
            raise CommandError(
                ExitCode.USAGE,
                f"cannot listen at {cast.address}: {error.strerror or error}\n{advice}",
            ) from None
        _watch(lab, page, left_out, show)
        report = lab.report()
    verdict = lab.verdict(report)
    show.end(lab, verdict, report)
    return VERDICTS[verdict][1]


def _cases(
    chosen: Sequence[Scenario], tls: Literal["1.2", "1.3"] | None, kind: KeyKind
) -> tuple[list[Case], dict[str, str]]:
    """One case for each scenario, and why there is none."""
    cases: list[Case] = []
    left_out: dict[str, str] = {}
    for scenario in chosen:
        variants = list(scenario.cases(tls, kind))
        if variants:
            cases.append(next((it for it in variants if it.tls == "1.3"), variants[0]))
        elif kind not in scenario.keys:
            left_out[scenario.identifier] = f"not with keys of the kind {kind}"
        else:
            left_out[scenario.identifier] = f"not in TLS {tls}"
    if not cases:
        why = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise CommandError(ExitCode.USAGE, f"none of these scenarios can be played: {why}")
    scenarios_played = {case.scenario for case in cases}
    controls = {
        case.scenario: case
        for case in controls_for(cases, scenarios())
        if case.scenario not in scenarios_played
    }
    return [*controls.values(), *cases], left_out


def _cast(kind: KeyKind, host: str | None, address: str | None) -> Cast:
    """Who appears, by the name and at the address that options name."""
    if host is None:
        host = HOST if address is None else address
    if address is None:
        if not is_address(host.strip("[]")) and host.lower() != HOST:
            raise CommandError(
                ExitCode.USAGE,
                f"--host {host} needs --address: the IP address of this machine to listen at",
            )
        address = ADDRESS if host.lower() == HOST else host.strip("[]")
    try:
        return Cast(kind, host, address)
    except (HostnameError, ValueError) as error:
        raise CommandError(ExitCode.USAGE, f"--host, --address: {error}") from None


def _watch(lab: LiveLab, page: StatusPage, left_out: dict[str, str], show: Events) -> None:
    """Tell what there is and what comes, until Ctrl-C."""
    changes = Changes(lab)
    received: list[int] = []
    # noted, so that no line is interrupted
    with signals_handled_by(lambda number, frame: received.append(number)):
        show.begin(lab, page, left_out)
        while not received:
            time.sleep(GLANCE)
            for case, standing in changes.settled(at_once=bool(received)):
                show.event(lab, case, standing)


def _allow_many_files() -> None:
    """Some hundred servers need more open files than many systems allow unless asked."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MANY_FILES if hard == resource.RLIM_INFINITY else min(MANY_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
