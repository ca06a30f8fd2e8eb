"""CPU time of the client for a new TLS connection: TCP, handshake, close; no data."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from functools import partial

from measure import Result, interleave, stopwatch
from scene import HOST, NO_LINGERING, Scene, Version, connect, scene

__all__ = ["run"]

TARGET = "at most 1.01"
ROUNDS, QUICK_ROUNDS = 120, 2
BATCH = 10
UNPINNED, AGAIN = "unpinned", "unpinned, again"

Contexts = dict[str, ssl.SSLContext]
Connect = Callable[[ssl.SSLContext], object]


def run(quick: bool) -> Iterator[Result]:
    rounds = QUICK_ROUNDS if quick else ROUNDS
    with asyncio.Runner() as runner:
        with scene() as there:
            for what, way in (("sockets", sockets(there)), ("asyncio", streams(there, runner))):
                yield from compare(what, way, partial(contexts, there), rounds)
        with scene(ask_clients=True) as there:
            for what, way in (("sockets", sockets(there)), ("asyncio", streams(there, runner))):
                yield from compare(
                    f"{what}, client certificate",
                    way,
                    partial(contexts_with_client_certificate, there),
                    rounds,
                )
    with scene("rsa-2048") as there:
        yield from compare("sockets, RSA-2048", sockets(there), partial(contexts, there), rounds)


def compare(
    what: str, connect_often: Connect, contexts: Callable[[Version], Contexts], rounds: int
) -> Iterator[Result]:
    for version in ("1.3", "1.2"):
        actions = {
            name: partial(stopwatch, partial(connect_often, context))
            for name, context in contexts(version).items()
        }
        done = interleave(actions, rounds)
        for name in actions:
            where = f"{what}, TLS {version}: {name}"
            if name == UNPINNED:
                yield Result(where, [spent / BATCH for spent in done.cpu(name)], unit="us")
            else:
                target = "" if name == AGAIN else TARGET
                yield Result(where, done.cpu_ratios(name, UNPINNED), target=target)


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
        "leaf pinned, loaded before protect()": there.protect(
            there.with_client_certificate(there.plain(version))
        ),
    }


def sockets(there: Scene) -> Connect:
    def connect_often(context: ssl.SSLContext) -> None:
        for _ in range(BATCH):
            connect(context, there.address).close()

    return connect_often


def streams(there: Scene, runner: asyncio.Runner) -> Connect:
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
