"""Cases played with a program as the client, side by side, and what came of all of them."""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from .command import Commands, Ended, fill, places_in
from .judge import Ending, Judgement

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from .judge import Outcome
    from .scenario import Case, Scenario

__all__ = ["ADDRESSES", "Played", "Report", "Verdict", "controls_for", "play", "unmet_needs"]

ADDRESSES = frozenset({"url", "port", "address"})
"""Places one of which a command must have, or it does not know where to connect."""

Verdict = Literal["right", "bypassed", "inconclusive", "refused"]

NO_CONTROL = "not played: no case with an ordinary honest server came out right, see there"


@dataclass(frozen=True, slots=True)
class Played:
    """A case that was played.

    Attributes:
        judgement: what came of it.
        runs: of the command.
        claimed: whether the client claims to do what the scenario asks of it; if not, its outcome
            does not count.
    """

    judgement: Judgement
    runs: tuple[Ended, ...] = ()
    claimed: bool = True

    @property
    def case(self) -> Case:
        """What was played."""
        return self.judgement.case

    @property
    def outcome(self) -> Outcome:
        """What came of it."""
        return self.judgement.outcome

    @property
    def state(self) -> str:
        """The outcome, or "not claimed" in the place of one that does not count."""
        return self.outcome if self.claimed or self.outcome == "right" else "not claimed"

    @property
    def seconds(self) -> float:
        """How long the command ran."""
        return sum(run.seconds for run in self.runs)

    @property
    def is_control(self) -> bool:
        """Whether it is one of those that show that the client gets through at all."""
        return self.case.scenario.control


@dataclass(frozen=True, slots=True)
class Report:
    """What came of all cases.

    Attributes:
        command: as it was given.
        started: with a time zone.
        finished: the same.
        played: in the order of the catalogue.
        inapplicable: scenarios that were left out, and the places that the command lacks for them.
    """

    command: tuple[str, ...]
    started: datetime
    finished: datetime
    played: list[Played]
    inapplicable: dict[Scenario, list[str]] = field(default_factory=dict)

    @property
    def counts(self) -> Counter[str]:
        """How many cases came out how."""
        return Counter(it.state for it in self.played)

    @property
    def verdict(self) -> Verdict:
        """One word for all.

        "bypassed", if an attacker received anything or the client hung; "inconclusive", if it did
        not get through to an honest server with nothing unusual about it, or a case was; "refused",
        if it rejects an honest server; else "right".
        """
        outcomes = {(it.case.scenario.expected, it.outcome) for it in self.played if it.claimed}
        if ("reject", "wrong") in outcomes:
            return "bypassed"
        if any(it.is_control and it.state not in ("right", "not claimed") for it in self.played):
            return "inconclusive"
        if ("accept", "wrong") in outcomes:
            return "refused"
        return "inconclusive" if {outcome for _, outcome in outcomes} != {"right"} else "right"


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
    wanted = {(it.scenario.protocol, it.tls, it.key) for it in cases if _is_rejection(it)}
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
    jobs: int = 1,
    timeout: float = 30.0,
    disclaimed: Collection[str] = (),
    inapplicable: Mapping[Scenario, list[str]] | None = None,
    progress: Callable[[int, int], None] = lambda done, known: None,
) -> Report:
    """Play cases with a command as the client.

    The controls come first. If not one of them comes out right, the others are not played: the
    client gets through to no server, and what it rejects would prove nothing. For the same reason
    a rejection is inconclusive where the control of its protocol, TLS version and kind of key
    failed.

    Args:
        cases: to be played; the controls among them, see `controls_for`.
        command: its words, with places such as `{url}`.
        jobs: how many cases at a time.
        timeout: for a run of the command, in seconds.
        disclaimed: claims that the client does not make, see `Scenario.claims`.
        inapplicable: scenarios that were left out, for the report, see `unmet_needs`.
        progress: is told how many cases are done, and of how many.

    Raises:
        OSError: the command cannot be run.
    """
    started = datetime.now(UTC)
    commands = Commands()
    found: dict[Case, Played] = {}

    def one(case: Case) -> Played:
        played = _play_one(case, command, commands, timeout)
        return replace(played, claimed=not case.scenario.claims & set(disclaimed))

    def some(chosen: Sequence[Case]) -> None:
        with ThreadPoolExecutor(jobs, "keypin lab") as pool:
            try:
                running = {pool.submit(one, case): case for case in chosen}
                for case, played in _as_completed(running):
                    found[case] = played
                    progress(len(found), len(cases))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                commands.stop()
                raise

    progress(0, len(cases))
    controls = [case for case in cases if case.scenario.control]
    some(controls)
    rest = [case for case in cases if not case.scenario.control]
    if controls and not any(it.outcome == "right" for it in found.values()):
        found |= {case: _unplayed(case, NO_CONTROL) for case in rest}
    else:
        some(rest)
    played = [_doubted(found[case], found.values()) for case in cases]
    return Report(tuple(command), started, datetime.now(UTC), played, dict(inapplicable or {}))


def _as_completed(running: dict[Future[Played], Case]) -> Iterable[tuple[Case, Played]]:
    pending = set(running)
    while pending:
        # Not for ever: on Windows, Ctrl-C would not be heard.
        done, pending = wait(pending, timeout=1, return_when=FIRST_COMPLETED)
        for future in done:
            yield running[future], future.result()


def _play_one(case: Case, command: Sequence[str], commands: Commands, timeout: float) -> Played:
    with ExitStack() as running:
        try:
            stage = running.enter_context(case.stage())
        except (ImportError, RuntimeError) as error:
            return _unplayed(case, f"not available here: {error}")
        words = fill(command, stage.places)
        environment = {**os.environ, **stage.environment}
        runs = [commands.run(words, environment, timeout) for _ in range(stage.rounds)]
        worst = max(runs, key=_badness)
        return Played(stage.judge(_ending(worst), str(worst)), tuple(runs))


def _unplayed(case: Case, why: str) -> Played:
    return Played(Judgement(case, "inconclusive", (why,), 0, 0, 0))


def _doubted(played: Played, others: Iterable[Played]) -> Played:
    """Take back a rejection that has no meaning, because the control failed, too."""
    case, judgement = played.case, played.judgement
    if not _is_rejection(case) or judgement.outcome != "right":
        return played
    alike = (case.scenario.protocol, case.tls, case.key)
    for other in others:
        it = other.case
        same = (it.scenario.protocol, it.tls, it.key) == alike
        if same and other.is_control and other.outcome != "right":
            why = f"it does not get through to an honest server either ({it})"
            return replace(
                played,
                judgement=replace(
                    judgement, outcome="inconclusive", reasons=(*judgement.reasons, why)
                ),
            )
    return played


def _is_rejection(case: Case) -> bool:
    return case.scenario.expected == "reject"


def _ending(run: Ended) -> Ending:
    if run.exit_code is None:
        return "hung"
    if run.exit_code < 0:
        return "crashed"
    return "failed" if run.exit_code else "succeeded"


def _badness(run: Ended) -> int:
    return ("succeeded", "failed", "crashed", "hung").index(_ending(run))
