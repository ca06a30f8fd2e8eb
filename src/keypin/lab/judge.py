"""The judge of a case, who looks at what servers received and not at what a client says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from .arrivals import describe
from .servers.paths import Path
from .servers.proxy import ConnectProxy
from .servers.tap import HANDSHAKE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from .scenario import Case
    from .servers.connection import Connection
    from .servers.listener import Listener

__all__ = ["HARMS", "Check", "Ending", "Harm", "Judgement", "Outcome", "Part", "judge"]

Outcome = Literal["right", "wrong", "inconclusive", "unsupported"]
Harm = Literal[
    "application-bytes",
    "client-certificate",
    "hung",
    "success-reported",
    "honest-server-refused",
    "failure-reported",
]
HARMS: tuple[Harm, ...] = get_args(Harm)
"""What a client does wrong, the worst first."""
CLIENT_HELLO = bytes([HANDSHAKE, 3])  # and the major version, RFC 8446, section 5.1
Ending = Literal["succeeded", "failed", "hung", "crashed"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What came of a case.

    Attributes:
        case: what was played.
        outcome: "right", "wrong", "inconclusive" if the client was not put to the test, or
            "unsupported" if it cannot be, because it does not support what the case is made of.
        reasons: why, a line each, without the client's secrets.
        attempts: connections to the attackers' servers, or where there are none to the honest ones.
        application_bytes: what the attackers received.
        client_certificates: how many times the client showed its own certificate to an attacker.
        harm: what the client did wrong, None if nothing: an attacker received
            "application-bytes", or a "client-certificate" and no more; the client "hung"; no
            attacker received anything, but it exits as if it had been answered
            ("success-reported", with the outcome "right"); "honest-server-refused"; the request
            arrived at the honest server, but it exits as if it had failed ("failure-reported").
    """

    case: Case
    outcome: Outcome
    reasons: tuple[str, ...]
    attempts: int
    application_bytes: int
    client_certificates: int
    harm: Harm | None = None

    def __str__(self) -> str:
        return "\n  ".join([f"{self.case}: {self.outcome}", *self.reasons])


@dataclass(frozen=True, slots=True)
class Check:
    """What a scenario looks at besides what the attackers' servers have received.

    Attributes:
        reasons: finds reasons against the client.
        harm: what it has done then.
    """

    reasons: Callable[[], list[str]]
    harm: Harm


