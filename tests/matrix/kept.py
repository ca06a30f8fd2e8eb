"""Connections that drivers keep between two requests, and leave without ceremony."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from .client import Request

__all__ = ["abort", "end_transports", "kept"]

Connection = TypeVar("Connection")


@contextmanager
def kept(
    connect: Callable[[ExitStack], Connection], exchange: Callable[[Connection], object]
) -> Iterator[Request]:
    """Connect at the first request, and go on with that connection.

    Args:
        connect: connects, and leaves with the stack how to close the connection.
        exchange: one exchange over the connection.
    """
    opened = ExitStack()
    connections: list[Connection] = []

    def request() -> object:
        if not connections:
            connections.append(connect(opened))
        return exchange(connections[0])

    try:
        yield request
    finally:
        # poplib, for one, cannot close a connection whose STLS failed
        with suppress(OSError):
            opened.close()


async def abort(transport: asyncio.WriteTransport) -> None:
    """Close a transport of asyncio without waiting for the peer's close_notify."""
    transport.abort()
    await end_transports()


async def end_transports() -> None:
    """Let the loop go on until transports that were aborted have closed their sockets."""
    # connection_lost is called in a later round of the loop; some wrap another transport
    for _ in range(10):
        await asyncio.sleep(0.001)
