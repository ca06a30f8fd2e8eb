"""Cases played with a program as the client, side by side, and what came of all of them."""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Literal

from .assessment import (
    NOT_PLAYED,
    Played,
    assess,
    comparisons_for,
    is_baseline,
    is_rejection,
    without_local_proxy,
)
from .command import Commands, Ended, fill, places_in
from .judge import HARMS, Ending, Judgement
from .servers._libraries import why_unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from .assessment import State
    from .judge import Harm
    from .scenario import Case, Scenario

__all__ = ["ADDRESSES", "Report", "Verdict", "controls_for", "play", "unmet_needs"]

ADDRESSES = frozenset({"url", "port", "address"})
"""Places one of which a command must have, or it does not know where to connect."""

Verdict = Literal["right", "bypassed", "inconclusive", "refused"]

GLANCE = 0.25  # seconds between two looks at whether it is to end

NO_CONTROL = "no case with an ordinary honest server came out right, see there"


@dataclass(frozen=True, slots=True)
class Report:
    """What came of all cases.

    Attributes:
        command: as it was given.
        started: with a time zone.
        finished: the same.
        played: in the order of the catalogue.
        inapplicable: scenarios that were left out, and the places that the command lacks for them.
        interrupted: how many cases are missing, because it was ended before they were played.
    """

    command: tuple[str, ...]
    started: datetime
    finished: datetime
    played: list[Played]
    inapplicable: dict[Scenario, list[str]] = field(default_factory=dict)
    interrupted: int = 0

    @property
    def counts(self) -> Counter[State]:
        """How many cases came out how."""
        return Counter(it.state for it in self.played)

    @property
    def harms(self) -> dict[Harm, list[Played]]:
        """The cases in which the client did something wrong that counts, the worst harm first."""
        return {
            harm: found
            for harm in HARMS
            if (found := [it for it in self.played if it.harm == harm and it.counts])
        }

    @property
    def verdict(self) -> Verdict:
        """One word for all.

        "bypassed", if an attacker received anything or the client hung; "inconclusive", if it did
        not get through to an honest server with nothing unusual about it, or a case was; "refused",
        if it rejects an honest server; else "right".
        """
        counting = [it for it in self.played if it.counts]
        outcomes = {(it.case.scenario.expected, it.outcome) for it in counting}
        if ("reject", "wrong") in outcomes:
            return "bypassed"
        if any(it.is_control and it.outcome != "right" for it in counting):
            return "inconclusive"
        if ("accept", "wrong") in outcomes:
            return "refused"
        if self.interrupted or {outcome for _, outcome in outcomes} != {"right"}:
            return "inconclusive"
        unsupported = any(it.outcome == "unsupported" for it in self.played)
        tested = any(not it.is_control for it in counting)
        return "inconclusive" if unsupported and not tested else "right"


def unmet_needs(
    scenario: Scenario, command: Iterable[str], given: Collection[str] = ()
) -> list[str]:
    """The places that a command lacks for a scenario, which then cannot be played with it.

    Args:
        scenario: the scenario.
        command: its words.
        given: what it is told in another way, for example "proxy" by the environment.
    """
    return sorted(scenario.needs - places_in(command) - set(given))


def controls_for(cases: Sequence[Case], catalogue: Iterable[Scenario]) -> list[Case]:
    """The controls without which nothing follows from what a client rejects in these cases.

    For each protocol, TLS version and kind of key there is one at most, where the catalogue has it;
    those that are among the cases are left out.
    """
    wanted = {(it.scenario.protocol, it.tls, it.key) for it in cases if is_rejection(it)}
    return [
        case
        for scenario in catalogue
        if scenario.control
        for case in scenario.cases()
        if (scenario.protocol, case.tls, case.key) in wanted and case not in cases
    ]


def play(
    cases: Sequence[Case],
    command: Sequence[str],
    *,
    with_certificate: Sequence[str] = (),
    jobs: int = 1,
    timeout: float = 30.0,
    unclaimed: Collection[str] = (),
    inapplicable: Mapping[Scenario, list[str]] | None = None,
    progress: Callable[[int, int], None] = lambda done, known: None,
    tell: Callable[[list[Played]], None] = lambda played: None,
    is_ended: Callable[[], bool] = lambda: False,
) -> Report:
    """Play cases with a command as the client.

    The controls come first. If not one of them comes out right, the others are not played: the
    client gets through to no server, and what it rejects would prove nothing. For the same reason
    a rejection is inconclusive where the control of its protocol, TLS version and kind of key
    failed; or unsupported, where the client does not support that kind of key.

    Ctrl-C ends it, or `is_ended`: the report has what was played until then.

    Args:
        cases: to be played; the controls among them, see `controls_for`.
        command: its words, with places such as `{url}`.
        with_certificate: further words for the scenarios that need a certificate of the client's.
        jobs: how many cases at a time.
        timeout: for a run of the command, in seconds.
        unclaimed: claims that the client does not make, see `Scenario.claims`.
        inapplicable: scenarios that were left out, for the report, see `unmet_needs`.
        progress: is told how many cases are done, and of how many.
        tell: is told all cases of each scenario, in the order of the report, once they are played.
        is_ended: whether no more is to be played; asked again and again.

    Raises:
        OSError: the command cannot be run.
    """
    started = datetime.now(UTC)
    run = _Run(list(cases), command, with_certificate, jobs, timeout, set(unclaimed))
    run.progress, run.tell, run.is_ended = progress, tell, is_ended
    interrupted = False
    try:
        run.play()
    except KeyboardInterrupt:
        interrupted = True
        run.tell_finished(all_of_it=True)
    missing = len(run.cases) - len(run.final) if interrupted else 0
    played = list(run.final.values())
    now = datetime.now(UTC)
    return Report(tuple(command), started, now, played, dict(inapplicable or {}), missing)


