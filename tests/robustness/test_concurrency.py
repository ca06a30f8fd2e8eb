"""64 threads and 1,000 tasks at once, while the pins are replaced every millisecond.

KEYPIN_CONCURRENCY_SECONDS makes each test last longer: in seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import ssl
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle

import pytest
from scene import HOST, NAMES, REQUEST, VERSIONS, authority, connect, issuing, pinned

from keypin import PinMismatch, Pinner, PinSet, Rule
from keypin.lab import Echo, Server

pytestmark = [pytest.mark.alone, pytest.mark.fresh_process]

THREADS, TASKS = 64, 1000
SECONDS = float(os.environ.get("KEYPIN_CONCURRENCY_SECONDS", "2"))
PATIENCE = 120.0  # seconds; two busy cores can make this take long
ENOUGH_FILES = 2 * TASKS + 500
TLS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@dataclass
class Scene:
    """Three servers of one name: allowed by every set of pins, by some, by none."""

    always: Server
    sometimes: Server
    never: Server
    sets: list[PinSet]
    failures: list[str] = field(default_factory=list)
    outcomes: Counter = field(default_factory=Counter)

    def name(self, server: Server) -> str:
        return {id(self.always): "always", id(self.sometimes): "sometimes"}.get(id(server), "never")

    def judge(self, server: Server, error: Exception | None) -> None:
        """Note how a request came out."""
        name = self.name(server)
        self.outcomes[name, error is None] += 1
        if name == "always" and error is not None:
            self.failures.append(f"satisfied all pins and failed: {error!r}")
        if name == "never" and error is None:
            self.failures.append("a server whose key was never pinned answered")
        if not isinstance(error, OSError | None):
            self.failures.append(f"not an OSError: {error!r}")

    def check(self) -> None:
        """What must hold when all is over."""
        assert not self.failures, Counter(self.failures).most_common(5)
        for server in (self.always, self.sometimes, self.never):
            server.settle()
        assert self.never.application_bytes == 0
        assert self.never.connections
        assert not any(record.client_certificate_seen for record in self.never.connections)
        for outcome in (("always", True), ("sometimes", False), ("never", False)):
            assert self.outcomes[outcome]


@pytest.fixture
def scene(clients):
    serve = partial(Server, application=Echo(), client_ca=clients.certificate)
    sometimes = issuing().issue(*NAMES)
    elsewhere = authority().intermediate("another issuing CA").issue(*NAMES)
    backup = issuing().issue(*NAMES)
    sets = [
        PinSet([Rule(HOST, [pinned().pin, sometimes.pin], match="leaf")]),
        PinSet([Rule(HOST, [backup.pin, pinned().pin], match="leaf")]),
        PinSet([Rule(HOST, [issuing().pin])]),
        PinSet([Rule(HOST, [issuing().pin], deny=[sometimes.pin])]),
        PinSet([Rule(HOST, [pinned().pin], mode="enforce", deny=[backup.pin])]),
        PinSet([Rule(None, [issuing().pin])]),
        PinSet([Rule(HOST, [pinned().pin]), Rule("b.example", [backup.pin])], unlisted="refuse"),
    ]
    with (
        serve(pinned()) as always,
        serve(sometimes) as now_and_then,
        serve(elsewhere) as never,
    ):
        yield Scene(always, now_and_then, never, sets)


@pytest.fixture
def quick_switches():
    """Let threads interrupt each other more often than they do by themselves."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(autouse=True)