@dataclass(frozen=True, slots=True)
class _Finding:
    """An outcome before it is counted."""

    outcome: Outcome
    reasons: list[str]
    harm: Harm | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A server of the case, and on whose side it is."""

    listener: Listener
    role: Literal["attacker", "honest", "helper"]


def judge(
    case: Case,
    parts: Sequence[Part],
    checks: Iterable[Check],
    doubts: Iterable[Callable[[], list[str]]],
    ending: Ending,
    told: str = "",
    *,
    wait: bool = True,
) -> Judgement:
    """Judge a client; see `Stage.judge`.

    Args:
        case: what was played.
        parts: the servers.
        checks: look for further reasons against the client.
        doubts: give reasons for which the client was not put to the test.
        ending: of the client.
        told: how it ended in words.
        wait: until all that it has sent has been looked at.
    """
    restless = wait and _await_quiet(parts)
    attackers = [part.listener for part in parts if part.role == "attacker"]
    honest = [part.listener for part in parts if part.role == "honest"]
    arrived = [it for listener in attackers for it in _connections(listener)]
    telling = [it for it in arrived if _application_bytes(it) or it.client_certificate_seen]
    lines = describe(telling)
    against = [f"an attacker received {'; '.join(lines)}"] if lines else []
    harms: list[Harm] = ["application-bytes"] * any(map(_application_bytes, arrived))
    harms += ["client-certificate"] * any(it.client_certificate_seen for it in arrived)
    for check in checks:
        found = check.reasons()
        against += found
        harms += [check.harm] * bool(found)
    doubtful = [reason for doubt in doubts for reason in doubt()]
    doubtful += [
        f"the lab's own {type(it).__name__} failed: {type(error).__name__}: {error}"
        for part in parts
        for it in _with_interceptor(part.listener)
        for error in it.failures
    ]
    if restless:
        doubtful.append("it went on sending after it had ended, or a server has ceased to listen")
    worst = min(harms, key=HARMS.index, default=None)
    if case.scenario.expected == "reject":
        # An honest server may be made to do the attacker's work, for example by renegotiation.
        targets = attackers or honest
        finding = _rejected(case, targets, against, worst, doubtful, ending, told)
    else:
        finding = _accepted(parts, honest, against, worst, doubtful, ending, told)
    return Judgement(
        case,
        finding.outcome,
        tuple(finding.reasons),
        attempts=sum(len(listener.connections) for listener in attackers or honest),
        application_bytes=sum(map(_application_bytes, arrived)),
        client_certificates=sum(it.client_certificate_seen for it in arrived),
        harm=finding.harm,
    )


def _rejected(
    case: Case,
    targets: Sequence[Listener],
    against: list[str],
    harm: Harm | None,
    doubtful: list[str],
    ending: Ending,
    told: str,
) -> _Finding:
    if ending == "hung":
        against = [*against, told or "the client hung"]
        harm = harm or "hung"
    if against:
        return _Finding("wrong", against, harm)
    if ending == "crashed":
        doubtful = [*doubtful, told or "the client crashed"]
    if case.scenario.must_arrive and not any(map(_was_shown, targets)):
        doubtful = [*doubtful, _story(targets, "attacker")]
        if told:
            doubtful.append(told)
    if doubtful:
        return _Finding("inconclusive", doubtful)
    reasons = ["no attacker received anything"]
    if ending == "succeeded" and case.scenario.must_arrive:
        reasons.append("the client reports success all the same: does it notice that?")
        return _Finding("right", reasons, "success-reported")
    return _Finding("right", reasons)


def _accepted(
    parts: Sequence[Part],
    honest: Sequence[Listener],
    against: list[str],
    harm: Harm | None,
    doubtful: list[str],
    ending: Ending,
    told: str,
) -> _Finding:
    missed = [listener for listener in honest if not listener.application_bytes]
    came = any(_connections(part.listener) for part in parts)
    if against:
        return _Finding("wrong", against, harm)
    if missed:
        reasons = [f"the honest server received no request: {_story(missed, 'honest server')}"]
        reasons += [*([told] if told else []), *doubtful]
        if not came:
            return _Finding("inconclusive", reasons)
        return _Finding("wrong", reasons, "hung" if ending == "hung" else "honest-server-refused")
    if ending != "succeeded":
        reasons = [f"the request arrived, but {told or f'the client {ending}'}", *doubtful]
        return _Finding("wrong", reasons, "hung" if ending == "hung" else "failure-reported")
    if doubtful:
        return _Finding("inconclusive", doubtful)
    return _Finding("right", ["the request arrived at the honest server"])


def _await_quiet(parts: Sequence[Part]) -> bool:
    """Wait until all that has been sent has been looked at; return whether that was in vain."""
    # What a proxy or a path has not passed on cannot be seen behind it.
    listeners = [part.listener for part in parts]
    try:
        for listener in sorted(listeners, key=lambda it: not isinstance(it, (ConnectProxy, Path))):
            for each in _with_interceptor(listener):
                each.quiet()
    except TimeoutError:
        return True
    return False


def _with_interceptor(listener: Listener) -> Iterator[Listener]:
    yield listener
    if isinstance(listener, ConnectProxy) and listener.interceptor is not None:
        yield listener.interceptor


def _connections(listener: Listener) -> list[Connection]:
    return [connection for each in _with_interceptor(listener) for connection in each.connections]


def _was_shown(listener: Listener) -> bool:
    """Whether a client came as far as to see what this server has to show."""
    *_, last = _with_interceptor(listener)
    return any(map(last.was_shown, last.connections))


def _application_bytes(connection: Connection) -> int:
    """How many bytes came that are not merely a proxy's business, or the beginning of TLS.

    TLS may begin behind a CONNECT request, or at a server that does not speak it: some clients make
    https of http.
    """
    data = connection.application_data
    tunnelling = 0
    while data.startswith(b"CONNECT "):
        head, end, data = data.partition(b"\r\n\r\n")
        tunnelling += len(head) + len(end)
    outside = tunnelling or not connection.handshake_completed
    if outside and data.startswith(CLIENT_HELLO):
        return 0
    return connection.application_bytes - tunnelling


def _story(listeners: Sequence[Listener], whom: str) -> str:
    """How far the client came, in words."""
    connections = [it for listener in listeners for it in _connections(listener)]
    if not connections:
        return f"the client made no connection to the {whom}"
    if any(connection.handshake_completed for connection in connections):
        return f"the client completed the handshake with the {whom}, and sent nothing"
    errors = [connection.error for connection in connections if connection.error]
    if errors:
        return f"the handshake with the {whom} failed: {errors[-1]}"
    return f"the client connected to the {whom}, and did not begin TLS"
