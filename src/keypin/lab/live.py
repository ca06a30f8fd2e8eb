"""The servers of many cases, kept up for clients that are no commands: a phone, a browser.

What each has received can be asked for at any time; live_page.py shows it.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from ..pinset import PinSet, Rule
from .assessment import Played, count_once
from .reports import as_json, harm_lines, totals
from .runner import Report
from .servers._libraries import why_unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

    from .cast import Cast
    from .judge import Judgement, Outcome
    from .runner import Verdict
    from .scenario import Case
    from .stage import Stage

__all__ = ["Changes", "LiveLab", "Standing"]

SETTLING = 1.0
"""seconds after which a change is told, even where more of it is still coming in"""


@dataclass(frozen=True, slots=True)
class Standing:
    """What has come of a case so far.

    Attributes:
        called: whether any client has come.
        judgement: "inconclusive" if none has.
    """

    called: bool
    judgement: Judgement

    @property
    def outcome(self) -> Outcome | Literal["not called"]:
        """In a word."""
        return self.judgement.outcome if self.called else "not called"

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "outcome": self.outcome,
            "harm": self.judgement.harm if self.called else None,
            "reasons": list(self.judgement.reasons) if self.called else [],
            "attempts": self.judgement.attempts,
            "application_bytes": self.judgement.application_bytes,
            "client_certificates": self.judgement.client_certificates,
        }


class LiveLab:
    """The stages of cases, all at once: a context manager.

    Args:
        cases: whose servers to run; all with the same kind of key.
        cast: who appears in all of them, and by which name and address.
        before_each: called before the servers of each case are started; what it raises ends that.

    Raises:
        ValueError: a case has another kind of key than the cast.
    """

    stages: dict[str, Stage]
    """by the name of the case, in the order given"""
    unavailable: dict[Case, str]
    """cases that cannot be had on this machine or at this address, and why"""
    folder: Path
    """with a folder of files for each case"""

    def __init__(
        self, cases: Sequence[Case], cast: Cast, before_each: Callable[[], None] = lambda: None
    ) -> None:
        if any(case.key != cast.kind for case in cases):
            raise ValueError(f"all cases must be played with keys of the kind {cast.kind}")
        self.cast = cast
        self._cases = list(cases)
        self._before_each = before_each
        self._running = ExitStack()
        self._started = datetime.now(UTC)
        self.stages = {}
        self.unavailable = {}

    def __enter__(self) -> Self:
        with ExitStack() as running:
            temporary = TemporaryDirectory(prefix="keypin-lab-")
            self.folder = Path(running.enter_context(temporary))
            self.usual_pins.dump(self.folder / "pins.toml")
            for case in self._cases:
                self._before_each()
                own = self.folder / str(case)
                own.mkdir()
                try:
                    stage = running.enter_context(case.stage(own, self.cast))
                except (ImportError, RuntimeError) as error:
                    self.unavailable[case] = why_unavailable(error)
                else:
                    self.stages[str(case)] = stage
            self._running = running.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._running.close()

    @property
    def usual_pins(self) -> PinSet:
        """The pins for all cases that have none of their own."""
        pins = [self.cast.pinned.pin, self.cast.backup.pin]
        return PinSet([Rule(self.cast.host, pins, match="leaf")])

    def told(self, case: str) -> dict[str, Any]:
        """What a client is told of a case, and needs for it; as JSON knows it."""
        stage = self.stages[case]
        scenario = stage.case.scenario
        calls_again = "second_url" in scenario.needs or stage.second_url != stage.url
        return {
            **as_json(scenario),
            "case": case,
            "tls": stage.case.tls,
            "key": stage.case.key,
            "url": stage.url,
            "second_url": stage.second_url if calls_again else None,
            "proxy": stage.proxy,
            "own_pins": stage.pinset != self.usual_pins,
            "own_authorities": stage.trusted != self.cast.trusted,
        }

    def standing(self, case: str) -> Standing:
        """What has come of a case so far."""
        stage = self.stages[case]
        called = any(part.listener.connections for part in stage.parts)
        judgement = stage.standing()
        if _is_open(stage, judgement) and _is_talking(stage):
            judgement = replace(
                judgement, outcome="inconclusive", reasons=("the client is still waiting",)
            )
        return Standing(called, judgement)

    def state(self) -> list[dict[str, Any]]:
        """What clients are told of every case, and what has come of it so far."""
        return [{**self.told(case), **self.standing(case).as_json()} for case in self.stages]

    def forget(self, case: str) -> None:
        """Begin anew with a case.

        Raises:
            KeyError: there is no such case.
        """
        self.stages[case].forget()

    @property
    def summary(self) -> str:
        """How many cases came out how, and the harms, in the words that the command ends with."""
        report = self.report()
        not_called = len(self.stages) - len(report.played)
        told = [totals(report)] if report.played else []
        told += [f"{not_called} not called"] if not_called else []
        return "; ".join([", ".join(told), *harm_lines(report)])

    def report(self) -> Report:
        """What has come of the cases that were called."""
        standings = [self.standing(case) for case in self.stages]
        played = count_once(Played(it.judgement) for it in standings if it.called)
        return Report((), self._started, datetime.now(UTC), played)

    @staticmethod
    def verdict(report: Report) -> Verdict:
        """The verdict on the cases that were called; "right" if there are none.

        "inconclusive" as well if a client was only ever refused: it may reach nobody at all.
        """
        if not report.played:
            return "right"
        if report.verdict == "right" and not any(
            it.case.scenario.expected == "accept" for it in report.played
        ):
            return "inconclusive"
        return report.verdict


def _is_open(stage: Stage, judgement: Judgement) -> bool:
    """Whether a client may still send its request, or give up, as long as it is connected."""
    scenario = stage.case.scenario
    if scenario.expected == "accept":
        return judgement.outcome == "wrong" and not judgement.application_bytes
    return judgement.outcome == "right" and "timeouts" in scenario.claims


def _is_talking(stage: Stage) -> bool:
    return any(
        not connection.closed.is_set()
        for part in stage.parts
        for connection in part.listener.connections
    )


class Changes:
    """Tells what has changed since it was last asked.

    Args:
        lab: whose cases to look at.
    """

    def __init__(self, lab: LiveLab) -> None:
        self._lab = lab
        self._known = {case: lab.standing(case) for case in lab.stages}
        self._coming: dict[str, tuple[Standing, float]] = {}

    def settled(self, *, at_once: bool = False) -> list[tuple[str, Standing]]:
        """The cases where something has come, once no more of it comes in between two calls.

        Args:
            at_once: also tell what has only just come.
        """
        found = []
        for case in self._lab.stages:
            standing = self._lab.standing(case)
            if standing == self._known[case]:
                self._coming.pop(case, None)
                continue
            now = time.monotonic()
            before, since = self._coming.get(case, (None, now))
            if at_once or standing == before or now - since >= SETTLING:
                self._known[case] = standing
                self._coming.pop(case, None)
                found.append((case, standing))
            else:
                self._coming[case] = standing, since
        return found
