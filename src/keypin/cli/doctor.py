"""`keypin doctor`: whether a program sends anything to a server without the pinned key."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import KeypinError
from ..lab.command import Commands, Ended, fill, places_in
from ..pinset import PinSet
from ..startup import commands, inheritance
from ..testing import Inconclusive
from ..testing.trial import OWN_CHECK_PASSED, bypass_report, new_trial
from .demo import BAD, GOOD, TlsVersion
from .durations import seconds
from .exit_codes import CommandError, ExitCode
from .files import read_pin_file
from .output import Page
from .programs import explained

if TYPE_CHECKING:
    from ..testing import LocalServer
    from ..testing.trial import Trial, Visit

__all__ = ["EXAMPLES", "SETTINGS", "doctor"]

Way = Literal["injected", "environment", "told", "not told"]

EXAMPLES = """
keypin doctor -- python my_client_check.py --pins {pins} {url}
keypin doctor --tls 1.2 -- ./client --pin {pin} --ca {cafile} {host}:{port}
keypin doctor -- keypin run --pins {pins} -- python -m app {url}
keypin doctor --inject -- python -m app {url}
"""

# what stands behind the command is the command's
SETTINGS = {"allow_interspersed_args": False}

ADDRESSES = {"url", "port"}
TELLING_THE_KEY = {"pin", "pins", "certificate"}
NOT_COVERED = (
    "keypin run covers what uses Python's ssl, in CPython. Other clients are pinned by their own",
    "settings, and tested without --inject.",
)
NOT_TOLD = (
    "It was told no pin of the test's, and pins for other hosts do not hold for localhost. Tell it",
    "in the way in which it learns its own: {pins} (a pin file), {pin} or {certificate} in its",
    "words, or `keypin run --pins {pins} --` before them.",
)
OTHER_QUESTION = "Whether keypin run can pin it is told by keypin doctor --inject."
BY_ENVIRONMENT = f"It is pinned by {inheritance.PINS} in the environment of keypin doctor"
UNCERTAIN = "bold yellow"
JSON_VERSION = 1


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the command, which was told to call a server."""

    pinned: bool
    """whether that server held the pinned key"""
    visit: Visit
    client_certificates: int
    ending: Ended

    @property
    def doubt(self) -> str | None:
        """Why nothing follows from this run; None if something does."""
        if self.pinned:
            if self.visit.application_bytes:
                return None
            return "the command does not get through to the server with the pinned key either"
        if not self.visit.handshakes:
            return "the command did not get to see the server's key"
        if self.ending.exit_code is None or self.ending.exit_code < 0:
            return "the command was refused nothing, it came to an untimely end"
        return None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What all runs together say."""

    verdict: str
    code: ExitCode
    reasons: list[str]
    runs: list[Run]
    at_fault: Run | None = None
    """the run that it follows from, if it is one"""


STYLES = {
    ExitCode.OK: GOOD,
    ExitCode.BYPASSED: BAD,
    ExitCode.INCONCLUSIVE: UNCERTAIN,
}


def doctor(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND...", hidden=True)],
    tls: Annotated[
        TlsVersion | None,
        typer.Option(help="The TLS version that the servers speak; both unless given."),
    ] = None,
    inject: Annotated[
        bool,
        typer.Option(
            "--inject",
            help="Pin the command as by keypin run, to see whether it can be pinned so.",
        ),
    ] = False,
    own_pins: Annotated[
        bool, typer.Option("--own-pins", hidden=True, help="What holds without --inject.")
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            help="End a run of the command that takes longer.",
            parser=seconds,
        ),
    ] = 30.0,
    json_: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> ExitCode:
    """Test whether a program is pinned, by what servers receive.

    COMMAND is run four times, as it is: against a server with a wrong key, one with the pinned
    key, and two more of these. They have certificates of one authority, for localhost. In the
    command, {url}, {host} and {port} say where to connect. {pins} (a pin file), {pin} and
    {certificate} (DER) are the pinned key, for the command to pin. {cafile} is the authority (PEM);
    SSL_CERT_FILE and the like name it, too. Exits with 0: pinned (with --inject: can be pinned),
    76: not pinned, 75: inconclusive.
    """
    if not places_in(command) & ADDRESSES:
        raise CommandError(
            ExitCode.USAGE,
            "the command is not told where to connect: put {url}, or {host} and {port}, into it",
        )
    if inject and own_pins:
        raise CommandError(ExitCode.USAGE, "--inject or --own-pins, not both")
    versions: Any = ("1.2", "1.3") if tls is None else (tls.value,)
    with new_trial(tls=versions) as trial:
        diagnosis = _diagnose(trial, command, timeout, inject=inject)
    if json_:
        sys.stdout.write(json.dumps(_as_json(diagnosis), indent=2) + "\n")
    else:
        _show(diagnosis)
    return diagnosis.code


def _diagnose(trial: Trial, command: list[str], timeout: float, *, inject: bool) -> Diagnosis:
    pins = trial.bench.folder / "pins.toml"
    trial.bench.pins.dump(pins)
    inherited = None if inject else _inherited_pins(trial)
    way = _way(command, inherited, inject=inject)
    runs: list[Run] = []
    try:
        for server in trial.calls:
            words = fill(command, _places(server, pins))
            environment = {**os.environ, **trial.bench.environment}
            if inject:
                _pin(words, environment, pins)
            elif inherited is not None:
                environment[inheritance.PINS] = inherited
            opening = trial.begin(server)
            ending = _run(words, environment, timeout)
            arrivals, visit = trial.arrivals(), trial.end(opening)
            shown = len(server.client_certificates)
            runs.append(Run(server in trial.pinned, visit, shown, ending))
            if arrivals:
                return _bypassed(arrivals, runs, way)
            doubtful = _doubtful(runs)
            if doubtful is not None:
                return _inconclusive(doubtful, runs)
    except Inconclusive as error:
        return Diagnosis("inconclusive", ExitCode.INCONCLUSIVE, [str(error)], runs, *runs[-1:])
    return _pinned(runs, way)


def _way(command: list[str], inherited: str | None, *, inject: bool) -> Way:
    """How the command may come to its pins."""
    if inject:
        return "injected"
    if inherited is not None:
        return "environment"
    return "told" if places_in(command) & TELLING_THE_KEY else "not told"


def _inherited_pins(trial: Trial) -> str | None:
    """KEYPIN_PINS for a command that it pins: its own file's content, with the key of the test.

    Raises:
        CommandError: its own cannot be read.
    """
    try:
        mode, own = inheritance.named_pin_file(os.environ.get(inheritance.PINS, ""))
    except KeypinError as error:
        raise CommandError(ExitCode.USAGE, str(error)) from None
    if not own:
        return None
    before = read_pin_file(Path(own)).pin_set()
    pins = trial.bench.pins
    if not any(rule.mode == "enforce" and not rule.exclude for rule in before.rules):
        pins = pins.in_report_mode()  # so nothing that it pins is refused, and the test's is not
    names = [rule.host for rule in pins.rules]
    rules = [rule for rule in before.rules if rule.host not in names]
    path = trial.bench.folder / "inherited-pins.toml"
    PinSet([*rules, *pins.rules], unlisted=before.unlisted).dump(path)
    return f"{mode}{path}"


def _places(server: LocalServer, pins: Path) -> dict[str, str]:
    """What the command is told, which is known only now."""
    return {
        "url": server.url,
        "host": server.host,
        "port": str(server.port),
        "cafile": server.cafile,
        "certificate": server.certificate,
        "pin": str(server.pin),
        "pins": str(pins),
    }


def _pin(words: list[str], environment: dict[str, str], pins: Path) -> None:
    """Let a pin file hold in the command, as keypin run does."""
    environment[inheritance.PINS] = str(pins)
    try:
        inheritance.propagate_pins(environment, str(pins))
    except KeypinError as error:
        raise CommandError(ExitCode.NOT_PINNED, str(error)) from None
    escape = commands.why_unpinned(words, environment)
    if escape is not None:
        raise CommandError(ExitCode.NOT_PINNED, f"not run, it would not be pinned: {escape}")


def _run(words: list[str], environment: dict[str, str], timeout: float) -> Ended:
    try:
        return Commands().run(words, environment, timeout)
    except OSError as error:
        raise explained(words[0], error) from None


# What follows from the runs


def _doubtful(runs: list[Run]) -> Run | None:
    """The run because of which nothing can be said.

    Before the client has been seen to reach any server, that it did not reach one says nothing.
    """
    if not runs[-1].pinned:
        return None
    by_importance = sorted(runs, key=lambda run: not run.pinned)
    return next((run for run in by_importance if run.doubt is not None), None)


def _bypassed(arrivals: list[str], runs: list[Run], way: Way) -> Diagnosis:
    why = {
        "injected": NOT_COVERED,
        "environment": (
            f"{BY_ENVIRONMENT}, which did not reach what sent that, or refuses nothing: in",
            "report mode, or where its file has no host whose pins are enforced.",
        ),
        "told": (*OWN_CHECK_PASSED, OTHER_QUESTION),
        "not told": (*NOT_TOLD, OTHER_QUESTION),
    }[way]
    reasons = [*bypass_report(arrivals), *why]
    return Diagnosis("not pinned", ExitCode.BYPASSED, reasons, runs, runs[-1])


def _inconclusive(doubtful: Run, runs: list[Run]) -> Diagnosis:
    reasons = [str(doubtful.doubt), f"{doubtful.visit.story}; {doubtful.ending}"]
    if doubtful.visit.is_distrusted:
        reasons.append(
            "It does not trust the authority of the servers. That is in SSL_CERT_FILE,"
            " REQUESTS_CA_BUNDLE and the like, and {cafile}."
        )
    return Diagnosis("inconclusive", ExitCode.INCONCLUSIVE, reasons, runs, doubtful)


def _pinned(runs: list[Run], way: Way) -> Diagnosis:
    if way == "not told":  # so it cannot know the key
        reasons = [
            "only the servers with the pinned key received something, but the command was told no"
            " pin of the test's: does it fail now and then for another reason?"
        ]
        return Diagnosis("inconclusive", ExitCode.INCONCLUSIVE, reasons, runs, runs[0])
    probing = next((run for run in runs if run.pinned and run.visit.begins_with_a_probe), None)
    if way == "told" and probing is not None:
        reasons = [
            "the command completes a handshake without sending anything, and sends over another"
            " connection: if it checks the key of the first only, an attacker passes that on and"
            " answers the second"
        ]
        return Diagnosis("inconclusive", ExitCode.INCONCLUSIVE, reasons, runs, probing)
    reasons = ["the server with the pinned key was reached, and the others received nothing"]
    if way == "injected":
        reasons.append("keypin doctor pinned it for that (--inject), as keypin run does.")
    elif way == "environment":
        reasons.append(f"{BY_ENVIRONMENT}; its file was replaced by one that has the test's key.")
    if any(run.ending.exit_code == 0 for run in runs if not run.pinned):
        reasons.append(
            "Where it was refused, its exit code was 0 all the same: does it notice that?"
        )
    verdict = "can be pinned" if way == "injected" else "pinned"
    return Diagnosis(verdict, ExitCode.OK, reasons, runs)


def _show(diagnosis: Diagnosis) -> None:
    page = Page()
    first, *more = diagnosis.reasons
    page.line((diagnosis.verdict.upper(), STYLES[diagnosis.code]), f": {first}")
    for line in more:
        page.line(line, indent=2)
    page.line()
    for run in diagnosis.runs:
        head = "pinned key   " if run.pinned else "another key  "
        page.line(f"{run.visit.story}; {run.ending}", indent=2, head=head)
    if diagnosis.at_fault is not None and diagnosis.at_fault.ending.output:
        page.line()
        page.line("What the command wrote, at the end:", indent=2)
        for line in diagnosis.at_fault.ending.output:
            page.line((line, "dim"), indent=4)


def _as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    return {
        "version": JSON_VERSION,
        "verdict": diagnosis.verdict,
        "reasons": diagnosis.reasons,
        "runs": [
            {
                "pinned_key": run.pinned,
                "connections": len(run.visit.connections),
                "handshakes": run.visit.handshakes,
                "application_bytes": run.visit.application_bytes,
                "client_certificates": run.client_certificates,
                "exit_code": run.ending.exit_code,
                "seconds": round(run.ending.seconds, 3),
                "output": run.ending.output,
            }
            for run in diagnosis.runs
        ],
    }
