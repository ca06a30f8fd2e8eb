"""CPU time of the client for a new TLS connection: TCP, handshake, close; no data."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator

from measure import Result, interleave, stopwatch
from scene import HOST, NO_LINGERING, Scene, Version, connect, scene

__all__ = ["run"]

TARGET = "at most 1.01"
ROUNDS, QUICK_ROUNDS = 300, 4
BATCH = 5
UNPINNED, AGAIN = "unpinned", "unpinned, again"

Contexts = dict[str, ssl.SSLContext]
Connect = Callable[[ssl.SSLContext], object]


def run(quick: bool) -> Iterator[Result]:
    rounds = QUICK_ROUNDS if quick else ROUNDS
    with scene("p-256") as there, asyncio.Runner() as runner:
        yield from compare("sockets", there, rounds, contexts, over_sockets(there))
        yield from compare(
            "sockets, client certificate",
            there,
            rounds,
            contexts_with_client_certificate,
            over_sockets(there),
        )
        yield from compare("asyncio", there, rounds, contexts, over_asyncio(there, runner))
        yield from compare(
            "asyncio, client certificate",
            there,
            rounds,
            contexts_with_client_certificate,
            over_asyncio(there, runner),
        )
    with scene("rsa-2048") as there:
        yield from compare("sockets, RSA-2048", there, rounds, contexts, over_sockets(there))


def compare(
    what: str,
    there: Scene,
    rounds: int,
    make_contexts: Callable[[Scene, Version], Contexts],
    connect_often: Connect,
) -> Iterator[Result]:
    for version in ("1.3", "1.2"):
        actions = {
            name: lambda context=context: stopwatch(lambda: connect_often(context))
            for name, context in make_contexts(there, version).items()
        }
        done = interleave(actions, rounds)
        for name in actions:
            if name != UNPINNED:
                target = "" if name == AGAIN else TARGET
                ratios = done.cpu_ratios(name, UNPINNED)
                yield Result(f"{what}, TLS {version}: {name}", ratios, target=target)


def contexts(there: Scene, version: Version) -> Contexts:
    return {
        UNPINNED: there.plain(version),
        AGAIN: there.plain(version),
        "leaf pinned": there.pinned(version),
        "authority pinned": there.pinned(version, match="chain"),
        "host in no rule": there.pinned(version, host="elsewhere.example"),
        "protect()ed": there.protected(version),
    }


def contexts_with_client_certificate(there: Scene, version: Version) -> Contexts:
    return {
        UNPINNED: there.with_client_certificate(there.plain(version)),
        AGAIN: there.with_client_certificate(there.plain(version)),
        "leaf pinned": there.with_client_certificate(there.pinned(version)),
    }


def over_sockets(there: Scene) -> Connect:
    def connect_often(context: ssl.SSLContext) -> None:
        for _ in range(BATCH):
            connect(context, there.address).close()

    return connect_often


def over_asyncio(there: Scene, runner: asyncio.Runner) -> Connect:
    async def connect_often(context: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(BATCH):
            transport, _ = await loop.create_connection(
                asyncio.Protocol, *there.address, ssl=context, server_hostname=HOST
            )
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGERING)
            transport.abort()

    return lambda context: runner.run(connect_often(context))
