"""Connections to servers, many side by side: what each address shows, for each type of key.

Nothing is judged here, and no application data is sent: behind a handshake comes the end. The
second type of key is asked for by the cipher suites of TLS 1.2, which name it. Those of TLS 1.3
do not, and Python's `ssl` (up to 3.14) cannot choose signature algorithms: of a server that speaks
only TLS 1.3, the key that it prefers is all that can be seen.
"""

from __future__ import annotations

import queue
import socket
import ssl
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from ..inspection import inspect_connection, verifying_context, why_not_connected
from .certificates import facts_of
from .starttls import TlsNotOffered, begin_tls

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator

    from ..inspection import Inspection
    from .certificates import KeyType
    from .targets import Target

__all__ = ["Contexts", "Failure", "Manner", "OtherKey", "Sighting", "look_at"]

Failure = Literal["no-address", "unreachable", "no-tls"]
OtherKey = Literal["shown", "not-offered", "cannot-be-asked", "not-asked", "unknown"]

# TLS 1.2, as the cipher suites of TLS 1.3 do not name the type of key
CIPHERS: dict[KeyType, str] = {"RSA": "aRSA+HIGH:!aNULL:!PSK", "ECDSA": "aECDSA+HIGH:!aNULL"}
OTHER: dict[KeyType, KeyType] = {"RSA": "ECDSA", "ECDSA": "RSA"}
CUT = (ssl.SSLEOFError, ConnectionResetError, BrokenPipeError)
NO_SUCH_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


@dataclass(frozen=True, slots=True)
class Manner:
    """How to look.

    Args:
        timeout: for connecting, for STARTTLS and for the handshake, each, in seconds.
        workers: how many connections at a time.
        both_keys: ask each server also for a key of the other type, RSA or ECDSA.
        family: of the addresses; `socket.AF_UNSPEC` for all of them.
    """

    timeout: float = 10.0
    workers: int = 32
    both_keys: bool = True
    family: int = socket.AF_UNSPEC


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one handshake showed, or why there was none.

    Args:
        target: the server.
        address: where it was looked for; None if not even that is known.
        port: the TCP port there.
        inspection: what it showed; None if there was nothing to see.
        failure: why not.
        error: the same in words.
        other_key: whether the server has a key of the other type, too; said of the first handshake
            with an address.
    """

    target: Target
    address: str | None
    port: int
    inspection: Inspection | None = None
    failure: Failure | None = None
    error: str | None = None
    other_key: OtherKey = "not-asked"

    @property
    def key(self) -> KeyType | None:
        """The type of the server's key."""
        return None if self.inspection is None else _key_shown(self.inspection)

    @property
    def where(self) -> str:
        """The address and what was asked there, for people."""
        if self.address is None:
            return f"port {self.port}"
        place = f"[{self.address}]" if ":" in self.address else self.address
        return f"{place}:{self.port}" + (f", {self.key}" if self.key else "")


class Contexts:
    """The TLS contexts of a check; connections share them.

    Args:
        cafile: PEM file of the certificate authorities to trust; the system's if both are None.
        capath: directory of such files.

    Raises:
        ssl.SSLError: no certificates in the `cafile`; another OSError: it cannot be read.
    """

    def __init__(
        self,
        cafile: str | os.PathLike[str] | None = None,
        capath: str | os.PathLike[str] | None = None,
    ) -> None:
        self.preferred: ssl.SSLContext = verifying_context(cafile, capath)
        self.by_key: dict[KeyType, ssl.SSLContext] = {}
        for key, ciphers in CIPHERS.items():
            context = self.by_key[key] = verifying_context(cafile, capath)
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(ciphers)


def _no_progress(done: int, known: int) -> None:
    """Tell nobody."""


