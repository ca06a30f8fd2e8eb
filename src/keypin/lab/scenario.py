"""A scenario: what a server does to a client, and what must come of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from .keys import KeyKind
from .servers.contexts import TlsVersion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .cast import Cast
    from .stage import Stage

__all__ = ["PROTOCOLS", "Case", "Expected", "Protocol", "Scenario"]

Expected = Literal["reject", "accept"]
Protocol = Literal["https", "wss", "smtp", "imap"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
TLS_VERSIONS: tuple[TlsVersion, ...] = ("1.2", "1.3")


@dataclass(frozen=True, slots=True)
class Scenario:
    """One attack, or one honest server that must not be taken for one.

    Attributes:
        identifier: words with hyphens; it never changes, so that reports can be compared.
        group: the part of the catalogue that it belongs to.
        story: what the server or the proxy does, in one sentence.
        expected: "reject", if nothing of the client may arrive; "accept", if its request must.
        source: the standard, CVE or advisory behind it.
        build: starts the servers on a stage, and says there what the client is told.
        tls: the versions in which it can come out differently.
        keys: the kinds of server key with which it can come out differently.
        protocol: what the client speaks inside TLS.
        needs: the places of a command (`second_url`, `proxy`, ...) without which a client cannot be
            put to this test.
        claims: what a client must claim to do for this to be a fair test of it beyond comparing
            the key of the leaf: "ca-pins", "backup-pins", "client-certificates", "redirects", ...
        must_arrive: whether a client that never comes to the attacker has not been tested.
        control: an "accept" scenario in which nothing is unusual: a client that fails it does not
            get through to any server, so that what it rejects proves nothing.
    """

    identifier: str
    group: str
    story: str
    expected: Expected
    source: str
    build: Callable[[Stage], None] = field(repr=False)
    tls: tuple[TlsVersion, ...] = TLS_VERSIONS
    keys: tuple[KeyKind, ...] = ("p-256",)
    protocol: Protocol = "https"
    needs: frozenset[str] = frozenset()
    claims: frozenset[str] = frozenset()
    must_arrive: bool = True
    control: bool = False

    @property
    def __name__(self) -> str:
        """The name that pytest gives to a test parametrized with it."""
        return self.identifier

    def __str__(self) -> str:
        return self.identifier

    def cases(self, tls: TlsVersion | None = None, key: KeyKind | None = None) -> Iterator[Case]:
        """The variants in which it can come out differently, or those of them that are named."""
        for version in self.tls:
            for kind in self.keys:
                if tls in (None, version) and key in (None, kind):
                    yield Case(self, version, kind)

    def stage(self, folder: Path | None = None) -> Stage:
        """Its first variant as a context manager, see `Case.stage`."""
        return next(self.cases()).stage(folder)


@dataclass(frozen=True, slots=True)
class Case:
    """A scenario in one TLS version and with one kind of server key."""

    scenario: Scenario
    tls: TlsVersion
    key: KeyKind

    @property
    def __name__(self) -> str:
        """The name that pytest gives to a test parametrized with it."""
        return str(self)

    def __str__(self) -> str:
        return f"{self.scenario.identifier}-tls{self.tls}-{self.key}"

    def stage(self, folder: Path | None = None, cast: Cast | None = None) -> Stage:
        """Make the stage: a context manager whose servers run while it is entered.

        Args:
            folder: where the files are written that clients read; a temporary one if None.
            cast: who appears, with keys of this kind; those at localhost if None.
        """
        from .stage import Stage

        return Stage(self, folder, cast)