class _Run:
    """Cases that are being played."""

    progress: Callable[[int, int], None]
    tell: Callable[[list[Played]], None]
    is_ended: Callable[[], bool]

    def __init__(
        self,
        cases: list[Case],
        command: Sequence[str],
        with_certificate: Sequence[str],
        jobs: int,
        timeout: float,
        unclaimed: set[str],
    ) -> None:
        self.cases = cases
        self.final: dict[Case, Played] = {}
        self._found: dict[Case, Played] = {}
        self._scenarios: list[list[Case]] = []
        self._told = 0
        self._command = command
        self._with_certificate = with_certificate
        self._jobs = jobs
        self._timeout = timeout
        self._disclaimed = unclaimed
        self._commands = Commands()

    def play(self) -> None:
        """Play all of them, those first by which others are assessed."""
        self.progress(0, len(self.cases))
        self._group()
        controls = [case for case in self.cases if case.scenario.control]
        self._play_some(controls)
        comparisons = comparisons_for(self._found.values())
        self.cases = [*comparisons, *self.cases]
        self._play_some(comparisons)
        self._group()
        rest = [case for case in self.cases if case not in self._found]
        if controls and not any(it.outcome == "right" for it in self._found.values()):
            self._found |= {case: self._unplayed(case, NO_CONTROL) for case in rest}
        else:
            self._play_some([case for case in rest if is_baseline(case)])
            self.tell_finished()
            self._play_some([case for case in rest if not is_baseline(case)])
        self.tell_finished()

    def _group(self) -> None:
        """The cases of each scenario; they stand together."""
        grouped = groupby(self.cases, lambda it: it.scenario)
        self._scenarios = [list(cases) for _, cases in grouped]

    def tell_finished(self, *, all_of_it: bool = False) -> None:
        """Assess and tell the next scenarios all of whose cases are played; or whatever was played.

        One after the other, because some are assessed by those before them.
        """
        for of_one in self._scenarios[self._told :]:
            played = [self._found[case] for case in of_one if case in self._found]
            if len(played) < len(of_one) and not all_of_it:
                return
            self._told += 1
            assessed = [assess(it, self._found, self.final.values()) for it in played]
            self.final |= {it.case: it for it in assessed}
            if assessed:
                self.tell(assessed)

    def _play_some(self, chosen: Sequence[Case]) -> None:
        with ThreadPoolExecutor(self._jobs, "keypin lab") as pool:
            running: dict[Future[Played], Case] = {}
            try:
                running |= {pool.submit(self._play_one, case): case for case in chosen}
                for case, played in self._as_completed(running):
                    self._found[case] = played
                    self.progress(len(self._found), len(self.cases))
                    if not case.scenario.control and not is_baseline(case):
                        self.tell_finished()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self._commands.stop()
                raise

    def _as_completed(self, running: dict[Future[Played], Case]) -> Iterator[tuple[Case, Played]]:
        pending = set(running)
        while pending:
            # Not for ever: on Windows, Ctrl-C would not be heard.
            done, pending = wait(pending, timeout=GLANCE, return_when=FIRST_COMPLETED)
            for future in done:
                yield running[future], future.result()
            if self.is_ended():
                raise KeyboardInterrupt

    def _play_one(self, case: Case) -> Played:
        command = list(self._command)
        if "client_certificate" in case.scenario.needs:
            command += self._with_certificate
        with ExitStack() as running:
            try:
                stage = running.enter_context(case.stage())
            except (ImportError, RuntimeError) as error:
                return self._unplayed(case, f"not available here: {why_unavailable(error)}")
            words = fill(command, stage.places)
            environment = {**os.environ, **stage.environment}
            runs = [
                self._commands.run(words, environment, self._timeout) for _ in range(stage.rounds)
            ]
            worst = max(runs, key=_badness)
            judgement = stage.judge(_ending(worst), str(worst))
            if "proxy" not in places_in(command):
                judgement = without_local_proxy(stage, judgement)
            return self._claimed(Played(judgement, tuple(runs)))

    def _unplayed(self, case: Case, why: str) -> Played:
        judgement = Judgement(case, "inconclusive", (f"{NOT_PLAYED}: {why}",), 0, 0, 0)
        return self._claimed(Played(judgement, is_unplayed=True))

    def _claimed(self, played: Played) -> Played:
        case = played.case
        return replace(played, claimed=not case.scenario.claims & self._disclaimed)


def _ending(run: Ended) -> Ending:
    if run.exit_code is None:
        return "hung"
    if run.exit_code < 0:
        return "crashed"
    return "failed" if run.exit_code else "succeeded"


def _badness(run: Ended) -> int:
    return ("succeeded", "failed", "crashed", "hung").index(_ending(run))