def look_at(
    targets: Iterable[Target],
    contexts: Contexts,
    manner: Manner,
    progress: Callable[[int, int], None] = _no_progress,
) -> Iterator[tuple[Sighting, ...]]:
    """Look at servers; yields what each address showed, in the order in which they answer.

    A target without addresses yields one sighting that says so.

    Args:
        targets: the servers.
        contexts: whom to trust.
        manner: how to look.
        progress: told how many steps are done, and how many are known to be needed.
    """
    done: queue.SimpleQueue[Future[_Outcome]] = queue.SimpleQueue()
    with ThreadPoolExecutor(manner.workers, "keypin check") as pool:

        def submit(work: Callable[[], _Outcome]) -> None:
            pool.submit(work).add_done_callback(done.put)

        try:
            known = over = 0
            for target in targets:
                submit(partial(_places, target, manner.family))
                known += 1
            while over < known:
                outcome = done.get().result()
                if isinstance(outcome, list):
                    for place in outcome:
                        submit(partial(_look, place, contexts, manner))
                    known += len(outcome)
                over += 1
                progress(over, known)
                if isinstance(outcome, tuple):
                    yield outcome
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@dataclass(frozen=True, slots=True)
class _Place:
    """One address of a server."""

    target: Target
    address: str
    port: int


_Outcome = tuple[Sighting, ...] | list[_Place]


def _places(target: Target, family: int) -> _Outcome:
    if target.addresses:
        return [_Place(target, host, port or target.port) for host, port in target.addresses]
    try:
        found = socket.getaddrinfo(
            target.host, target.port, family, socket.SOCK_STREAM, socket.IPPROTO_TCP
        )
    except socket.gaierror as error:
        failure: Failure = "no-address" if error.errno in NO_SUCH_NAME else "unreachable"
        why = f"no address: {error.strerror}"
        return (Sighting(target, None, target.port, failure=failure, error=why),)
    addresses = dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found)
    return [_Place(target, address, target.port) for address in addresses]


def _look(place: _Place, contexts: Contexts, manner: Manner) -> tuple[Sighting, ...]:
    """Shake hands with an address once, and once more for the other type of key."""
    first = _sighting(place, _try(place, contexts.preferred, manner.timeout))
    if not manner.both_keys or first.key is None:
        return (first,)
    second = _try(place, contexts.by_key[OTHER[first.key]], manner.timeout)
    if (refusal := _refusal(second, first.key, place, contexts, manner.timeout)) is not None:
        return (replace(first, other_key=refusal),)
    other = _sighting(place, second)
    if other.inspection is not None:
        return (replace(first, other_key="shown"), other)
    wanted = f"for a key of the type {OTHER[first.key]}, {other.error}"
    return (replace(first, other_key="unknown"), replace(other, error=wanted))


def _try(place: _Place, context: ssl.SSLContext, timeout: float) -> Inspection | OSError:
    host, port = place.target.host, place.port
    try:
        plain = socket.create_connection((place.address, port), timeout)
        if place.target.starttls is not None:
            plain = begin_tls(plain, place.target.starttls, timeout)
        return inspect_connection(plain, (host, port), context=context, server_name=host)
    except OSError as error:
        return error


def _sighting(place: _Place, seen: Inspection | OSError) -> Sighting:
    if not isinstance(seen, OSError):
        return Sighting(place.target, place.address, place.port, seen)
    failure: Failure = "unreachable"
    why = why_not_connected(seen)
    if isinstance(seen, TimeoutError):
        why = "it did not answer in time"
    elif isinstance(seen, ssl.SSLError | TlsNotOffered) and not isinstance(seen, CUT):
        failure = "no-tls"
    return Sighting(place.target, place.address, place.port, failure=failure, error=why)


def _refusal(
    outcome: Inspection | OSError,
    shown: KeyType,
    place: _Place,
    contexts: Contexts,
    timeout: float,
) -> OtherKey | None:
    """How a server says that it has no key of the other type; None if it says something else."""
    if isinstance(outcome, CUT):
        # Some say nothing and hang up, as a server that has failed does: what else gets an answer?
        if not isinstance(_try(place, contexts.by_key[shown], timeout), OSError):
            return "not-offered"
        if not isinstance(_try(place, contexts.preferred, timeout), OSError):
            return "cannot-be-asked"
        return None
    reason = outcome.reason or "" if isinstance(outcome, ssl.SSLError) else ""
    if reason.endswith(("ALERT_HANDSHAKE_FAILURE", "ALERT_INSUFFICIENT_SECURITY")):
        return "not-offered"
    return "cannot-be-asked" if reason.endswith("ALERT_PROTOCOL_VERSION") else None


def _key_shown(inspection: Inspection) -> KeyType | None:
    certificates = inspection.verified or inspection.sent
    return facts_of(certificates[0]).key if certificates else None
