"""What the outcome of a case counts for, in the light of the other cases that were played."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from .cast import is_address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .command import Ended
    from .judge import Harm, Judgement, Outcome
    from .keys import KeyKind
    from .scenario import Case
    from .servers.contexts import TlsVersion
    from .stage import Stage

__all__ = [
    "NOT_PLAYED",
    "WITHOUT_LOCAL_PROXY",
    "Played",
    "State",
    "assess",
    "comparisons_for",
    "count_once",
    "is_baseline",
    "is_rejection",
    "without_local_proxy",
]

State = Literal[
    "right", "wrong", "same fault", "inconclusive", "not played", "unsupported", "not claimed"
]
NOT_PLAYED = "not played"
WITHOUT_LOCAL_PROXY = (
    "the client called the server without the proxy that the environment names; Go's clients, and"
    " others, use none for localhost and 127.0.0.1"
)

USUAL_KEYS: tuple[KeyKind, ...] = ("p-256", "rsa-2048")
"""Kinds of key that every client is expected to support."""

# Where a client shows its certificate to whoever asks, nearly every scenario sees that. It is one
# fault for each of the checks that should have come first, and counted in the scenario that tries
# nothing else.
SHOWS_CERTIFICATE_BEFORE_PINS = "client-certificate-other-ca"
SHOWS_CERTIFICATE_BEFORE = {
    "untrusted": "client-certificate-untrusted",
    "faults": "client-certificate-untrusted",
    "names": "client-certificate-wrong-host",
}
BASELINES = {SHOWS_CERTIFICATE_BEFORE_PINS, *SHOWS_CERTIFICATE_BEFORE.values()}


@dataclass(frozen=True, slots=True)
class Played:
    """A case that was played.

    Attributes:
        judgement: what came of it.
        runs: of the command.
        claimed: whether the client claims to do what the scenario asks of it; if not, its outcome
            does not count.
        counted_in: the scenario in which this fault is counted, if it is the same as there.
        is_unplayed: it could not be played.
    """

    judgement: Judgement
    runs: tuple[Ended, ...] = ()
    claimed: bool = True
    counted_in: str | None = None
    is_unplayed: bool = False

    @property
    def case(self) -> Case:
        """What was played."""
        return self.judgement.case

    @property
    def outcome(self) -> Outcome:
        """What came of it."""
        return self.judgement.outcome

    @property
    def harm(self) -> Harm | None:
        """What the client did wrong."""
        return self.judgement.harm

    @property
    def state(self) -> State:
        """The outcome, or in the place of one that does not count: why it does not."""
        if self.outcome in ("right", "unsupported"):
            return self.outcome
        if not self.claimed:
            return "not claimed"
        if self.is_unplayed:
            return "not played"
        return self.outcome if self.counted_in is None else "same fault"

    @property
    def counts(self) -> bool:
        """Whether the outcome counts for the verdict."""
        if self.outcome == "right":
            return self.claimed
        return self.state in ("wrong", "inconclusive", "not played")

    @property
    def seconds(self) -> float:
        """How long the command ran."""
        return sum(run.seconds for run in self.runs)

    @property
    def is_control(self) -> bool:
        """Whether it is one of those that show that the client gets through at all."""
        return self.case.scenario.control


def is_rejection(case: Case) -> bool:
    """Whether the client must let nothing arrive."""
    return case.scenario.expected == "reject"


def is_baseline(case: Case) -> bool:
    """Whether faults of others may be counted in this one, so that it has to be played before."""
    return case.scenario.identifier in BASELINES


def comparisons_for(controls: Iterable[Played]) -> list[Case]:
    """Controls with a usual kind of key, where those that were asked for have failed.

    A client that gets through to an honest server with these does not support the others.
    """
    played = list(controls)
    reached = {(it.case.scenario.protocol, it.case.tls) for it in played if _succeeded(it)}
    cases = {it.case for it in played}
    found: dict[tuple[str, TlsVersion], Case] = {}
    for failed in played:
        scenario, tls = failed.case.scenario, failed.case.tls
        way = scenario.protocol, tls
        if way in reached or way in found or not _was_refused(failed):
            continue
        usual = [case for kind in USUAL_KEYS for case in scenario.cases(tls, kind)]
        new = [case for case in usual if case not in cases]
        if new and failed.case.key not in USUAL_KEYS:
            found[way] = new[0]
    return list(found.values())


def assess(played: Played, found: dict[Case, Played], before: Iterable[Played]) -> Played:
    """Say what an outcome counts for.

    Args:
        played: the case.
        found: all that was played, at least the controls and the baselines.
        before: those that were assessed before this one.
    """
    controls = [it for it in found.values() if it.is_control and _way(it) == _way(played)]
    own = next((it for it in controls if it.case.key == played.case.key), None)
    if own is not None and not _succeeded(own):
        others = [it for it in controls if _succeeded(it)]
        if others and _was_refused(own) and own.case.key not in USUAL_KEYS:
            return _unsupported(played, own, others[0])
        return _doubted(played, own)
    return replace(played, counted_in=_counted_in(played, found, before))


def count_once(played: Iterable[Played]) -> list[Played]:
    """Let a fault that shows in many cases count in one scenario only."""
    found = {it.case: it for it in played}
    counted: list[Played] = []
    for it in found.values():
        counted.append(replace(it, counted_in=_counted_in(it, found, counted)))
    return counted


def without_local_proxy(stage: Stage, judgement: Judgement) -> Judgement:
    """Tell apart a client that takes no proxy from the environment for this machine's own names.

    It was not told of the proxy in any other way.
    """
    untested = judgement.outcome == "inconclusive" and judgement.harm is None
    if not untested or stage.proxy is None or not _is_local(stage.host):
        return judgement
    called = {part.listener.port for part in stage.parts if part.listener.connections}
    if not called or urlsplit(stage.proxy).port in called:
        return judgement
    return replace(judgement, outcome="unsupported", reasons=(WITHOUT_LOCAL_PROXY,))


def _is_local(host: str) -> bool:
    return host == "localhost" or is_address(host)


def _way(played: Played) -> tuple[str, TlsVersion]:
    return played.case.scenario.protocol, played.case.tls


def _succeeded(played: Played) -> bool:
    return played.outcome == "right"


def _was_refused(control: Played) -> bool:
    return control.harm == "honest-server-refused"


def _unsupported(played: Played, control: Played, other: Played) -> Played:
    """Let nothing count that fails for the kind of key, except what an attacker received."""
    if played.harm not in (None, "honest-server-refused", "success-reported"):
        return played
    if _succeeded(played) and not is_rejection(played.case):
        return played
    why = (
        f"the client does not support keys of the kind {control.case.key}: it refuses an honest"
        f" server with such a key, and accepts one with {other.case.key}"
    )
    reasons = (why,) if is_rejection(played.case) else (why, *played.judgement.reasons)
    judgement = replace(played.judgement, outcome="unsupported", reasons=reasons, harm=None)
    return replace(played, judgement=judgement)


def _doubted(played: Played, control: Played) -> Played:
    """Take back a rejection that has no meaning, because the control failed, too."""
    judgement = played.judgement
    if not is_rejection(played.case) or judgement.outcome != "right":
        return played
    why = f"it does not get through to an honest server either ({control.case})"
    reasons = (*judgement.reasons, why)
    judgement = replace(judgement, outcome="inconclusive", reasons=reasons, harm=None)
    return replace(played, judgement=judgement)


def _counted_in(played: Played, found: dict[Case, Played], before: Iterable[Played]) -> str | None:
    """The scenario in which it is counted that the client shows its certificate too early."""
    scenario = played.case.scenario
    if played.harm != "client-certificate" or is_baseline(played.case):
        return None
    baseline, way = _baseline_of(played), _way(played)
    alike = [it for it in found.values() if it.case.scenario.identifier == baseline]
    alike = [it for it in alike if _way(it) == way and not it.is_unplayed]
    if alike:
        return baseline if any(it.judgement.client_certificates for it in alike) else None
    for it in before:
        first = it.case.scenario.identifier
        same = it.harm == "client-certificate" and _baseline_of(it) == baseline
        if same and it.state == "wrong" and _way(it) == way and first != scenario.identifier:
            return first
    return None


def _baseline_of(played: Played) -> str:
    group = played.case.scenario.group
    return SHOWS_CERTIFICATE_BEFORE.get(group, SHOWS_CERTIFICATE_BEFORE_PINS)
