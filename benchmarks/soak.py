"""Very many handshakes in one process, whose memory and file descriptors have to stay as they are.

    python benchmarks/soak.py                      100,000 handshakes, in some minutes
    python benchmarks/soak.py --handshakes 2000    fewer
    python benchmarks/soak.py --trace              what Python allocates, by tracemalloc

A round goes through every way in which a connection can begin and end: pinned, mispinned, with a
client certificate, resumed (TLS 1.3 tickets, TLS 1.2 tickets and session identifiers), cut by the
server in its first flight, given up by the client half way, pins replaced meanwhile; through
sockets and asyncio, contexts of `create_context` and plain ones under `install`. It prints a sample
every now and then, each after a garbage collection, and exits with 1 unless, in the last three
quarters of the run,

- as many file descriptors are open in each sample as in the first,
- no guard and no TLS connection is alive,
- the garbage collector knows no more objects: fewer than one per 1,000 handshakes were added,
- the memory grew by less than 16 bytes per handshake, by the line of least squares through the
  samples. That is half of the least that the allocator gives away; a TLS connection is more than
  ten thousand. What is less than a MiB, or 20 objects, in all is taken for noise.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import socket
import ssl
import statistics
import struct
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import soak_server
from measure import Result

from keypin import PinMismatch, Pinner, PinSet, Rule
from keypin.enforcement import private_ssl as _private_ssl
from keypin.lab import Authority

__all__ = ["run"]

HANDSHAKES, SUBJECT_HANDSHAKES, QUICK_HANDSHAKES = 100_000, 20_000, 1_000
SAMPLES = 40
WARM_UP = 1 / 4
BYTES_PER_HANDSHAKE = 16
NOISE = 1024 * 1024
TRACED_NOISE = 16 * 1024
OBJECTS_PER_HANDSHAKE = 1 / 1000
OBJECTS_NOISE = 20

HOST = "localhost"
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
PATIENCE = 20.0
# A run opens more connections than there are ports, so none may linger when it is closed.
NO_LINGERING = struct.pack("ii", 1, 0)
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Sample:
    """What the process has at one moment.

    Args:
        handshakes: that were begun until then.
        memory: in bytes; resident, or allocated by Python.
        files: open file descriptors.
        guards: that the pinners know, of connections that are there.
        connections: of TLS, alive in the process.
        objects: that the garbage collector knows.
    """

    handshakes: int
    memory: int
    files: int
    guards: int
    connections: int
    objects: int


def run(quick: bool) -> Iterator[Result]:
    count = QUICK_HANDSHAKES if quick else SUBJECT_HANDSHAKES
    samples = warmed_up(list(soak(count, trace=False)))
    what = f"{count:,} handshakes of every kind"
    yield Result(f"{what}: memory added by each", [slope(samples, "memory")], unit="bytes")
    yield Result(f"{what}: objects added", [samples[-1].objects - samples[0].objects])
    yield Result(f"{what}: files left open", [samples[-1].files - samples[0].files])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    logging.getLogger("keypin").addHandler(logging.NullHandler())  # refusals are meant
    parser.add_argument("--handshakes", type=int, default=HANDSHAKES, metavar="N")
    parser.add_argument("--trace", action="store_true", help="use tracemalloc; much slower")
    arguments = parser.parse_args()
    memory = "traced MiB" if arguments.trace else "RSS MiB"
    print(f"| handshakes | {memory:>10} | open files | guards | connections | gc objects |")
    print(f"| {'-' * 10} | {'-' * 10} | {'-' * 10} | {'-' * 6} | {'-' * 11} | {'-' * 10} |")
    begun = time.monotonic()
    samples = []
    for sample in soak(arguments.handshakes, trace=arguments.trace):
        samples.append(sample)
        print(
            f"| {sample.handshakes:>10,} | {sample.memory / 2**20:>10.2f} | {sample.files:>10} "
            f"| {sample.guards:>6} | {sample.connections:>11} | {sample.objects:>10,} |",
            flush=True,
        )
    seconds = time.monotonic() - begun
    after = warmed_up(samples)
    print()
    print(f"{samples[-1].handshakes:,} handshakes in {seconds:.0f} s")
    print(f"memory added by each, after warming up: {slope(after, 'memory'):.1f} bytes")
    print(f"objects added by each: {slope(after, 'objects'):.5f}")
    faults = list(growth(samples, TRACED_NOISE if arguments.trace else NOISE))
    print("\n".join(faults) or "flat")
    sys.exit(1 if faults else 0)


def warmed_up(samples: list[Sample]) -> list[Sample]:
    return samples[int(len(samples) * WARM_UP) :]


def growth(samples: list[Sample], noise: int) -> Iterator[str]:
    """What is not flat after warming up, in words.

    Args:
        samples: all of them.
        noise: how much the memory may change, in bytes, in however short a run.
    """
    samples = warmed_up(samples)
    first, last = samples[0], samples[-1]
    handshakes = last.handshakes - first.handshakes
    added = slope(samples, "memory")
    if added * handshakes > max(noise, BYTES_PER_HANDSHAKE * handshakes):
        yield f"NOT FLAT: each handshake adds {added:.1f} bytes"
    objects = slope(samples, "objects") * handshakes
    if objects > max(OBJECTS_NOISE, OBJECTS_PER_HANDSHAKE * handshakes):
        yield f"NOT FLAT: {last.objects - first.objects} objects more"
    for name in ("files", "guards", "connections"):
        values = {getattr(sample, name) for sample in samples}
        if values != ({first.files} if name == "files" else {0}):
            yield f"NOT FLAT: {name}: {sorted(values)}"


def slope(samples: list[Sample], name: str) -> float:
    """How much one handshake adds, by least squares."""
    handshakes = [sample.handshakes for sample in samples]
    return statistics.linear_regression(
        handshakes, [getattr(sample, name) for sample in samples]
    ).slope


def soak(handshakes: int, *, trace: bool) -> Iterator[Sample]:
    """Shake hands so often; yields `SAMPLES` samples.

    Raises:
        AssertionError: a connection came to another end than it should, or the server with the
            wrong key received something.
    """
    if trace:
        tracemalloc.start()
    with people() as client:
        for number in range(SAMPLES):
            while client.handshakes < handshakes * (number + 1) // SAMPLES:
                client.round()
            yield client.sample(trace=trace)
        received = client.servers.end()
        assert received == 0, f"the server with the wrong key received {received} bytes"


@contextlib.contextmanager
def people() -> Iterator[Client]:
    """Set up the authorities, the servers and the client."""
    root, clients = Authority("root", key="p-256"), Authority("CA of the clients", key="p-256")
    issuing = root.intermediate("issuing", key="p-256")
    pinned, unpinned = (issuing.issue(HOST, key="p-256") for _ in range(2))
    me = clients.issue(common_name="me", key="p-256", extended_key_usage=["clientAuth"])
    with TemporaryDirectory() as name, asyncio.Runner() as runner:
        folder = Path(name)
        for file, credential in {"pinned": pinned, "unpinned": unpinned, "me": me}.items():
            (folder / f"{file}.pem").write_bytes(credential.key_pem + credential.chain_pem)
        (folder / "clients.pem").write_text(clients.pem)
        allowing, refusing = (
            PinSet([Rule(HOST, [credential.pin])]) for credential in (pinned, unpinned)
        )
        with soak_server.running(folder) as servers:
            yield Client(servers, runner, root.pem, folder / "me.pem", allowing, refusing)


class Client:
    """Who shakes hands.

    Args:
        servers: with whom.
        runner: of everything asynchronous.
        root: whom it trusts, in PEM.
        my_file: its own certificate and key.
        allowing: the pins of the right server.
        refusing: others.
    """

    def __init__(
        self,
        servers: soak_server.Servers,
        runner: asyncio.Runner,
        root: str,
        my_file: Path,
        allowing: PinSet,
        refusing: PinSet,
    ) -> None:
        self.handshakes = 0
        self.servers = servers
        self._runner = runner
        self._root = root
        self._my_file = my_file
        self._allowing, self._refusing = allowing, refusing
        self._pinner, self._installed = Pinner(allowing), Pinner(allowing)
        self._guarded = [self._limited(self._create_context(), tls) for tls in VERSIONS]
        self._showing = [self._limited(self._create_context(), tls) for tls in VERSIONS]
        for context in self._showing:
            context.load_cert_chain(my_file)
        self._plain = [self._limited(self._plain_context(), tls) for tls in VERSIONS]
        self._sessions = list(self._begin_sessions(self._guarded))
        with self._installed.installed():
            self._plain_sessions = list(self._begin_sessions(self._plain))
        self._ways: tuple[Callable[[], None], ...] = (
            self._ordinary,
            self._resumed,
            self._resumed_too_late,
            self._replaced,
            self._cut,
            self._given_up,
            self._asynchronous,
            self._under_install,
            self._on_new_contexts,
        )

    def round(self) -> None:
        """Go through all ways."""
        for way in self._ways:
            way()

    def sample(self, *, trace: bool) -> Sample:
        """Look at the process."""
        gc.collect()
        kinds = Counter(map(type, gc.get_objects()))
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
        return Sample(
            self.handshakes,
            tracemalloc.get_traced_memory()[0] if trace else resident,
            len(os.listdir("/proc/self/fd")),
            sum(
                guard.connection is not None
                for pinner in (self._pinner, self._installed)
                for guard in pinner._living_guards()
            ),
            kinds[_private_ssl.CONNECTION_CLASS],
            kinds.total() - kinds[Sample],
        )

    # The ways

    def _ordinary(self) -> None:
        for context in (*self._guarded, *self._showing):
            self._exchange(context, "pinned")
            self._refused(context, "unpinned")

    def _resumed(self) -> None:
        for context, server, session in self._sessions:
            self._exchange(context, server, session)

    def _resumed_too_late(self) -> None:
        self._pinner.replace(self._refusing)
        for context, server, session in self._sessions:
            if server != "keeping":  # a server forgets a session that was refused
                self._refused(context, server, session)
        self._pinner.replace(self._allowing)

    def _replaced(self) -> None:
        with self._connect(self._guarded[1], "pinned") as tls:
            self._pinner.replace(self._refusing)
            try:
                tls.sendall(REQUEST)
            except PinMismatch:
                pass
            else:
                raise AssertionError("pins that were replaced are not in force")
            finally:
                self._pinner.replace(self._allowing)

    def _cut(self) -> None:
        for context in (*self._guarded, *self._showing):
            # where the cut comes after the end of the flight, or the server has the wrong key
            with contextlib.suppress(OSError), self._connect(context, "cutting") as tls:
                assert tls.recv(1) == b""

    def _given_up(self) -> None:
        for context in self._guarded:
            tcp = self._tcp("pinned")
            with context.wrap_socket(
                tcp, server_hostname=HOST, do_handshake_on_connect=False
            ) as tls:
                tls.setblocking(False)
                with contextlib.suppress(ssl.SSLWantReadError):
                    tls.do_handshake()
            with self._tcp("pinned") as tcp:
                incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
                half_way = context.wrap_bio(incoming, outgoing, server_hostname=HOST)
                with contextlib.suppress(ssl.SSLWantReadError):
                    half_way.do_handshake()
                tcp.sendall(outgoing.read())
                incoming.write(tcp.recv(100))
                with contextlib.suppress(ssl.SSLWantReadError):
                    half_way.do_handshake()

    def _asynchronous(self) -> None:
        self._runner.run(self._all_tasks())

    def _under_install(self) -> None:
        with self._installed.installed():
            for context in self._plain:
                self._exchange(context, "pinned")
                self._refused(context, "unpinned")
            for context, server, session in self._plain_sessions:
                self._exchange(context, server, session)
            self._runner.run(self._task(self._plain[1], "pinned"))
            self._runner.run(self._task(self._plain[1], "unpinned"))

    def _on_new_contexts(self) -> None:
        showing = self._create_context()
        showing.load_cert_chain(self._my_file)
        protected = self._pinner.protect(self._plain_context())
        for context in (self._create_context(), showing, protected):
            self._refused(context, "unpinned")
        with self._installed.installed():
            self._exchange(self._plain_context(), "pinned")

    # What they are made of

    def _begin_sessions(
        self, contexts: Sequence[ssl.SSLContext]
    ) -> Iterator[tuple[ssl.SSLContext, str, ssl.SSLSession]]:
        # Each is resumed many times: CPython (3.11 to 3.13) loses some 6,000 bytes whenever
        # `SSLSocket.session` is read, with pins and without.
        for number, server in ((0, "pinned"), (1, "pinned"), (0, "keeping")):
            with self._connect(contexts[number], server) as tls:
                self._talk(tls)
                session = tls.session
                assert session is not None
                self._end(tls)
            yield contexts[number], server, session

    def _exchange(
        self, context: ssl.SSLContext, server: str, session: ssl.SSLSession | None = None
    ) -> None:
        with self._connect(context, server, session) as tls:
            assert tls.session_reused == (session is not None)
            self._talk(tls)
            self._end(tls)

    def _talk(self, tls: ssl.SSLSocket) -> None:
        tls.sendall(REQUEST)
        assert tls.recv(4096).startswith(b"HTTP/1.1 200")

    def _end(self, tls: ssl.SSLSocket) -> None:
        # a server forgets a session that did not end in order
        with contextlib.suppress(OSError):
            tls.unwrap()

    def _refused(
        self, context: ssl.SSLContext, server: str, session: ssl.SSLSession | None = None
    ) -> None:
        try:
            self._connect(context, server, session).close()
        except PinMismatch:
            return
        raise AssertionError("a server with the wrong key was accepted")

    async def _all_tasks(self) -> None:
        context = self._guarded[1]
        tasks = (self._task(context, server) for server in ("pinned", "unpinned", "cutting"))
        await asyncio.gather(*tasks, self._cancelled_task(context))

    async def _task(self, context: ssl.SSLContext, server: str) -> None:
        tcp = self._tcp(server)
        tcp.setblocking(False)
        try:
            reader, writer = await asyncio.open_connection(
                sock=tcp, ssl=context, server_hostname=HOST
            )
        except OSError as error:
            if server == "pinned" or (server == "unpinned" and not isinstance(error, PinMismatch)):
                raise AssertionError(f"{server}: {error!r}") from error
            return
        assert server != "unpinned", "a server with the wrong key was accepted"
        writer.write(REQUEST)
        with contextlib.suppress(OSError):
            answer = await reader.read(4096)
            assert answer.startswith(b"HTTP/1.1 200") or server == "cutting"
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def _cancelled_task(self, context: ssl.SSLContext) -> None:
        task = asyncio.create_task(self._task(context, "pinned"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    def _connect(
        self, context: ssl.SSLContext, server: str, session: ssl.SSLSession | None = None
    ) -> ssl.SSLSocket:
        return context.wrap_socket(self._tcp(server), server_hostname=HOST, session=session)

    def _tcp(self, server: str) -> socket.socket:
        self.handshakes += 1
        tcp = socket.create_connection(self.servers.addresses[server], PATIENCE)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGERING)
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return tcp

    def _create_context(self) -> ssl.SSLContext:
        return self._pinner.create_context(cadata=self._root)

    def _plain_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self._root)

    def _limited(self, context: ssl.SSLContext, tls: ssl.TLSVersion) -> ssl.SSLContext:
        context.minimum_version = context.maximum_version = tls
        return context


if __name__ == "__main__":
    main()