def many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < ENOUGH_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(ENOUGH_FILES, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@dataclass
class Pinning:
    """Two pinners, one of them installed, and contexts of both TLS versions.

    Connections of the contexts that the first one created are judged by both.
    """

    pinners: list[Pinner]
    contexts: list[ssl.SSLContext]


@pytest.fixture
def pinning(scene, me, tmp_path):
    files = me.write(tmp_path)
    pinner, installed = Pinner(scene.sets[0]), Pinner(scene.sets[0])
    contexts = []
    for create in (pinner.create_context, ssl.create_default_context):
        for version in VERSIONS:
            for shows in (False, True):
                context = create(cadata=authority().pem)
                context.minimum_version = context.maximum_version = TLS[version]
                if shows:
                    context.load_cert_chain(files.chain, files.key)
                contexts.append(context)
    with installed.installed():
        yield Pinning([pinner, installed], contexts)
    gc.collect()
    for each in pinner, installed:  # the last ones might have been revived
        assert all(guard.connection is None for guard in each._living_guards())
    for context in contexts:
        assert context._keypin._pending == {}
        assert not context._keypin.is_enabled(context)


@contextlib.contextmanager
def replacing(pinning: Pinning, sets: list[PinSet]):
    """Replace the pins every millisecond meanwhile, by a thread of its own."""
    done, count = threading.Event(), [0]

    def replace() -> None:
        for pinner, pins in zip(cycle(pinning.pinners), cycle(sets), strict=False):
            pinner.replace(pins)
            count[0] += 1
            if done.wait(0.001):
                return

    thread = threading.Thread(target=replace, daemon=True)
    thread.start()
    try:
        yield count
    finally:
        done.set()
        thread.join(PATIENCE)
        assert not thread.is_alive(), "replace() does not come to an end"


def attempt(context: ssl.SSLContext, server: Server, requests: int) -> Exception | None:
    """Connect and send so many requests; the error, if any."""
    try:
        with connect(context, server) as tls:
            tls.settimeout(PATIENCE)
            for _ in range(requests):
                tls.sendall(REQUEST)
                if tls.recv(len(REQUEST)) != REQUEST:
                    raise ConnectionError("no answer")
    except Exception as error:  # noqa: BLE001 - to be judged
        return error
    return None


def obey(pinning: Pinning, scene: Scene) -> None:
    """After all this, the pins last put in force are those that hold."""
    gc.collect()
    for pins, error in ((scene.sets[1], PinMismatch), (scene.sets[0], type(None))):
        for pinner in pinning.pinners:
            pinner.replace(pins)
        for context in pinning.contexts:
            assert isinstance(attempt(context, scene.sometimes, requests=1), error)


def test_threads(scene, pinning, quick_switches):
    contexts = pinning.contexts
    end = time.monotonic() + SECONDS
    servers = (scene.always, scene.sometimes, scene.never)

    def work(number: int) -> None:
        context, server = contexts[number % len(contexts)], servers[number % 3]
        while True:
            scene.judge(server, attempt(context, server, requests=1 + number % 5))
            if time.monotonic() > end:
                return

    threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(THREADS)]
    with replacing(pinning, scene.sets) as count:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in threads), "a thread does not come to an end"
    print(scene.outcomes, f"{count[0]} replacements")
    assert count[0] > 10 * SECONDS
    scene.check()
    obey(pinning, scene)


def test_tasks(scene, pinning):
    contexts = pinning.contexts
    servers = (scene.always, scene.sometimes, scene.never)

    async def attempt(context: ssl.SSLContext, server: Server, requests: int) -> Exception | None:
        try:
            reader, writer = await asyncio.open_connection(
                *server.address,
                ssl=context,
                server_hostname=HOST,
                ssl_handshake_timeout=PATIENCE,
                ssl_shutdown_timeout=PATIENCE,
            )
            try:
                for _ in range(requests):
                    writer.write(REQUEST)
                    if await reader.read(len(REQUEST)) != REQUEST:
                        raise ConnectionError("no answer")
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
        except Exception as error:  # noqa: BLE001 - to be judged
            return error
        return None

    async def work(number: int) -> None:
        context, server = contexts[number % len(contexts)], servers[number % 3]
        while True:
            scene.judge(server, await attempt(context, server, requests=1 + number % 3))
            if asyncio.get_running_loop().time() > end:
                return

    async def main() -> None:
        nonlocal end
        end = asyncio.get_running_loop().time() + SECONDS
        with replacing(pinning, scene.sets) as count:
            await asyncio.wait_for(asyncio.gather(*map(work, range(TASKS))), PATIENCE + SECONDS)
        print(scene.outcomes, f"{count[0]} replacements")
        assert count[0] > 10

    end = 0.0
    complaints = []
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda _, told: complaints.append(told))
        runner.run(main())
    assert not complaints, complaints[:3]
    scene.check()
    obey(pinning, scene)
