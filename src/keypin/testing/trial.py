"""One test of a client: whom it is made to call, and what the servers saw of it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..lab.arrivals import describe
from ..lab.environment import in_force
from .servers import HOST, Bench

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from typing import Unpack

    from ..lab import Connection
    from .servers import Conversation, LocalServer

__all__ = [
    "OWN_CHECK_PASSED",
    "Bypassed",
    "Inconclusive",
    "Trial",
    "Visit",
    "bypass_report",
    "new_trial",
    "trusted",
]

OWN_CHECK_PASSED = (
    "The client's own check let that pass, or was not asked. A check behind the handshake, or in a",
    "class for sslsocket_class or sslobject_class, is skipped by eventlet, aiofastnet and others;",
    "keypin.install() is not.",
)


class Bypassed(AssertionError):
    """The client is not pinned: something of it reached a server without the pinned key."""


class Inconclusive(AssertionError):
    """Nothing reached a server without the pinned key, but that may have another reason."""


@dataclass(frozen=True, slots=True)
class Visit:
    """What the servers saw while the client was told to call one of them."""

    called: LocalServer
    connections: list[Connection]
    """that began at this server"""
    handshakes: int
    """how many of those began TLS, and so were shown the server's key"""
    application_bytes: int
    """that came to this server"""
    elsewhere: int
    """how many connections began at the other servers"""

    @property
    def is_distrusted(self) -> bool:
        """Whether the client said that it does not trust the authority."""
        return any("UNKNOWN_CA" in (connection.error or "") for connection in self.connections)

    @property
    def begins_with_a_probe(self) -> bool:
        """Whether nothing was sent over the first connection, and something over a later one."""
        used = [it.application_bytes > 0 for it in self.connections if it.handshake_completed]
        return used[:1] == [False] and any(used)

    @property
    def story(self) -> str:
        """How far the client came, in words."""
        if not self.connections:
            other = f"; it made {self.elsewhere} to other ports" if self.elsewhere else ""
            return f"it made no connection to {self.called.url}{other}"
        if self.application_bytes:
            return f"it sent {self.application_bytes} bytes"
        if not self.handshakes:
            return "it connected, and did not begin TLS"
        if any(connection.handshake_completed for connection in self.connections):
            return "it connected, completed the handshake, and sent nothing"
        errors = [connection.error for connection in self.connections if connection.error]
        return f"it connected, and the handshake failed: {errors[-1] if errors else 'it hung up'}"


@dataclass(frozen=True, slots=True)
class Opening:
    """Where the records stood before a call."""

    called: LocalServer
    counts: dict[LocalServer, int]
    application_bytes: int


@dataclass(frozen=True, slots=True)
class Trial:
    """Servers with certificates of one authority for one name; they differ in their keys.

    Args:
        bench: whose authority that is.
        calls: the servers, in the order in which the client shall call them.
        pinned: those of them that hold the pinned key.
    """

    bench: Bench
    calls: tuple[LocalServer, ...]
    pinned: frozenset[LocalServer]

    def begin(self, called: LocalServer) -> Opening:
        """Note where the records stand before the client calls a server.

        Raises:
            Inconclusive: the client sends on and on.
        """
        with _patience():
            return Opening(called, self._counts(), called.application_bytes)

    def end(self, opening: Opening) -> Visit:
        """Say what the servers saw since then.

        Raises:
            Inconclusive: the client sends on and on.
        """
        called = opening.called
        with _patience():
            records = called.wait_for_more(opening.application_bytes)
            counts = self._counts()
        began = records[opening.counts[called] :]
        return Visit(
            called,
            began,
            sum(map(called.began_tls, began)),
            sum(connection.application_bytes for connection in records) - opening.application_bytes,
            sum(counts[it] - opening.counts[it] for it in self.calls if it is not called),
        )

    def arrivals(self) -> list[str]:
        """Tell what has reached servers without the pinned key so far, in lines.

        Returns:
            The lines; none if nothing has.

        Raises:
            Inconclusive: the client sends on and on.
        """
        wrong = [server for server in self.calls if server not in self.pinned]
        with _patience():
            return describe(it for server in wrong for it in server.wait_for_more(0))

    def _counts(self) -> dict[LocalServer, int]:
        return {server: len(server.wait_for_more(0)) for server in self.calls}


def bypass_report(arrivals: list[str]) -> list[str]:
    """Lines that say what it means that something arrived."""
    return [
        "a server without the pinned key received",
        *(f"  {line}" for line in arrivals),
        f"Its certificate is of the trusted authority and for {HOST}; only its key is another.",
    ]


@contextmanager
def new_trial(**conversation: Unpack[Conversation]) -> Iterator[Trial]:
    """Start the servers of one test; they talk as told.

    A wrong key comes first, or a client that trusts whatever key it sees first would pass. Another
    wrong one comes behind the pinned one, in case that something of that call is remembered; it
    also asks for the client's certificate. The pinned key comes once more at the end, or a client
    that works only once would pass. Each has a server of its own, so that nothing that a client
    keeps for one of them serves it at the next.
    """
    with (
        Bench() as bench,
        bench.mispinned_server(**conversation) as mispinned,
        bench.pinned_server(**conversation) as pinned,
        bench.mispinned_server(asks_for_client_certificate=True, **conversation) as asking,
        bench.pinned_server(**conversation) as pinned_too,
    ):
        calls = (mispinned, pinned, asking, pinned_too)
        yield Trial(bench, calls, frozenset({pinned, pinned_too}))


def trusted(bench: Bench) -> AbstractContextManager[None]:
    """Let this process's environment name the authority, for libraries that ask it."""
    return in_force(bench.environment)


@contextmanager
def _patience() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise Inconclusive(
            "the client went on sending for 10 seconds after its call had ended"
        ) from error
