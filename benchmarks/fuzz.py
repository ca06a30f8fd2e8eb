"""Mutated handshakes against the guard, for as long as wanted.

    python benchmarks/fuzz.py --seconds 60       from a seed of chance, which it prints
    python benchmarks/fuzz.py --seed 7           the same attempts again
    python benchmarks/fuzz.py --only 7/1234      one of them, with what was done

An attempt is one connection of a keypin client: over a socket or a memory BIO, by asyncio, with an
implicit handshake, or by a program that ignores every error; in TLS 1.2 or 1.3; with a client
certificate or without; with a session or without. Somebody alters it:

- on the way to the server whose key is pinned, or to one with another key: a man in the middle who
  flips, drops, repeats, exchanges, splits and inserts records, also of other connections;
- the other server itself, before encryption: it alters its messages and signs what it has altered,
  shows the pinned server's certificates, or certificates whose content was altered before the
  authority that the client trusts signed them.

It exits with 1 if an attempt hung; if a server that does not hold the pinned key received an
application byte or a client certificate, or was not refused; if the pinned one was refused for its
key; if an exception was ignored somewhere; or if an error was neither `ssl.SSLError` nor `OSError`
and `ssl` without keypin does not raise it, too.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import random
import secrets
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from keypin import PinMismatch, Pinner, PinSet, Rule
from keypin.lab import Authority, Echo, Server
from keypin.lab.servers.fuzzing import FuzzingProxy, MutatingServer, Mutator
from keypin.lab.servers.mutation import mutated_certificate

__all__ = ["Case", "Findings", "Laboratory", "fuzz"]

HOST = "localhost"
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
DEADLINE = 8.0  # seconds; whoever alters a connection ends it long before
WORKERS = 6
FOREIGN = 64
RENEWED = 500  # attempts, after which a worker sets up anew

WAYS = ("socket", "implicit", "stubborn", "objects", "asyncio")
CONTEXTS = ("created", "showing", "protected")
SERVERS = ("pinned", "pinned", "other", "other", "altering", "impostor")
"""pinned, other: behind a man in the middle. altering: the other one, by itself. impostor: the
same, with the pinned server's certificates."""


@dataclass(frozen=True)
class Case:
    """What an attempt is, but for the mutations; all from its seed."""

    seed: str
    server: str
    tls: str
    way: str
    context: str
    resumes: bool
    alters: str

    @classmethod
    def of(cls, seed: str) -> Case:
        """Draw one."""
        choose = random.Random(f"case {seed}").choice
        return cls(
            seed,
            choose(SERVERS),
            choose(tuple(VERSIONS)),
            choose(WAYS),
            choose(CONTEXTS),
            choose((True, False, False)),
            choose(("server",) * 6 + ("client",)),
        )


@dataclass
class Findings:
    """What came of all attempts."""

    faults: list[str] = field(default_factory=list)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    mutations: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def attempts(self) -> int:
        """How many there were."""
        return self.outcomes.total()

    def add(
        self, case: Case, mutator: Mutator, outcome: str, faults: list[str], spent: float
    ) -> None:
        """Add an attempt."""
        with self._lock:
            self.outcomes[case.server, outcome] += 1
            self.mutations.update(done.rpartition(": ")[2] for done in mutator.done)
            self.longest = max(self.longest, spent)
            self.faults += [f"{fault}: {case}, {mutator}" for fault in faults]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", default=secrets.token_hex(4))
    parser.add_argument("--only", metavar="SEED/NUMBER")
    arguments = parser.parse_args()
    findings = Findings()
    if arguments.only:
        with Laboratory() as laboratory:
            laboratory.attempt(arguments.only, findings)
        print(Case.of(arguments.only))
    else:
        print(f"seed {arguments.seed}", flush=True)
        end = time.monotonic() + arguments.seconds
        findings = fuzz(arguments.seed, lambda number: time.monotonic() < end)
    print(f"{findings.attempts:,} attempts, the longest took {findings.longest:.1f} s")
    for (server, outcome), times in sorted(findings.outcomes.items()):
        print(f"  {server:9} {outcome:25} {times:7,}")
    for mutation, times in sorted(findings.mutations.items()):
        print(f"  {mutation:25} {times:7,}")
    print("\n".join(findings.faults) or "no faults")
    sys.exit(1 if findings.faults else 0)


