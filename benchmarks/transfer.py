"""Bulk transfer over an open connection: its speed, and the client's CPU time for it."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator

from measure import Action, Result, Seconds, interleave, stopwatch
from scene import Scene, connect, scene
from server import PIECE, response_head

__all__ = ["run"]

TARGET = "at least 0.99"
ROUNDS, QUICK_ROUNDS = 150, 2
SIZE, QUICK_SIZE = 32 * PIECE, PIECE
UNPINNED, AGAIN = "unpinned", "unpinned, again"

Transfer = Callable[[ssl.SSLSocket, int], None]


def run(quick: bool) -> Iterator[Result]:
    rounds, size = (QUICK_ROUNDS, QUICK_SIZE) if quick else (ROUNDS, SIZE)
    with scene() as there:
        contexts = {
            UNPINNED: there.plain(),
            AGAIN: there.plain(),
            "pinned": there.pinned(),
            "pinned, client certificate": there.with_client_certificate(there.pinned()),
        }
        for what, transfer in (("received", receive), ("sent", send)):
            actions = {
                name: transferring(there, context, transfer, size)
                for name, context in contexts.items()
            }
            done = interleave(actions, rounds)
            for name in contexts:
                if name != UNPINNED:
                    target = "" if name == AGAIN else TARGET
                    yield Result(
                        f"{size // PIECE} MiB {what}, speed: {name}",
                        done.speed_ratios(name, UNPINNED),
                        target=target,
                    )
                    yield Result(
                        f"{size // PIECE} MiB {what}, per CPU second: {name}",
                        done.cpu_ratios(UNPINNED, name),
                        target=target,
                    )


def transferring(there: Scene, context: ssl.SSLContext, transfer: Transfer, size: int) -> Action:
    """Transfer over a connection of its own, whose handshake is not timed."""

    def action() -> Seconds:
        with connect(context, there.address) as connection:
            transfer(connection, PIECE)  # the session tickets come first, and buffers grow
            return stopwatch(lambda: transfer(connection, size))

    return action


def receive(connection: ssl.SSLSocket, size: int) -> None:
    connection.sendall(f"GET /bytes/{size} HTTP/1.1\r\n\r\n".encode())
    buffer = bytearray(PIECE)
    remaining = len(response_head(size)) + size
    while remaining:
        remaining -= connection.recv_into(buffer)


def send(connection: ssl.SSLSocket, size: int) -> None:
    connection.sendall(f"POST / HTTP/1.1\r\nContent-Length: {size}\r\n\r\n".encode())
    piece = bytes(PIECE)
    for _ in range(size // PIECE):
        connection.sendall(piece)
    connection.recv(PIECE)
