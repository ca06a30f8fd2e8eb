"""Connections to servers, many side by side: what each address shows, for each type of key.

Nothing is judged here, and no application data is sent: behind a handshake comes the end. The
second type of key is asked for by the cipher suites of TLS 1.2, which name it. Those of TLS 1.3
do not, and Python's `ssl` (up to 3.14) cannot choose signature algorithms: of a server that speaks
only TLS 1.3, the key that it prefers is all that can be seen.
"""

from __future__ import annotations

import queue
import signal
import socket
import ssl
import threading
from contextlib import contextmanager, suppress
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

__all__ = ["Contexts", "Failure", "OtherKey", "ScanOptions", "ScanResult", "scan"]

Failure = Literal["no-address", "unreachable", "no-tls"]
OtherKey = Literal["shown", "not-offered", "cannot-be-asked", "not-asked", "unknown"]

# TLS 1.2, as the cipher suites of TLS 1.3 do not name the type of key
CIPHERS: dict[KeyType, str] = {"RSA": "aRSA+HIGH:!aNULL:!PSK", "ECDSA": "aECDSA+HIGH:!aNULL"}
OTHER: dict[KeyType, KeyType] = {"RSA": "ECDSA", "ECDSA": "RSA"}
CUT = (ssl.SSLEOFError, ConnectionResetError, BrokenPipeError)
NO_SUCH_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """How to look.

    Args:
        timeout: for connecting, for STARTTLS and for the handshake, each, in seconds.
        workers: how many connections at a time.
        both_keys: ask each server also for a key of the other type, RSA or ECDSA.
        repeat: how often to connect to each address for each type of key, as there may be several
            servers behind it.
        family: of the addresses; `socket.AF_UNSPEC` for all of them.
    """

    timeout: float = 10.0
    workers: int = 32
    both_keys: bool = True
    repeat: int = 3
    family: int = socket.AF_UNSPEC


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What handshakes showed, or why there was none.

    Args:
        target: the server.
        address: where it was looked for; None if not even that is known.
        port: the TCP port there.
        inspection: what it showed; None if there was nothing to see.
        failure: why not.
        error: the same in words.
        other_key: whether the server has a key of the other type, too; said of the first handshake
            with an address.
        connections: how many were made to the address in this way.
        shown_in: how many of them showed this; the others have results of their own.
        addresses: how many the target has, to all of which connections are made.
    """

    target: Target
    address: str | None
    port: int
    inspection: Inspection | None = None
    failure: Failure | None = None
    error: str | None = None
    other_key: OtherKey = "not-asked"
    connections: int = 1
    shown_in: int = 1
    addresses: int = 1

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
        part = "" if self.shown_in == self.connections else f", {self.share}"
        return f"{place}:{self.port}" + (f", {self.key}" if self.key else "") + part

    @property
    def share(self) -> str:
        """In how many of the connections it was seen, for people."""
        return f"{self.shown_in} of {self.connections} connections"


class Contexts:
    """The TLS contexts of a check; connections share them.

    Args:
        cafile: PEM file of the certificate authorities to trust; the system's if both are None.
        capath: directory of such files.
        strict_x509: see `Pinner.create_context`.

    Raises:
        ssl.SSLError: no certificates in the `cafile`; another OSError: it cannot be read.
    """

    def __init__(
        self,
        cafile: str | os.PathLike[str] | None = None,
        capath: str | os.PathLike[str] | None = None,
        *,
        strict_x509: bool | None = None,
    ) -> None:
        self.preferred: ssl.SSLContext = verifying_context(cafile, capath, strict_x509=strict_x509)
        self.by_key: dict[KeyType, ssl.SSLContext] = {}
        for key, ciphers in CIPHERS.items():
            context = self.by_key[key] = verifying_context(cafile, capath, strict_x509=strict_x509)
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(ciphers)


def _no_progress(done: int, known: int) -> None:
    """Tell nobody."""


def scan(
    targets: Iterable[Target],
    contexts: Contexts,
    options: ScanOptions,
    progress: Callable[[int, int], None] = _no_progress,
) -> Iterator[tuple[ScanResult, ...]]:
    """Look at servers; yields what each address showed, in the order in which they answer.

    A target without addresses yields one result that says so. In the main thread, Ctrl-C ends it
    with a KeyboardInterrupt once all that is known by then was yielded.

    Args:
        targets: the servers.
        contexts: whom to trust.
        options: how to look.
        progress: told how many targets are done, and how many there are.
    """
    with _workers(options.workers) as (todo, done), _ctrl_c_behind(done):
        # how many addresses of each are still to answer; None while that is not known
        missing: dict[Target, int | None] = dict.fromkeys(targets)
        count = len(missing)
        progress(0, count)
        for target in missing:
            todo.put(partial(_places, target, options.family))
        while missing:
            outcome = done.get()
            if isinstance(outcome, BaseException):
                raise outcome
            if isinstance(outcome, list):
                missing[outcome[0].target] = len(outcome)
                for place in outcome:
                    todo.put(partial(_scan, place, contexts, options))
                continue
            target = outcome[0].target
            missing[target] = left = (missing[target] or 1) - 1
            if not left:
                del missing[target]
            progress(count - len(missing), count)
            yield outcome


@contextmanager
def _workers(count: int) -> Iterator[tuple[_Todo, _Done]]:
    """Threads that do what is put into one queue, and put what comes of it into the other.

    On Ctrl-C nobody waits for them: what they wait for may take its time.
    """
    todo: _Todo = queue.SimpleQueue()
    done: _Done = queue.SimpleQueue()

    def work() -> None:
        while (job := todo.get()) is not None:
            try:
                done.put(job())
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                done.put(error)

    for _ in range(count):
        threading.Thread(target=work, name="keypin check", daemon=True).start()
    try:
        yield todo, done
    finally:
        with suppress(queue.Empty):
            while True:
                todo.get_nowait()
        for _ in range(count):
            todo.put(None)


@contextmanager
def _ctrl_c_behind(done: _Done) -> Iterator[None]:
    """Let Ctrl-C wait its turn behind what is known already, instead of coming in between."""
    handler = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or handler is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: done.put(KeyboardInterrupt()))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


@dataclass(frozen=True, slots=True)
class _Place:
    """One address of a server."""

    target: Target
    address: str
    port: int
    addresses: int
    """how many the server has"""


_Outcome = tuple[ScanResult, ...] | list[_Place]
_Todo = queue.SimpleQueue["Callable[[], _Outcome] | None"]
_Done = queue.SimpleQueue["_Outcome | BaseException"]


def _places(target: Target, family: int) -> _Outcome:
    if target.addresses:
        count = len(target.addresses)
        return [_Place(target, host, port or target.port, count) for host, port in target.addresses]
    try:
        found = socket.getaddrinfo(
            target.host, target.port, family, socket.SOCK_STREAM, socket.IPPROTO_TCP
        )
    except socket.gaierror as error:
        failure: Failure = "no-address" if error.errno in NO_SUCH_NAME else "unreachable"
        why = f"no address: {error.strerror}"
        return (ScanResult(target, None, target.port, failure=failure, error=why),)
    addresses = dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found)
    if not addresses:
        return (ScanResult(target, None, target.port, failure="no-address", error="no address"),)
    return [_Place(target, address, target.port, len(addresses)) for address in addresses]


def _scan(place: _Place, contexts: Contexts, options: ScanOptions) -> tuple[ScanResult, ...]:
    """Shake hands with an address, and again for the other type of key and for other servers."""
    first = _result(place, _try(place, contexts.preferred, options.timeout))
    if first.key is None:
        return (first,)
    if not options.both_keys:
        return _repeated(first, place, contexts.preferred, options)
    second = _try(place, contexts.by_key[OTHER[first.key]], options.timeout)
    if (refusal := _refusal(second, first.key, place, contexts, options.timeout)) is not None:
        return _repeated(replace(first, other_key=refusal), place, contexts.preferred, options)
    other = _result(place, second)
    if other.inspection is not None:
        return (
            *_repeated(replace(first, other_key="shown"), place, contexts.preferred, options),
            *_repeated(other, place, contexts.by_key[OTHER[first.key]], options),
        )
    wanted = f"for a key of the type {OTHER[first.key]}, {other.error}"
    return (replace(first, other_key="unknown"), replace(other, error=wanted))


def _repeated(
    first: ScanResult, place: _Place, context: ssl.SSLContext, options: ScanOptions
) -> tuple[ScanResult, ...]:
    """Connect some more times, in the same way; yield each thing that was shown once.

    One failure is enough: a server that does not answer is not asked again and again.
    """
    seen = [first]
    while len(seen) < options.repeat and seen[-1].inspection is not None:
        seen.append(_result(place, _try(place, context, options.timeout)))
    shown: dict[object, list[ScanResult]] = {}
    for each in seen:
        # neither the version of TLS nor anything else of the connection makes it another server
        found = each.inspection
        what = found and (found.sent, found.verified, found.failure, found.broken_off)
        shown.setdefault(what or each.error, []).append(each)
    return tuple(
        replace(alike[0], connections=len(seen), shown_in=len(alike)) for alike in shown.values()
    )


def _try(place: _Place, context: ssl.SSLContext, timeout: float) -> Inspection | OSError:
    host, port = place.target.host, place.port
    try:
        plain = socket.create_connection((place.address, port), timeout)
        if place.target.starttls is not None:
            plain = begin_tls(plain, place.target.starttls, timeout)
        return inspect_connection(plain, (host, port), context=context, server_name=host)
    except OSError as error:
        return error


def _result(place: _Place, seen: Inspection | OSError) -> ScanResult:
    if not isinstance(seen, OSError):
        return ScanResult(place.target, place.address, place.port, seen, addresses=place.addresses)
    failure: Failure = "unreachable"
    why = why_not_connected(seen)
    if isinstance(seen, TimeoutError):
        why = "it did not answer in time"
    elif isinstance(seen, ssl.SSLError | TlsNotOffered) and not isinstance(seen, CUT):
        failure = "no-tls"
    return ScanResult(
        place.target,
        place.address,
        place.port,
        failure=failure,
        error=why,
        addresses=place.addresses,
    )


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