def fuzz(seed: str, goes_on: Callable[[int], bool]) -> Findings:
    """Attempt `seed/0`, `seed/1` and so on, side by side.

    Args:
        seed: of all attempts.
        goes_on: whether to make the attempt of this number.
    """
    findings, numbers = Findings(), count()

    def work() -> None:
        going_on = True
        while going_on:
            with Laboratory() as laboratory:
                for _ in range(RENEWED):
                    if not (going_on := goes_on(number := next(numbers))):
                        break
                    laboratory.attempt(f"{seed}/{number}", findings)
                findings.faults += laboratory.left_over()

    with hearing_ignored(findings), ThreadPoolExecutor(WORKERS) as pool:
        for done in [pool.submit(work) for _ in range(WORKERS)]:
            done.result()
    return findings


@contextlib.contextmanager
def hearing_ignored(findings: Findings) -> Iterator[None]:
    """Take for a fault what Python would only print: "Exception ignored in ..."."""

    def hear(told: sys.UnraisableHookArgs) -> None:
        # A server name that is not ASCII; that is the server's half of `ssl`, not keypin.
        if not (isinstance(told.exc_value, UnicodeDecodeError) and isinstance(told.object, bytes)):
            findings.faults.append(f"ignored: {told.exc_value!r} in {told.object!r}")

    before, sys.unraisablehook = sys.unraisablehook, hear
    try:
        yield
        gc.collect()
    finally:
        sys.unraisablehook = before


class Laboratory:
    """Servers, men in the middle and a client, for one attempt at a time.

    Args:
        guarded: False for a client without pins, which is what the judge must find fault with.
    """

    def __init__(self, *, guarded: bool = True) -> None:
        self._guarded = guarded
        self._complaints: list[dict[str, object]] = []
        self._foreign: list[bytes] = []

    def __enter__(self) -> Laboratory:
        with contextlib.ExitStack() as stack:
            self._set_up(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _set_up(self, stack: contextlib.ExitStack) -> None:
        self._root, clients = Authority("root"), Authority("CA of the clients")
        self._issuing = self._root.intermediate("issuing")
        self._pinned, self._other = (self._issuing.issue(HOST) for _ in range(2))
        self._me = clients.issue(common_name="me", extended_key_usage=["clientAuth"])
        folder = Path(stack.enter_context(TemporaryDirectory()))
        self._my_file = folder / "me.pem"
        self._my_file.write_bytes(self._me.key_pem + self._me.chain_pem)
        self._servers: dict[str, Server | MutatingServer] = {
            name: stack.enter_context(
                Server(credential, application=Echo(), client_ca=clients.certificate)
            )
            for name, credential in (("pinned", self._pinned), ("other", self._other))
        }
        self._servers["altering"] = stack.enter_context(
            MutatingServer(self._other, self._other.key)
        )
        self._servers["impostor"] = stack.enter_context(
            MutatingServer(self._pinned, self._other.key)
        )
        self._proxies = {
            name: stack.enter_context(FuzzingProxy(self._servers[name].address))
            for name in ("pinned", "other")
        }
        self._runner = stack.enter_context(asyncio.Runner())
        complain = self._complaints.append
        self._runner.get_loop().set_exception_handler(lambda _, told: complain(told))
        self._pinner = Pinner(PinSet([Rule(HOST, [self._pinned.pin], match="leaf")]))
        self._guarded_contexts = dict(self._make_contexts(guarded=True))
        self._plain_contexts = dict(self._make_contexts(guarded=False))
        contexts = self._guarded_contexts if self._guarded else self._plain_contexts
        self._sessions = {key: self._begin_session(context) for key, context in contexts.items()}

    def _make_contexts(self, *, guarded: bool) -> Iterator[tuple[tuple[str, str], ssl.SSLContext]]:
        for tls, version in VERSIONS.items():
            for kind in CONTEXTS:
                if guarded and kind != "protected":
                    context = self._pinner.create_context(cadata=self._root.pem)
                else:
                    context = ssl.create_default_context(cadata=self._root.pem)
                context.minimum_version = context.maximum_version = version
                if kind != "created":
                    context.load_cert_chain(self._my_file)
                if guarded and kind == "protected":
                    self._pinner.protect(context)
                yield (tls, kind), context

    def _begin_session(self, context: ssl.SSLContext) -> ssl.SSLSession:
        with connect(context, self._servers["pinned"].address) as tls:
            exchange(tls)
            session = tls.session
            assert session is not None
            return session

    def attempt(self, seed: str, findings: Findings) -> None:
        """Make one, and judge it by what the server received."""
        case = Case.of(seed)
        for server in self._listeners(case):
            server.settle()
            server.connections.clear()
        mutator, error, spent = self._try(case, guarded=self._guarded)
        faults = list(self._judge(case, mutator, error))
        if spent > DEADLINE or isinstance(error, TimeoutError):
            faults.append(f"a hang of {spent:.1f} s")
        outcome = "no error" if error is None else type(error).__name__
        if not isinstance(error, OSError | None):
            _, of_ssl, _ = self._try(case, guarded=False)
            if type(of_ssl) is not type(error):
                faults.append(f"{error!r}; without keypin {of_ssl!r}")
            outcome += " of ssl itself"
        findings.add(case, mutator, outcome, faults, spent)

    def left_over(self) -> list[str]:
        """What keypin has not forgotten of the attempts."""
        self._runner.run(asyncio.sleep(0))
        end = time.monotonic() + DEADLINE
        # More than once: while another thread collects garbage, gc.collect() does nothing, and what
        # that thread has found may be known to be dead in one place and not yet in the next.
        while gc.collect() >= 0 and (left := self._left_over()) and time.monotonic() < end:
            time.sleep(0.01)
        return left

    def _left_over(self) -> list[str]:
        left = [
            "handshakes are left over that wait for a certificate"
            for context in self._guarded_contexts.values()
            if context._keypin._pending
        ]
        if guards := self._open_guards():
            left.append(f"{guards} guards are left over")
        return left

    def _open_guards(self) -> int:
        guards = self._pinner._living_guards()
        # the last ones are kept for a while: their connections might have been revived
        return sum(guard.connection is not None for guard in guards)

    def _listeners(self, case: Case) -> list[Server | MutatingServer | FuzzingProxy]:
        proxy = self._proxies.get(case.server)
        return [self._servers[case.server], *([proxy] if proxy else [])]

    def _try(self, case: Case, *, guarded: bool) -> tuple[Mutator, Exception | None, float]:
        key = (case.tls, case.context)
        context = (self._guarded_contexts if guarded else self._plain_contexts)[key]
        resumes = case.resumes and guarded == self._guarded
        mutator = Mutator(
            case.seed, foreign=list(self._foreign), certificates=self._certificates(case)
        )
        proxy = self._proxies.get(case.server)
        server = self._servers[case.server]
        if proxy is not None:
            proxy.mutator, proxy.alters = mutator, case.alters
        else:
            server.mutator = mutator
        address = (proxy or server).address
        begun = time.monotonic()
        error = None
        try:
            if case.way == "asyncio":
                self._runner.run(asyncio.wait_for(by_asyncio(context, address), DEADLINE))
            else:
                BLOCKING[case.way](context, address, self._sessions[key] if resumes else None)
        except Exception as caught:  # noqa: BLE001 - to be judged
            error = caught.with_traceback(None)
        spent = time.monotonic() - begun
        for listener in self._listeners(case):
            listener.settle()
        if proxy is not None:
            self._foreign = (self._foreign + proxy.relayed)[-FOREIGN:]
        return mutator, error, spent

    def _certificates(self, case: Case) -> list[bytes]:
        leaf = mutated_certificate(self._other.certificate, self._issuing.key, case.seed)
        choose = random.Random(f"certificates {case.seed}").choice
        return choose(
            (
                [leaf, self._issuing.certificate],
                [leaf, self._issuing.certificate],
                [leaf, self._issuing.certificate, self._pinned.certificate],
                [self._pinned.certificate, self._issuing.certificate],
                [self._other.certificate, self._pinned.certificate, self._issuing.certificate],
            )
        )

    def _judge(self, case: Case, mutator: Mutator, error: Exception | None) -> Iterator[str]:
        for complaint in self._complaints:
            yield f"asyncio complains: {complaint}"
        self._complaints.clear()
        if case.server == "pinned":
            if error is not None and not mutator.done:
                yield f"{error!r} though nothing was altered"
            if isinstance(error, PinMismatch) and self._pinned.pin in [
                pin for pin, _ in error.served[:1]
            ]:
                yield f"refused the pinned key: {error!r}"
            return
        if error is None:
            yield "accepted a server that does not hold the pinned key"
        for record in self._servers[case.server].connections:
            # a man in the middle who alters what the client sends may send something of his own
            if record.application_bytes and (
                case.alters == "server" or REQUEST in record.application_data
            ):
                yield f"it received {record.application_data!r}"
            if record.client_certificate_seen and (
                case.alters == "server" or record.client_certificate == self._me.certificate
            ):
                yield "it received a client certificate"
        for proxy in self._listeners(case)[1:]:
            if any(self._me.certificate in one.application_data for one in proxy.connections):
                yield "a client certificate was sent in the clear"


# The ways to connect


def connect(
    context: ssl.SSLContext,
    address: tuple[str, int],
    session: ssl.SSLSession | None = None,
    *,
    at_once: bool = True,
) -> ssl.SSLSocket:
    """Open a TLS connection, or one that has not begun to shake hands."""
    tcp = socket.create_connection(address, DEADLINE)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(
        tcp, server_hostname=HOST, session=session, do_handshake_on_connect=at_once
    )


def exchange(tls: ssl.SSLSocket) -> None:
    tls.sendall(REQUEST)
    received = b""
    while len(received) < len(REQUEST):
        if not (data := tls.recv(1024)):
            raise ConnectionError("no answer")
        received += data


def by_socket(context: ssl.SSLContext, address: tuple[str, int], session: object) -> None:
    with connect(context, address, session) as tls:
        exchange(tls)


def implicitly(context: ssl.SSLContext, address: tuple[str, int], session: object) -> None:
    with connect(context, address, session, at_once=False) as tls:
        exchange(tls)


def stubbornly(context: ssl.SSLContext, address: tuple[str, int], session: object) -> None:
    """Go on whatever happens; raises the first error in the end."""
    errors = []
    with connect(context, address, session, at_once=False) as tls:
        steps = (
            tls.do_handshake,
            lambda: exchange(tls),
            lambda: tls.write(REQUEST),
            lambda: tls.send(REQUEST),
            tls.unwrap,
            lambda: tls.sendall(REQUEST),
            lambda: socket.socket.send(tls, REQUEST),
        )
        for step in steps:
            try:
                step()
            except Exception as error:
                errors.append(error)
                if not isinstance(error, OSError | ValueError):
                    raise
            else:
                if step is steps[1] and not errors:
                    return
    raise errors[0]


def by_objects(context: ssl.SSLContext, address: tuple[str, int], session: object) -> None:
    """Send whatever the object has written, also after an error."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=HOST, session=session)
    with socket.create_connection(address, DEADLINE) as tcp:

        def step(function: Callable[[], object]) -> object:
            while True:
                try:
                    return function()
                except ssl.SSLWantReadError:
                    tcp.sendall(outgoing.read())
                    if data := tcp.recv(65536):
                        incoming.write(data)
                    else:
                        incoming.write_eof()
                finally:
                    with contextlib.suppress(OSError):
                        tcp.sendall(outgoing.read())

        try:
            step(tls.do_handshake)
        except ssl.SSLError:
            with contextlib.suppress(ssl.SSLError):
                tls.write(REQUEST)
            with contextlib.suppress(OSError):
                tcp.sendall(outgoing.read())
            raise
        step(lambda: tls.write(REQUEST))
        if not step(lambda: tls.read(len(REQUEST))):
            raise ConnectionError("no answer")


async def by_asyncio(context: ssl.SSLContext, address: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*address, ssl=context, server_hostname=HOST)
    try:
        writer.write(REQUEST)
        try:
            await reader.readexactly(len(REQUEST))
        except asyncio.IncompleteReadError as error:
            raise ConnectionError("no answer") from error
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


BLOCKING = {
    "socket": by_socket,
    "implicit": implicitly,
    "stubborn": stubbornly,
    "objects": by_objects,
}


if __name__ == "__main__":
    main()
